"""The training of detectors: what `training.engine.loop` trains, on what, and by which loss."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from kerascnn.detection.specs import DetectorSpec, TwoStageSpec
from kerascnn.errors import InputError
from training.datasets.detection import DetectionSplit
from training.detection.batches import DetectionTrainingData, object_batches
from training.detection.evaluate import evaluate_detector, keras_detect_fn
from training.detection.losses import DetectionLoss
from training.detection.metrics import DetectionEvaluation
from training.detection.training_model import DetectionTrainingModel
from training.detection.truth import Truth
from training.detection.two_stage_training_model import TwoStageTrainingModel
from training.engine import (
    checkpoint,
    loop,
    optimizers,
)
from training.engine import (
    epoch_schedule as plan,
)
from training.engine.config import TrainConfig
from training.engine.devices import Placement
from training.engine.history import History
from training.engine.loop import (
    Fitted,
    TrainingTask,
    can_jit,
    repeatable,
    without_averages_in_place,
)
from training.engine.watching import counted, watching

# Layers of a detector that no classifier has.
_OWN_LAYERS = ("extra", "fpn", "rpn_", "box_", "class_", "mask_")
# What a step's figures are called for a person.
_LOSSES = {
    "rpn_class_loss": "objects",
    "rpn_box_loss": "proposals",
    "box_loss": "boxes",
    "class_loss": "classes",
    "mask_loss": "masks",
}


def fit_detector(
    model: keras.Model,
    spec: DetectorSpec | TwoStageSpec,
    training_data: DetectionTrainingData,
    validation: DetectionSplit | None,
    *,
    classes: Sequence[str],
    folder: pathlib.Path,
    history_file: pathlib.Path,
    placement: Placement,
    after_epoch: Callable[[History], None] | None = None,
) -> Fitted:
    """Train `model` in place, going on from the checkpoints in `folder` if there are any.

    Args:
        training_data: gets what a two-stage detector needs beside boxes: masks, and numbers of
            chance.
        validation: pictures whose AP, of masks where the detector has them, chooses the best
            epoch, some of them where they are many (`training.engine.watching`); with None, or
            where they have no object, the last epoch is kept.
        folder, history_file, after_epoch: see `training.engine.loop.train`.
        placement: one device.

    Raises:
        InputError: several devices, or the loss is no longer a number.
        Stopped: a signal asked to stop; the same call goes on from there.
    """
    if placement.replicas > 1:
        raise InputError("detectors train on one device; leave out --devices")
    repeatable(training_data.config.seed)
    network = placement.twin(model)
    training_model, training_data = _training_model(network, spec, training_data)
    work = _Detection(training_model, spec, training_data, validation, classes)
    fitted = loop.train(
        work,
        folder=folder,
        history_file=history_file,
        placement=placement,
        after_epoch=after_epoch,
    )
    if network is not model:
        checkpoint.assign(model.variables, [np.asarray(v) for v in network.variables])
    return fitted


def _training_model(
    network: keras.Model, spec: DetectorSpec | TwoStageSpec, training_data: DetectionTrainingData
) -> tuple[DetectionTrainingModel | TwoStageTrainingModel, DetectionTrainingData]:
    """What is trained, and the training data with all that its losses ask for."""
    if isinstance(spec, DetectorSpec):
        return DetectionTrainingModel(
            network, training_data.preprocessing, DetectionLoss(spec=spec)
        ), training_data
    training_model = TwoStageTrainingModel(network, training_data.preprocessing, spec)
    chances = training_model.rcnn_loss.chances(training_data.most_objects)
    return training_model, dataclasses.replace(training_data, masks=spec.masks, chance=chances)


class _Detection(TrainingTask):
    """Pictures with boxes, and with masks where the detector has them."""

    def __init__(
        self,
        training_model: DetectionTrainingModel | TwoStageTrainingModel,
        spec: DetectorSpec | TwoStageSpec,
        training_data: DetectionTrainingData,
        validation: DetectionSplit | None,
        classes: Sequence[str],
    ) -> None:
        self.training_model, self.network = training_model, training_model.network
        self.config = plan.with_real_batch(training_data.config, len(training_data.split))
        self.steps = training_data.steps
        self._course, self._validation, self._classes = training_data, validation, classes
        self._watching = None if validation is None else watching(validation, training_data.config)
        self._detect = keras_detect_fn(self.network, training_data.preprocessing, spec)
        self._kind = kind(spec)
        self._truth: Truth | None = None
        self.broken = training_data.broken

    def compile(self, config: TrainConfig, rate: Any) -> list[keras.Variable]:
        self.training_model.compile(
            optimizer=without_averages_in_place(optimizers.build(config, rate)),
            jit_compile=can_jit(),
        )
        self.training_model.optimizer.build(self.training_model.trainable_variables)
        return [v for metric in self.training_model.metrics for v in metric.variables]

    def feed(self, first_epoch: int, last_epoch: int, first_step: int) -> Any:
        span = {"first_epoch": first_epoch, "last_epoch": last_epoch, "first_step": first_step}
        if keras.backend.backend() == "tensorflow":
            from training.engine.pipeline import object_stream

            return object_stream(self._course, **span)
        return _pairs(object_batches(self._course, **span))

    def _truth_of(self, split: DetectionSplit) -> Truth:
        """What the watching images have: made once, and again where a broken one is left out."""
        if self._truth is None or self._truth.names != split.names:
            self._truth = Truth.of(split, self._classes, self._kind)
        return self._truth

    def validate(self) -> dict[str, float]:
        if self._validation is None or self._watching is None:
            return {}

        def measure(split: DetectionSplit) -> DetectionEvaluation:
            return evaluate_detector(
                *(self._detect, split, self._course.preprocessing, self._classes),
                truth=self._truth_of(split),
            )

        _sound, found = self.broken.measured(self._watching, DetectionSplit.picture, measure)
        if math.isnan(found.ap):  # no object in these pictures: they choose no epoch
            return {}
        figures = {"val_ap": found.ap, "val_ap50": found.ap50}
        return figures | counted(self._validation, self._watching)

    def names(self, epoch: int, step: int) -> list[str]:
        return self._course.names(epoch, step)

    def is_head(self, layer: keras.Layer) -> bool:
        return layer.name.startswith(_OWN_LAYERS)

    def note(self, logs: dict[str, float]) -> str:
        parts = [
            f"{word} {float(logs[name]):.3f}" for name, word in _LOSSES.items() if name in logs
        ]
        return f"loss {float(logs['loss']):.3f} ({', '.join(parts)})"


def kind(spec: DetectorSpec | TwoStageSpec) -> str:
    """What a detector is judged by: "segm" where it has masks, else "bbox"."""
    return "bbox" if isinstance(spec, DetectorSpec) or not spec.masks else "segm"


def _pairs(batches: Iterator[dict[str, np.ndarray]]) -> Iterator[tuple[dict[str, np.ndarray]]]:
    """As Keras takes inputs without labels beside them."""
    for batch in batches:
        yield (batch,)
