"""How well images are ranked by each class's score, and whether labels are right at a threshold.

Average precision of a class is the mean of the precision over its recall, without interpolation:

    AP = sum over k of (R_k - R_(k-1)) P_k

where P_k and R_k are precision and recall of the images whose scores are at least the k-th largest
score; equal scores count at once. Source: M. Zhu, "Recall, Precision and Average Precision", 2004;
so has scikit-learn's `average_precision_score`. mAP is its mean over the classes that have images.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

# Of scores, from which on a label is given; a sigmoid of 0.
THRESHOLD = 0.5
# Numbers that are worked on at once when images are drawn anew.
_AT_ONCE = 1 << 24
_DRAWS, _MOST_WORK = 1000, 1 << 31


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ThresholdReport:
    """Labels at the threshold, by class; figures in percent, NaN of nothing.

    Attributes:
        precision: (classes,) of the images that got a label, those that have it.
        recall: (classes,) of the images that have a label, those that got it.
        f1: (classes,) harmonic mean of both.
        micro_f1: of all labels of all images together.
        macro_f1: mean of `f1` over the classes that have images.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    micro_f1: float
    macro_f1: float

    @classmethod
    def of(cls, given: np.ndarray, truth: np.ndarray) -> ThresholdReport:
        """Of (n, classes) bool: labels that were given, and those that are right."""
        hits, got, has = (part.sum(axis=0) for part in (given & truth, given, truth))
        f1 = _percent(2 * hits, got + has)
        there = has > 0
        return cls(
            precision=_percent(hits, got),
            recall=_percent(hits, has),
            f1=f1,
            micro_f1=float(_percent(2 * hits.sum(), got.sum() + has.sum())),
            macro_f1=float(f1[there].mean()) if there.any() else math.nan,
        )


def average_precisions(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(classes,) average precision in percent; NaN for a class without images.

    Args:
        scores: (n, classes), the higher the surer; of one class alone they are compared.
        truth: (n, classes) bool.
    """
    each = np.ones((1, len(scores)))
    return np.array([_weighted(scores[:, k], truth[:, k], each)[0] for k in range(truth.shape[1])])


def mean_average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """mAP in percent; NaN where no image has a label."""
    return _mean(average_precisions(scores, truth)[None])[0]


def by_luck(truth: np.ndarray, *, seed: int = 0, draws: int = 200) -> float:
    """The mAP, in percent, that 95 of 100 rankings by chance do not exceed."""
    rng = np.random.default_rng(seed)
    draws = max(20, min(draws, _MOST_WORK // max(1, truth.size)))
    found = [
        mean_average_precision(rng.permutation(len(truth))[:, None] + 0.0 * truth, truth)
        for _ in range(draws)
    ]
    return float(np.quantile(found, 0.95)) if truth.any() else math.nan


def map_interval(
    before: np.ndarray, after: np.ndarray, truth: np.ndarray, *, seed: int = 0
) -> tuple[float, float]:
    """95% interval of the mAP that was lost between two rankings of the same images, in points.

    Args:
        before, after: (n, classes) scores.
        truth: (n, classes) bool.
        seed: equal arguments give equal intervals.

    Raises:
        ValueError: the three are not of the same images and classes.
    """
    if not before.shape == after.shape == truth.shape:
        raise ValueError(f"scores of shapes {before.shape}, {after.shape} for {truth.shape}")
    count = len(truth)
    if not count:
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    draws = max(50, min(_DRAWS, _MOST_WORK // max(1, 2 * truth.size)))
    lost = []
    for start in range(0, draws, step := max(1, _AT_ONCE // count)):
        now = min(step, draws - start)
        times = rng.multinomial(count, np.full(count, 1 / count), size=now).astype(np.float64)
        lost.append(_resampled(before, truth, times) - _resampled(after, truth, times))
    found = np.concatenate(lost)
    found = found[np.isfinite(found)]  # a draw without a label says nothing
    if not len(found):
        return math.nan, math.nan
    low = np.quantile(found, 0.025, method="lower")
    return float(low), float(np.quantile(found, 0.975, method="higher"))


def ranks(scores: np.ndarray) -> np.ndarray:
    """(n, classes) whole numbers that rank images as scores do, equal ones alike."""
    found = [np.unique(column, return_inverse=True)[1] for column in scores.T]
    return np.stack(found, axis=1) if found else np.zeros(scores.shape, np.int64)


def _resampled(scores: np.ndarray, truth: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(draws,) mAP, where each image is there (draws, n) times."""
    columns = range(truth.shape[1])
    return _mean(np.stack([_weighted(scores[:, k], truth[:, k], times) for k in columns], axis=1))


def _mean(each: np.ndarray) -> np.ndarray:
    """Over the classes that have images; (draws,) of (draws, classes)."""
    there = np.isfinite(each)
    total = np.where(there, each, 0).sum(axis=1)
    return np.where(there.any(axis=1), total / np.maximum(there.sum(axis=1), 1), math.nan)


def _weighted(scores: np.ndarray, truth: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(draws,) AP in percent of one class, where each image is there (draws, n) times."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    counts = times[:, order]
    hits = np.cumsum(counts * truth[order], axis=1)[:, ends]
    got = np.cumsum(counts, axis=1)[:, ends]
    gained = np.diff(hits, axis=1, prepend=0)
    precision = hits / np.maximum(got, 1)
    total = hits[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return 100 * np.where(total > 0, (gained * precision).sum(axis=1) / total, math.nan)


def _percent(part: Any, whole: Any) -> np.ndarray:
    """NaN of nothing."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    found = np.full(whole.shape, math.nan)
    np.divide(100 * part, whole, out=found, where=whole > 0)
    return found


def number(value: float) -> float | None:
    """For JSON: None of what is no number."""
    return float(value) if math.isfinite(value) else None


def rows(labels: Sequence[str], **columns: np.ndarray) -> list[dict[str, Any]]:
    """A row a class, with figures by name."""
    return [
        {"label": label} | {name: number(values[k]) for name, values in columns.items()}
        for k, label in enumerate(labels)
    ]
