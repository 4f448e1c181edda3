"""What the steps that train a network on learn from: the frame that all tasks fill."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from kerascnn.preprocessing import Preprocessing
from training.classification.distillation import Teacher
from training.datasets import streams
from training.engine.config import TrainConfig
from training.engine.pipeline import tiled_stream


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FineTuningData(abc.ABC):
    """What every fine-tuning of a run learns from.

    Attributes:
        train: the split to learn from; no image of it is one that figures are measured on.
        preprocessing: geometry and normalisation of the network's input.
        teacher: whose answers are part of the loss, or None; classifiers alone have teachers.
    """

    train: Any
    preprocessing: Preprocessing
    teacher: Teacher | None = None

    @abc.abstractmethod
    def training_data(self, config: TrainConfig) -> Any:
        """The same as the training has it."""

    def batches(self, config: TrainConfig, first_epoch: int) -> tf.data.Dataset:
        """The training's own batches from `first_epoch` to the last epoch."""
        training_data = self.training_data(config)
        return tiled_stream(training_data, first_epoch=first_epoch, last_epoch=config.epochs)

    def targeted(self, config: TrainConfig) -> Callable[..., tuple] | None:
        """What makes of a batch what `compiled` takes; None where it is that already."""
        return None

    @abc.abstractmethod
    def compiled(self, config: TrainConfig) -> dict[str, Any]:
        """Loss and metrics that fit `stream`, as tf_keras' `compile` takes them."""

    def stream(self, config: TrainConfig, first_epoch: int = 0) -> tf.data.Dataset:
        """Batches from `first_epoch` to the last epoch: images, targets, and weights if any."""
        batches, targeted = self.batches(config, first_epoch), self.targeted(config)
        return batches if targeted is None else streams.ready(batches.map(targeted))

    def steps(self, config: TrainConfig) -> int:
        """Batches in an epoch."""
        steps: int = self.training_data(config).steps
        return steps

    def note(self, figures: Mapping[str, float]) -> str:
        """What is shown of a step."""
        return f"loss {figures['loss']:.3f}"
