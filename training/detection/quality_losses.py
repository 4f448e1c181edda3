"""What detectors without anchors learn by: the quality focal loss and the generalised IoU.

Which point is to find which object depends on what the network says
(`training.detection.assignment`), so that targets are made of the outputs in every step. Both
losses are divided by what the overlaps of all assigned boxes of the batch add up to.

Shapes: n images, a points, m ground-truth boxes (padded), c classes.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from kerascnn.detection import boxes as box_ops
from kerascnn.detection.specs import DISTANCES, DetectorSpec
from training.detection.assignment import assign

_BETA = 2.0  # arXiv:2006.04388, section 3.2
_BOX_WEIGHT = 2.0  # mmdetection, configs/rtmdet/rtmdet_l_8xb32-300e_coco.py
_SMALLEST = 1e-9  # areas as shares of the image; of a pixel of 1,000 by 1,000 they are 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Assigned:
    """What the points of a batch should answer.

    Attributes:
        boxes: (n, a, 4) float32 of the objects, zeros where there is none.
        labels: (n, a) int32, -1 for background and -2 for points that do not count.
        quality: (n, a) float32 overlap of the predicted boxes with these, 0 where there is none.
    """

    boxes: Any
    labels: Any
    quality: Any


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class QualityLoss:
    """The losses of a detector whose spec has "quality_focal".

    Attributes:
        spec: points, and how boxes are coded.
        total: sums over the whole batch, see `training.engine.devices.Placement`.
    """

    spec: DetectorSpec
    total: Callable[[Any], Any] = ops.sum

    @functools.cached_property
    def _anchors(self) -> np.ndarray:
        return self.spec.anchors.boxes()

    @functools.cached_property
    def _points(self) -> tuple[np.ndarray, np.ndarray]:
        """Centres and sides of the cells, each (a, 2)."""
        low, high = self._anchors[:, :2], self._anchors[:, 2:]
        return (low + high) / 2, high - low

    def both(self, truth: tuple[Any, Any, Any], codes: Any, logits: Any) -> tuple[Any, Any]:
        """The loss of the boxes and that of the classes, two numbers.

        Args:
            truth: (n, m, 4) float32 shares, (n, m) int32 labels, -1 where padded, and (n, m) bool,
                which are crowds.
            codes: (n, a, 4) of the network.
            logits: (n, a, c) of the network.
        """
        wanted = self.targets(truth, codes, logits)
        return self.of_boxes(wanted, codes), self.of_classes(wanted, logits)

    def targets(self, truth: tuple[Any, Any, Any], codes: Any, logits: Any) -> Assigned:
        """What each point should answer, by what the network says; arguments as of `both`."""
        gt_boxes, gt_labels, _ = truth
        index, quality = assign(*self._points, self.boxes(codes), logits, *truth)
        found, place = index >= 0, ops.maximum(index, 0)
        gt_boxes = ops.convert_to_tensor(gt_boxes, "float32")
        boxes = ops.take_along_axis(gt_boxes, place[..., None], axis=1)
        labels = ops.take_along_axis(ops.convert_to_tensor(gt_labels, "int32"), place, axis=1)
        return Assigned(
            boxes=ops.where(found[..., None], boxes, 0.0),
            labels=ops.where(found, labels, index),
            quality=quality,
        )

    def boxes(self, codes: Any) -> Any:
        """(n, a, 4) boxes of codes (n, a, 4), as shares of the image.

        Distances may be negative, and boxes turned inside out: where the smallest side is all that
        is left (`kerascnn.detection.boxes.deltas_of`), there would be no slope back.
        """
        codes = ops.cast(codes, "float32")
        if self.spec.coding != DISTANCES:
            return box_ops.decode(codes, self._anchors, self.spec.box_scales)
        points, cells = self._points
        before, behind = ops.split(codes, 2, axis=-1)
        return ops.concatenate([points - before * cells, points + behind * cells], axis=-1)

    def of_boxes(self, wanted: Assigned, codes: Any, counted: Any = None) -> Any:
        """The loss of the boxes; a number.

        Args:
            counted: (n, a) float32, 0 for points whose boxes add nothing; None: all do.
        """
        weight = wanted.quality if counted is None else wanted.quality * counted
        each = self.apart(wanted, codes) * weight
        return _BOX_WEIGHT * self.total(each) / self._most(wanted)

    def apart(self, wanted: Assigned, codes: Any) -> Any:
        """(n, a): 1 - GIoU of the box of each point and its object's."""
        return 1.0 - giou(self.boxes(codes), wanted.boxes)

    def of_classes(self, wanted: Assigned, logits: Any) -> Any:
        """The quality focal loss; a number.

        The score of a point's class is to be the overlap of its box, and others 0. Scores that are
        right already weigh little.

        Source: Li et al., "Generalized Focal Loss", arXiv:2006.04388, equation 5.
        """
        logits = ops.cast(logits, "float32")
        own = ops.one_hot(ops.maximum(wanted.labels, 0), logits.shape[-1])
        score = own * wanted.quality[..., None]  # 0 where nothing is assigned
        entropy = ops.maximum(logits, 0.0) - logits * score + ops.log1p(ops.exp(-ops.abs(logits)))
        counted = ops.cast(wanted.labels != -2, "float32")[..., None]
        each = entropy * ops.power(ops.abs(score - ops.sigmoid(logits)), _BETA) * counted
        return self.total(each) / self._most(wanted)

    def _most(self, wanted: Assigned) -> Any:
        return ops.maximum(self.total(wanted.quality), 1.0)


def giou(boxes: Any, others: Any) -> Any:
    """Generalised IoU of pairs of boxes (..., 4): (...) from -1 to 1.

    A box that is turned inside out has an area below 0 or, by both sides, above it, so that there
    is a slope to the right side.

    Source: Rezatofighi et al., arXiv:1902.09630, algorithm 1.
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    other_low, other_high = others[..., :2], others[..., 2:]
    shared = _product(ops.relu(ops.minimum(high, other_high) - ops.maximum(low, other_low)))
    union = _product(high - low) + _product(other_high - other_low) - shared
    around = _product(ops.relu(ops.maximum(high, other_high) - ops.minimum(low, other_low)))
    union, around = ops.maximum(union, _SMALLEST), ops.maximum(around, _SMALLEST)
    return shared / union - (around - union) / around


def _product(sides: Any) -> Any:
    return sides[..., 0] * sides[..., 1]
