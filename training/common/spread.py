"""Some of many, evenly spread: data sets are in the order of their classes."""

from __future__ import annotations

import numpy as np


def spread(of: int, count: int) -> np.ndarray:
    """Places of at most `count` of so many, the first and the last among them."""
    places: np.ndarray = np.linspace(0, of - 1, min(count, of)).round().astype(int)
    return places
