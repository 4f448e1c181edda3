"""What two-stage detectors learn by: sampled anchors, sampled regions and masks, on any backend.

Letters beside those of `kerascnn.detection`: s anchors or regions that are sampled of an image,
p those of them that may be positive (the first of the s), r regions of an image before sampling.

Shapes are static: what there are too few of is filled up with slots that do not count. What is
random comes with the batch, one number per anchor and one per region.

Source: Faster R-CNN (arXiv:1506.01497), section 3.1.2 and 3.1.3, for anchors; Fast R-CNN
(arXiv:1504.08083), section 2.3, for regions; Mask R-CNN (arXiv:1703.06870), section 3, for masks.
The forms of the losses are those of torchvision (models/detection/rpn.py and roi_heads.py). Three
things differ from it:
    - anchors whose overlap with an object is its best to a hundred thousandth share it, since
      coordinates are shares here; torchvision's, whole pixels, tie exactly;
    - what lies in a crowd is ignored, not background, and an object that no anchor overlaps makes
      no anchor positive;
    - targets of masks are sampled twice a cell along each side with pixels' centres at halves, as
      Detectron2 aligns them; torchvision's lie half a pixel up and to the left of the object.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from kerascnn.detection import boxes as box_ops
from kerascnn.detection import matching
from kerascnn.detection.two_stage import RPN_SCALES, TwoStageSpec
from training.datasets import mask_bits

_BETA = 1.0 / 9.0  # where smooth L1 turns from a square into a line
_TIE = 1e-5
_TAPS = 2  # samples a cell of a mask, along each side
# Regions in training for each one in inference: 2,000 for 1,000 (arXiv:1612.03144, section 5.2).
_REGIONS = 2


class Truth(NamedTuple):
    """What a batch says of its objects.

    Attributes:
        boxes: (n, m, 4) float32 shares, padded.
        labels: (n, m) int32, -1 where padded.
        crowd: (n, m) bool.
    """

    boxes: Any
    labels: Any
    crowd: Any


class Sample(NamedTuple):
    """What is looked at of an image's anchors or regions, the positive ones first.

    Attributes:
        index: (n, s) int32 position.
        positive: (n, s) float32, 1 where an object is to be found; only among the first p.
        counted: (n, s) float32, 1 where there is anything to be learnt, background too.
    """

    index: Any
    positive: Any
    counted: Any


class Regions(NamedTuple):
    """Sampled regions of a batch, and what is to be found in them.

    Attributes:
        boxes: (n, s, 4) float32; the whole image where nothing counts.
        matched: (n, s) int32 index of the object, 0 where there is none.
        labels: (n, s) int32, -1 for background.
        positive, counted: as of `Sample`.
    """

    boxes: Any
    matched: Any
    labels: Any
    positive: Any
    counted: Any


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RCNNLoss:
    """The losses of both stages.

    Attributes:
        spec: anchors, thresholds and how many are sampled.
        total: sums over the whole batch, see `training.engine.devices.Placement`.
    """

    spec: TwoStageSpec
    total: Callable[[Any], Any] = ops.sum

    @functools.cached_property
    def proposing(self) -> TwoStageSpec:
        """The spec that proposes regions to learn from: as many again as in inference."""
        spec = self.spec
        return dataclasses.replace(
            spec,
            candidates_a_level=_REGIONS * spec.candidates_a_level,
            proposals=_REGIONS * spec.proposals,
        )

    @property
    def positives(self) -> int:
        """p of the regions of an image: those that masks are made for."""
        return _positives(self.spec.samples, self.spec.positive_share)

    @functools.cached_property
    def _anchors(self) -> np.ndarray:
        return self.spec.anchors.boxes()

    def random_numbers(self, most_objects: int) -> int:
        """How many random numbers an image needs, with m = `most_objects`."""
        return self.spec.anchors.count + self.proposing.proposals + most_objects

    def of_anchors(self, truth: Truth, codes: Any, logits: Any, randomness: Any) -> tuple[Any, Any]:
        """The losses of the first stage.

        Args:
            codes: (n, a, 4) of the network.
            logits: (n, a) of an object.
            randomness: (n, `random_numbers`) in [0, 1).

        Returns:
            Of objects: binary cross-entropy, the mean over sampled anchors. Of boxes: smooth L1 of
            positive ones, summed, over the number of all sampled.
        """
        spec, anchors = self.spec, ops.convert_to_tensor(self._anchors)
        matched = match_anchors(
            anchors, truth, positive_iou=spec.rpn_positive_iou, negative_iou=spec.rpn_negative_iou
        )
        taken = sample(
            matched, randomness[:, : spec.anchors.count], spec.rpn_samples, spec.rpn_positive_share
        )
        wanted, _labels = matching.targets(matched, truth.boxes, truth.labels, anchors, RPN_SCALES)
        wanted = _rows(wanted, taken.index)
        codes = _rows(ops.cast(codes, "float32"), taken.index)
        logits = ops.take_along_axis(ops.cast(logits, "float32"), taken.index, axis=1)
        count = ops.maximum(self.total(taken.counted), 1.0)
        entropy = _binary_entropy(taken.positive, logits) * taken.counted
        errors = _smooth_l1(codes - wanted) * taken.positive[..., None]
        return self.total(entropy) / count, self.total(errors) / count

    def regions(self, truth: Truth, proposals: Any, valid: Any, randomness: Any) -> Regions:
        """Regions for the second stage: of the proposals and of the objects' own boxes.

        Args:
            proposals: (n, r, 4).
            valid: (n, r) bool; others are none.
            randomness: (n, `random_numbers`) in [0, 1).
        """
        spec = self.spec
        real = (truth.labels >= 0) & ~truth.crowd & (box_ops.area(truth.boxes) > 0)
        boxes = ops.concatenate([ops.cast(proposals, "float32"), truth.boxes], axis=1)
        there = ops.concatenate([valid, real], axis=1)
        matched = _match_regions(boxes, truth, spec.positive_iou)
        matched = ops.where(there, matched, matching.IGNORED)
        taken = sample(
            matched, randomness[:, spec.anchors.count :], spec.samples, spec.positive_share
        )
        matched = ops.maximum(ops.take_along_axis(matched, taken.index, axis=1), 0)
        labels = ops.take_along_axis(truth.labels, matched, axis=1)
        whole = ops.convert_to_tensor(np.array([0, 0, 1, 1], np.float32))
        return Regions(
            # A slot that does not count may be a box without area, which nothing is coded against.
            boxes=ops.stop_gradient(
                ops.where(taken.counted[..., None] > 0, _rows(boxes, taken.index), whole)
            ),
            matched=matched,
            labels=ops.where(taken.positive > 0, labels, matching.BACKGROUND),
            positive=taken.positive,
            counted=taken.counted,
        )

    def of_regions(
        self, truth: Truth, regions: Regions, logits: Any, codes: Any
    ) -> tuple[Any, Any]:
        """The losses of the second stage.

        Args:
            logits: (n, s, c + 1) of the network, the background first.
            codes: (n, s, c + 1, 4) of the network.

        Returns:
            Of classes: cross-entropy, the mean over sampled regions. Of boxes: smooth L1 of the
            object's class in positive ones, summed, over the number of all sampled.
        """
        logits, codes = ops.cast(logits, "float32"), ops.cast(codes, "float32")
        count = ops.maximum(self.total(regions.counted), 1.0)
        chosen = ops.one_hot(regions.labels + 1, logits.shape[-1])
        entropy = -ops.sum(chosen * ops.log_softmax(logits, axis=-1), axis=-1) * regions.counted
        boxes = _rows(truth.boxes, regions.matched)
        wanted = box_ops.encode(boxes, regions.boxes, self.spec.box_scales)
        errors = _smooth_l1(ops.sum(codes * chosen[..., None], axis=-2) - wanted)
        errors = ops.where(regions.positive[..., None] > 0, errors, 0.0)
        return self.total(entropy) / count, self.total(errors) / count

    def of_masks(self, regions: Regions, logits: Any, gt_masks: Any, width: int) -> Any:
        """The loss of masks: binary cross-entropy of the object's class, the mean over positives.

        Args:
            regions: the first p of the sampled ones.
            logits: (n, p, side, side, c + 1) of the network, the background first.
            gt_masks: (n, m, h, b) uint8, bits of the objects' pixels
                (`training.datasets.mask_bits`).
            width: w of the images, in pixels.
        """
        logits = ops.cast(logits, "float32")
        side = logits.shape[2]
        chosen = ops.one_hot(regions.labels + 1, logits.shape[-1])
        own = ops.sum(logits * chosen[:, :, None, None], axis=-1)
        wanted = mask_targets(gt_masks, regions.boxes, regions.matched, side, width)
        each = ops.mean(_binary_entropy(wanted, own), axis=(2, 3)) * regions.positive
        return self.total(each) / ops.maximum(self.total(regions.positive), 1.0)


def match_anchors(anchors: Any, truth: Truth, *, positive_iou: float, negative_iou: float) -> Any:
    """Give each anchor the object that it is to find, or none.

    As `matching.match` has it, but for forced matches: all anchors that overlap with some object as
    no anchor overlaps more with it are positive, and each has the object that itself overlaps with
    most. A small object lies in many equal anchors, which the first alone would leave background.

    Args:
        anchors: (a, 4).
        positive_iou, negative_iou: as of `matching.match`.

    Returns:
        (n, a) int32: index of the object, -1 for background, -2 for ignored.
    """
    matched = matching.match(
        anchors, *truth, positive_iou=positive_iou, negative_iou=negative_iou, force=False
    )

    def forced(one: tuple[Any, Any]) -> Any:
        boxes, real = one
        overlap = ops.where(real[None], box_ops.iou(anchors, boxes), 0.0)
        best = ops.max(overlap, axis=0)
        some = ops.any((overlap >= best * (1.0 - _TIE)) & (best > 0), axis=1)
        return ops.where(some, ops.cast(ops.argmax(overlap, axis=1), "int32"), -1)

    best = ops.map(forced, (truth.boxes, (truth.labels >= 0) & ~truth.crowd))
    return ops.where(best >= 0, best, matched)


def sample(matched: Any, randomness: Any, samples: int, positive_share: float) -> Sample:
    """Take `samples` of each image, at most a share of them positive, the rest background.

    Args:
        matched: (n, a) int32, an object's index, -1 for background, -2 for what is neither.
        randomness: (n, a) in [0, 1); of positives and of backgrounds the highest are taken.
        samples: s; all there are where there are fewer.
        positive_share: p is this of `samples`, cut to a whole number, and at least 1. Where there
            are fewer positives, there is more background.
    """
    count = matched.shape[1]
    positives = _highest(matched >= 0, randomness, min(_positives(samples, positive_share), count))
    negatives = _highest(matched == matching.BACKGROUND, randomness, min(samples, count))
    index = ops.concatenate([positives[0], negatives[0]], axis=1)
    # Whole numbers, no two of them equal: positives, then background, in the order of `randomness`.
    kind = ops.concatenate(
        [2 * ops.cast(positives[1], "int32"), ops.cast(negatives[1], "int32")], axis=1
    )
    slots = index.shape[1]
    rank = kind * slots - ops.arange(slots, dtype="int32")
    _rank, place = ops.top_k(ops.cast(rank, "float32"), min(samples, slots))
    kind = ops.take_along_axis(kind, place, axis=1)
    return Sample(
        index=ops.take_along_axis(index, place, axis=1),
        positive=ops.cast(kind == 2, "float32"),
        counted=ops.cast(kind > 0, "float32"),
    )


def mask_targets(gt_masks: Any, boxes: Any, matched: Any, side: int, width: int) -> Any:
    """What a region's mask is to be: the object's own mask within the region.

    Args:
        gt_masks: (n, m, h, b) uint8, packed masks of `width` pixels.
        boxes: (n, p, 4) regions, shares of the same image.
        matched: (n, p) int32 index of the mask.
        side: cells of the target, along either side.

    Returns:
        (n, p, side, side) float32 in 0..1: RoIAlign of the mask with four samples a cell.
    """
    height = gt_masks.shape[2]
    top, left, bottom, right = ops.unstack(boxes, axis=-1)
    rows, y = _samples(top, bottom, side, height)
    columns, x = _samples(left, right, side, width)
    index = ops.cast(matched, "int32")[..., None, None]

    def values(row: Any, column: Any) -> Any:
        return _mask_pixels(gt_masks, index, row[..., None], column[:, :, None])

    below, after = ops.minimum(rows + 1, height - 1), ops.minimum(columns + 1, width - 1)
    y, x = y[..., None], x[:, :, None]
    upper = values(rows, columns) * (1 - x) + values(rows, after) * x
    lower = values(below, columns) * (1 - x) + values(below, after) * x
    cells = upper * (1 - y) + lower * y
    regions = cells.shape[1]
    return ops.mean(ops.reshape(cells, (-1, regions, side, _TAPS, side, _TAPS)), axis=(3, 5))


def _mask_pixels(bits: Any, mask: Any, row: Any, column: Any) -> Any:
    """Pixels of packed masks.

    Args:
        bits: (n, m, h, b) uint8, the leftmost pixel of a byte in its highest bit.
        mask: (n, p, 1, 1) int32 which of the m.
        row: (n, p, i, 1) int32.
        column: (n, p, 1, j) int32.

    Returns:
        (n, p, i, j) float32, 0 or 1.
    """
    masks, height, row_bytes = bits.shape[1:]
    place = (mask * height + row) * row_bytes + column // mask_bits.BITS
    shape = (-1, *place.shape[1:])
    flat = ops.reshape(bits, (-1, masks * height * row_bytes))
    place = ops.reshape(place, (-1, math.prod(place.shape[1:])))
    found = ops.reshape(ops.take_along_axis(flat, place, axis=1), shape)
    shift = mask_bits.BITS - 1 - column % mask_bits.BITS
    shifted = ops.right_shift(ops.cast(found, "int32"), shift + ops.zeros_like(mask + row))
    return ops.cast(ops.bitwise_and(shifted, 1), "float32")


def _samples(first: Any, last: Any, side: int, pixels: int) -> tuple[Any, Any]:
    """Where cells from `first` to `last`, shares of the image's `pixels`, are sampled.

    Returns:
        The pixel before each sample, (n, p, side * taps) int32, and how far the sample is on the
        way from its centre to the next one's, 0 to 1.
    """
    steps = (np.arange(side * _TAPS, dtype=np.float32) + 0.5) / (side * _TAPS)
    first, last = first[..., None] * pixels, last[..., None] * pixels
    place = ops.clip(first + (last - first) * steps - 0.5, 0.0, pixels - 1.0)
    before = ops.floor(place)
    return ops.cast(before, "int32"), place - before


def _match_regions(boxes: Any, truth: Truth, positive_iou: float) -> Any:
    """(n, r) int32 of regions (n, r, 4), which are others in each image; see `matching.match`."""

    def matched(one: tuple[Any, ...]) -> Any:
        regions, *objects = one
        return matching.match(
            regions,
            *(each[None] for each in objects),
            positive_iou=positive_iou,
            negative_iou=positive_iou,
            force=False,
        )[0]

    return ops.map(matched, (boxes, *truth))


def _positives(samples: int, share: float) -> int:
    return max(1, int(samples * share))


def _highest(eligible: Any, randomness: Any, count: int) -> tuple[Any, Any]:
    """Positions (n, count) of eligible ones, the highest numbers first, and which are any."""
    best, index = ops.top_k(ops.where(eligible, randomness, -1.0), count)
    return index, best >= 0


def _rows(values: Any, index: Any) -> Any:
    """(n, s, ...) of (n, a, ...) at (n, s)."""
    return ops.take_along_axis(values, index[..., None], axis=1)


def _smooth_l1(error: Any) -> Any:
    """Fast R-CNN (arXiv:1504.08083), equation 3, with its bend at beta in the place of 1."""
    size = ops.abs(error)
    return ops.where(size < _BETA, 0.5 * size * size / _BETA, size - 0.5 * _BETA)


def _binary_entropy(wanted: Any, logits: Any) -> Any:
    """Cross-entropy of a sigmoid, finite for any logit."""
    return ops.maximum(logits, 0.0) - logits * wanted + ops.log1p(ops.exp(-ops.abs(logits)))
