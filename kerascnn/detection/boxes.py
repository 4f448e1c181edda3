"""Boxes: areas, overlaps and their codes against anchors. See `kerascnn.detection` for shapes.

Everything takes NumPy arrays and tensors, computes in float32 and returns tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops

from kerascnn.detection.anchors import SMALLEST_CELLS

# Sides below a millionth of the picture are coded as that: far below a pixel, and no log of 0.
SMALLEST_SIDE = 1e-6


def area(boxes: Any) -> Any:
    """Area of boxes (..., 4) as a share of the picture, (...); 0 for boxes turned inside out."""
    top, left, bottom, right = _sides(boxes)
    return ops.relu(bottom - top) * ops.relu(right - left)


def intersection(boxes: Any, others: Any) -> Any:
    """Area that each of (..., i, 4) shares with each of (..., j, 4): (..., i, j)."""
    top, left, bottom, right = (side[..., :, None] for side in _sides(boxes))
    other_top, other_left, other_bottom, other_right = (s[..., None, :] for s in _sides(others))
    height = ops.minimum(bottom, other_bottom) - ops.maximum(top, other_top)
    width = ops.minimum(right, other_right) - ops.maximum(left, other_left)
    return ops.relu(height) * ops.relu(width)


def iou(boxes: Any, others: Any) -> Any:
    """Intersection over union of (..., i, 4) with (..., j, 4): (..., i, j) in 0..1.

    A box without area overlaps with nothing, not even with itself.
    """
    shared = intersection(boxes, others)
    areas = area(boxes)[..., :, None] + area(others)[..., None, :]
    return ops.divide_no_nan(shared, areas - shared)


def coverage(boxes: Any, others: Any) -> Any:
    """Share of each of (..., i, 4) that lies in each of (..., j, 4): (..., i, j) in 0..1.

    It is what crowd regions are compared by, as in COCO's evaluation. 0 for boxes without area.
    """
    return ops.divide_no_nan(intersection(boxes, others), area(boxes)[..., :, None])


def encode(boxes: Any, anchors: Any, scales: Sequence[float]) -> Any:
    """Code boxes against anchors.

    Args:
        boxes: (..., a, 4); sides shorter than `SMALLEST_SIDE` count as that long.
        anchors: (..., a, 4), with sides above 0.
        scales: of dy, dx, dh and dw.

    Returns:
        (..., a, 4) codes: dy = (cy - cy_anchor) / h_anchor * scale, likewise dx;
        dh = log(h / h_anchor) * scale, likewise dw.

    Source: SSD (arXiv:1512.02325), equation 2, with its "variances" as one over the scales.
    """
    y, x, height, width = _centred(boxes)
    anchor_y, anchor_x, anchor_height, anchor_width = _centred(anchors)
    height, width = ops.maximum(height, SMALLEST_SIDE), ops.maximum(width, SMALLEST_SIDE)
    codes = (
        (y - anchor_y) / anchor_height,
        (x - anchor_x) / anchor_width,
        ops.log(height / anchor_height),
        ops.log(width / anchor_width),
    )
    return ops.stack(codes, axis=-1) * ops.convert_to_tensor(scales, "float32")


def decode(codes: Any, anchors: Any, scales: Sequence[float]) -> Any:
    """Boxes (..., a, 4) of codes (..., a, 4): the inverse of `encode`, not clipped."""
    codes = ops.convert_to_tensor(codes, "float32") / ops.convert_to_tensor(scales, "float32")
    dy, dx, dh, dw = ops.unstack(codes, axis=-1)
    anchor_y, anchor_x, anchor_height, anchor_width = _centred(anchors)
    y, x = dy * anchor_height + anchor_y, dx * anchor_width + anchor_x
    half_height = 0.5 * ops.exp(dh) * anchor_height
    half_width = 0.5 * ops.exp(dw) * anchor_width
    sides = (y - half_height, x - half_width, y + half_height, x + half_width)
    return ops.stack(sides, axis=-1)


def deltas_of(distances: Any) -> Any:
    """Distances of a box's sides from a point, as codes against the box of the point's cell.

    Args:
        distances: (..., 4) of the top, left, bottom and right side, in cells; a side is a distance
            and its opposite one together, and at least `SMALLEST_CELLS` long.

    Returns:
        (..., 4) dy, dx, dh and dw with scales of 1, for `decode`.

    The box's centre lies (bottom - top) / 2 below the point and its height is top + bottom; against
    a box of one cell about the point these are dy and exp(dh). Nothing is lost by that, and every
    client of anchors decodes boxes without any.
    """
    before, behind = ops.split(ops.convert_to_tensor(distances, "float32"), 2, axis=-1)
    centres = 0.5 * (behind - before)
    sizes = ops.log(ops.maximum(before + behind, SMALLEST_CELLS))
    return ops.concatenate([centres, sizes], axis=-1)


def clip(boxes: Any) -> Any:
    """The part of boxes (..., 4) inside the picture; outside of it a box has no area."""
    return ops.clip(ops.convert_to_tensor(boxes, "float32"), 0.0, 1.0)


def _sides(boxes: Any) -> list[Any]:
    """Top, left, bottom and right, each (...)."""
    sides: list[Any] = ops.unstack(ops.convert_to_tensor(boxes, "float32"), axis=-1)
    return sides


def _centred(boxes: Any) -> tuple[Any, Any, Any, Any]:
    """Centre's y and x, height and width, each (...)."""
    top, left, bottom, right = _sides(boxes)
    return (top + bottom) / 2, (left + right) / 2, bottom - top, right - left
