"""Training of segmentation networks: what `training.engine.loop` trains, and by which loss."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from kerascnn.errors import InputError
from training.datasets.segmentation import SegmentationSplit
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
from training.segmentation.batches import SegmentationTrainingData, map_batches
from training.segmentation.evaluate import evaluate_segmenter, keras_segment_fn
from training.segmentation.losses import SegmentationLoss, class_prior_biases
from training.segmentation.metrics import SegmentationEvaluation
from training.segmentation.training_model import SegmentationTrainingModel

# Layers of a segmentation network that no classifier has.
_OWN_LAYERS = ("dec", "logits")


def fit_segmenter(
    model: keras.Model,
    training_data: SegmentationTrainingData,
    validation: SegmentationSplit | None,
    *,
    classes: Sequence[str],
    folder: pathlib.Path,
    history_file: pathlib.Path,
    placement: Placement,
    pixels: np.ndarray,
    after_epoch: Callable[[History], None] | None = None,
) -> Fitted:
    """Train `model` in place, going on from the checkpoints in `folder` if there are any.

    Args:
        validation: pictures whose mean IoU chooses the best epoch, some of them where they are
            many (`training.engine.watching`); with None, or where no pixel of theirs counts, the
            last epoch is kept.
        folder, history_file, after_epoch: see `training.engine.loop.train`.
        placement: one device.
        pixels: (c,) of each class in the pictures to learn from (`count_pixels`).

    Raises:
        InputError: several devices, or the loss is no longer a number.
        Stopped: a signal asked to stop; the same call goes on from there.
    """
    if placement.replicas > 1:
        raise InputError("segmentation networks are trained on one device; leave out --devices")
    repeatable(training_data.config.seed)
    loss = SegmentationLoss.of(training_data.config, pixels)
    _begin_at_shares(model, class_prior_biases(pixels, loss.class_weights))
    network = placement.twin(model)
    training_model = SegmentationTrainingModel(network, training_data.preprocessing, loss)
    fitted = loop.train(
        _Segmentation(training_model, training_data, validation, classes),
        folder=folder,
        history_file=history_file,
        placement=placement,
        after_epoch=after_epoch,
    )
    if network is not model:
        checkpoint.assign(model.variables, [np.asarray(v) for v in network.variables])
    return fitted


def _begin_at_shares(model: keras.Model, biases: np.ndarray) -> None:
    """Give the logits these biases, unless they have learnt some already."""
    bias = model.get_layer("logits").bias
    if not np.any(np.asarray(bias)):
        bias.assign(biases)


class _Segmentation(TrainingTask):
    """Pictures with label maps."""

    def __init__(
        self,
        training_model: SegmentationTrainingModel,
        training_data: SegmentationTrainingData,
        validation: SegmentationSplit | None,
        classes: Sequence[str],
    ) -> None:
        self.training_model, self.network = training_model, training_model.network
        self.config = plan.with_real_batch(training_data.config, len(training_data.split))
        self.steps = training_data.steps
        self._course, self._validation, self._classes = training_data, validation, classes
        self._watching = None if validation is None else watching(validation, training_data.config)
        self._segment = keras_segment_fn(self.network, training_data.preprocessing)
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
            from training.engine.pipeline import map_stream

            return map_stream(self._course, **span)
        return _alone(map_batches(self._course, **span))

    def validate(self) -> dict[str, float]:
        if self._validation is None or self._watching is None:
            return {}

        def measure(split: SegmentationSplit) -> SegmentationEvaluation:
            return evaluate_segmenter(
                *(self._segment, split, self._course.preprocessing, self._classes),
                boundaries=False,
            )

        _sound, found = self.broken.measured(self._watching, SegmentationSplit.both, measure)
        if math.isnan(found.miou):  # nothing counts in these pictures: they choose no epoch
            return {}
        figures = {"val_miou": found.miou, "val_dice": found.mean_dice}
        return figures | counted(self._validation, self._watching)

    def names(self, epoch: int, step: int) -> list[str]:
        return self._course.names(epoch, step)

    def is_head(self, layer: keras.Layer) -> bool:
        return layer.name.startswith(_OWN_LAYERS)

    def note(self, logs: dict[str, float]) -> str:
        return f"loss {float(logs['loss']):.3f}"


def _alone(batches: Iterator[dict[str, np.ndarray]]) -> Iterator[tuple[dict[str, np.ndarray]]]:
    """As Keras takes inputs without labels beside them."""
    for batch in batches:
        yield (batch,)
