"""The training of a classifier: its data, its network, and its figures on held-out images."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kerascnn.preprocessing import Preprocessing
from training.augment.policies import POLICIES
from training.classification import imported
from training.classification.batches import TrainingData
from training.classification.confusion import confusion_matrix, write_confusion
from training.classification.distillation import Teacher
from training.classification.evaluate import (
    PredictFn,
    class_report,
    evaluate,
    keras_predict_fn,
)
from training.classification.fit import ClassificationTraining, fit, make_training_model
from training.common.progress import say
from training.datasets.decode import CACHE_BYTES, decode_dataset
from training.datasets.pictures import check_picture
from training.datasets.splits import Dataset
from training.engine import dataset_of_request as of_request
from training.engine.config import TrainConfig
from training.engine.devices import SINGLE, Placement
from training.engine.history import History
from training.engine.loop import Fitted, TrainingTask
from training.engine.own_answers import AGREEMENT
from training.engine.request import TrainRequest
from training.engine.run import Run
from training.engine.training import OpenedTraining, Ready

# Stored images have so many times the pixels a side that a window of them is cut to: windows
# are cut from the whole image, whatever its shape.
_MORE_PIXELS = 1.25


class ClassifierTraining(OpenedTraining):
    """Of a classifier; see `training.engine.training.OpenedTraining`.

    Attributes:
        of: what is trained by which loss.
    """

    of: type[ClassificationTraining] = ClassificationTraining

    def __init__(
        self, asked: TrainRequest, dataset: Dataset | None = None, ready: Ready | None = None
    ) -> None:
        super().__init__(asked, dataset, ready)
        self.teacher = _teacher(asked, self.dataset, self.preprocessing)

    def _say_notes(self) -> None:
        _say_notes(self.dataset)

    def facts(self) -> dict[str, Any]:
        """Nothing that other tasks have not, but the teacher."""
        if self.teacher is None:
            return {}
        return self.teacher.facts

    def fit(
        self, folder: pathlib.Path, placement: Placement, after_epoch: Callable[[History], None]
    ) -> Fitted:
        """Read the images, and train."""
        asked = self._asked
        self.look(folder, placement)
        return fit(
            self.model,
            train=self.dataset.train,
            validation=self.dataset.validation,
            source=source_for(self.preprocessing, asked.config),
            preprocessing=self.preprocessing,
            config=asked.config,
            folder=folder / "checkpoints",
            history_file=folder / "history.csv",
            teacher=self.teacher,
            placement=placement,
            after_epoch=after_epoch,
            broken=self._broken,
            of=self.of,
        )

    def trial(self, *, cached: bool = True) -> TrainingTask:
        """What `fit` would train, of the images to learn from alone."""
        asked = self._asked
        source = source_for(self.preprocessing, asked.config)
        chosen = of_request.with_validation(self.dataset, asked.config)
        alone = dataclasses.replace(chosen, validation=None, held_out=chosen.held_out.take([]))
        decoded, _broken = decode_dataset(
            alone,
            train=source,
            evaluation=self.preprocessing,
            strict=asked.strict,
            report=say,
            cache_bytes=CACHE_BYTES if cached else 0,
        )
        training_data = TrainingData(
            split=decoded.train,
            source=source,
            preprocessing=self.preprocessing,
            classes=len(self.classes),
            config=asked.config,
        )
        training_model = make_training_model(self.model, training_data, self.teacher, SINGLE)
        return self.of(training_model, training_data, None, SINGLE)

    def _read(self) -> None:
        asked, whole = self._asked, self.dataset
        self.dataset, skipped = decode_dataset(
            of_request.with_validation(whole, asked.config),
            train=source_for(self.preprocessing, asked.config),
            evaluation=self.preprocessing,
            strict=asked.strict,
            report=say,
            set_aside=whole.validation is None,
        )
        self._skipped = [image.name for image in skipped]

    def _say_splits(self) -> None:
        super()._say_splits()
        self._say_sizes()

    def results(self, folder: pathlib.Path, saved: keras.Model) -> dict[str, Any]:
        """Figures on the held-out images; and the confusion matrix as a file and an image."""
        predict = keras_predict_fn(saved, self.preprocessing)
        if self._asked.imported is not None and not self._asked.imported.labelled:
            return self._own_answers(folder, predict)
        held_out, found = self._broken.measured(
            self.dataset.held_out,
            lambda split, index: check_picture(split.encoded(index), split.names[index]),
            lambda split: evaluate(predict, split, self.preprocessing),
        )
        matrix = confusion_matrix(held_out.labels, found.predictions, len(self.classes))
        write_confusion(
            matrix, self.classes, png=folder / "confusion.png", csv=folder / "confusion.csv"
        )
        by_class = class_report(
            *(held_out.labels, found.predictions, len(self.classes)),
            answered=found.outputs.answered,
        )
        return {
            "metric": "accuracy",
            "held_out": found.accuracy,
            "top5": found.top5,
            "calibration_error": found.calibration_error,
            "loss": found.loss,
            **by_class.to_dict(self.classes),
        }

    def _own_answers(self, folder: pathlib.Path, predict: PredictFn) -> dict[str, Any]:
        """Of images without labels: the network's answers are what its files are held against."""
        self.dataset = imported.answered(self.dataset, predict, self.preprocessing, self._broken)
        imported.write_answers(folder / imported.ANSWERS, self.dataset)
        answers = self.dataset.held_out.labels
        return {
            "metric": AGREEMENT,
            "held_out": 100.0,
            "classes_there": len(np.unique(answers)),
        }


def _say_notes(dataset: Dataset) -> None:
    """Show what there is to say of a data set."""
    if dataset.ignored:
        endings = ", ".join(f"{n} {ending}" for ending, n in sorted(dataset.ignored.items()))
        say(f"skipped files that are not images: {endings}")
    for note in dataset.notes:
        say(str(note))


def _teacher(asked: TrainRequest, dataset: Dataset, preprocessing: Preprocessing) -> Teacher | None:
    if asked.teacher is None:
        return None
    run = Run.open(asked.teacher)
    return Teacher.open(run, classes=dataset.classes, student=preprocessing)


def source_for(preprocessing: Preprocessing, config: TrainConfig) -> Preprocessing:
    """How training images are stored: whole, where augmentation cuts windows out of them."""
    if not preprocessing.keeps_shape or not POLICIES[config.augmentation].crops:
        return preprocessing
    kept = preprocessing.crop_fraction if preprocessing.crops else 1.0
    more = _MORE_PIXELS / kept
    return dataclasses.replace(
        preprocessing,
        height=round(preprocessing.height * more),
        width=round(preprocessing.width * more),
        resize="stretch",
    )
