"""What trainings on `TiledTrainingData` share: their batches, and a validation after each epoch."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from kerascnn.errors import InputError
from training.datasets.splits import PlacedSplit
from training.engine import epoch_schedule, hardware, optimizers
from training.engine.config import TrainConfig
from training.engine.devices import SINGLE, Placement, Shard
from training.engine.loop import TrainingTask, without_averages_in_place
from training.engine.tiled_batches import TiledTrainingData, tiled_batches
from training.engine.training_model import TrainingModel
from training.engine.watching import counted, watching


def require_one_device(placement: Placement, networks: str) -> None:
    """Raise InputError for several devices, for a loss that does not sum over them.

    Args:
        networks: what does not train on them.
    """
    if placement.replicas > 1:
        raise InputError(f"{networks} train on one device; leave out --devices")


class TiledTraining(TrainingTask):
    """A training model whose batches are dicts without labels beside them.

    Args:
        training_model: with a `network`; its `fit` takes batches of `training_data`.
        validation: images whose metric chooses the epoch, some of them where they are many
            (`training.engine.watching`); None where the last epoch is kept.
        placement: the devices and hosts to train on; each host validates by itself.
    """

    def __init__(
        self,
        training_model: TrainingModel,
        training_data: TiledTrainingData,
        validation: PlacedSplit[Any] | None,
        placement: Placement = SINGLE,
    ) -> None:
        placement.check_batch(training_data.batch_size)
        self.placement = placement
        self.training_model, self.network = training_model, training_model.network
        self.config = epoch_schedule.for_images(training_data.config, len(training_data.split))
        self.steps, self.broken = training_data.steps, training_data.broken
        self.training_data, self._validation = training_data, validation
        self._watching = None if validation is None else watching(validation, training_data.config)

    @abc.abstractmethod
    def readable(self, split: Any, index: int) -> object:
        """Read an image of a validation split with its truth; raises InputError if it is broken."""

    @abc.abstractmethod
    def figures(self, split: Any) -> dict[str, float]:
        """Figures of the network on a validation split, that of the metric first.

        It is NaN where there is nothing to find: such images choose no epoch.
        """

    def compile(self, config: TrainConfig, rate: Any) -> list[keras.Variable]:
        optimizer = self.placement.optimizer(optimizers.build(config, rate))
        self.training_model.compile(
            optimizer=without_averages_in_place(optimizer),
            jit_compile=hardware.chosen(config).jit and self.placement.can_jit,
        )
        self.training_model.optimizer.build(self.training_model.trainable_variables)
        return [v for metric in self.training_model.metrics for v in metric.variables]

    def input_pipeline(self, first_epoch: int, last_epoch: int, first_step: int) -> Any:
        span = {"first_epoch": first_epoch, "last_epoch": last_epoch, "first_step": first_step}

        def stream(shard: Shard) -> Any:
            data = dataclasses.replace(self.training_data, shard=shard)
            if keras.backend.backend() == "tensorflow":
                from training.engine.pipeline import tiled_stream

                return tiled_stream(data, **span)
            return _alone(tiled_batches(data, **span))

        return self.placement.distribute(stream)

    def validate(self) -> dict[str, float]:
        if self._validation is None or self._watching is None:
            return {}
        watched = self._watching
        _sound, found = self.broken.measured(watched, self.readable, self.figures)
        if math.isnan(next(iter(found.values()))):
            return {}
        return found | counted(self._validation, watched)

    def names(self, epoch: int, step: int) -> list[str]:
        return self.training_data.names(epoch, step)

    def note(self, logs: dict[str, float]) -> str:
        return f"loss {float(logs['loss']):.3f}"


def _alone(batches: Iterator[dict[str, np.ndarray]]) -> Iterator[tuple[dict[str, np.ndarray]]]:
    """As Keras takes inputs without labels beside them."""
    for batch in batches:
        yield (batch,)
