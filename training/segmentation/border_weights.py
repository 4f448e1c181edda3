"""Weights of pixels that make a network learn the gaps between objects (U-Net, arXiv:1505.04597).

Equation 2: w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))² / (2 σ²)), with d1 and d2 the distances of a
pixel to the borders of the nearest and the second nearest object. w_c, which balances classes, is
1 here: a loss multiplies by its weights of classes.

An object is a connected region of one class but the first, which is what is no object's. Pixels
that touch at a corner alone are not connected: a line that is one pixel thin keeps two objects
apart, diagonal as it may be. An object's border is those of its own pixels that have a neighbour
above, below or beside them that is not its own; where the image cuts it, there is none.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from training.datasets.segmentation import VOID

SIGMA = 5.0  # pixels; section 3
# In sigmas: farther away, a weight is less than w0 / 200,000.
_REACH = 5.0


def border_weights(label_map: np.ndarray, *, weight: float, sigma: float = SIGMA) -> np.ndarray:
    """What each pixel of a map counts.

    Args:
        label_map: (h, w) uint8 classes, 0 what is no object's; `VOID` is none either.
        weight: w0; 10 in the paper.
        sigma: in pixels.

    Returns:
        (h, w) float32, from 1 to 1 + weight; 1 where there are not two objects near by.
    """
    objects, count = _objects(label_map)
    if count < 2:
        return np.ones(label_map.shape, np.float32)
    nearest, second = _two_nearest(objects, count, int(np.ceil(_REACH * sigma)))
    return 1 + np.float32(weight) * np.exp(-((nearest + second) ** 2) / np.float32(2 * sigma**2))


def _objects(label_map: np.ndarray) -> tuple[np.ndarray, int]:
    """(h, w) int32, 0 or the number of the object whose pixel it is, and how many there are."""
    objects, count = np.zeros(label_map.shape, np.int32), 0
    for label, box in enumerate(ndimage.find_objects(label_map, VOID - 1), 1):
        if box is not None:
            own, more = ndimage.label(label_map[box] == label)
            objects[box] += np.where(own > 0, own + count, 0)
            count += more
    return objects, count


def _two_nearest(objects: np.ndarray, count: int, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances to the borders of the two nearest objects; (h, w) float32 each.

    One that is more than `reach` may be larger, or infinite.
    """
    borders = np.where(_is_border(objects), objects, 0)
    boxes = ndimage.find_objects(objects)
    windows = [_grown(box, reach, objects.shape) for box in boxes]
    areas = [(y.stop - y.start) * (x.stop - x.start) for y, x in windows]
    bits = count.bit_length()
    # Each object by itself, or all of them as often as their numbers have digits.
    if sum(areas) > (2 * bits + 1) * objects.size:
        return _by_digits(borders, bits)
    nearest = np.full(objects.shape, np.inf, np.float32)
    second = nearest.copy()
    for number, window in enumerate(windows, 1):
        distance = _distance(borders[window] == number)
        np.minimum(second[window], np.maximum(nearest[window], distance), out=second[window])
        np.minimum(nearest[window], distance, out=nearest[window])
    return nearest, second


def _by_digits(borders: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """The same for any number of objects: another one differs in some binary digit.

    The second nearest object is thus the nearest of those, digit by digit, that have another one
    than the nearest.
    """
    rows, columns = ndimage.distance_transform_edt(
        borders == 0, return_distances=False, return_indices=True
    )
    owner = borders[rows, columns]
    y, x = np.indices(borders.shape)
    nearest = np.hypot(rows - y, columns - x).astype(np.float32)
    second = np.full(borders.shape, np.inf, np.float32)
    for bit in range(bits):
        for digit in (0, 1):
            others = (borders > 0) & (borders >> bit & 1 != digit)
            if others.any():
                distance = np.where(owner >> bit & 1 == digit, _distance(others), np.inf)
                np.minimum(second, distance, out=second)
    return nearest, second


def _distance(places: np.ndarray) -> np.ndarray:
    """(h, w) float32 pixels to the nearest of these."""
    return ndimage.distance_transform_edt(~places).astype(np.float32)


def _is_border(objects: np.ndarray) -> np.ndarray:
    """(h, w) bool."""
    border = np.zeros(objects.shape, bool)
    below, beside = objects[1:] != objects[:-1], objects[:, 1:] != objects[:, :-1]
    border[1:] |= below
    border[:-1] |= below
    border[:, 1:] |= beside
    border[:, :-1] |= beside
    return border & (objects > 0)


def _grown(box: tuple[slice, slice], by: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
    rows, columns = (
        slice(max(side.start - by, 0), min(side.stop + by, length))
        for side, length in zip(box, shape, strict=True)
    )
    return rows, columns
