"""The training of a detector: its data, its network, and its figures on held-out images."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from kerascnn import zoo
from kerascnn.detection.specs import DetectorSpec, TwoStageSpec
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.augment.box_policies import BOX_POLICIES
from training.common.progress import say
from training.common.wording import counted, skipped
from training.datasets.detection import DetectionDataset, DetectionSplit, require_masks
from training.datasets.selection import with_sound_headers
from training.detection import auto_anchors, own_answers
from training.detection.batches import DetectionTrainingData
from training.detection.distillation import open_teacher
from training.detection.evaluate import (
    DetectFn,
    each_found,
    evaluate_keeping,
    keras_detect_fn,
)
from training.detection.examples import chosen, write_examples
from training.detection.fit import fit_detector, kind, training_task
from training.detection.metrics import DetectionEvaluation, Detections
from training.detection.pr_curve import write_per_class, write_pr_curve
from training.detection.task import spec_of
from training.engine import dataset_of_request as of_request
from training.engine import options
from training.engine.config import TrainConfig
from training.engine.devices import SINGLE, Placement
from training.engine.history import History
from training.engine.loop import Fitted, TrainingTask
from training.engine.own_answers import agreement_of
from training.engine.request import TrainRequest
from training.engine.run import Run
from training.engine.teacher import TeacherNetwork
from training.engine.training import OpenedTraining, Ready

if TYPE_CHECKING:
    import keras


class DetectorTraining(OpenedTraining):
    """Of a detector; see `training.engine.training.OpenedTraining`."""

    def __init__(
        self,
        asked: TrainRequest,
        dataset: DetectionDataset | None = None,
        ready: Ready | None = None,
    ) -> None:
        super().__init__(asked, dataset, ready)
        self._say_sizes()
        self.spec = self._of_network()
        if self.spec.masks:
            require_masks(*self.dataset.splits)
        self.teacher = self._teacher()

    def _check(self) -> None:
        spec = self._checked(_spec(self._asked, self.preprocessing))
        self.spec = self._with_fitted_anchors(spec)

    def _with_fitted_anchors(self, spec: Any) -> Any:
        """The spec; with anchors for the data's objects, where that is asked for."""
        if self._asked.detector_options.get("anchors") != options.AUTO:
            return spec
        found = auto_anchors.fit_to(
            *(spec.anchors, self.dataset.train, self.preprocessing),
            positive_iou=spec.positive_iou,
        )
        say(
            f"anchors fitted to {counted(found.objects, 'object')}: {found.after:.1f}% overlap "
            f"with one by {spec.positive_iou:g} ({found.before:.1f}% with the network's own)"
        )
        return dataclasses.replace(spec, anchors=found.anchors)

    def _checked(self, spec: Any) -> Any:
        """A spec that networks of this kind can have; raises InputError for another."""
        return spec

    def _of_network(self) -> Any:
        """The spec that the network was built with."""
        return self.spec

    def _teacher(self) -> TeacherNetwork | None:
        return None

    def facts(self) -> dict[str, Any]:
        """What decodes the outputs, and the data's own numbers of the classes."""
        return {
            "detector": self.spec.to_dict(),
            "category_ids": list(self.dataset.category_ids),
            **(self.teacher.facts if self.teacher else {}),
        }

    def fit(
        self, folder: pathlib.Path, placement: Placement, after_epoch: Callable[[History], None]
    ) -> Fitted:
        """Look at the images' headers, and train."""
        self.look(folder, placement)
        return fit_detector(
            self.model,
            self.spec,
            self._training_data(),
            self.dataset.validation,
            classes=self.classes,
            folder=folder / "checkpoints",
            history_file=folder / "history.csv",
            placement=placement,
            after_epoch=after_epoch,
            teacher=self.teacher,
        )

    def trial(self, *, cached: bool = True) -> TrainingTask:
        """What `fit` would train; every image is read when its batch is made, as there."""
        self._read()
        return training_task(
            *(self.model, self.spec, self._training_data(), None, self.classes, SINGLE),
            teacher=self.teacher,
        )

    def _training_data(self) -> DetectionTrainingData:
        config, most = self._asked.config, DetectionTrainingData.most_objects
        if kind(self.spec) == "segm":
            most = _most_objects(self.dataset.train, config)
        return DetectionTrainingData(
            split=self.dataset.train,
            preprocessing=self.preprocessing,
            classes=len(self.classes),
            config=config,
            most_objects=most,
            broken=self._broken,
        )

    def _read(self) -> None:
        self.dataset = of_request.with_validation(self._sound(self.dataset), self._asked.config)

    def results(self, folder: pathlib.Path, saved: keras.Model) -> dict[str, Any]:
        """COCO's figures on the held-out images; precision-recall, classes, examples as files."""
        detect = keras_detect_fn(saved, self.preprocessing, self.spec)
        if of_request.without_labels(self._asked):
            return self._own_answers(folder, detect)
        kinds = tuple(dict.fromkeys([kind(self.spec), "bbox"]))

        def measure(
            split: DetectionSplit,
        ) -> tuple[list[DetectionEvaluation], dict[int, Detections]]:
            return evaluate_keeping(
                *(detect, split, self.preprocessing, self.classes),
                kinds=kinds,
                kept=chosen(len(split)).tolist(),
                rule=self.spec.rule,
                title="held-out images",
            )

        held_out, ((measured, *boxes), found) = self._broken.measured(
            self.dataset.held_out, DetectionSplit.picture, measure
        )
        write_pr_curve(measured, folder / "precision_recall.png", self.classes)
        write_per_class(measured, self.classes, folder / "per_class.csv")
        write_examples(folder / "examples.png", held_out, found, self.classes)
        if measured.kind == "bbox":
            return {
                "metric": "AP",
                "held_out": measured.ap,
                **figures(measured),
            }
        of_boxes = {"ap": boxes[0].ap, **figures(boxes[0])}
        return {
            "metric": "mask AP",
            "held_out": measured.ap,
            **figures(measured),
            **{f"box_{name}": value for name, value in of_boxes.items()},
        }

    def _own_answers(self, folder: pathlib.Path, detect: DetectFn) -> dict[str, Any]:
        """Of images of which nothing is known: what the network is sure of is the truth."""

        def found(split: DetectionSplit) -> list[Detections]:
            each = each_found(
                *(detect, split, self.preprocessing),
                rule=self.spec.rule,
                title="held-out images" if split is self.dataset.held_out else "",
            )
            return [own_answers.sure(one) for one in each]

        splits = [split for split in (self.dataset.validation, self.dataset.held_out) if split]
        measured = [self._broken.measured(one, DetectionSplit.picture, found) for one in splits]
        own_answers.write(folder, self.dataset.name, measured)
        self.dataset = own_answers.with_answers(self.dataset, folder)
        answers = measured[-1][1]
        write_examples(folder / "examples.png", self.dataset.held_out, answers, self.classes)
        return {
            "metric": agreement_of("mask AP" if self.spec.masks else "AP"),
            "held_out": 100.0,
            "objects": sum(map(len, answers)),
        }

    def _sound(self, dataset: DetectionDataset) -> DetectionDataset:
        """Without images that cannot be read, which are named."""
        if dataset.generated:
            return dataset
        sound = with_sound_headers(dataset, strict=self._asked.strict, skipped=self._skipped)
        if self._skipped:
            say(skipped(len(self._skipped)))
        if of_request.without_labels(self._asked):
            return sound
        for what, split in (("training", sound.train), ("held-out", sound.held_out)):
            if not _has_objects(split):
                raise InputError(f"{dataset.name}: no readable {what} image has an object")
        return sound


def _has_objects(split: DetectionSplit) -> bool:
    objects, crowds = split.counts().T
    return bool((objects > crowds).any())


def _most_objects(split: DetectionSplit, config: TrainConfig) -> int:
    """Rows for the masks of an image: all its objects', up to the number that boxes have.

    A row is as large as the image, so that those which stay empty would be most of a batch.
    """
    together = 4 if BOX_POLICIES[config.augmentation].mosaic else 1
    most = int(split.counts()[:, 0].max())
    return max(1, min(together * most, DetectionTrainingData.most_objects))


def figures(measured: DetectionEvaluation) -> dict[str, float | None]:
    """COCO's twelve less three, in percent; None where there is nothing to find."""
    names = ("ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100")
    values = {name: float(getattr(measured, name)) for name in names}
    return {name: None if np.isnan(value) else value for name, value in values.items()}


def _spec(asked: TrainRequest, preprocessing: Preprocessing) -> DetectorSpec | TwoStageSpec:
    """Raises InputError for an option that there is not, or that the network decides on."""
    options.check(asked.model, {}, asked.detector_options)
    try:
        spec = spec_of(asked, preprocessing)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise options.cannot_build(asked.model, "--detector", asked.detector_options) from error
    return spec


class OneStageTraining(DetectorTraining):
    """Of a detector of one stage, whose outputs are decoded behind it."""

    def _checked(self, spec: DetectorSpec) -> DetectorSpec:
        if spec.loss == "multibox" and not spec.background:
            raise InputError(f"{self._asked.model} has no background, which loss 'multibox' needs")
        return spec

    def _teacher(self) -> TeacherNetwork | None:
        if self._asked.teacher is None:
            return None
        run = Run.open(self._asked.teacher)
        return open_teacher(run, classes=self.classes, student=self.preprocessing, spec=self.spec)


class TwoStageTraining(DetectorTraining):
    """Of a detector of two stages, which decodes its own outputs: its spec is within it."""

    def _check(self) -> None:
        if self._asked.teacher is not None:
            raise InputError(f"{self._asked.model}: two-stage detectors have no teacher")
        super()._check()

    def _of_network(self) -> TwoStageSpec:
        spec: TwoStageSpec = self.model.get_layer("detections").spec  # --option included
        return spec


_BY_STAGES = {1: OneStageTraining, 2: TwoStageTraining}


def opened(
    asked: TrainRequest, dataset: DetectionDataset | None = None, ready: Ready | None = None
) -> DetectorTraining:
    """The training of a request, by the stages of its detector.

    Args:
        dataset: as `DetectionTask.scan` gives it; None: it is found now.
        ready: see `OpenedTraining`.
    """
    published = zoo.detector_spec(asked.model, zoo.entry(asked.model).input_shape)
    return _BY_STAGES[published.stages](asked, dataset, ready)
