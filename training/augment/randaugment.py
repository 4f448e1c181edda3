"""RandAugment (arXiv:1909.13719) of whole batches, on any backend.

Images of a batch take different operations at a time. Instead of all fourteen, each image goes
once through a nearest-neighbour map, a blend and a table of 256 values, two of which change
nothing. Each operation gives what Pillow gives. Channels are worked on as planes of their own: that
spares broadcasts, which are slow on a CPU.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from training.augment.policies import OPERATIONS

_GREY = 128  # outside of what RandAugment moved, as in its published code
# ITU-R 601 in 1/65536, as Pillow rounds it; all sums stay exact in float32.
_LUMA = (19595.0, 38470.0, 7471.0)
# Keeps what is a whole number but for rounding on the same side under every backend.
_NUDGE = 1 / 1024


def randaugmented(magnitude: float, pictures: Any, operations: Any) -> Any:
    """(b, h, w, c) images and (b, slots) codes; whole numbers come out."""
    # A little more than a half: what should be a tie is not quite one under every backend.
    planes = [
        ops.clip(ops.floor(pictures[..., i] + (0.5 + 1 / 64)), 0.0, 255.0)
        for i in range(pictures.shape[-1])
    ]
    for slot in range(operations.shape[1]):
        code = operations[:, slot]
        for change, names in (
            (_mapped, ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")),
            (_blended, ("color", "sharpness")),
            (_looked_up, _TABLED),
        ):
            # Apart from sparing work, a condition keeps XLA from fusing one change into the next:
            # every neighbour that a pixel is looked up for would be made anew, 3 times as slow.
            planes = ops.cond(
                ops.any(_is(code, *names)),
                functools.partial(change, magnitude, planes, code),
                functools.partial(list, planes),
            )
    return ops.stack(planes, axis=-1)


def _is(code: Any, *names: str) -> Any:
    """(b, 1) whether an image's operation is one of these."""
    chosen = dict.fromkeys(names, (True, True))
    return ops.take(_per_code(chosen, False, "bool"), code, axis=0)[:, None]


def _per_code(rows: Mapping[str, tuple[Any, Any]], otherwise: Any, kind: str) -> np.ndarray:
    """A constant table by code: rows of forward and reversed operations, and of all others."""
    pairs = [rows.get(name, (otherwise, otherwise)) for name in OPERATIONS]
    return np.array([row for pair in pairs for row in pair], kind)


def _mapped(magnitude: float, planes: list[Any], code: Any) -> list[Any]:
    """Rotate, shear and translate: nearest neighbour, and in integers, as Pillow's."""
    _count, height, width = planes[0].shape
    maps = ops.take(_fixed_point_maps(magnitude, height, width), code, axis=0)[:, :, None, None]
    y = ops.arange(height, dtype="int32")[:, None]
    x = ops.arange(width, dtype="int32")
    column = ops.right_shift(maps[:, 0] * x + maps[:, 1] * y + maps[:, 2], 16)
    row = ops.right_shift(maps[:, 3] * x + maps[:, 4] * y + maps[:, 5], 16)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    number = ops.where(inside, row * width + column, 0)
    grey = ops.full_like(planes[0], _GREY)
    flat = (ops.reshape(plane, (-1, height * width)) for plane in planes)
    return [ops.where(inside, picked(pixels, number), grey) for pixels in flat]


def _fixed_point_maps(magnitude: float, height: int, width: int) -> np.ndarray:
    """(codes, 6) int32 in 1/65536 pixels, from pixel numbers to what floors to pixel numbers."""
    share = magnitude / 10
    still = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    cos, sin = math.cos(math.radians(30 * share)), math.sin(math.radians(30 * share))
    x, y = width / 2, height / 2
    turns = [
        (cos, s, x - cos * x - s * y, -s, cos, y + s * x - cos * y)  # about the middle
        for s in (sin, -sin)
    ]
    maps: dict[str, tuple[Any, Any]] = {"rotate": (turns[0], turns[1])}
    # AutoAugment moved by up to 150 of 331 pixels.
    for name, place, most in (
        ("shear_x", 1, 0.3),
        ("shear_y", 3, 0.3),
        ("translate_x", 2, 150 / 331 * width),
        ("translate_y", 5, 150 / 331 * height),
    ):
        both = np.array([still, still])
        both[:, place] = share * most, -share * most
        maps[name] = (both[0], both[1])
    table = _per_code(maps, still, "float64")
    for line in (0, 3):  # pixel centres are at halves
        table[:, line + 2] += (table[:, line] + table[:, line + 1]) / 2
    return np.floor(table * 65536 + 0.5).astype(np.int32)


def _luma(planes: list[Any]) -> Any:
    """(b, h, w) grey, rounded as Pillow's."""
    if len(planes) == 1:
        return planes[0]
    red, green, blue = (plane * weight for plane, weight in zip(planes, _LUMA, strict=True))
    return ops.floor((red + green + blue + 32768.0) * (1 / 65536))


def _factors(magnitude: float) -> tuple[float, float]:
    """Of the enhancing operations: 1 leaves an image as it is, AutoAugment has 0.1 to 1.9."""
    return 1 + 0.09 * magnitude, 1 - 0.09 * magnitude


def _gain(magnitude: float, code: Any, name: str) -> Any:
    """(b, 1, 1) the factor less 1 where an image's operation is the named one; 0 elsewhere."""
    table = _per_code({name: _factors(magnitude)}, 1.0, "float64") - 1
    return ops.take(table.astype(np.float32), code, axis=0)[:, None, None]


def _blended(magnitude: float, planes: list[Any], code: Any) -> list[Any]:
    """Color and sharpness: away from, or towards, the grey or the smoothed image."""
    color, sharpness = (_gain(magnitude, code, name) for name in ("color", "sharpness"))
    grey = _luma(planes)
    changed = [p + color * (p - grey) + sharpness * _detail(p) for p in planes]
    return [ops.clip(ops.floor(plane + _NUDGE), 0.0, 255.0) for plane in changed]


def _detail(plane: Any) -> Any:
    """What the mean of 3x3, the middle pixel five times, takes away; nothing at the border."""
    rows = plane[:, :-2] + plane[:, 1:-1] + plane[:, 2:]
    middle = plane[:, 1:-1, 1:-1]
    sums = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4.0 * middle
    return ops.pad(middle - ops.floor(sums * (1 / 13) + 0.5), ((0, 0), (1, 1), (1, 1)))


def _looked_up(magnitude: float, planes: list[Any], code: Any) -> list[Any]:
    """All operations that give each of a channel's 256 values another one."""
    fixed = ops.take(_fixed_tables(magnitude), code, axis=0)
    ramp = ops.arange(256, dtype="float32")
    mean = ops.floor(ops.mean(_luma(planes), axis=(1, 2)) + 0.5)[:, None]
    contrast = ramp + _gain(magnitude, code, "contrast")[:, 0] * (ramp - mean)
    contrast = ops.clip(ops.floor(contrast + _NUDGE), 0.0, 255.0)
    fixed = ops.where(_is(code, "contrast"), contrast, fixed)
    result = []
    for plane in planes:
        values = ops.cast(plane, "int32")
        automatic, equal = _by_histogram(values)
        tables = ops.where(_is(code, "autocontrast"), automatic, fixed)
        tables = ops.where(_is(code, "equalize"), equal, tables)
        result.append(picked(tables, values))
    return result


_TABLED = (
    *("autocontrast", "equalize"),  # made by the histogram
    *("brightness", "contrast", "posterize", "solarize"),
)


def _fixed_tables(magnitude: float) -> np.ndarray:
    """(codes, 256) float32 of the operations that do not look at the image."""
    ramp = np.arange(256)
    brighter, darker = (np.floor(f * ramp + _NUDGE).clip(0, 255) for f in _factors(magnitude))
    threshold = 256 - round(25.6 * magnitude)
    solarized = np.where(ramp < threshold, ramp, 255 - ramp)
    lost = round(0.4 * magnitude)  # 8 to 4 bits stay
    posterized = ramp >> lost << lost
    rows = {
        "brightness": (brighter, darker),
        "solarize": (solarized, solarized),
        "posterize": (posterized, posterized),
    }
    return _per_code(rows, ramp, "float32")


def _by_histogram(values: Any) -> tuple[Any, Any]:
    """(b, 256) tables of autocontrast and equalize, in whole numbers as Pillow's."""
    histogram = _histogram(values)
    total = math.prod(values.shape[1:])
    ramp = ops.arange(256, dtype="int32")
    used = histogram > 0
    lowest = ops.min(ops.where(used, ramp, 255), axis=-1, keepdims=True)
    highest = ops.max(ops.where(used, ramp, 0), axis=-1, keepdims=True)
    spread = ops.clip((ramp - lowest) * 255 // ops.maximum(highest - lowest, 1), 0, 255)
    automatic = ops.where(highest > lowest, spread, ramp)
    last = ops.sum(ops.where(ramp == highest, histogram, 0), axis=-1, keepdims=True)
    step = (total - last) // 255
    below = ops.cumsum(histogram, axis=-1) - histogram
    even = ops.clip((step // 2 + below) // ops.maximum(step, 1), 0, 255)
    equal = ops.where(step > 0, even, ramp)
    return ops.cast(automatic, "float32"), ops.cast(equal, "float32")


def _histogram(values: Any) -> Any:
    """(b, h, w) int32 from 0 to 255 to (b, 256) counts."""
    flat = ops.reshape(values, (-1, math.prod(values.shape[1:])))
    backend = keras.backend.backend()
    if backend == "jax":  # as in `_picked`
        return ops.vectorized_map(
            lambda one: ops.segment_sum(ops.ones_like(one), one, num_segments=256), flat
        )
    count = ops.shape(flat)[0]
    flat = ops.reshape(ops.arange(count, dtype="int32")[:, None] * 256 + flat, (-1,))
    if backend == "torch":  # tens of times as fast; of the others XLA needs a sum
        histogram = ops.cast(ops.bincount(flat, minlength=count * 256), "int32")
    else:
        histogram = ops.segment_sum(ops.ones_like(flat), flat, num_segments=count * 256)
    return ops.reshape(histogram, (-1, 256))


def picked(values: Any, number: Any) -> Any:
    """(b, n, ...) values at (b, ...) int32 numbers along axis 1, for each image its own."""
    if keras.backend.backend() == "jax":  # what is mapped stays on its device
        return ops.vectorized_map(lambda both: ops.take(*both, axis=0), (values, number))
    length, *rest = values.shape[1:]  # quicker elsewhere
    first = ops.arange(ops.shape(values)[0], dtype="int32") * length
    first = ops.reshape(first, (-1, *(1 for _ in number.shape[1:])))
    return ops.take(ops.reshape(values, (-1, *rest)), first + number, axis=0)
