"""The training of a segmentation network: its data, its network, its held-out figures."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from kerascnn.errors import InputError
from training.common.progress import say
from training.common.wording import skipped
from training.datasets.mask_counts import MaskCounts
from training.datasets.segmentation import VOID, SegmentationDataset, SegmentationSplit
from training.datasets.selection import less_broken, with_sound_headers
from training.engine import dataset_of_request as of_request
from training.engine.devices import SINGLE, Placement
from training.engine.floor import class_facts
from training.engine.history import History
from training.engine.loop import Fitted, TrainingTask
from training.engine.own_answers import agreement_of
from training.engine.request import TrainRequest
from training.engine.run import Run
from training.engine.training import OpenedTraining, Ready
from training.segmentation import own_answers
from training.segmentation.batches import SegmentationTrainingData
from training.segmentation.distillation import SegmentationTeacher
from training.segmentation.evaluate import SegmentFn, keras_segment_fn, maps
from training.segmentation.examples import chosen, write_examples
from training.segmentation.fit import fit_segmenter, training_task
from training.segmentation.losses import count_pixels
from training.segmentation.metrics import SegmentationEvaluation, evaluate_maps, write_per_class

if TYPE_CHECKING:
    import keras


class SegmenterTraining(OpenedTraining):
    """Of a segmentation network; see `training.engine.training.OpenedTraining`."""

    def __init__(
        self,
        asked: TrainRequest,
        dataset: SegmentationDataset | None = None,
        ready: Ready | None = None,
    ) -> None:
        super().__init__(asked, dataset, ready)
        self._say_sizes()
        height, width = self.model.output_shape[1:3]
        self.output_size = (int(height), int(width))
        self._counts: MaskCounts | None = None
        self.teacher = None
        if asked.teacher is not None:
            self.teacher = SegmentationTeacher.open(
                Run.open(asked.teacher), classes=self.classes, student=self.preprocessing
            )

    def facts(self) -> dict[str, Any]:
        """The size of the answer, and the colours that the data was drawn with."""
        return {
            "segmenter": {
                "output_size": list(self.output_size),
                "palette": self.dataset.palette and [list(c) for c in self.dataset.palette],
            },
            **(self.teacher.facts if self.teacher else {}),
        }

    def fit(
        self, folder: pathlib.Path, placement: Placement, after_epoch: Callable[[History], None]
    ) -> Fitted:
        """Look at the images' headers and at the masks, and train."""
        whole = self.dataset.train
        self.look(folder, placement)
        return fit_segmenter(
            self.model,
            self._training_data(),
            self.dataset.validation,
            classes=self.classes,
            pixels=self._pixels(whole),
            folder=folder / "checkpoints",
            history_file=folder / "history.csv",
            placement=placement,
            after_epoch=after_epoch,
            teacher=self.teacher,
        )

    def trial(self, *, cached: bool = True) -> TrainingTask:
        """What `fit` would train; every image is read when its batch is made, as there."""
        whole = self.dataset.train
        self._read()
        return training_task(
            *(self.model, self._training_data(), None, self.classes, SINGLE),
            pixels=self._pixels(whole),
            teacher=self.teacher,
        )

    def _pixels(self, whole: SegmentationSplit) -> np.ndarray:
        """(c,) of each class in the images to learn from; `whole` has broken ones, too."""
        train, classes = self.dataset.train, len(self.classes)
        if self._counts:
            return self._counts.total(whole, train.names, classes)
        return count_pixels(train, classes)

    def _training_data(self) -> SegmentationTrainingData:
        return SegmentationTrainingData(
            split=self.dataset.train,
            preprocessing=self.preprocessing,
            classes=len(self.classes),
            config=self._asked.config,
            output_size=self.output_size,
            broken=self._broken,
        )

    def _read(self) -> None:
        whole = self.dataset
        unknown = whole.generated or of_request.without_labels(self._asked)
        self._counts = None if unknown else MaskCounts.of(whole)
        self.dataset = of_request.with_validation(
            self._sound(whole, self._counts), self._asked.config
        )

    def results(self, folder: pathlib.Path, saved: keras.Model) -> dict[str, Any]:
        """Figures on the held-out images; classes and examples as files."""
        segment = keras_segment_fn(saved, self.preprocessing)
        if of_request.without_labels(self._asked):
            return self._own_answers(folder, segment)

        def measure(
            split: SegmentationSplit,
        ) -> tuple[SegmentationEvaluation, dict[int, np.ndarray]]:
            shown = {int(index): np.empty(0, np.uint8) for index in chosen(len(split))}
            found = maps(segment, split, self.preprocessing, title="held-out images")
            return evaluate_maps(_keeping(found, shown), split, self.classes), shown

        held_out, (measured, shown) = self._broken.measured(
            self.dataset.held_out, SegmentationSplit.both, measure
        )
        write_per_class(measured, self.classes, folder / "per_class.csv")
        write_examples(
            *(folder / "examples.png", held_out, shown, self.classes),
            palette=self.dataset.palette,
        )
        facts = class_facts(measured.pixels.tolist())
        return {
            "metric": "mIoU",
            "held_out": measured.miou,
            **figures(measured),
            # Of the truth: what one class for every pixel would reach depends on them.
            "classes_there": facts["classes"],
            "majority_baseline": None if math.isnan(facts["majority"]) else facts["majority"],
        }

    def _own_answers(self, folder: pathlib.Path, segment: SegmentFn) -> dict[str, Any]:
        """Of images without masks: the network's own maps are the truth."""
        root = self.dataset.name
        answers = own_answers.Answers(root)

        def measure(split: SegmentationSplit) -> own_answers.Answers:
            found = own_answers.Answers(root)
            found.add(split.names, maps(segment, split, self.preprocessing, title="own answers"))
            return found

        for split in filter(None, (self.dataset.validation, self.dataset.held_out)):
            answers.extend(self._broken.measured(split, SegmentationSplit.picture, measure)[1])
        answers.write(folder)
        self.dataset = own_answers.with_answers(self.dataset, folder)
        held_out = self.dataset.held_out
        shown = {int(index): held_out.label_map(int(index)) for index in chosen(len(held_out))}
        write_examples(
            *(folder / "examples.png", held_out, shown, self.classes),
            palette=self.dataset.palette,
        )
        every = (np.unique(held_out.label_map(index)) for index in range(len(held_out)))
        there = set(np.concatenate([*every]).tolist()) - {VOID}
        return {
            "metric": agreement_of("mIoU"),
            "held_out": 100.0,
            "classes_there": len(there),
        }

    def _sound(
        self, dataset: SegmentationDataset, counts: MaskCounts | None
    ) -> SegmentationDataset:
        """Without images and masks that are known to be broken, which are named."""
        if dataset.generated:
            return dataset
        strict, skipped_ = self._asked.strict, self._skipped
        sound = with_sound_headers(dataset, strict=strict, skipped=skipped_)
        if counts is None:
            if skipped_:
                say(skipped(len(skipped_)))
            return sound
        broken = {counts.names[number] for number in counts.reasons}

        def with_sound_masks(split: SegmentationSplit) -> SegmentationSplit:
            odd = [place for place, name in enumerate(split.names) if name in broken]
            return less_broken(split, np.array(odd, int), split.label_map, strict, skipped_)

        sound = sound.each(with_sound_masks)
        if self._skipped:
            say(skipped(len(self._skipped)))
        for what, split, left in (
            ("training", dataset.train, sound.train),
            ("held-out", dataset.held_out, sound.held_out),
        ):
            if not counts.total(split, left.names, len(self.classes)).any():
                raise InputError(
                    f"{dataset.name}: no readable {what} image has a pixel that counts"
                )
        return sound


def figures(measured: SegmentationEvaluation) -> dict[str, float | None]:
    """The figures beside mean IoU, in percent; None where there is nothing to measure."""
    names = ("mean_dice", "pixel_accuracy", "boundary_f1")
    values = {name: float(getattr(measured, name)) for name in names}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _keeping(found: Iterable[np.ndarray], kept: dict[int, np.ndarray]) -> Iterator[np.ndarray]:
    """The same maps; those whose index is in `kept` are put there on their way."""
    for index, one in enumerate(found):
        if index in kept:
            kept[index] = one
        yield one
