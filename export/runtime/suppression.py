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
    return [_of_picture(spec, anchors, *one) for one in zip(codes, scores, strict=True)]


def _of_picture(
    spec: DetectorSpec, anchors: np.ndarray, codes: np.ndarray, scores: np.ndarray
) -> Detections:
    """Of codes (a, 4) and scores (a, c); equal scores go by label, then by anchor."""
    pairs = np.asarray(scores, np.float32).T.ravel()
    (likely,) = np.nonzero(pairs >= np.float32(spec.score_threshold))
    order = np.argsort(-pairs[likely], kind="stable")[: spec.candidates]
    best = likely[order]
    labels, anchor = np.divmod(best, len(codes))
    chosen = deltas_of(codes[anchor]) if spec.coding == DISTANCES else codes[anchor]
    boxes = decode(chosen, anchors[anchor], spec.box_scales)
    kept = suppress(
        *(boxes, labels),
        iou_threshold=spec.iou_threshold,
        max_detections=spec.max_detections,
    )
    return Detections(
        boxes=boxes[kept].clip(0, 1),
        labels=labels[kept].astype(np.int32),
        scores=pairs[best[kept]],
    )


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
        areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
        kept: list[int] = []
        while len(kept) < max_detections and left.any():
            best = int(left.argmax())
            kept.append(best)
            left[best] = False
            rivals = np.flatnonzero(left & (labels == labels[best]))
            low = np.maximum(boxes[rivals, :2], boxes[best, :2])
            high = np.minimum(boxes[rivals, 2:], boxes[best, 2:])
            shared = np.prod(np.maximum(high - low, 0), axis=1)
            union = areas[rivals] + areas[best] - shared
            # As in `kerascnn.detection.boxes.iou`: nothing over nothing is no overlap.
            iou = np.divide(shared, union, out=np.zeros_like(shared), where=union != 0)
            left[rivals[iou > iou_threshold]] = False
    return np.asarray(kept, np.int64)
