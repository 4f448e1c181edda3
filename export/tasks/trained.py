"""A network after the steps of its variant: what files are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np

from kerascnn.preprocessing import Preprocessing

# Least and largest value of an activation.
Range = tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A network after its steps.

    Attributes:
        key: of what it was made of.
        model: plain Keras 3; after quantisation-aware training the lowered one.
        preprocessing: what pictures for `model` go through.
        parameters, macs: of the architecture, which structured pruning alone changes.
        seconds: that all steps took.
        bounds: after quantisation-aware training, see `export.compress.qat.QATResult`; else None.
        ranges: likewise, where activations are integers.
        validation: likewise, where validation images chose.
        answers: likewise, see `Task.simulated_answers`; None where it was not asked.
        shared_scale: layers whose kernel should have one scale for all channels.
    """

    key: str
    model: keras.Model
    preprocessing: Preprocessing
    parameters: int
    macs: int
    seconds: float
    bounds: Mapping[str, np.ndarray] | None = None
    ranges: Mapping[str, Range] | None = None
    validation: tuple[float, float | None] | None = None
    answers: Mapping[str, np.ndarray] | None = None
    shared_scale: tuple[str, ...] = ()
