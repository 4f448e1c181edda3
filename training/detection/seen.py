"""Where a network sees the objects of an image: in the whole of it, or in one of its tiles.

Letters in shapes: m objects, t tiles.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerascnn.preprocessing import Preprocessing
from training.augment.boxes import evaluation_placement
from training.datasets import tiling


def boxes_at_input(
    boxes: np.ndarray, size: Sequence[int] | np.ndarray, preprocessing: Preprocessing
) -> np.ndarray:
    """Boxes at the network's input; of an image with tiles, each in the tile that holds most of it.

    What of a box lies outside of its tile is cut off.

    Args:
        boxes: (m, 4) shares of the image.
        size: (height, width) of the image in pixels.

    Returns:
        (m, 4) float64 pixels of the network's input.
    """
    windows = tiling.windows(size, preprocessing)
    if len(windows) == 1:
        whole: np.ndarray = evaluation_placement(size, preprocessing).boxes(boxes)
        return np.asarray(whole, np.float64)
    pixels = np.asarray(boxes, np.float64) * np.tile(size, 2)
    own = _shared(pixels, windows).argmax(axis=1)
    found = np.zeros((len(boxes), 4))
    for number in np.unique(own):
        window, mine = windows[number], own == number
        sides = window[2:] - window[:2]
        inside = (pixels[mine] - np.tile(window[:2], 2)).clip(0, np.tile(sides, 2))
        found[mine] = evaluation_placement(sides, preprocessing).boxes(inside / np.tile(sides, 2))
    return found


def fullest_tile(
    boxes: np.ndarray, size: Sequence[int] | np.ndarray, preprocessing: Preprocessing
) -> np.ndarray | None:
    """(4,) the tile of an image that holds most of its objects; None where it has no tiles.

    Arguments as of `boxes_at_input`.
    """
    windows = tiling.windows(size, preprocessing)
    if len(windows) == 1:
        return None
    pixels = np.asarray(boxes, np.float64) * np.tile(size, 2)
    areas = np.maximum((pixels[:, 2:] - pixels[:, :2]).prod(axis=1), 1e-9)
    held = _shared(pixels, windows) / areas[:, None]
    window: np.ndarray = windows[held.sum(axis=0).argmax()]
    return window


def _shared(boxes: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """(m, t) areas that boxes and tiles share."""
    low = np.maximum(boxes[:, None, :2], windows[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], windows[None, :, 2:])
    shared: np.ndarray = (high - low).clip(0).prod(axis=-1)
    return shared
