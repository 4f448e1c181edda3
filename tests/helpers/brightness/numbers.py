"""The numbers that a network, or a file, finds for a split: no framework is imported."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from brightness.data import BrightnessSplit
from kerascnn.preprocessing import Preprocessing
from training.engine import evaluation


def numbers(
    function: Callable[[np.ndarray], np.ndarray],
    split: BrightnessSplit,
    preprocessing: Preprocessing,
) -> np.ndarray:
    """(n,) numbers; `function` is from (n, h, w, 3) uint8 to (n, 1)."""
    found = evaluation.answers(function, split, preprocessing, lambda one, _size, _how: one[0])
    return np.array(list(found), np.float64)
