"""Learning rates: as functions of an optimiser's updates, or, for plateaus, of the history.

A schedule rises linearly from a twenty-fifth of the peak and then falls: by a half cosine
(arXiv:1608.03983, without restarts), or by factors at given epochs. Those epochs are counted from
the first one of the warm-up, as in arXiv:1706.02677, section 2.2, and Google's code for
EfficientNet; the cosine begins where the warm-up ends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerascnn.errors import InputError
from training.engine.config import TrainConfig
from training.engine.history import judge, standing

_WARMUP_FROM = 25  # th of the peak
_ROUNDING = 1e-6  # of an update: 2.4 epochs of 5 updates are 12 of them


@keras.saving.register_keras_serializable(package="kerascnn")
class Staircase(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up to the peak, then factors of it that change at whole updates.

    Args:
        peak: the rate that a factor of 1 stands for.
        boundaries: (n,) updates, ascending; at each the next factor begins.
        factors: (n + 1,) factors of the peak; the first one up to the first boundary.
        warmup_steps: updates of the rise, whose end joins the factor that is due then.
    """

    def __init__(
        self,
        *,
        peak: float,
        boundaries: Sequence[int] = (),
        factors: Sequence[float] = (1.0,),
        warmup_steps: int = 0,
    ) -> None:
        super().__init__()
        self.peak, self.warmup_steps = peak, warmup_steps
        self.boundaries, self.factors = list(boundaries), list(factors)

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "int32")
        passed = ops.greater_equal(step, ops.array(self.boundaries, "int32"))
        rates = ops.array([self.peak * factor for factor in self.factors], "float32")
        rate = ops.take(rates, ops.sum(ops.cast(passed, "int32")))
        if not self.warmup_steps:
            return rate
        share = ops.cast(step, "float32") / self.warmup_steps
        first = self.peak / _WARMUP_FROM
        rising = first + (self.peak - first) * share
        return ops.where(step < self.warmup_steps, rising, rate)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        names = ("peak", "boundaries", "factors", "warmup_steps")
        return {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable(package="kerascnn")
class OfUpdates(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of updates for an optimiser that accumulates gradients.

    Keras 3.15 hands a schedule the batches, not the updates, that have been.

    Args:
        schedule: counts updates.
        batches: of an update.
    """

    def __init__(
        self, schedule: keras.optimizers.schedules.LearningRateSchedule, batches: int
    ) -> None:
        super().__init__()
        self.schedule, self.batches = schedule, batches

    def __call__(self, step: Any) -> Any:
        return self.schedule(ops.floor_divide(step, self.batches))

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {"schedule": schedule, "batches": self.batches}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> OfUpdates:
        """The schedule of `get_config`."""
        schedule = keras.saving.deserialize_keras_object(config["schedule"])
        return cls(schedule, config["batches"])


def schedule(
    config: TrainConfig, steps_per_epoch: int, epochs: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate of every batch of a training.

    An update that gathers several batches has one rate: that of the batch it begins with.

    Args:
        steps_per_epoch: batches, not updates.
        epochs: after which a cosine is zero.

    Returns:
        A schedule for an optimiser of `training.engine.optimizers`, from the number of batches
        before.

    Raises:
        ValueError: the schedule is "plateau", which the history decides.
    """
    if config.schedule == "plateau":
        raise ValueError("the history decides on the rate: plateau_factor")
    per_epoch = steps_per_epoch / config.accumulate
    total = max(1, math.floor(epochs * per_epoch + _ROUNDING))
    warmup = min(round(config.warmup_epochs * per_epoch), total - 1)
    peak = config.peak_learning_rate
    made: keras.optimizers.schedules.LearningRateSchedule
    if config.schedule == "cosine":
        made = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=peak / _WARMUP_FROM if warmup else peak,
            decay_steps=total - warmup,
            warmup_target=peak if warmup else None,
            warmup_steps=warmup,
        )
    else:
        pairs = _milestones(config, epochs)
        made = Staircase(
            peak=peak,
            boundaries=[math.ceil(epoch * per_epoch - _ROUNDING) for epoch, _factor in pairs],
            factors=[1.0, *(factor for _epoch, factor in pairs)],
            warmup_steps=warmup,
        )
    return OfUpdates(made, config.accumulate) if config.accumulate > 1 else made


def _milestones(config: TrainConfig, epochs: int) -> list[tuple[float, float]]:
    """(epoch, factor) pairs of a schedule that goes by steps."""
    if config.schedule == "exponential":
        count = math.floor(epochs / config.decay_epochs)
        return [(n * config.decay_epochs, config.decay_rate**n) for n in range(1, count + 1)]
    return list(config.milestones)


def rate_at(config: TrainConfig, epoch: float, steps_per_epoch: int) -> float:
    """The learning rate after so many epochs, frozen ones included.

    Args:
        epoch: epochs before the batch whose rate it is; 0 is the first batch.
        steps_per_epoch: batches.

    Raises:
        ValueError: the schedule is "plateau", which the history decides.
    """
    if epoch < config.freeze_epochs:
        return config.freeze_learning_rate
    step = math.floor((epoch - config.freeze_epochs) * steps_per_epoch + _ROUNDING)
    rates = schedule(config, steps_per_epoch, config.epochs - config.freeze_epochs)
    return float(ops.convert_to_numpy(rates(step)))


def plateau_factor(config: TrainConfig, history: Sequence[Mapping[str, float]]) -> float:
    """What to multiply the peak with in the epoch after the history.

    Args:
        history: one mapping an epoch, with a figure that judges it
            (`training.engine.history.JUDGES`).

    Raises:
        InputError: an epoch was not validated.
    """
    plateaus = _plateaus(config, history)
    return config.decay_rate ** (min(plateaus, config.decays) if config.decays else plateaus)


def plateau_is_over(config: TrainConfig, history: Sequence[Mapping[str, float]]) -> bool:
    """Whether a plateau was reached with no reduction left to make.

    Args:
        history: as for `plateau_factor`.

    Raises:
        InputError: an epoch was not validated.
    """
    return bool(config.decays) and _plateaus(config, history) > config.decays


def _plateaus(config: TrainConfig, history: Sequence[Mapping[str, float]]) -> int:
    """How often `decay_epochs` epochs passed without a better one."""
    best = (-math.inf, -math.inf)
    plateaus = waited = 0
    for epoch in history:
        if judge(epoch, config.monitor) is None:
            raise InputError("schedule 'plateau' needs validation images; take another schedule")
        score = standing(epoch, config.monitor)
        waited += 1
        if score > best:
            best, waited = score, 0
        elif waited >= config.decay_epochs:
            plateaus, waited = plateaus + 1, 0
    return plateaus
