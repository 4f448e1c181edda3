"""Which objects a one-stage detector can learn, by its anchors or points and their maps.

Letters in shapes: k objects.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerascnn.detection.specs import QUALITY_FOCAL, DetectorSpec
from training.engine.inspection import LevelObjects, Reach


def of(
    spec: DetectorSpec, boxes: np.ndarray, size: Sequence[int], *, fitting: bool = False
) -> Reach:
    """How a detector's anchors or points lie to objects.

    An anchor is an object's where they overlap enough. A point is where it lies within the
    object's box: an object without one is nobody's, and is not learnt.

    Args:
        boxes: (k, 4) shares of the network's input.
        size: (height, width) of that in pixels.
        fitting: whether anchors may still be fitted to data.
    """
    boxes = np.asarray(boxes, np.float64)
    points = spec.loss == QUALITY_FOCAL
    if points:
        held = spec.anchors.points_within(boxes) > 0
        unreached = int((~held.any(axis=1)).sum())
    else:
        overlaps = spec.anchors.reach_by_level(boxes)
        unreached = int((overlaps.max(axis=1) < spec.positive_iou).sum())
        best = overlaps.argmax(axis=1)[:, None] == np.arange(len(spec.anchors.levels))
        held = best & (overlaps > 0)
    sides = np.sqrt(((boxes[:, 2:] - boxes[:, :2]) * size).prod(axis=1))
    levels = []
    for number, level in enumerate(spec.anchors.levels):
        own = sides[held[:, number]]
        levels.append(
            LevelObjects(
                cell=(size[0] / level.rows, size[1] / level.columns),
                objects=len(own),
                smallest=float(own.min()) if len(own) else 0.0,
                largest=float(own.max()) if len(own) else 0.0,
            )
        )
    return Reach(
        unreached=unreached,
        iou=None if points else spec.positive_iou,
        fitting=fitting and not points,
        levels=tuple(levels),
    )
