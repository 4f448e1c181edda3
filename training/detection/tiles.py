"""What was found in the tiles of an image, as what is found in the image.

Two rules, class by class, the surest detection first:

1. A box that a border between tiles has cut is one object with the part of it that lies in another
   tile: two boxes of different tiles of which one is cut, and whose intersection is more than half
   of the smaller one, become the smallest box around both, with the higher score. That is SAHI's
   GREEDYNMM at its defaults (metric IOS, threshold 0.5: `GreedyNMMPostprocess` of
   github.com/obss/sahi, arXiv:2202.06934), kept to boxes that are cut: of whole ones a small object
   in front of a large one of its class would be lost. As there, the image itself is one more tile,
   for objects that are larger than any.
2. Then the detector's own suppression goes over all that is left, whatever tile it is of: of two
   boxes whose intersection over union is above its threshold the surer one stays. There is no most
   of detections: an image of a hundred tiles may hold thousands of objects. Where it is soft, the
   scores of boxes of other tiles fall: among boxes of one tile they have fallen already.

Of a detector whose suppression is class-agnostic neither rule goes class by class.

d detections, s cells a side of a mask.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from kerascnn.detection.specs import Suppression
from training.datasets.instance_masks import reframed
from training.detection.metrics import Detections
from training.engine.evaluation import Merge

# SAHI's `postprocess_match_threshold`.
OVERLAP_OF_SMALLER = 0.5
# A box that ends within so much of a tile's side of a border between tiles counts as cut there.
_NEAR = 0.02


def merging(rule: Suppression) -> Merge[Detections]:
    """See this module.

    Args:
        rule: of the detector's own suppression.
    """

    def join(found: Sequence[Detections], windows: np.ndarray, size: Sequence[int]) -> Detections:
        if len(found) == 1:
            return found[0]
        return _suppressed(*_united(_laid(found, windows, size), rule), rule)

    return Merge(join=join, whole=True)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Laid:
    """Detections on the image, the surest first.

    Attributes:
        tiles: (d,) which tile each is of.
        cut: (d,) bool.
    """

    found: Detections
    tiles: np.ndarray
    cut: np.ndarray


def _laid(found: Sequence[Detections], windows: np.ndarray, size: Sequence[int]) -> _Laid:
    """All tiles' detections in shares of the image."""
    whole = np.tile(np.asarray(size, np.float64), 2)
    boxes, cut = [], []
    for one, window in zip(found, windows, strict=True):
        corner, sides = np.tile(window[:2], 2), np.tile(window[2:] - window[:2], 2)
        inner = np.concatenate([window[:2] > 0, window[2:] < whole[:2]])
        edges = np.asarray(one.boxes, np.float64)
        near = np.concatenate([edges[:, :2] <= _NEAR, edges[:, 2:] >= 1 - _NEAR], axis=1)
        cut.append((near & inner).any(axis=1))
        boxes.append((edges * sides + corner) / whole)
    tiles = np.repeat(np.arange(len(found)), [len(one) for one in found])
    masks = [one.masks for one in found if one.masks is not None]
    scores = np.concatenate([one.scores for one in found])
    order = np.argsort(-scores, kind="stable")
    laid = Detections(
        boxes=np.concatenate(boxes).astype(np.float32),
        labels=np.concatenate([one.labels for one in found]),
        scores=scores,
        masks=np.concatenate(masks) if len(masks) == len(found) else None,
    )
    return _Laid(found=laid.take(order), tiles=tiles[order], cut=np.concatenate(cut)[order])


def _united(laid: _Laid, rule: Suppression) -> tuple[Detections, np.ndarray]:
    """The first rule: what is left, and of which tile its surest part is."""
    found, left = laid.found, np.ones(len(laid.found), bool)
    classes = _classes(found, rule)
    boxes = found.boxes.astype(np.float64)
    masks = None if found.masks is None else found.masks.copy()
    for best in range(len(found)):
        if not left[best]:
            continue
        rivals = left & (classes == classes[best]) & (laid.tiles != laid.tiles[best])
        rivals &= laid.cut | laid.cut[best]
        rivals[: best + 1] = False
        places = np.flatnonzero(rivals)
        matched = places[_of_smaller(boxes[best], boxes[places]) > OVERLAP_OF_SMALLER]
        for other in matched:
            # As SAHI: against the box as it has grown until then.
            if _of_smaller(boxes[best], boxes[other : other + 1])[0] <= OVERLAP_OF_SMALLER:
                continue
            around = np.concatenate([
                np.minimum(boxes[best, :2], boxes[other, :2]),
                np.maximum(boxes[best, 2:], boxes[other, 2:]),
            ])  # fmt: skip
            if masks is not None:
                masks[best] = np.maximum(
                    reframed(masks[best], boxes[best], around),
                    reframed(masks[other], boxes[other], around),
                )
            boxes[best], left[other] = around, False
    united = dataclasses.replace(found, boxes=boxes.astype(np.float32), masks=masks)
    return united.take(left), laid.tiles[left]


def _classes(found: Detections, rule: Suppression) -> np.ndarray:
    """(d,) numbers that are equal where detections may suppress one another."""
    return np.zeros_like(found.labels) if rule.class_agnostic else found.labels


def _of_smaller(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(k,) intersection over the smaller area of a box (4,) and of others (k, 4)."""
    shared = _intersection(box, others)
    smaller = np.minimum(_area(box[None]), _area(others))
    return np.divide(shared, smaller, out=np.zeros_like(shared), where=smaller > 0)


def _intersection(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared: np.ndarray = np.maximum(high - low, 0).prod(axis=1)
    return shared


def _area(boxes: np.ndarray) -> np.ndarray:
    area: np.ndarray = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1)
    return area


def _suppressed(found: Detections, tiles: np.ndarray, rule: Suppression) -> Detections:
    """The second rule."""
    if rule.soft_nms_sigma is not None:
        return _softened(found, tiles, rule, rule.soft_nms_sigma)
    boxes, left = found.boxes.astype(np.float64), np.ones(len(found), bool)
    classes = _classes(found, rule)
    for best in range(len(found)):
        if not left[best]:
            continue
        rivals = (
            best + 1 + np.flatnonzero(left[best + 1 :] & (classes[best + 1 :] == classes[best]))
        )
        left[rivals[_iou(boxes[best], boxes[rivals]) > rule.iou_threshold]] = False
    return found.take(left)


def _softened(found: Detections, tiles: np.ndarray, rule: Suppression, sigma: float) -> Detections:
    """The second rule by Soft-NMS (arXiv:1704.04503); the surest first again."""
    boxes, classes = found.boxes.astype(np.float64), _classes(found, rule)
    left, final = found.scores.astype(np.float64), np.zeros(len(found), np.float32)
    order: list[int] = []
    while (left > 0).any():
        best = int(left.argmax())
        order.append(best)
        final[best], left[best] = left[best], 0
        rivals = np.flatnonzero((left > 0) & (classes == classes[best]) & (tiles != tiles[best]))
        left[rivals] *= np.exp(-np.square(_iou(boxes[best], boxes[rivals])) / sigma)
        left[left < np.float32(rule.score_threshold)] = 0
    return dataclasses.replace(found, scores=final).take(np.array(order, np.int64))


def _iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(k,) of a box (4,) with others (k, 4)."""
    shared = _intersection(box, others)
    union = _area(box[None]) + _area(others) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
