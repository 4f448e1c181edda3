"""Mean IoU and its kin of anything that finds masks: Keras, TFLite and ONNX share them.

All but the boundaries' figure come from counts of pixels, which are kept image by image: two
files that saw the same images are compared by a paired bootstrap over images (percentiles;
Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).

n images, c classes, h w pixels of an image at its own size, r resamples.
"""

from __future__ import annotations

import binascii
import dataclasses
import math
import pathlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kerascnn.errors import InputError
from training.common import atomic, packed
from training.datasets.segmentation import VOID, SegmentationSplit

# Of the image's diagonal (Csurka et al. 2013, section 3).
TOLERANCE = 0.0075
INTERSECTION, TRUTH, FOUND = range(3)
_RESAMPLES_AT_ONCE = 100


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationEvaluation:
    """Figures on a split, in percent; NaN where there is nothing to measure.

    Attributes:
        miou: the mean of `per_class` over classes that occur in truth or in what was found.
        per_class: (c,) intersection over union of all pixels of all images.
        dice: (c,) twice the intersection over the sum of both, likewise.
        mean_dice: the mean of `dice` over the same classes.
        pixel_accuracy: pixels whose class was found.
        boundary_f1: F1 of contours (Csurka et al., "What is a good evaluation measure for semantic
            segmentation?", BMVC 2013): the mean over images of the mean over the classes that
            have a contour in an image, in truth or found; see `boundary_scores`. NaN where it was
            not asked for.
        boundary: (c,) the mean over those images, class by class.
        pixels: (c,) pixels of the truth.
        counts: (n, c, 3) int64 pixels of each image and class: of the intersection, of the truth,
            and found.
    """

    miou: float
    per_class: np.ndarray
    dice: np.ndarray
    mean_dice: float
    pixel_accuracy: float
    boundary_f1: float
    boundary: np.ndarray
    pixels: np.ndarray
    counts: np.ndarray

    @property
    def value(self) -> float:
        """The metric, in percent."""
        return self.miou


def evaluate_maps(
    found: Iterable[np.ndarray],
    split: SegmentationSplit,
    classes: Sequence[str],
    *,
    boundaries: bool = True,
) -> SegmentationEvaluation:
    """Compare found masks with those of a split. Pixels that either has `VOID` do not count.

    Args:
        found: one map an image of the split, in its order and at the image's own size; one is
            looked at before the next is asked for.
        split: its images are not read.
        classes: names in index order.
        boundaries: whether contours are compared, which takes as long again.

    Raises:
        InputError: no images, not one map an image, another size than the image's, or what is
            no class.
    """
    if not len(split):
        raise InputError("there are no images to evaluate; give at least one")
    counts = np.zeros((len(split), len(classes), 3), np.int64)
    scores = np.full((len(split), len(classes)), math.nan)
    index = -1
    for index, one in enumerate(found):
        if index == len(split):
            break
        truth = split.label_map(index)
        answer = _checked(one, truth, len(classes), split.names[index])
        truth, answer = without_void(truth, answer)
        counts[index] = count(truth, answer, len(classes))
        if boundaries:
            scores[index] = boundary_scores(truth, answer, len(classes))
    if index + 1 != len(split):
        raise InputError(
            f"{'more' if index == len(split) else 'fewer'} label maps than images, of which "
            f"there are {len(split)}; give one map per image"
        )
    return of_counts(counts, scores)


def of_counts(counts: np.ndarray, scores: np.ndarray | None = None) -> SegmentationEvaluation:
    """Every figure of these counts.

    Args:
        counts: (n, c, 3), see `SegmentationEvaluation`.
        scores: (n, c) of `boundary_scores`; None where contours were not compared.
    """
    if scores is None:
        scores = np.full(counts.shape[:2], math.nan)
    total = counts.sum(axis=0)
    per_class, dice = _overlaps(total)
    return SegmentationEvaluation(
        miou=_mean(per_class),
        per_class=per_class,
        dice=dice,
        mean_dice=_mean(dice),
        pixel_accuracy=100 * _share(total[:, INTERSECTION].sum(), total[:, TRUTH].sum()),
        boundary_f1=_mean(np.array([_mean(row) for row in scores])),
        boundary=np.array([_mean(column) for column in scores.T]),
        pixels=total[:, TRUTH],
        counts=counts,
    )


def without_void(truth: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both maps, `VOID` where either is."""
    void = (truth == VOID) | (found == VOID)
    return np.where(void, VOID, truth), np.where(void, VOID, found)


def count(truth: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    """(c, 3) pixels of intersection, truth and found, of maps that are `VOID` at the same places.

    Args:
        truth, found: (h, w) uint8.
    """
    parts = (truth[truth == found], truth, found)
    return np.stack([_histogram(part, classes) for part in parts], axis=-1)


def _histogram(labels: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(labels.ravel(), minlength=VOID + 1)[:classes]


def boundary_scores(truth: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    """(c,) F1 of each class's contours in one image, in percent; NaN where neither map has one.

    A pixel is on the contour of its class where one of its four neighbours is of another class.
    The image's edge, and what borders on `VOID`, is none. Precision is the share of what was
    found that has true contour of its class within 0.75% of the image's diagonal, recall the
    share of the truth that has found contour as near.

    Args:
        truth, found: (h, w) uint8, `VOID` at the same places.
    """
    true, guess = _contour(truth), _contour(found)
    reach = TOLERANCE * math.hypot(*truth.shape)
    there, guessed = _histogram(true, classes), _histogram(guess, classes)
    recall = _near(true, guess, reach, classes) / np.maximum(there, 1)
    precision = _near(guess, true, reach, classes) / np.maximum(guessed, 1)
    sums = precision + recall
    scores = np.where(there + guessed > 0, 0.0, math.nan)
    np.divide(200 * precision * recall, sums, out=scores, where=sums > 0)
    return scores


def _contour(label_map: np.ndarray) -> np.ndarray:
    """(h, w) the class of pixels that lie on its contour, `VOID` elsewhere."""
    edge = np.zeros(label_map.shape, bool)
    for axis in (0, 1):
        first, second = (
            np.moveaxis(each, axis, 0)[part]
            for each, part in ((label_map, slice(None, -1)), (label_map, slice(1, None)))
        )
        differ = (first != second) & (first != VOID) & (second != VOID)
        along = np.moveaxis(edge, axis, 0)
        along[:-1] |= differ
        along[1:] |= differ
    return np.where(edge, label_map, VOID)


def _near(contour: np.ndarray, other: np.ndarray, reach: float, classes: int) -> np.ndarray:
    """(c,) how many pixels of a contour have some of the other's, of their class, within reach."""
    most = int(reach)
    padded = np.pad(other, most, constant_values=VOID)
    rows, columns = np.nonzero(contour != VOID)
    labels = contour[rows, columns]
    found = np.zeros(classes, np.int64)
    steps = np.arange(-most, most + 1)
    squares = steps[:, None] ** 2 + steps**2
    order = np.argsort(squares, axis=None, kind="stable")
    for place in order[: np.count_nonzero(squares <= reach**2)]:  # the nearest first: most are hit
        down, right = np.unravel_index(place, squares.shape)
        hit = padded[rows + down, columns + right] == labels
        found += _histogram(labels[hit], classes)
        rows, columns, labels = rows[~hit], columns[~hit], labels[~hit]
    return found


def write_per_class(
    evaluation: SegmentationEvaluation, classes: Sequence[str], path: pathlib.Path
) -> None:
    """Write IoU, dice, boundary F1 (percent) and pixels as a .csv: one row a class.

    Cells are empty where there is nothing to measure.

    Raises:
        InputError: the evaluation has another number of classes than names.
    """
    if len(evaluation.per_class) != len(classes):
        raise InputError(
            f"an evaluation of {len(evaluation.per_class)} classes does not fit {len(classes)} "
            "class names; give one name a class"
        )
    columns = (evaluation.per_class, evaluation.dice, evaluation.boundary)
    cells = (map(_cell, column) for column in columns)
    rows = zip(classes, *cells, map(int, evaluation.pixels), strict=True)
    atomic.write_csv(path, ["class", "iou", "dice", "boundary_f1", "pixels"], list(rows))


def miou_interval(
    before: np.ndarray,
    after: np.ndarray,
    *,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Interval of the mean IoU that was lost between two evaluations of the same images.

    Args:
        before, after: (n, c, 3) `counts` of the same images in the same order.
        seed: equal arguments give equal intervals.
        resamples: how often the n images are drawn anew, with replacement.
        level: share of the resamples that the interval holds, at the least.

    Returns:
        Low and high end, in points of mean IoU in percent; a positive drop is a loss. NaN where no
        pixel counts.

    Raises:
        ValueError: the two are not of the same images.
    """
    if before.shape != after.shape or (before[..., TRUTH] != after[..., TRUTH]).any():
        raise ValueError(f"counts of the same images, not {before.shape} and {after.shape}")
    pictures = len(before)
    rng = np.random.default_rng(seed)
    drops = []
    for start in range(0, resamples, _RESAMPLES_AT_ONCE):
        draws = min(_RESAMPLES_AT_ONCE, resamples - start)
        times = rng.multinomial(pictures, np.full(pictures, 1 / pictures), size=draws)
        drops.append(_resampled_miou(before, times) - _resampled_miou(after, times))
    lost = np.concatenate(drops)
    lost = lost[np.isfinite(lost)]  # a draw without a pixel that counts says nothing
    if not len(lost):
        return math.nan, math.nan
    tail = (1 - level) / 2
    low = np.quantile(lost, tail, method="lower")
    high = np.quantile(lost, 1 - tail, method="higher")
    return float(low), float(high)


def pack_counts(counts: np.ndarray) -> dict[str, Any]:
    """(n, c, 3) counts for a .json: their shape, and base64 of deflated bytes."""
    pictures, classes, _kinds = counts.shape
    return {"pictures": pictures, "classes": classes, "pixels": packed.integers(counts)}


def unpack_counts(values: Mapping[str, Any]) -> np.ndarray:
    """What `pack_counts` was given.

    Raises:
        ValueError: it is not what `pack_counts` makes.
    """
    try:
        shape = (int(values["pictures"]), int(values["classes"]), 3)
        if min(shape) < 0:
            raise ValueError(f"counts of {shape[0]} images and {shape[1]} classes")
        counts = packed.integers_of(values["pixels"], math.prod(shape)).reshape(shape)
    except (KeyError, TypeError, binascii.Error, zlib.error) as error:
        raise ValueError(f"these are no packed counts: {error!r}") from error
    if (counts[..., INTERSECTION] > counts[..., TRUTH:].min(axis=-1)).any():
        raise ValueError("these are no packed counts: more was right than there is")
    return counts


def _checked(found: Any, truth: np.ndarray, classes: int, name: str) -> np.ndarray:
    found = np.asarray(found)
    if found.shape != truth.shape or found.dtype.kind not in "iu":
        raise InputError(
            f"{name}: a map of shape {found.shape} {found.dtype} does not fit the image's "
            f"{truth.shape}; give whole numbers at the image's own size"
        )
    for what, each in (("is found", found), ("is in its mask", truth)):
        wrong = each[(each != VOID) & ((each < 0) | (each >= classes))]
        if wrong.size:
            raise InputError(
                f"{name}: class {wrong.flat[0]} {what}, and there are {classes}; evaluate with the "
                "classes that the network was trained for"
            )
    return found.astype(np.uint8)


def _overlaps(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """IoU and dice in percent of (..., 3) counts; NaN where there is neither truth nor found."""
    both = counts[..., INTERSECTION].astype(np.float64)
    sums = counts[..., TRUTH] + counts[..., FOUND]
    some = sums > 0
    iou, dice = np.full(both.shape, math.nan), np.full(both.shape, math.nan)
    np.divide(100 * both, sums - both, out=iou, where=some)
    np.divide(200 * both, sums, out=dice, where=some)
    return iou, dice


def _resampled_miou(counts: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(r,) mean IoU in percent of images drawn anew; NaN where no pixel counts.

    Args:
        times: (r, n) how often each image is in each draw.
    """
    flat = counts.reshape(len(counts), -1).astype(np.float64)  # exact up to 2^53 pixels
    iou, _dice = _overlaps((times @ flat).reshape(len(times), *counts.shape[1:]))
    there = np.isfinite(iou)
    mean = np.full(len(times), math.nan)
    np.divide(
        np.where(there, iou, 0).sum(axis=-1), there.sum(axis=-1), out=mean, where=there.any(axis=-1)
    )
    return mean


def _mean(values: np.ndarray) -> float:
    """Of the finite ones; NaN where there is none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan


def _cell(percent: float) -> str | None:
    return f"{percent:.4f}" if math.isfinite(percent) else None


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
