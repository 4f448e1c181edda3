"""How far two sets of detections are the same: of a file and of the network that it was made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from export.runtime.verify import ByClass
from kerascnn.detection.specs import DetectorSpec, TwoStageSpec
from training.datasets.instance_masks import windows
from training.detection.metrics import SHOWN_SCORE, Detections

# What a float file may differ by from its network: pixels of the input, and of a score; and how far
# its masks are to overlap with the network's.
PIXELS, SCORE, MASK_IOU = 1.0, 0.01, 0.99
# A box beside another one may be suppressed by the last bit of an overlap.
LEAST_EXACT = 99.5
# Quantised files find what Keras is sure of, and Keras what they are sure of, or something broke.
SURE, SAME_IOU, LEAST_FOUND = 0.3, 0.5, 90.0
# Pixels that masks are compared on where their boxes differ.
_CANVAS = (128, 128)


def agreement(
    found: Sequence[Detections],
    wanted: Sequence[Detections],
    sides: tuple[int, int],
    spec: DetectorSpec | TwoStageSpec,
) -> tuple[float, float]:
    """How far two sets of detections are the same.

    Detections whose score is as near to the lowest that counts as two may differ are left out: they
    may be in one set and not in the other.

    Args:
        found, wanted: of the same pictures.
        sides: (height, width) of the network's input.

    Returns:
        Percent of the detections of both that have one of the same class in the other, with edges
        to `PIXELS`, a score to `SCORE` and, if there are masks, a mask to `MASK_IOU`; and the
        largest difference of scores among these.
    """
    same = total = 0
    furthest = 0.0
    for one, other in zip(found, wanted, strict=True):
        full = max(len(one), len(other)) >= spec.max_detections
        lowest = min([*one.scores, *other.scores]) if full else spec.score_threshold
        pairs = _same(one, other, np.tile(sides, 2))
        gaps = np.abs(one.scores[:, None] - other.scores[None])
        if pairs.any():
            furthest = max(furthest, float(gaps[pairs].max()))
        for scores, has in ((one.scores, pairs.any(axis=1)), (other.scores, pairs.any(axis=0))):
            counts = np.asarray(scores > lowest + SCORE)
            same += int(np.asarray(has)[counts].sum())
            total += int(counts.sum())
    return (100 * same / total if total else 100.0), furthest


def _same(one: Detections, other: Detections, sides: np.ndarray) -> np.ndarray:
    """(d, e) bool."""
    edges = np.abs((one.boxes[:, None] - other.boxes[None]) * sides).max(axis=-1, initial=0.0)
    scores = np.abs(one.scores[:, None] - other.scores[None])
    labels = one.labels[:, None] == other.labels[None]
    pairs: np.ndarray = (edges <= PIXELS) & (scores <= SCORE) & labels
    if one.masks is not None and other.masks is not None:
        for i, j in np.argwhere(pairs):
            pairs[i, j] = soft_iou(one.masks[i], other.masks[j]) >= MASK_IOU
    return pairs


def soft_iou(mask: np.ndarray, other: np.ndarray) -> float:
    """Overlap of two masks of probabilities in one frame; of 0 and 1 alone it is the IoU.

    There is no threshold, as cells near a half would pass it by chance. 1 where both are empty, 0
    where anything is no number.
    """
    mask, other = np.asarray(mask, np.float64), np.asarray(other, np.float64)
    either = np.maximum(mask, other).sum()
    if not np.isfinite(either):
        return 0.0
    return float(np.minimum(mask, other).sum() / either) if either > 0 else 1.0


def sure_found(found: Sequence[Detections], wanted: Sequence[Detections], classes: int) -> ByClass:
    """How many of the sure ones of `wanted` are in `found`, of the class and at IoU 0.5.

    One of `found` stands for one of `wanted` alone. The IoU is of masks where there are any. Half
    of the score is enough: what is sure may fall a little.
    """
    labels, hits = [np.empty(0, np.int64)], [np.empty(0, bool)]
    for one, other in zip(found, wanted, strict=True):
        kept, sure = one.take(one.scores >= SURE / 2), other.take(other.scores >= SURE)
        same = sure.labels[:, None] == kept.labels[None]
        pairs = (overlaps(sure, kept, same) >= SAME_IOU) & same
        partner = maximum_bipartite_matching(csr_array(pairs), perm_type="column")
        labels.append(sure.labels)
        hits.append(partner >= 0)
    return ByClass.of(np.concatenate(labels), np.concatenate(hits), classes)


def overlaps(some: Detections, others: Detections, asked: np.ndarray) -> np.ndarray:
    """(d, e) IoU of masks, or of boxes without them.

    Args:
        asked: (d, e) bool, which masks are compared; the rest is 0.
    """
    if some.masks is None or others.masks is None:
        return np_iou(some.boxes, others.boxes)
    overlaps = np.zeros(asked.shape)
    pasted = [
        list(windows(each.masks, each.boxes, _CANVAS)) if each.masks is not None else []
        for each in (some, others)
    ]
    for i, j in np.argwhere(asked):
        overlaps[i, j] = pasted[0][i].iou(pasted[1][j])
    return overlaps


def errors(
    found: Detections, boxes: np.ndarray, labels: np.ndarray, crowd: np.ndarray
) -> tuple[int, int]:
    """Objects missed and detections wrong among those from `SHOWN_SCORE` on, at IoU 0.5 of boxes.

    The best detection takes the object that it overlaps most with; what lies on a crowd is not
    counted.
    """
    sure = found.scores >= SHOWN_SCORE
    overlap = np_iou(found.boxes[sure], boxes)
    right = (found.labels[sure][:, None] == labels[None]) & (overlap >= SAME_IOU)
    free: np.ndarray = ~np.asarray(crowd)
    wrong = 0
    for row, fits in enumerate(right):
        if (fits & free).any():
            free[int(np.argmax(np.where(fits & free, overlap[row], -1.0)))] = False
        elif not (overlap[row, crowd] >= SAME_IOU).any():
            wrong += 1
    return int(free.sum()), wrong


def np_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n, 4) and (m, 4) to (n, m), in NumPy; 0 for boxes without area."""
    top_left = np.maximum(boxes[:, None, :2], others[None, :, :2])
    bottom_right = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(bottom_right - top_left, 0, None).prod(axis=-1)
    areas = [np.clip(b[:, 2:] - b[:, :2], 0, None).prod(axis=-1) for b in (boxes, others)]
    union = areas[0][:, None] + areas[1][None] - shared
    result: np.ndarray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return result
