"""From a detector file's codes and scores to detections, in NumPy, as an app does it.

Equal to `kerascnn.detection.postprocess.select`, which is the same on any backend of Keras: a file
is run without one.
"""

from __future__ import annotations

import numpy as np

from kerascnn.detection.anchors import SMALLEST_CELLS
from kerascnn.detection.specs import DISTANCES, DetectorSpec
from training.detection.metrics import Detections


def select(spec: DetectorSpec, codes: np.ndarray, scores: np.ndarray) -> list[Detections]:
    """Detections of a batch, the best first, clipped to the picture.

    Args:
        codes: (n, a, 4) against the anchors of `spec`.
        scores: (n, a, c) in 0..1, without a background.
    """
    anchors = spec.anchors.boxes()
    return [_of_image(spec, anchors, *one) for one in zip(codes, scores, strict=True)]


def _of_image(
    spec: DetectorSpec, anchors: np.ndarray, codes: np.ndarray, scores: np.ndarray
) -> Detections:
    """Of codes (a, 4) and scores (a, c); equal scores go by label, then by anchor."""
    best, labels, anchor = _candidates(spec, np.asarray(scores, np.float32))
    chosen = deltas_of(codes[anchor]) if spec.coding == DISTANCES else codes[anchor]
    boxes = decode(chosen, anchors[anchor], spec.box_scales)
    rule = spec.rule
    classes = np.zeros_like(labels) if rule.class_agnostic else labels
    if rule.soft_nms_sigma is None:
        kept = suppress(
            *(boxes, classes),
            iou_threshold=rule.iou_threshold,
            max_detections=spec.max_detections,
        )
        best = best[kept]
    else:
        kept, best = suppress_softly(
            *(boxes, best, classes),
            sigma=rule.soft_nms_sigma,
            score_threshold=rule.score_threshold,
            max_detections=spec.max_detections,
        )
    return Detections(
        boxes=boxes[kept].clip(0, 1), labels=labels[kept].astype(np.int32), scores=best
    )


def _candidates(
    spec: DetectorSpec, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, labels and anchors (k,) of what suppression looks at, the best first."""
    own = scores.argmax(axis=1)  # the best class of an anchor, where classes are not told apart
    pairs = scores.max(axis=1) if spec.class_agnostic else scores.T.ravel()
    (likely,) = np.nonzero(pairs >= np.float32(spec.score_threshold))
    order = np.argsort(-pairs[likely], kind="stable")[: spec.candidates]
    best = likely[order]
    labels, anchor = (own[best], best) if spec.class_agnostic else np.divmod(best, len(scores))
    return pairs[best], labels, anchor


def deltas_of(distances: np.ndarray) -> np.ndarray:
    """(k, 4) codes of distances (k, 4): see `kerascnn.detection.boxes.deltas_of`."""
    before, behind = np.split(np.asarray(distances, np.float32), 2, axis=-1)
    sizes = np.log(np.maximum(before + behind, np.float32(SMALLEST_CELLS)))
    return np.concatenate([np.float32(0.5) * (behind - before), sizes], axis=-1)


def decode(codes: np.ndarray, anchors: np.ndarray, scales: tuple[float, ...]) -> np.ndarray:
    """(k, 4) float32 boxes of codes (k, 4): see `kerascnn.detection.boxes.decode`."""
    codes = np.asarray(codes, np.float32) / np.asarray(scales, np.float32)
    middle = (anchors[:, :2] + anchors[:, 2:]) / 2
    sides = anchors[:, 2:] - anchors[:, :2]
    centres = codes[:, :2] * sides + middle
    with np.errstate(over="ignore", invalid="ignore"):  # a broken file's boxes are infinite
        halves = np.float32(0.5) * np.exp(codes[:, 2:]) * sides
        boxes: np.ndarray = np.concatenate([centres - halves, centres + halves], axis=1)
    return boxes


def suppress(
    boxes: np.ndarray, labels: np.ndarray, *, iou_threshold: float, max_detections: int
) -> np.ndarray:
    """Keep the first box, drop those of its class that overlap with it, and so on.

    Args:
        boxes: (k, 4), the best first.
        labels: (k,).
        iou_threshold: a box is dropped if its IoU with a kept one of its class is above.

    Returns:
        (d,) places of the kept ones, d at most `max_detections`.
    """
    left = np.ones(len(boxes), bool)
    with np.errstate(over="ignore", invalid="ignore"):
        areas = _areas(boxes)
        kept: list[int] = []
        while len(kept) < max_detections and left.any():
            best = int(left.argmax())
            kept.append(best)
            left[best] = False
            rivals = np.flatnonzero(left & (labels == labels[best]))
            iou = _overlaps(boxes, areas, best, rivals)
            left[rivals[iou > iou_threshold]] = False
    return np.asarray(kept, np.int64)


def suppress_softly(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    *,
    sigma: float,
    score_threshold: float,
    max_detections: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Soft-NMS (arXiv:1704.04503): see `kerascnn.detection.nms.soft_nms`.

    Args:
        boxes: (k, 4).
        scores: (k,) float32 above 0.
        labels: (k,).

    Returns:
        (d,) places of the detections, the best first, and the scores (d,) that are left of theirs.
    """
    left, least = np.array(scores, np.float32), np.float32(score_threshold)
    kept: list[int] = []
    final: list[np.float32] = []
    with np.errstate(over="ignore", invalid="ignore"):
        areas = _areas(boxes)
        while len(kept) < max_detections and (left > 0).any():
            best = int(left.argmax())
            kept.append(best)
            final.append(left[best])
            left[best] = 0
            rivals = np.flatnonzero((left > 0) & (labels == labels[best]))
            iou = _overlaps(boxes, areas, best, rivals)
            rivals, iou = rivals[iou > 0], iou[iou > 0]
            left[rivals] *= np.exp(-np.square(iou) / np.float32(sigma))
            left[left < least] = 0
    return np.asarray(kept, np.int64), np.asarray(final, np.float32)


def _areas(boxes: np.ndarray) -> np.ndarray:
    areas: np.ndarray = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    return areas


def _overlaps(boxes: np.ndarray, areas: np.ndarray, one: int, rivals: np.ndarray) -> np.ndarray:
    """(r,) IoU of a box with others, by their places."""
    low = np.maximum(boxes[rivals, :2], boxes[one, :2])
    high = np.minimum(boxes[rivals, 2:], boxes[one, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    union = areas[rivals] + areas[one] - shared
    # As in `kerascnn.detection.boxes.iou`: nothing over nothing is no overlap.
    return np.divide(shared, union, out=np.zeros_like(shared), where=union != 0)
