"""COCO's average precision of anything that finds boxes or masks: Keras, TFLite and ONNX share it.

The metric is COCOeval's of pycocotools, to the last digit (`training.detection.matching`). What it
matched, image by image, is kept: two files that saw the same images are compared by a paired
bootstrap over images (percentiles; Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
chapter 13).

n images, c classes, d detections, s cells a side of a mask, t = 10 thresholds of IoU: 0.5, 0.55
... 0.95.
"""

from __future__ import annotations

import binascii
import dataclasses
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as rle

from kerascnn.errors import InputError
from training.common import packed
from training.datasets import instance_masks
from training.datasets.detection import DetectionSplit
from training.detection import matching
from training.detection.matching import RECALLS, Judged
from training.detection.truth import Truth, check_labels, pixels

SHOWN_SCORE = 0.3  # from which on a detection is shown to a person
_THRESHOLDS = len(matching.THRESHOLDS)
_RESAMPLES_AT_ONCE = 100
_FIGURES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Detections:
    """What was found in one image, the highest score first.

    Attributes:
        boxes: (d, 4) float32 top, left, bottom and right as shares of the upright image.
        labels: (d,) int32 class indices.
        scores: (d,) float32.
        masks: (d, s, s) float32 probabilities in the frame of each box, or None.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    masks: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        boxes: np.ndarray,
        labels: np.ndarray,
        scores: np.ndarray,
        masks: np.ndarray | None = None,
    ) -> Detections:
        """Detections in any order; those with label -1 pad, and are left out."""
        whole = cls(
            boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
            labels=np.asarray(labels, np.int32),
            scores=np.asarray(scores, np.float32),
            masks=None if masks is None else np.asarray(masks, np.float32),
        )
        order = np.argsort(-whole.scores, kind="stable")
        return whole.take(order[whole.labels[order] != -1])

    def take(self, which: np.ndarray) -> Detections:
        """Those at some indices, or where a (d,) bool is True."""
        return Detections(
            boxes=self.boxes[which],
            labels=self.labels[which],
            scores=self.scores[which],
            masks=None if self.masks is None else self.masks[which],
        )

    def pasted(self, size: Sequence[int] | np.ndarray) -> list[np.ndarray] | None:
        """(height, width) bool of each mask on an image of that size; None without masks."""
        if self.masks is None:
            return None
        return instance_masks.paste_all(self.masks, self.boxes, size)

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Matches:
    """What COCOeval matched, at most 100 detections an image and class; enough for AP.

    Detections stand class by class, in each the highest score first. Those of a class after its
    last hit are left out: they do not change AP, whichever images are drawn.

    Attributes:
        objects: (n, c) how many objects are to be found.
        labels: (d,) class of each detection.
        pictures: (d,) index of its image.
        hits: (d, t) bool, whether it found an object.
        ignored: (d, t) bool, whether it is neither a hit nor a mistake: it found a crowd.
    """

    objects: np.ndarray
    labels: np.ndarray
    pictures: np.ndarray
    hits: np.ndarray
    ignored: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DetectionEvaluation:
    """COCO's figures on a split, in percent; NaN where there is nothing to find.

    Attributes:
        ap: average precision, the mean over IoU of 0.5 to 0.95 and classes.
        ap50, ap75: at one IoU.
        ap_small, ap_medium, ap_large: of objects below 32², to 96², and above, in pixels.
        ar1, ar10, ar100: average recall with so many detections an image and class.
        per_class: (c,) AP.
        per_class50: (c,) AP at IoU 0.5.
        objects: (c,) objects to be found; crowds are not counted.
        detections: (c,) detections judged.
        broken: detections left out because their box, score or mask is no number.
        precision: (c, 101) share of right ones at IoU 0.5 where recall is 0, 0.01 ... 1, the best
            at that recall or a higher one; 0 where no score reaches it.
        matches: for `ap_interval`.
        kind: "bbox" or "segm", what overlaps were of.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar1: float
    ar10: float
    ar100: float
    per_class: np.ndarray
    per_class50: np.ndarray
    objects: np.ndarray
    detections: np.ndarray
    broken: int
    precision: np.ndarray
    matches: Matches
    kind: str = "bbox"

    @property
    def mean_precision(self) -> np.ndarray:
        """(101,) `precision`, the mean over classes that have objects; its mean is AP50."""
        present = self.precision[self.objects > 0]
        return present.mean(axis=0) if len(present) else np.full(len(RECALLS), math.nan)


class Evaluator:
    """Compares detections with the objects of images, as they come, and forgets their masks.

    Args:
        truth: of all images.
    """

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._ledger = matching.Ledger(len(truth.classes))
        self._seen = self._broken = 0
        self._counts = np.zeros(len(truth.classes), np.int64)

    def add(self, found: Detections) -> None:
        """Detections of the next image, in the order of the truth.

        Raises:
            InputError: more images than the truth has, a label that is no class, or no masks where
                masks are compared.
        """
        truth, index = self._truth, self._seen
        if index == len(truth):
            raise InputError(f"detections of more images than the {index} there are; give fewer")
        whole = _finite(found, truth.kind == "segm")
        self._broken += len(found) - len(whole)
        what = f"{truth.names[index]}: detections"
        check_labels(whole.labels, len(truth.classes), what)
        self._counts += np.bincount(whole.labels, minlength=len(truth.classes))
        own = slice(int(truth.starts[index]), int(truth.starts[index + 1]))
        size = truth.sizes[index]
        shown = _Boxes(whole, size) if truth.runs is None else _Masks(whole, size, what)
        self._ledger.add(
            (truth.labels[own], truth.areas[own], truth.crowd[own]),
            (whole.labels, shown.areas, whole.scores),
            lambda some, others: shown.overlaps(some, truth, others + own.start),
        )
        self._seen += 1

    def evaluation(self) -> DetectionEvaluation:
        """COCO's figures of all images; raises InputError where some have not come."""
        truth = self._truth
        if self._seen != len(truth):
            raise InputError(
                f"detections of {self._seen} images do not fit {len(truth)} images; give one "
                "Detections an image"
            )
        judged = self._ledger.closed()
        precision, recall = matching.accumulate(judged)
        stats = matching.summarize(precision, recall)
        # (t, 101, c) of objects of any size, NaN without objects
        precision = np.where(precision < 0, math.nan, precision)[..., 0]
        return DetectionEvaluation(
            **{
                name: 100 * float(figure) if figure >= 0 else math.nan
                for name, figure in zip(_FIGURES, stats, strict=True)
            },
            per_class=100 * precision.mean(axis=(0, 1)),
            per_class50=100 * precision[0].mean(axis=0),
            objects=judged.objects.sum(axis=0),
            detections=self._counts,
            broken=self._broken,
            precision=precision[0].T,
            matches=_matches(judged),
            kind=truth.kind,
        )


def evaluate_detections(
    found: Iterable[Detections],
    split: DetectionSplit | Truth,
    classes: Sequence[str],
    *,
    kind: str = "bbox",
) -> DetectionEvaluation:
    """Compare detections with the objects of a split, as COCOeval does.

    Boxes count as they are given: what reaches over the image's edge is not cut.

    Args:
        found: one an image of the split, in its order; none is kept.
        split: its images are not read. Or the `Truth` of one, which is made once for several
            evaluations, and has its own classes and kind.
        classes: names in index order.
        kind: "bbox", or "segm" for masks, which are pasted into the image
            (`training.datasets.instance_masks`) and compared as run lengths. What is small, medium
            or large among detections goes by the area of the box or the mask.

    Raises:
        InputError: no images, not one of `found` an image, or a label that is no class; for
            "segm", detections or objects without masks.
    """
    truth = split if isinstance(split, Truth) else Truth.of(split, classes, kind)
    if isinstance(found, Sequence) and len(found) != len(truth):
        raise InputError(
            f"detections of {len(found)} images do not fit {len(truth)} images; give one "
            "Detections an image"
        )
    return evaluate_together(found, [truth])[0]


def evaluate_together(
    found: Iterable[Detections], truths: Sequence[Truth]
) -> list[DetectionEvaluation]:
    """`evaluate_detections` of one pass over detections against several truths: boxes and masks."""
    evaluators = [Evaluator(truth) for truth in truths]
    for each in found:
        for evaluator in evaluators:
            evaluator.add(each)
    return [evaluator.evaluation() for evaluator in evaluators]


def ap_interval(
    before: DetectionEvaluation,
    after: DetectionEvaluation,
    *,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Interval of the AP that was lost between two evaluations of the same images.

    Arguments, results and errors are those of `matches_interval`.
    """
    return matches_interval(
        *(before.matches, after.matches), seed=seed, resamples=resamples, level=level
    )


def matches_interval(
    before: Matches,
    after: Matches,
    *,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Interval of the AP that was lost, from what was matched.

    Args:
        before, after: on the same images in the same order.
        seed: equal arguments give equal intervals.
        resamples: how often the n images are drawn anew, with replacement.
        level: share of the resamples that the interval holds, at the least.

    Returns:
        Low and high end, in points of AP in percent; a positive drop is a loss. NaN where there
        are no objects.

    Raises:
        ValueError: the two are not of the same images.
    """
    if not np.array_equal(before.objects, after.objects):
        raise ValueError(
            f"objects of the same images, not {before.objects.shape} and {after.objects.shape}"
        )
    count = len(before.objects)
    rng = np.random.default_rng(seed)
    drops = np.empty(0)
    for start in range(0, resamples, _RESAMPLES_AT_ONCE):
        draws = min(_RESAMPLES_AT_ONCE, resamples - start)
        times = rng.multinomial(count, np.full(count, 1 / count), size=draws).T
        lost = _resampled_ap(before, times) - _resampled_ap(after, times)
        drops = np.append(drops, lost)
    drops = drops[np.isfinite(drops)]  # a draw without any object says nothing
    if not len(drops):
        return math.nan, math.nan
    tail = (1 - level) / 2
    low = np.quantile(drops, tail, method="lower")
    high = np.quantile(drops, 1 - tail, method="higher")
    return float(low), float(high)


def average_precision(matches: Matches) -> float:
    """COCOeval's AP, in percent, from what it matched; NaN without objects."""
    return float(_resampled_ap(matches, np.ones((len(matches.objects), 1), np.int64))[0])


def pack(matches: Matches) -> dict[str, Any]:
    """Matches for a .json: counts, and arrays as base64 of deflated bytes."""
    return {
        "pictures": len(matches.objects),
        "classes": matches.objects.shape[1],
        "detections": len(matches.labels),
        "objects": packed.integers(matches.objects),
        "of_class": packed.integers(_of_class(matches)),
        "of_picture": packed.integers(matches.pictures),
        "hits": packed.flags(matches.hits.T),
        "ignored": packed.flags(matches.ignored.T),
    }


def unpack(given: Mapping[str, Any]) -> Matches:
    """What `pack` was given.

    Raises:
        ValueError: it is not what `pack` makes.
    """
    try:
        pictures, classes, detections = (
            int(given[name]) for name in ("pictures", "classes", "detections")
        )
        of_class = packed.integers_of(given["of_class"], classes)
        if of_class.sum() != detections:
            raise ValueError(f"{of_class.sum()} detections for {detections}")
        of_picture = packed.integers_of(given["of_picture"], detections)
        if detections and of_picture.max() >= pictures:
            raise ValueError(f"detections in image {of_picture.max()} of {pictures}")
        return Matches(
            objects=packed.integers_of(given["objects"], pictures * classes).reshape(
                pictures, classes
            ),
            labels=np.repeat(np.arange(classes), of_class),
            pictures=of_picture,
            hits=_bits(given["hits"], detections),
            ignored=_bits(given["ignored"], detections),
        )
    except (KeyError, TypeError, binascii.Error, zlib.error) as error:
        raise ValueError(f"these are not packed matches: {error!r}") from error


def _finite(found: Detections, masked: bool) -> Detections:
    kept = np.isfinite(found.boxes).all(axis=-1) & np.isfinite(found.scores)
    if masked and found.masks is not None:
        kept &= np.isfinite(found.masks).all(axis=(1, 2))
    return found.take(kept)


class _Boxes:
    """Boxes of an image's detections, to be compared with objects' boxes."""

    def __init__(self, found: Detections, size: np.ndarray) -> None:
        self._boxes = pixels(found.boxes, size)
        self.areas = self._boxes[:, 2] * self._boxes[:, 3]

    def overlaps(self, some: np.ndarray, truth: Truth, others: np.ndarray) -> np.ndarray:
        """(i, j) of some detections and, at their places in the truth, objects."""
        crowd = truth.crowd[others].tolist()
        overlaps: np.ndarray = rle.iou(self._boxes[some], truth.boxes[others], crowd)
        return overlaps


class _Masks:
    """The same of masks, which are made run lengths only where there is anything to compare."""

    def __init__(self, found: Detections, size: np.ndarray, what: str) -> None:
        masks = instance_masks.checked(found.masks, len(found), what)
        self._windows = list(instance_masks.windows(masks, found.boxes, size))
        self.areas = np.array([window.area for window in self._windows], np.float64)

    def overlaps(self, some: np.ndarray, truth: Truth, others: np.ndarray) -> np.ndarray:
        """(i, j), as of `_Boxes`."""
        assert truth.runs is not None
        runs = [self._windows[i].run_lengths() for i in some]
        crowd = truth.crowd[others].tolist()
        overlaps: np.ndarray = rle.iou(runs, [truth.runs[i] for i in others], crowd)
        return overlaps


def _matches(judged: Judged) -> Matches:
    rows = [np.empty(0, np.int64)]
    for label in range(judged.objects.shape[1]):
        own = judged.of_class(label)
        # Those after the last hit change no average precision.
        last = np.flatnonzero(judged.hits[own, 0]).max(initial=-1)
        rows.append(np.arange(own.start, own.start + last + 1))
    kept = np.concatenate(rows)
    counts = [len(row) for row in rows[1:]]
    return Matches(
        objects=judged.objects,
        labels=np.repeat(np.arange(len(counts)), counts),
        pictures=judged.images[kept].astype(np.int64),
        hits=matching.bits(judged.hits[kept, 0]).T,
        ignored=matching.bits(judged.ignored[kept, 0]).T,
    )


def _of_class(matches: Matches) -> np.ndarray:
    """(c,) how many detections each class has."""
    return np.bincount(matches.labels, minlength=matches.objects.shape[1])


def _resampled_ap(matches: Matches, times: np.ndarray) -> np.ndarray:
    """AP in percent of images drawn anew.

    Args:
        times: (n, r) how often each image is in each of r draws.

    Returns:
        (r,), NaN for a draw without objects.
    """
    total, present = np.zeros(times.shape[1]), np.zeros(times.shape[1])
    first = 0
    for objects, count in zip(matches.objects.T, _of_class(matches), strict=True):
        own = slice(first, first + count)
        first += count
        to_find = objects @ times
        ap = _class_ap(
            times[matches.pictures[own]],
            matches.hits[own],
            matches.ignored[own],
            np.maximum(to_find, 1),
        )
        total += np.where(to_find > 0, ap, 0)
        present += to_find > 0
    average = np.full(times.shape[1], math.nan)
    np.divide(100 * total, present, out=average, where=present > 0)
    return average


def _class_ap(
    times: np.ndarray, hits: np.ndarray, ignored: np.ndarray, to_find: np.ndarray
) -> np.ndarray:
    """(r,) AP of one class, interpolated at 101 recalls, the mean over thresholds.

    A detection of an image that was drawn k times counts k times. That its copies are added in
    one step changes nothing: precision between them is no better than after the last. Only where
    detections of one image have equal scores might copies stand in another order.

    Args:
        times: (d, r), highest score first.
        hits, ignored: (d, t).
        to_find: (r,) objects, at least one.
    """
    ap = np.zeros(times.shape[1])
    found = np.cumsum(times, axis=0)
    for hit, out in zip(hits.T, ignored.T, strict=True):
        # Recall grows at hits alone, and precision is highest there.
        at = np.flatnonzero(hit)
        true = np.cumsum(times[at], axis=0)
        judged = found[at]
        if out.any():
            judged = judged - np.cumsum(times * out[:, None], axis=0)[at]
        precision = true / np.maximum(judged, 1)
        best_from_here = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        reached = np.searchsorted(RECALLS, true / to_find, side="right")
        ap += np.sum(np.diff(reached, axis=0, prepend=0) * best_from_here, axis=0)
    return ap / (hits.shape[1] * len(RECALLS))


def _bits(text: str, detections: int) -> np.ndarray:
    return packed.flags_of(text, _THRESHOLDS * detections).reshape(_THRESHOLDS, detections).T
