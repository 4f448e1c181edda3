"""Dynamic label assignment: which points are to find which object, by what they predict now.

Matching by overlap with anchors needs anchors. Here every pair of a point and an object has a cost:
how badly the point tells the object's class, how little its box overlaps with the object's, and how
far it lies from the object's centre. Each object takes its cheapest points, as many as its best
overlaps add up to; of objects that want one point the cheapest has it.

Shapes: n images, a points, m ground-truth boxes (padded), c classes.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from kerascnn.detection import boxes as box_ops
from kerascnn.detection.matching import BACKGROUND, IGNORED, PAIRS_AT_ONCE

# RTMDet (arXiv:2212.07784), section 3.3; mmdetection's DynamicSoftLabelAssigner.
CANDIDATES = 13  # whose overlaps say how many points an object takes
IOU_WEIGHT = 3.0
CENTRE_RADIUS = 3.0  # cells from an object's centre where the cost of the distance is 1
_EPSILON = 1e-7
# Above any cost: of what is no pair. A cost is at most some hundreds, and 10 ** 128 cells away
# float32 ends; so large a distance is no point's.
_NEVER = 1e30


def assign(
    points: Any,
    cells: Any,
    boxes: Any,
    logits: Any,
    gt_boxes: Any,
    gt_labels: Any,
    gt_crowd: Any,
) -> tuple[Any, Any]:
    """Give objects their points.

    Args:
        points: (a, 2) y and x as shares of the image.
        cells: (a, 2) height and width of each point's cell, likewise.
        boxes: (n, a, 4) that are predicted; no gradient goes through them, nor through `logits`.
        logits: (n, a, c), of sigmoids.
        gt_boxes: (n, m, 4); m is at least 1.
        gt_labels: (n, m) int32; -1 pads.
        gt_crowd: (n, m) bool. Crowds, padding and boxes without area take no points.

    Returns:
        (n, a) int32 index of the point's object, -1 for background, -2 for ignored points, which
        lie in a crowd region and have no object; (n, a) float32 overlap of the predicted box with
        the object's, 0 where there is none.

    Source: RTMDet (arXiv:2212.07784), section 3.3, and mmdetection's DynamicSoftLabelAssigner; the
    number of points as SimOTA has it (YOLOX, arXiv:2107.08430). Deviations: of points that are
    equally cheap to the last bit an object takes all, whatever the backend's order; mmdetection
    knows no crowds.
    """
    points, cells = (ops.convert_to_tensor(each, "float32") for each in (points, cells))
    given = (
        ops.stop_gradient(ops.cast(boxes, "float32")),
        ops.stop_gradient(ops.cast(logits, "float32")),
        ops.convert_to_tensor(gt_boxes, "float32"),
        ops.convert_to_tensor(gt_labels, "int32"),
        ops.convert_to_tensor(gt_crowd, "bool"),
    )

    def assigned(given: tuple[Any, ...]) -> tuple[Any, Any]:
        return _assign(points, cells, *given)

    count = given[2].shape[1]
    if count is None or points.shape[0] * count > PAIRS_AT_ONCE:
        return ops.map(assigned, given)
    return assigned(given)


def _assign(
    points: Any, cells: Any, boxes: Any, logits: Any, gt_boxes: Any, gt_labels: Any, gt_crowd: Any
) -> tuple[Any, Any]:
    """`assign` of one image or of many: (..., a, 4), (..., m, 4) to (..., a)."""
    inside = _inside(points, gt_boxes)
    real = (gt_labels >= 0) & ~gt_crowd & (box_ops.area(gt_boxes) > 0)
    candidate = ops.any(inside & real[..., None, :], axis=-1, keepdims=True)  # of some object
    pair = candidate & real[..., None, :]
    overlap = ops.where(pair, box_ops.iou(boxes, gt_boxes), 0.0)
    cost = ops.where(
        pair,
        _class_cost(logits, gt_labels, overlap)
        - IOU_WEIGHT * ops.log(overlap + _EPSILON)
        + _centre_cost(points, cells, gt_boxes),
        _NEVER,
    )
    matching = _cheapest(cost, overlap)
    # A point that several objects took goes to the cheapest of all, whether that took it or not.
    several = ops.sum(ops.cast(matching, "int32"), axis=-1) > 1
    first = ops.argmax(ops.cast(matching, "int32"), axis=-1)
    taken = ops.cast(ops.where(several, ops.argmin(cost, axis=-1), first), "int32")
    found = ops.any(matching, axis=-1)
    crowded = ops.any(inside & (gt_crowd & (gt_labels >= 0))[..., None, :], axis=-1)
    index = ops.where(found, taken, ops.where(crowded, IGNORED, BACKGROUND))
    quality = ops.take_along_axis(overlap, ops.expand_dims(taken, -1), axis=-1)[..., 0]
    return ops.cast(index, "int32"), ops.where(found, quality, 0.0)


def _inside(points: Any, gt_boxes: Any) -> Any:
    """(..., a, m) bool: whether a point lies within a box, and not on its edge."""
    low, high = gt_boxes[..., None, :, :2], gt_boxes[..., None, :, 2:]
    at = points[:, None, :]
    return ops.all((at > low) & (at < high), axis=-1)


def _class_cost(logits: Any, gt_labels: Any, overlap: Any) -> Any:
    """(..., a, m): the quality focal loss of a point's logits if the object were its own.

    The class of the object is to have the overlap as its score, and all others none. The sum over
    the others is the sum over all without one, so that nothing is as large as points times objects
    times classes.
    """
    others = _softplus(logits) * ops.square(ops.sigmoid(logits))
    label = ops.maximum(gt_labels, 0)[..., None, :] + ops.zeros_like(overlap, "int32")
    own = ops.take_along_axis(logits, label, axis=-1)
    entropy = _softplus(own) - own * overlap
    as_positive = entropy * ops.square(overlap - ops.sigmoid(own))
    as_negative = ops.take_along_axis(others, label, axis=-1)
    return ops.sum(others, axis=-1, keepdims=True) - as_negative + as_positive


def _softplus(logits: Any) -> Any:
    return ops.maximum(logits, 0.0) + ops.log1p(ops.exp(-ops.abs(logits)))


def _centre_cost(points: Any, cells: Any, gt_boxes: Any) -> Any:
    """(..., a, m): 10 to the power of the cells between a point and a box's centre, less 3."""
    centres = (gt_boxes[..., :2] + gt_boxes[..., 2:]) / 2
    away = (points[:, None, :] - centres[..., None, :, :]) / cells[:, None, :]
    distance = ops.sqrt(ops.sum(ops.square(away), axis=-1))
    return ops.power(10.0, ops.minimum(distance - CENTRE_RADIUS, 20.0))


def _cheapest(cost: Any, overlap: Any) -> Any:
    """(..., a, m) bool: whether a point is among those that an object takes.

    They are as many as its best overlaps add up to, rounded down, and one at least.
    """
    cost, overlap = (ops.swapaxes(each, -1, -2) for each in (cost, overlap))
    most = min(CANDIDATES, cost.shape[-1])
    best, _ = ops.top_k(overlap, most)
    wanted = ops.maximum(ops.cast(ops.sum(best, axis=-1, keepdims=True), "int32"), 1)
    cheap, _ = ops.top_k(-cost, most)  # the cheapest first
    limit = -ops.take_along_axis(cheap, wanted - 1, axis=-1)
    return ops.swapaxes((cost <= limit) & (cost < _NEVER), -1, -2)
