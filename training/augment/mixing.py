"""Mixup (arXiv:1710.09412) and CutMix (arXiv:1905.04899): training on pairs of images.

The images of a pair are neighbours in the batch, so that a batch split over devices in even
parts needs nothing from elsewhere. What chance decides is drawn in NumPy, as in
`training.augment.images`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops


def draw(
    rng: np.random.Generator, count: int, *, mixup: float, cutmix: float, size: tuple[int, int]
) -> np.ndarray:
    """Draw how pairs are mixed.

    Args:
        count: of images; positions 2k and 2k + 1 are a pair and get the same row.
        mixup: alpha of the beta distribution of shares; 0: none.
        cutmix: likewise; with both, each pair takes either one.
        size: (height, width) of the images, for a box of whole pixels.

    Returns:
        (count, 5) float32: share of the own image and label; top, left, height and width of the
        box that comes from the other one, as shares of the image, all 0 in mixup.
    """
    pairs = (count + 1) // 2
    u = rng.random((pairs, 3))
    rows = np.zeros((pairs, 5))
    rows[:, 0] = rng.beta(mixup, mixup, pairs) if mixup else 1.0
    if cutmix:
        cut = _boxes(rng.beta(cutmix, cutmix, pairs), u[:, 1:], np.array(size))
        rows = np.where((u[:, :1] < 0.5) & (mixup > 0), rows, cut)
    return np.repeat(rows, 2, axis=0)[:count].astype(np.float32)


def _boxes(share: np.ndarray, place: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Rows of CutMix: a box about a uniform pixel, cut at the border, and what is left."""
    box = np.floor(size * np.sqrt(1 - share)[:, None])
    first = np.floor(place * size) - box // 2
    low, high = first.clip(0, size), (first + box).clip(0, size)
    inside = high - low
    left = 1 - inside.prod(axis=1) / size.prod()
    return np.concatenate([left[:, None], low / size, inside / size], axis=1)


def mix_pictures(pictures: Any, mix: Any) -> Any:
    """Mix each image with its neighbour; the last of an odd number stays as it is.

    Args:
        pictures: (b, h, w, c) float32.
        mix: (b, 5) rows of `draw`.

    Returns:
        (b, h, w, c) float32.
    """
    mix = ops.convert_to_tensor(mix)
    height, width = pictures.shape[1:3]
    rows, columns = (
        _inside(mix[:, 1 + axis : 2 + axis], mix[:, 3 + axis : 4 + axis], length)
        for axis, length in enumerate((height, width))
    )
    box = (rows[:, :, None] & columns[:, None])[..., None]
    share = mix[:, :1][:, :, None, None]
    cut = ((mix[:, 3:4] > 0) & (mix[:, 4:] > 0))[:, :, None, None]
    own = ops.where(box, 0.0, ops.where(cut, 1.0, share))
    return pictures * own + _others(pictures) * (1.0 - own)


def mix_labels(labels: Any, mix: Any) -> Any:
    """Mix labels as their images are mixed.

    Args:
        labels: (b, classes) float32, one-hot.
        mix: (b, 5) rows of `draw`.

    Returns:
        (b, classes) float32.
    """
    share = ops.convert_to_tensor(mix)[:, :1]
    return labels * share + _others(labels) * (1.0 - share)


def _inside(first: Any, share: Any, length: int) -> Any:
    """(b, length) whether a pixel row, or column, is in the box; its borders are whole pixels."""
    low = ops.round(first * float(length))
    high = low + ops.round(share * float(length))
    place = ops.arange(length, dtype="float32")[None]
    return (place >= low) & (place < high)


def _others(values: Any) -> Any:
    """Neighbours changed places."""
    count = values.shape[0]
    if count is not None and count % 2 == 0:
        # No gather: it would send the whole batch to every device.
        pairs = ops.reshape(values, (count // 2, 2, *values.shape[1:]))
        return ops.reshape(ops.flip(pairs, axis=1), values.shape)
    count = ops.shape(values)[0]
    place = ops.arange(count, dtype="int32")
    return ops.take(values, ops.minimum(ops.bitwise_xor(place, 1), count - 1), axis=0)
