"""Non-maximum suppression, hard and soft: exact and greedy, with static shapes on any backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from kerascnn.detection import boxes as box_ops


def nms(
    boxes: Any, scores: Any, classes: Any, *, iou_threshold: float, max_detections: int
) -> tuple[Any, Any]:
    """Keep the best candidate, drop those of its class that overlap with it, and so on.

    Args:
        boxes: (n, k, 4).
        scores: (n, k); what is not above 0 (0, -inf, NaN) is no candidate.
        classes: (n, k) int32.
        iou_threshold: a candidate is dropped if its IoU with a kept one of its class is above.
        max_detections: d, of all classes together.

    Returns:
        indices (n, d) int32 of the kept candidates, the best first and of equal scores the first
        one first, 0 where fewer than d are kept; valid (n, d) bool.
    """
    boxes = ops.convert_to_tensor(boxes, "float32")
    scores = ops.convert_to_tensor(scores, "float32")
    classes = ops.convert_to_tensor(classes, "int32")
    left = ops.where(scores > 0, scores, 0.0)
    places, candidates = ops.arange(max_detections), ops.arange(scores.shape[1])
    none = ops.zeros_like(left[:, :1], "int32") + ops.zeros_like(places)[None]

    # One round a detection, for all pictures at once: k IoUs a picture, never k x k.
    def keep_best(place: Any, left: Any, indices: Any, valid: Any) -> tuple[Any, Any, Any, Any]:
        best = ops.argmax(left, axis=1, keepdims=True)
        found = ops.take_along_axis(left, best, axis=1) > 0
        overlap = box_ops.iou(ops.take_along_axis(boxes, best[..., None], axis=1), boxes)[:, 0]
        same = classes == ops.take_along_axis(classes, best, axis=1)
        # By its index as well: a box without area does not overlap with itself.
        gone = (same & (overlap > iou_threshold)) | (candidates[None] == best)
        here = (places[None] == place) & found
        left = ops.where(gone, 0.0, left)
        return place + 1, left, ops.where(here, best, indices), valid | here

    def going_on(place: Any, left: Any, indices: Any, valid: Any) -> Any:
        return (place < max_detections) & ops.any(left > 0)

    start = (ops.convert_to_tensor(0, "int32"), left, none, none > 0)
    _, _, indices, valid = ops.while_loop(going_on, keep_best, start)
    return indices, valid


def soft_nms(
    boxes: Any,
    scores: Any,
    classes: Any,
    *,
    sigma: float,
    score_threshold: float,
    max_detections: int,
) -> tuple[Any, Any, Any]:
    """Take the best candidate, lower the scores of those of its class that overlap, and so on.

    Args:
        boxes: (n, k, 4).
        scores: (n, k); what is not above 0 (0, -inf, NaN) is no candidate.
        classes: (n, k) int32.
        sigma: a score falls by exp(-IoU² / sigma) for each better one of its class.
        score_threshold: what falls below it is no candidate any more.
        max_detections: d, of all classes together.

    Returns:
        indices (n, d) int32 of the detections, the best first and of equal scores the first one
        first, 0 where there are fewer than d; valid (n, d) bool; and the scores (n, d) that are
        left of theirs, 0 where there are fewer.

    Source: Soft-NMS, Bodla et al. (arXiv:1704.04503), figure 2 and equation 4 (the Gaussian).
    """
    boxes = ops.convert_to_tensor(boxes, "float32")
    scores = ops.convert_to_tensor(scores, "float32")
    classes = ops.convert_to_tensor(classes, "int32")
    least = np.float32(score_threshold)
    places, candidates = ops.arange(max_detections), ops.arange(scores.shape[1])

    def remaining(scores: Any) -> Any:
        return ops.where((scores > 0) & (scores >= least), scores, 0.0)

    def take_best(place: Any, left: Any, indices: Any, final: Any) -> tuple[Any, Any, Any, Any]:
        best = ops.argmax(left, axis=1, keepdims=True)
        score = ops.take_along_axis(left, best, axis=1)
        overlap = box_ops.iou(ops.take_along_axis(boxes, best[..., None], axis=1), boxes)[:, 0]
        same = classes == ops.take_along_axis(classes, best, axis=1)
        # Of a box that is no number the IoU is none either: it falls by nothing.
        falls = same & (overlap > 0)
        left = left * ops.where(falls, ops.exp(-ops.square(overlap) / np.float32(sigma)), 1.0)
        left = remaining(ops.where(candidates[None] == best, 0.0, left))
        here = (places[None] == place) & (score > 0)
        return place + 1, left, ops.where(here, best, indices), ops.where(here, score, final)

    def going_on(place: Any, left: Any, indices: Any, final: Any) -> Any:
        return (place < max_detections) & ops.any(left > 0)

    left = remaining(scores)
    none = ops.zeros_like(left[:, :1]) + ops.zeros_like(places, "float32")[None]
    start = (ops.convert_to_tensor(0, "int32"), left, ops.cast(none, "int32"), none)
    _, _, indices, final = ops.while_loop(going_on, take_best, start)
    return indices, final > 0, final


def nms_of_groups(
    boxes: Any, scores: Any, groups: Sequence[int], *, iou_threshold: float, max_detections: int
) -> tuple[Any, Any]:
    """The same for groups that lie one behind the other, with thousands of candidates each.

    Where `nms` takes a round for every detection, this compares all pairs of a group at once and
    takes as many rounds as the longest chain of candidates that drop one another has links, which
    is a dozen or two.

    Args:
        boxes: (n, k, 4).
        scores: (n, k), of any sign; what is not finite is no candidate.
        groups: sizes of the groups, k in sum. Only a group's own candidates drop one another.
        iou_threshold: a candidate is dropped if its IoU with a kept one of its group is above.
        max_detections: d, of all groups together.

    Returns:
        indices (n, d) int32 of the kept candidates, the best first and of equal scores the first
        one first, 0 where fewer than d are kept; valid (n, d) bool.
    """
    boxes = ops.convert_to_tensor(boxes, "float32")
    scores = ops.convert_to_tensor(scores, "float32")
    candidate = ops.isfinite(scores)
    ends = [sum(groups[: i + 1]) for i in range(len(groups))]
    spans = [slice(end - size, end) for end, size in zip(ends, groups, strict=True)]
    drops = [_drops(boxes[:, span], scores[:, span], iou_threshold) for span in spans]

    # Greedy suppression is the one set in which exactly those are kept that no kept better one
    # drops. Each round is right about one link more of every chain than the round before.
    def keep_undropped(kept: Any, before: Any) -> tuple[Any, Any]:
        dropped = [
            ops.any(drop & kept[:, None, span], axis=-1)
            for drop, span in zip(drops, spans, strict=True)
        ]
        return candidate & ~ops.concatenate(dropped, axis=1), kept

    def going_on(kept: Any, before: Any) -> Any:
        return ops.any(kept != before)

    kept, _ = ops.while_loop(going_on, keep_undropped, (candidate, ops.zeros_like(candidate)))
    best, indices = ops.top_k(ops.where(kept, scores, -np.inf), min(max_detections, sum(groups)))
    valid = ops.isfinite(best)
    missing = ((0, 0), (0, max_detections - best.shape[1]))
    return ops.pad(ops.where(valid, indices, 0), missing), ops.pad(valid, missing)


def _drops(boxes: Any, scores: Any, iou_threshold: float) -> Any:
    """(n, i, j) bool: whether i is dropped if j is kept."""
    mine, other = scores[:, :, None], scores[:, None, :]
    order = ops.arange(scores.shape[1])
    first = order[None, :, None] > order[None, None, :]
    better = (other > mine) | ((other == mine) & first)
    return better & (box_ops.iou(boxes, boxes) > iou_threshold)
