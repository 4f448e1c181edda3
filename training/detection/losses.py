"""What detectors learn by: SSD's multibox loss and the focal loss, on any backend.

Shapes: n images, a anchors, m ground-truth boxes (padded), c classes.

Both losses are two numbers, one for the boxes and one for the classes, divided by the number of
matched anchors of the batch, so that an image weighs by the objects in it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from kerascnn.detection import matching
from kerascnn.detection.specs import DetectorSpec

_NEGATIVES = 3  # a matched anchor (arXiv:1512.02325, section 2.2)
_ALPHA, _GAMMA = 0.25, 1.5  # arXiv:1911.09070, section 5.1
_HUBER_DELTA, _BOX_WEIGHT = 0.1, 50.0  # github.com/google/automl, efficientdet/hparams_config.py


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DetectionLoss:
    """The loss that a detector's spec names.

    Attributes:
        spec: anchors, coding and thresholds; its `loss` is "multibox" or "focal".
        total: sums over the whole batch, see `training.engine.devices.Placement`.
    """

    spec: DetectorSpec
    total: Callable[[Any], Any] = ops.sum

    @functools.cached_property
    def _anchors(self) -> np.ndarray:
        return self.spec.anchors.boxes()

    def targets(self, gt_boxes: Any, gt_labels: Any, gt_crowd: Any) -> tuple[Any, Any]:
        """What each anchor should answer.

        Args:
            gt_boxes: (n, m, 4) float32 shares, padded.
            gt_labels: (n, m) int32, -1 where padded.
            gt_crowd: (n, m) bool.

        Returns:
            (n, a, 4) float32 coded boxes, zeros where nothing is matched, and (n, a) int32 labels,
            -1 for background and -2 for anchors that do not count.
        """
        spec, anchors = self.spec, ops.convert_to_tensor(self._anchors)
        matched = matching.match(
            anchors,
            gt_boxes,
            gt_labels,
            gt_crowd,
            positive_iou=spec.positive_iou,
            negative_iou=spec.negative_iou,
        )
        return matching.targets(matched, gt_boxes, gt_labels, anchors, spec.box_scales)

    def both(self, truth: tuple[Any, Any, Any], codes: Any, logits: Any) -> tuple[Any, Any]:
        """The loss of the boxes and that of the classes, two numbers.

        Args:
            truth: what `targets` takes.
            codes, logits: of the network.
        """
        wanted, labels = self.targets(*truth)
        return self.of_boxes(wanted, labels, codes), self.of_classes(labels, logits)

    def of_boxes(self, wanted: Any, labels: Any, codes: Any, counted: Any = None) -> Any:
        """The loss of the boxes; a number.

        Args:
            wanted, labels: from `targets`.
            codes: (n, a, 4) of the network.
            counted: (n, a) float32, 0 for matched anchors whose boxes add nothing; None: all do.
        """
        total = self.total
        error = ops.abs(ops.cast(codes, "float32") - wanted)
        matched = ops.cast(labels >= 0, "float32")
        adding = matched if counted is None else matched * counted
        if self.spec.loss == "multibox":  # smooth L1
            each = ops.where(error < 1.0, 0.5 * error * error, error - 0.5)
            return total(each * adding[..., None]) / ops.maximum(total(matched), 1.0)
        delta = _HUBER_DELTA
        each = ops.where(error <= delta, 0.5 * error * error, delta * (error - 0.5 * delta))
        # The reference divides by the coordinates, 4 an anchor, and has 1 more anchor.
        return _BOX_WEIGHT * total(each * adding[..., None]) / (4.0 * (total(matched) + 1.0))

    def of_classes(self, labels: Any, logits: Any) -> Any:
        """The loss of the classes; a number.

        Args:
            labels: from `targets`.
            logits: (n, a, c + 1) or (n, a, c) of the network, as the spec has a background or not.
        """
        logits = ops.cast(logits, "float32")
        if self.spec.loss == "multibox":
            return _multibox(labels, logits, self.total)
        return _focal(labels, logits, self.total, background=self.spec.background)


def _multibox(labels: Any, logits: Any, total: Callable[[Any], Any]) -> Any:
    """Cross-entropy of matched anchors and of the hardest others, three for each matched one.

    An image without objects gives its three hardest anchors.
    """
    entropy = _softmax_entropy(labels, logits)
    matched = labels >= 0
    counts = ops.sum(ops.cast(matched, "int32"), axis=-1, keepdims=True)
    hardness = ops.where(labels == -1, entropy, -1.0)  # an entropy is never negative
    order = ops.argsort(-ops.stop_gradient(hardness), axis=-1)
    rank = ops.argsort(order, axis=-1)
    hard = (labels == -1) & (rank < _NEGATIVES * ops.maximum(counts, 1))
    chosen = ops.cast(matched | hard, "float32")
    return total(entropy * chosen) / ops.maximum(total(ops.cast(matched, "float32")), 1.0)


def _focal(labels: Any, logits: Any, total: Callable[[Any], Any], *, background: bool) -> Any:
    """Cross-entropy in which anchors that are answered well weigh little (arXiv:1708.02002).

    Args:
        background: whether the entropy is a softmax's with the background first, over all anchors;
            else that of a sigmoid a class.
    """
    matched = ops.cast(labels >= 0, "float32")
    counted = ops.cast(labels != -2, "float32")
    if background:
        entropy = _softmax_entropy(labels, logits)
        wrong = 1.0 - ops.exp(-entropy)
        weight = _weight(matched)
    else:
        wanted = ops.one_hot(ops.maximum(labels, 0), logits.shape[-1]) * matched[..., None]
        sure = ops.sigmoid(logits)
        entropy = ops.maximum(logits, 0.0) - logits * wanted + ops.log1p(ops.exp(-ops.abs(logits)))
        wrong = wanted * (1.0 - sure) + (1.0 - wanted) * sure
        weight, counted = _weight(wanted), counted[..., None]
    # The floor keeps the root's gradient finite where an answer is wholly right.
    each = weight * ops.power(ops.maximum(wrong, 1e-9), _GAMMA) * entropy * counted
    return total(each) / (total(matched) + 1.0)


def _weight(wanted: Any) -> Any:
    """The weight of an answer that is to be yes (1) or no (0)."""
    return wanted * _ALPHA + (1.0 - wanted) * (1.0 - _ALPHA)


def _softmax_entropy(labels: Any, logits: Any) -> Any:
    """(n, a) cross-entropy of labels, -1 the background, which has the first logit."""
    wanted = ops.expand_dims(ops.maximum(labels, -1) + 1, -1)
    return -ops.take_along_axis(ops.log_softmax(logits, axis=-1), wanted, axis=-1)[..., 0]
