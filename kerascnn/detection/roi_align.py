"""RoIAlign: every region of a picture as a small map of one size (Mask R-CNN, arXiv:1703.06870,
section 3), each out of the level of a feature pyramid that fits it.

Against torchvision's operation (roi_align, MultiScaleRoIAlign) there is no adaptive sampling
(`sampling_ratio=0`), whose number of points depends on the region and leaves no static shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kerascnn.detection import boxes as box_ops
from kerascnn.errors import InputError

# A region of ImageNet's 224 x 224 pixels is level 4's (FPN, arXiv:1612.03144, equation 1);
# torchvision adds the last number, so that rounding does not put it a level lower.
CANONICAL_SIDE, CANONICAL_LEVEL, LEVEL_EPSILON = 224, 4, 1e-6


def roi_align(
    maps: Sequence[Any],
    boxes: Any,
    *,
    picture_size: Sequence[int],
    size: Sequence[int] = (7, 7),
    sampling_ratio: int = 2,
    aligned: bool = False,
) -> Any:
    """Features of regions, by bilinear interpolation at evenly spaced points of each.

    A region is divided into `size` bins and a bin is the mean of `sampling_ratio` squared points.
    A point between pixels is interpolated; within a pixel outside of the map it has the value at
    the map's edge, farther out 0.

    Args:
        maps: (n, h_l, w_l, channels) of the levels of a pyramid, the finest first, each of the
            whole picture; the levels' strides are taken as the powers of 2 next to picture over
            map. Each region is read from the level of `assigned_level`.
        boxes: (n, r, 4); no gradient comes back to them. Under float32 maps of any float type.
        picture_size: (height, width) in pixels, which a region's level goes by.
        size: (rows, columns) of the result.
        sampling_ratio: points of a bin on either axis.
        aligned: whether pixels have their values at their centres, as in Detectron2. Else they
            have them at their top left corners and regions are at least a pixel of their map long
            and wide, as in torchvision's published detectors.

    Returns:
        (n, r, *size, channels) of the maps' type.
    """
    maps = [ops.convert_to_tensor(x) for x in maps]
    boxes = ops.stop_gradient(ops.convert_to_tensor(boxes, "float32"))
    strides = [2 ** round(math.log2(picture_size[0] / x.shape[1])) for x in maps]
    # Levels of a stride that an earlier one has are nobody's.
    maps = maps[: round(math.log2(strides[-1] / strides[0])) + 1]
    level = assigned_level(boxes, picture_size, strides[: len(maps)])
    heights, widths, starts = (_of_level(values, level) for values in _layout(maps))
    y = _taps(boxes[..., 0::2], heights, size[0], sampling_ratio, aligned)
    x = _taps(boxes[..., 1::2], widths, size[1], sampling_ratio, aligned)
    return _weighted_sum(maps, starts, ops.cast(widths, "int32"), y, x)


def assigned_level(boxes: Any, picture_size: Sequence[int], strides: Sequence[int]) -> Any:
    """(..., ) int32, the place among `strides` of the level that each box (..., 4) is read from.

    Source: FPN (arXiv:1612.03144), equation 1, with the strides' own ends.
    """
    boxes = ops.convert_to_tensor(boxes, "float32")
    side = ops.sqrt(box_ops.area(boxes) * (picture_size[0] * picture_size[1]))
    # floor(4 + log2(side / 224)) reaches level k from this side on.
    level = ops.zeros_like(side)  # whole numbers here are boolean zeros to TFLite's converter
    for stride in strides[1:]:
        least = CANONICAL_SIDE * 2 ** (math.log2(stride) - CANONICAL_LEVEL - LEVEL_EPSILON)
        level = level + ops.cast(side >= least, "float32")
    return ops.cast(level, "int32")


def _layout(maps: Sequence[Any]) -> tuple[list[float], list[float], list[int]]:
    """Heights and widths of maps, and where each begins when they lie one behind the other."""
    heights, widths = ([float(x.shape[axis]) for x in maps] for axis in (1, 2))
    areas = [x.shape[1] * x.shape[2] for x in maps]
    return heights, widths, [sum(areas[:i]) for i in range(len(maps))]


def _of_level(values: Sequence[float], level: Any) -> Any:
    return ops.take(ops.convert_to_tensor(values), level, axis=0)


def _taps(
    ends: Any, pixels: Any, bins: int, sampling_ratio: int, aligned: bool
) -> list[tuple[Any, Any]]:
    """What the bins of one axis are sums of: two pixels for each of their points.

    Args:
        ends: (n, r, 2) of the regions, as shares.
        pixels: (n, r) of the maps that they are read from.

    Returns:
        2 * sampling_ratio pairs of pixels (n, r, bins) int32 and their weights.
    """
    ends = ends * pixels[..., None] - (0.5 if aligned else 0.0)
    start, length = ends[..., 0], ends[..., 1] - ends[..., 0]
    if not aligned:
        length = ops.maximum(length, 1.0)
    last = pixels[..., None] - 1
    whole_last = ops.cast(last, "int32")
    taps = []
    for number in range(sampling_ratio):
        places = [(i + (number + 0.5) / sampling_ratio) / bins for i in range(bins)]
        point = start[..., None] + length[..., None] * ops.convert_to_tensor(places, "float32")
        near = (point >= -1) & (point <= last + 1)
        point = ops.clip(point, 0.0, last)
        # Clipped once more as whole numbers, since no NaN of a network may become an address.
        low = ops.clip(ops.cast(ops.floor(point), "int32"), 0, whole_last)
        share = ops.cast(near, "float32") / sampling_ratio
        upper = point - ops.cast(low, "float32")
        taps += [
            (low, (1 - upper) * share),
            (ops.minimum(low + 1, whole_last), upper * share),
        ]
    return taps


def _weighted_sum(
    maps: Sequence[Any],
    starts: Any,
    widths: Any,
    y: Sequence[tuple[Any, Any]],
    x: Sequence[tuple[Any, Any]],
) -> Any:
    """(n, r, rows, columns, channels) of the taps of both axes.

    One pair of taps after the other, for all levels at once. All pixels of the regions side by
    side would take 16 times the result's memory at a sampling ratio of 2.
    """
    channels = maps[0].shape[-1]
    areas = [x.shape[1] * x.shape[2] for x in maps]
    levels = [ops.reshape(x, (-1, area, channels)) for x, area in zip(maps, areas, strict=True)]
    joined = ops.concatenate(levels, axis=1)
    picture = ops.arange(ops.shape(joined)[0], dtype="int32")
    origin = (starts + picture[:, None] * sum(areas))[..., None, None]
    total = 0.0
    for row, row_weight in y:
        # In every round anew: TensorFlow keeps the gradients of gathers from one tensor side by
        # side, and sums them up where they meet a reshape. It halves the memory of training.
        flat = ops.reshape(joined, (-1, channels))
        line = origin + (row * widths[..., None])[..., None]
        for column, column_weight in x:
            weight = row_weight[..., None] * column_weight[..., None, :]
            found = ops.take(flat, line + column[..., None, :], axis=0)
            total = total + ops.cast(found, "float32") * weight[..., None]
    return ops.cast(total, maps[0].dtype)


@keras.saving.register_keras_serializable(package="kerascnn")
class RoIAlign(keras.layers.Layer):
    """`roi_align` as a layer: called with the list of maps and the boxes."""

    def __init__(
        self,
        picture_size: Sequence[int],
        size: Sequence[int] = (7, 7),
        sampling_ratio: int = 2,
        aligned: bool = False,
        **kwargs: Any,
    ) -> None:
        # Boxes in half precision would be off by pixels.
        super().__init__(autocast=False, **kwargs)
        if min(*picture_size, *size, sampling_ratio) < 1:
            raise InputError(
                "RoIAlign needs sizes and a sampling ratio of at least 1, not "
                f"{tuple(picture_size)}, {tuple(size)} and {sampling_ratio}"
            )
        self.picture_size = (picture_size[0], picture_size[1])
        self.size = (size[0], size[1])
        self.sampling_ratio, self.aligned = sampling_ratio, aligned

    def call(self, maps: Sequence[Any], boxes: Any) -> Any:
        """(n, r, *size, channels) of maps (n, h_l, w_l, channels) and boxes (n, r, 4)."""
        return roi_align(
            maps,
            boxes,
            picture_size=self.picture_size,
            size=self.size,
            sampling_ratio=self.sampling_ratio,
            aligned=self.aligned,
        )

    def compute_output_spec(self, maps: Sequence[Any], boxes: Any) -> Any:
        """The result's shape and type."""
        shape = (*boxes.shape[:2], *self.size, maps[0].shape[-1])
        return keras.KerasTensor(shape, dtype=maps[0].dtype)

    def get_config(self) -> dict[str, Any]:
        """Constants, for saving."""
        own = {
            "picture_size": list(self.picture_size),
            "size": list(self.size),
            "sampling_ratio": self.sampling_ratio,
            "aligned": self.aligned,
        }
        return super().get_config() | own
