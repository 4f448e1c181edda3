"""Random changes of training images, on any backend and the same on each.

What chance decides is drawn beforehand in NumPy, one row an image (`draw`). Applying the rows to
a batch (`augment`) is a pure function of Keras operations with static shapes: it runs in a traced
or compiled step, in a tf.data pipeline and eagerly. Keras' own layers draw while they run, and
some of them once a batch; their affine operation has no XLA kernel.

All that moves pixels, save RandAugment, is one bilinear resampling. Pixel centres are at halves
(pixel i covers i to i + 1), as in tf.image.resize, Pillow and torchvision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops

from training.augment.policies import Policy
from training.augment.randaugment import picked, randaugmented


def augment(policy: Policy, pictures: Any, params: Mapping[str, Any], size: tuple[int, int]) -> Any:
    """Do to a batch what was drawn for it.

    Args:
        pictures: (b, h, w, 1 or 3) float32, 0 to 255.
        params: rows of `draw` for these images. Without "window" they are taken whole, which
            saves the resampling where a decoder has cut them to `size` already.
        size: (height, width) of the network, as `draw` had it.

    Returns:
        (b, height, width, channels) float32, 0 to 255; untouched if nothing was drawn.
    """
    params = {key: ops.convert_to_tensor(rows) for key, rows in params.items()}
    pictures = _moved(policy, pictures, params, size)
    pictures = _recoloured(pictures, params)
    if "operations" in params:
        pictures = randaugmented(policy.magnitude, pictures, params["operations"])
    if "erased" in params:
        pictures = _without(pictures, params["erased"], params["noise"])
    return pictures


def _moved(policy: Policy, pictures: Any, params: Mapping[str, Any], size: tuple[int, int]) -> Any:
    """Crop, resize, flip, shift and warp, in one resampling."""
    same = tuple(pictures.shape[1:3]) == tuple(size)
    if same and not params.keys() & {"window", "shift", "matrix"}:
        if "flip" in params:
            mirrored = ops.flip(pictures, axis=2)
            return ops.where(params["flip"][:, None, None, None] > 0, mirrored, pictures)
        return pictures
    scale_y, start_y = _axis(0, pictures, params, size)
    scale_x, start_x = _axis(1, pictures, params, size)
    y = ops.arange(size[0], dtype="float32")[None]
    x = ops.arange(size[1], dtype="float32")[None]
    if "matrix" not in params:
        rows = _interpolated(pictures, scale_y * y + start_y, policy.outside)
        turned = ops.transpose(rows, (0, 2, 1, 3))
        columns = _interpolated(turned, scale_x * x + start_x, policy.outside)
        return ops.transpose(columns, (0, 2, 1, 3))
    # (b, 3): the map along the axes, after the matrix.
    last = np.array([[0, 0, 1]], np.float32)
    to_x = params["matrix"][:, 0] * scale_x + start_x * last
    to_y = params["matrix"][:, 1] * scale_y + start_y * last
    x, y = x[:, None], y[:, :, None]
    at_x, at_y = (
        to[:, 0, None, None] * x + to[:, 1, None, None] * y + to[:, 2, None, None]
        for to in (to_x, to_y)
    )
    return resample(pictures, at_x, at_y, policy.outside)


def _axis(
    axis: int, pictures: Any, params: Mapping[str, Any], size: tuple[int, int]
) -> tuple[Any, Any]:
    """(b, 1) scale and start: from pixel number p of the result to scale * p + start."""
    length, result = pictures.shape[1 + axis], size[axis]
    if "window" in params:
        window = params["window"]
        first, share = window[:, axis : axis + 1], window[:, axis + 2 : axis + 3]
    else:
        share = ops.ones((ops.shape(pictures)[0], 1), "float32")
        first = share * 0.0
    scale, start = share * (length / result), first * float(length) - 0.5
    offset = 0.5
    if "shift" in params:
        offset = offset - params["shift"][:, axis : axis + 1]
    if axis == 1 and "flip" in params:
        flip = params["flip"][:, None]
        return scale * (1 - 2 * flip), start + scale * (flip * (result - 1) + offset)
    return scale, start + scale * offset


def _interpolated(pictures: Any, at: Any, outside: str) -> Any:
    """Linear interpolation along axis 1: (b, n, ...) at (b, m) positions to (b, m, ...)."""
    _count, length, *rest = pictures.shape
    lines = ops.reshape(pictures, (-1, length, math.prod(rest)))
    corners = [
        picked(lines, number) * weight[..., None]
        for number, weight in _neighbours(at, length, outside)
    ]
    return ops.reshape(corners[0] + corners[1], (-1, at.shape[1], *rest))


def resample(pictures: Any, x: Any, y: Any, outside: str) -> Any:
    """Bilinear interpolation at any positions.

    Args:
        pictures: (b, h, w, c) float32.
        x, y: (b, height, width) float32 pixel numbers, in fractions, inside or outside.
        outside: as in `Policy`.

    Returns:
        (b, height, width, c) float32.
    """
    _count, height, width, channels = pictures.shape
    pixels = ops.reshape(pictures, (-1, height * width, channels))
    columns = _neighbours(x, width, outside)
    result = 0.0
    for row, row_weight in _neighbours(y, height, outside):
        for column, weight in columns:
            corner = picked(pixels, row * width + column)
            result = result + corner * (row_weight * weight)[..., None]
    return result


def _neighbours(at: Any, length: int, outside: str) -> list[tuple[Any, Any]]:
    """Both pixels next to each position: their numbers (int32) and weights."""
    if outside == "mirrored":
        turn = ops.mod(at + 0.5, 2.0 * length)
        at = ops.minimum(turn, 2.0 * length - turn) - 0.5
    if outside != "black":
        at = ops.clip(at, 0.0, length - 1.0)
    low = ops.floor(at)
    above = at - low
    pairs = []
    for number, weight in ((low, 1.0 - above), (low + 1.0, above)):
        pixel = ops.clip(number, 0.0, length - 1.0)
        seen = weight * ops.cast(pixel == number, "float32") if outside == "black" else weight
        pairs.append((ops.cast(pixel, "int32"), seen))
    return pairs


def _recoloured(pictures: Any, params: Mapping[str, Any]) -> Any:
    channels = pictures.shape[-1]
    if "negative" in params:
        inverted = params["negative"][:, None, None, None] > 0
        pictures = ops.where(inverted, 255.0 - pictures, pictures)
    if "gains" in params:
        pictures = pictures * params["gains"][:, None, None, :channels]
    if "colour" in params:
        colour = params["colour"]
        if channels == 1:
            colour = ops.mean(colour, axis=1, keepdims=True)
        pictures = pictures + colour[:, None, None]
    if params.keys() & {"gains", "colour"}:
        pictures = ops.clip(pictures, 0.0, 255.0)
    return pictures


def _without(pictures: Any, erased: Any, noise: Any) -> Any:
    """Boxes filled with noise: a sheet of random bytes, another part of it for each image."""
    height, width, channels = pictures.shape[1:]
    sheet = np.random.default_rng(0).integers(0, 256, (2 * height, width * channels))
    lines = ops.reshape(noise, (-1, 1)) + ops.arange(height, dtype="int32")
    values = ops.take(sheet.astype(np.float32), lines, axis=0)
    top, left, bottom, right = (erased[:, i : i + 1] for i in range(4))
    y = ops.arange(height, dtype="int32")
    x = ops.repeat(ops.arange(width, dtype="int32"), channels)
    rows, columns = (y >= top) & (y < bottom), (x >= left) & (x < right)
    box = rows[:, :, None] & columns[:, None]
    flat = ops.reshape(pictures, (-1, height, width * channels))
    return ops.reshape(ops.where(box, values, flat), (-1, height, width, channels))
