"""Squares that images larger than a network's input are cut into, each an image of its own.

Where they lie is SAHI's rule (Akyon et al., "Slicing Aided Hyper Inference", arXiv:2202.06934;
`get_slice_bboxes` of github.com/obss/sahi): one behind the other from the first pixel on, each
sharing `overlap` of its side with the next; the last one is moved back to end with the image.

A window is (top, left, bottom, right) in whole pixels of the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerascnn.preprocessing import Preprocessing


def windows(size: Sequence[int] | np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """The tiles of an image, row by row; of a side that is shorter than a tile, all of it.

    Args:
        size: (height, width) of the image.

    Returns:
        (n, 4) int64 windows; the image itself where it has no tiles.
    """
    height, width = int(size[0]), int(size[1])
    rows, columns = (_spans(side, preprocessing) for side in (height, width))
    return np.array(
        [(top, left, bottom, right) for top, bottom in rows for left, right in columns], np.int64
    )


def _spans(length: int, preprocessing: Preprocessing) -> list[tuple[int, int]]:
    side = preprocessing.tiles
    if not side or length <= side:
        return [(0, length)]
    step = side - int(preprocessing.overlap * side)
    last = length - side
    return [(begin, begin + side) for begin in [*range(0, last, step), last]]


def cut(plane: np.ndarray, window: np.ndarray) -> np.ndarray:
    """What of an (h, w, ...) array lies in a window; no copy."""
    top, left, bottom, right = window
    part: np.ndarray = plane[top:bottom, left:right]
    return part


def around(
    point: Sequence[float] | np.ndarray,
    size: Sequence[int] | np.ndarray,
    preprocessing: Preprocessing,
    randomness: np.ndarray,
) -> np.ndarray:
    """A tile of an image at random, any that holds a point with equal probability.

    Args:
        point: (y, x) pixels.
        size: (height, width) of the image.
        randomness: (2,) from 0 to below 1.

    Returns:
        (4,) int64 window.
    """
    first, last = [], []
    for at, side, u in zip(point, size, randomness, strict=True):
        length = min(preprocessing.tiles, int(side))
        low, high = max(0, int(at) - length + 1), min(int(at), int(side) - length)
        low = min(low, high)
        first.append(low + int(u * (high - low + 1)))
        last.append(first[-1] + length)
    return np.array([*first, *last], np.int64)


def anywhere(
    size: Sequence[int] | np.ndarray, preprocessing: Preprocessing, randomness: np.ndarray
) -> np.ndarray:
    """A tile of an image at random, any with equal probability; otherwise as `around`."""
    sides = [min(preprocessing.tiles, int(side)) for side in size]
    first = [
        int(u * (int(side) - n + 1)) for u, side, n in zip(randomness, size, sides, strict=True)
    ]
    return np.array([*first, *np.add(first, sides)], np.int64)
