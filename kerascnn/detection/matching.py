"""Matching: which ground-truth box each anchor is to find, and the targets of training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops

from kerascnn.detection import boxes as box_ops

BACKGROUND, IGNORED = -1, -2

# A picture's (anchor, box) pairs from which on pictures take turns. Such a picture keeps the
# processor busy by itself, and a batch of eight with 76,725 anchors and 100 boxes would need a
# quarter of a gigabyte for every intermediate result.
PAIRS_AT_ONCE = 2**19


def match(
    anchors: Any,
    gt_boxes: Any,
    gt_labels: Any,
    gt_crowd: Any,
    *,
    positive_iou: float,
    negative_iou: float,
    force: bool = True,
) -> Any:
    """Give each anchor the box it overlaps most with, or none.

    Args:
        anchors: (a, 4).
        gt_boxes: (n, m, 4); m is at least 1.
        gt_labels: (n, m) int32; -1 pads.
        gt_crowd: (n, m) bool. Crowds, padding and boxes without area are nobody's match.
        positive_iou: the lowest IoU of a match, above 0.
        negative_iou: above 0; an anchor below it is background. From there to `positive_iou` it is
            ignored, and so is one that lies in a crowd region by half or more and matches nothing.
        force: give each box the anchor it overlaps most with, whatever the IoU above 0; the first
            of equal ones. An anchor that several boxes want goes to the box with the highest IoU,
            of equal ones to the first.

    Returns:
        (n, a) int32: index of the box, -1 for background, -2 for ignored.

    Source: SSD (arXiv:1512.02325), section 2.2; ignored anchors as in RetinaNet
    (arXiv:1708.02002), section 4.
    """
    anchors = ops.convert_to_tensor(anchors, "float32")
    truth = (
        ops.convert_to_tensor(gt_boxes, "float32"),
        ops.convert_to_tensor(gt_labels, "int32"),
        ops.convert_to_tensor(gt_crowd, "bool"),
    )

    def matched(truth: tuple[Any, Any, Any]) -> Any:
        return _match(anchors, *truth, positive_iou, negative_iou, force)

    boxes = truth[0].shape[1]
    if boxes is None or anchors.shape[0] * boxes > PAIRS_AT_ONCE:
        return ops.map(matched, truth)
    return matched(truth)


def _match(
    anchors: Any,
    gt_boxes: Any,
    gt_labels: Any,
    gt_crowd: Any,
    positive_iou: float,
    negative_iou: float,
    force: bool,
) -> Any:
    """`match` of one picture or of many: (a, 4) and (..., m, 4) to (..., a)."""
    real = (gt_labels >= 0) & ~gt_crowd  # one without area has an IoU of 0 with all anchors
    overlap = ops.where(real[..., None, :], box_ops.iou(anchors, gt_boxes), 0.0)
    best = ops.max(overlap, axis=-1)
    covered = ops.where(
        (gt_crowd & (gt_labels >= 0))[..., None, :], box_ops.coverage(anchors, gt_boxes), 0.0
    )
    ignored = (best >= negative_iou) | (ops.max(covered, axis=-1) >= 0.5)
    matched = ops.where(ignored, IGNORED, BACKGROUND)
    matched = ops.where(best >= positive_iou, ops.argmax(overlap, axis=-1), matched)
    if force:
        claim = ops.where(_wanted(overlap), overlap, 0.0)
        matched = ops.where(ops.max(claim, axis=-1) > 0, ops.argmax(claim, axis=-1), matched)
    return ops.cast(matched, "int32")


def _wanted(overlap: Any) -> Any:
    """(..., a, m) bool: whether the anchor is the first that the box overlaps most with."""
    anchor = ops.arange(overlap.shape[-2])[:, None]
    return anchor == ops.argmax(overlap, axis=-2)[..., None, :]


def targets(
    matched: Any, gt_boxes: Any, gt_labels: Any, anchors: Any, scales: Sequence[float]
) -> tuple[Any, Any]:
    """What each anchor is to predict.

    Args:
        matched: (n, a) int32 of `match`.
        gt_boxes: (n, m, 4).
        gt_labels: (n, m) int32.
        anchors: (a, 4).
        scales: of the codes dy, dx, dh and dw.

    Returns:
        codes (n, a, 4) float32, 0 where nothing is matched; labels (n, a) int32, there -1 for
        background and -2 for ignored.
    """
    matched = ops.convert_to_tensor(matched, "int32")
    found, index = matched >= 0, ops.maximum(matched, 0)
    gt_boxes = ops.convert_to_tensor(gt_boxes, "float32")
    boxes = ops.take_along_axis(gt_boxes, index[..., None], axis=1)
    codes = box_ops.encode(boxes, anchors, scales)
    labels = ops.take_along_axis(ops.convert_to_tensor(gt_labels, "int32"), index, axis=1)
    return ops.where(found[..., None], codes, 0.0), ops.where(found, labels, matched)
