"""What the steps that train a network on learn from: the frame that all tasks fill."""

from __future__ import annotations

import abc
import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from kerascnn.preprocessing import Preprocessing
from training.datasets import streams
from training.engine.config import TrainConfig
from training.engine.pipeline import tiled_stream
from training.engine.teacher import TeacherNetwork


class _First:
    """The first batches of a stream, made anew in each round, in parts of so many images.

    A truth may be a tuple; the last part of a batch may be short.
    """

    def __init__(self, stream: Callable[[], tf.data.Dataset], count: int, at_once: int) -> None:
        self._stream, self._count, self._at_once = stream, count, at_once

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for pictures, truth in self._stream().take(self._count):
            for start in range(0, int(pictures.shape[0]), self._at_once):
                some = slice(start, start + self._at_once)
                yield (
                    pictures[some],
                    tf.nest.map_structure(lambda each, some=some: each[some], truth),
                )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FineTuningData(abc.ABC):
    """What every fine-tuning of a run learns from.

    Attributes:
        train: the split to learn from; no image of it is one that figures are measured on.
        preprocessing: geometry and normalisation of the network's input.
        teacher: whose answers are part of the loss, or None.
    """

    train: Any
    preprocessing: Preprocessing
    teacher: TeacherNetwork | None = None

    @abc.abstractmethod
    def training_data(self, config: TrainConfig) -> Any:
        """The same as the training has it."""

    def batches(self, config: TrainConfig, first_epoch: int) -> tf.data.Dataset:
        """The training's own batches from `first_epoch` to the last epoch."""
        training_data = self.training_data(config)
        return tiled_stream(training_data, first_epoch=first_epoch, last_epoch=config.epochs)

    def trained_form(self, model: tf_keras.Model) -> tf_keras.Model:
        """What of a network in tf_keras `compiled` takes, with the layers of `model`."""
        return model

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

    def scored(
        self,
        config: TrainConfig,
        sample: Callable[[int], tuple[np.ndarray, np.ndarray]],
        count: int,
        at_once: int,
    ) -> Iterable[tuple[Any, Any]]:
        """Batches that channels are scored on: images, and what `score_loss` takes.

        They are the first ones of the training, the same in each round.

        Args:
            config: of the step that removes channels.
            sample: gives so many pictures, uint8, class-balanced where that is possible, and their
                labels.
            count: images, about.
            at_once: images in a batch, at most.
        """
        images = min(count, len(self.train))
        return _First(lambda: self.stream(config), -(-images // config.batch_size), at_once)

    def score_loss(self, config: TrainConfig) -> Callable[[Any, Sequence[Any]], Any]:
        """The loss of `compiled`, of a truth and the list of the network's outputs."""
        losses = self.compiled(config)["loss"]

        def loss(truth: Any, outputs: Sequence[Any]) -> Any:
            if not isinstance(losses, list):
                return losses(truth, outputs[0])
            pairs = zip(losses, truth, outputs, strict=True)
            return sum(one(wanted, found) for one, wanted, found in pairs)

        return loss

    def train_on(self, model: keras.Model, config: TrainConfig, folder: pathlib.Path) -> None:
        """Train a Keras network in place, as the run's was, going on from what is in `folder`.

        Args:
            folder: for checkpoints, this training's own.
        """
        raise NotImplementedError(f"{type(self).__name__} trains twins in tf_keras alone")

    def steps(self, config: TrainConfig) -> int:
        """Batches in an epoch."""
        steps: int = self.training_data(config).steps
        return steps

    def note(self, figures: Mapping[str, float]) -> str:
        """What is shown of a step."""
        return f"loss {figures['loss']:.3f}"
