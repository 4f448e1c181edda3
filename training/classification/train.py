"""The training of a classifier: its data, its network, and its figures on held-out pictures."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import keras

from kerascnn.preprocessing import Preprocessing
from training import tasks
from training.augment.policies import POLICIES
from training.classification.batches import TrainingData
from training.classification.confusion import confusion_matrix, write_confusion
from training.classification.distillation import Teacher
from training.classification.evaluate import class_report, evaluate, keras_predict_fn
from training.classification.fit import fit
from training.common.progress import say
from training.datasets import same_bytes
from training.datasets.broken import BrokenPictures
from training.datasets.decode import CACHE_BYTES, Broken, decode_dataset
from training.datasets.pictures import check_picture
from training.datasets.splits import Dataset
from training.engine import dataset_of_request as of_request
from training.engine import network
from training.engine.config import TrainConfig
from training.engine.devices import Placement
from training.engine.enlarging import enlarging_lines
from training.engine.history import History
from training.engine.loop import Fitted
from training.engine.opening import opening_line, split_counts
from training.engine.refusals import refuse_other_tasks
from training.engine.request import TrainRequest
from training.engine.run import Run

# Stored pictures have so many times the pixels a side that a window of them is cut to: windows
# are cut from the whole picture, whatever its shape.
_MORE_PIXELS = 1.25


class ClassifierTraining:
    """A request with its data found and its network built; see `training.engine.train.Training`."""

    def __init__(self, asked: TrainRequest, dataset: Dataset | None = None) -> None:
        self._asked = asked
        self.dataset = _noted(dataset or of_request.dataset_of(asked))
        self.name, self.fingerprint = self.dataset.name, self.dataset.fingerprint
        self.classes = self.dataset.classes
        self.preprocessing = tasks.of("classification").preprocessing(asked, self.dataset)
        self.model = network.build(asked, self.preprocessing, classes=len(self.classes))
        self.teacher = _teacher(asked, self.dataset, self.preprocessing)
        self._skipped: list[Broken] = []
        self._broken = BrokenPictures(strict=asked.strict)

    def facts(self) -> dict[str, Any]:
        """Nothing that other tasks have not, but the teacher."""
        if self.teacher is None:
            return {}
        return {"teacher": {"run": self.teacher.name, "sha256": self.teacher.sha256}}

    def fit(
        self, folder: pathlib.Path, placement: Placement, after_epoch: Callable[[History], None]
    ) -> Fitted:
        """Read the pictures, and train."""
        asked, whole = self._asked, self.dataset
        source = source_for(self.preprocessing, asked.config)
        self._broken = BrokenPictures.of_run(
            folder, strict=asked.strict, remember=placement.is_chief
        )
        self.dataset, self._skipped = decode_dataset(
            of_request.with_validation(whole, asked.config),
            train=source,
            evaluation=self.preprocessing,
            strict=asked.strict,
            report=say,
            set_aside=whole.validation is None,
        )
        if placement.is_chief:
            say(opening_line(**split_counts(self.dataset), classes=len(self.classes)))
            for line in enlarging_lines(
                self.dataset.train.sizes, self.preprocessing, asked=asked.image_size is not None
            ):
                say(line)
        return fit(
            self.model,
            train=self.dataset.train,
            validation=self.dataset.validation,
            source=source,
            preprocessing=self.preprocessing,
            config=asked.config,
            folder=folder / "checkpoints",
            history_file=folder / "history.csv",
            teacher=self.teacher,
            placement=placement,
            after_epoch=after_epoch,
            broken=self._broken,
        )

    def counts(self) -> dict[str, Any]:
        """How many pictures there were for what."""
        return {
            **split_counts(self.dataset.each(self._broken.without)),
            "skipped": [picture.name for picture in self._skipped],
            "broken": sorted(self._broken.reasons),
            "notes": [str(note) for note in self.dataset.notes],
        }

    def results(self, folder: pathlib.Path) -> dict[str, Any]:
        """Figures on the held-out pictures; and the confusion matrix as a file and a picture."""
        predict = keras_predict_fn(self.model, self.preprocessing)
        held_out, found = self._broken.measured(
            self.dataset.held_out,
            lambda split, index: check_picture(split.encoded(index), split.names[index]),
            lambda split: evaluate(predict, split, self.preprocessing),
        )
        matrix = confusion_matrix(held_out.labels, found.predictions, len(self.classes))
        write_confusion(
            matrix, self.classes, png=folder / "confusion.png", csv=folder / "confusion.csv"
        )
        by_class = class_report(held_out.labels, found.predictions, len(self.classes))
        return {
            "metric": "accuracy",
            "held_out": found.accuracy,
            "top5": found.top5,
            "calibration_error": found.calibration_error,
            "loss": found.loss,
            **by_class.to_dict(self.classes),
        }


def _noted(dataset: Dataset) -> Dataset:
    """The same; what there is to say of it is said."""
    if dataset.ignored:
        endings = ", ".join(f"{n} {ending}" for ending, n in sorted(dataset.ignored.items()))
        say(f"skipped files that are not images: {endings}")
    dataset = same_bytes.noted(dataset)
    for note in dataset.notes:
        say(str(note))
    return dataset


def open_training_data(
    asked: TrainRequest, *, cache_bytes: int = CACHE_BYTES
) -> tuple[keras.Model, TrainingData]:
    """The untrained network of a request and what it learns from, for a look at how it trains.

    Args:
        cache_bytes: decoded pictures are kept if they fit.

    Raises:
        InputError: bad data or an impossible model.
    """
    task = tasks.of("classification")
    refuse_other_tasks(asked.model, task)
    dataset = _noted(of_request.dataset_of(asked))
    preprocessing = task.preprocessing(asked, dataset)
    model = network.build(asked, preprocessing, classes=len(dataset.classes))
    source = source_for(preprocessing, asked.config)
    chosen = of_request.with_validation(dataset, asked.config)
    alone = dataclasses.replace(chosen, validation=None, held_out=chosen.held_out.take([]))
    decoded, _broken = decode_dataset(
        alone,
        train=source,
        evaluation=preprocessing,
        strict=asked.strict,
        report=say,
        cache_bytes=cache_bytes,
    )
    return model, TrainingData(
        split=decoded.train,
        source=source,
        preprocessing=preprocessing,
        classes=len(dataset.classes),
        config=asked.config,
    )


def _teacher(asked: TrainRequest, dataset: Dataset, preprocessing: Preprocessing) -> Teacher | None:
    if asked.teacher is None:
        return None
    run = Run.open(asked.teacher)
    return Teacher.open(run, classes=dataset.classes, student=preprocessing)


def source_for(preprocessing: Preprocessing, config: TrainConfig) -> Preprocessing:
    """How training pictures are stored: whole, where augmentation cuts windows out of them."""
    if preprocessing.resize != "crop" or not POLICIES[config.augmentation].crops:
        return preprocessing
    more = _MORE_PIXELS / preprocessing.crop_fraction
    return dataclasses.replace(
        preprocessing,
        height=round(preprocessing.height * more),
        width=round(preprocessing.width * more),
        resize="stretch",
    )
