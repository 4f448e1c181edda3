"""What rounding a kernel does to a network's answers, as `export.compress.mixed` asks each task.

Truth is not asked for: a network is held against itself, so that a wrong answer that stays as it
was is no damage.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from export.runtime import load as runtimes
from export.tasks.agreement import SURE, overlaps, sure_found
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.classification.evaluate import log_softmax
from training.classification.outputs import blocks
from training.detection.metrics import Detections
from training.multilabel.evaluate import sigmoid

# Answers are counted here, not timed.
_THREADS = min(4, os.cpu_count() or 1)
# Pictures of many objects, or of a mask, say as much as several hundred labels do.
_FEW = 100


class Comparison(Protocol):
    """How answers of two networks differ.

    Attributes:
        most: pictures that are looked at, at most; None: all.
    """

    most: int | None

    def answers(self, path: pathlib.Path, pictures: np.ndarray) -> Any:
        """Of a .tflite file without what stands behind its network.

        Args:
            pictures: (n, height, width, channels) uint8.
        """

    def differences(self, own: Any, found: Any) -> tuple[float, float]:
        """How far the second answers are from the first, of the float network.

        Returns:
            A distance, 0 where they are equal, which orders kernels; and the percentage of the
            answers that are others.
        """


class OfLogits:
    """One label a picture: the mean Kullback-Leibler divergence, in nats, and other top-1s."""

    most: int | None = None

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._preprocessing = preprocessing

    def answers(self, path: pathlib.Path, pictures: np.ndarray) -> np.ndarray:
        """(n, classes) logits."""
        return runtimes.load(path, self._preprocessing, threads=_THREADS).predict(pictures)

    def differences(self, own: np.ndarray, found: np.ndarray) -> tuple[float, float]:
        """See `Comparison`."""
        rows = blocks(*own.shape)
        divergence = np.concatenate([_divergence(own[some], found[some]) for some in rows])
        changed = np.argmax(found, axis=-1) != np.argmax(own, axis=-1)
        # Below zero by rounding alone.
        return max(0.0, float(divergence.mean())), 100 * float(changed.mean())


class OfLabels(OfLogits):
    """Several labels a picture: the same divergence of each class's sigmoid, and other labels."""

    def differences(self, own: np.ndarray, found: np.ndarray) -> tuple[float, float]:
        """Changed are pictures of which any label was taken away or added, at a score of 0.5."""
        first, second = np.asarray(own, np.float64), np.asarray(found, np.float64)
        score = sigmoid(first)
        yes = np.logaddexp(0, -second) - np.logaddexp(0, -first)  # log p - log q
        no = np.logaddexp(0, second) - np.logaddexp(0, first)
        divergence = (score * yes + (1 - score) * no).sum(axis=-1)
        changed = ((first >= 0) != (second >= 0)).any(axis=-1)
        return max(0.0, float(divergence.mean())), 100 * float(changed.mean())


class OfDetections:
    """Objects: sure detections that the other network moves, is less sure of, or has not.

    Args:
        detect_by: gives what a file detects in pictures.
        classes: how many there are.
    """

    most: int | None = _FEW

    def __init__(
        self,
        detect_by: Callable[[pathlib.Path], Callable[[np.ndarray], Sequence[Detections]]],
        classes: int,
    ) -> None:
        self._detect_by, self._classes = detect_by, classes

    def answers(self, path: pathlib.Path, pictures: np.ndarray) -> Sequence[Detections]:
        """Of each picture."""
        return self._detect_by(path)(pictures)

    def differences(
        self, own: Sequence[Detections], found: Sequence[Detections]
    ) -> tuple[float, float]:
        """See `Comparison`.

        Each sure detection (score 0.3) of either is looked for in the other: the distance is the
        mean of 1 - IoU and the difference of scores, of that of its class which it overlaps most
        with; what has none there is 1 + its score away. Changed are those of which `sure_found`
        finds none.

        Raises:
            InputError: the float network is sure of nothing.
        """
        if not any((one.scores >= SURE).any() for one in own):
            raise InputError(
                f"the network is sure of nothing on the calibration images (score {SURE:g}): there "
                "is nothing that rounding could be judged by; train it on"
            )
        distances = [
            distance
            for one, other in zip(own, found, strict=True)
            for distance in (*_distances(one, other), *_distances(other, one))
        ]
        shares = [
            sure_found(one, other, self._classes).overall
            for one, other in ((found, own), (own, found))
        ]
        kept = min(share for share in shares if not np.isnan(share))
        return float(np.mean(distances)), 100 - kept


class OfMaps:
    """A class for each pixel: by what share of a class's pixels two maps differ.

    Args:
        segment_by: gives the maps that a file makes of pictures.
        overlap: mean IoU in percent of two sets of maps.
    """

    most: int | None = _FEW

    def __init__(
        self,
        segment_by: Callable[[pathlib.Path], Callable[[np.ndarray], np.ndarray]],
        overlap: Callable[[np.ndarray, np.ndarray], float],
    ) -> None:
        self._segment_by, self._overlap = segment_by, overlap

    def answers(self, path: pathlib.Path, pictures: np.ndarray) -> np.ndarray:
        """(n, h', w') uint8."""
        return self._segment_by(path)(pictures)

    def differences(self, own: np.ndarray, found: np.ndarray) -> tuple[float, float]:
        """Both are 1 - the mean IoU of the classes: most pixels are of one class, and stay so."""
        lost = 100 - self._overlap(found, own)
        return lost / 100, lost


def _distances(some: Detections, others: Detections) -> list[float]:
    """Of each sure detection from its counterpart."""
    sure = some.take(some.scores >= SURE)
    if not len(others):
        return [1 + float(score) for score in sure.scores]
    same = sure.labels[:, None] == others.labels[None]
    overlap = np.where(same, overlaps(sure, others, same), 0.0)
    partner = overlap.argmax(axis=1) if len(sure) else np.empty(0, int)
    found = []
    for row, place in enumerate(partner):
        score = float(sure.scores[row])
        if overlap[row, place] > 0:
            found.append(1 - float(overlap[row, place]) + abs(score - float(others.scores[place])))
        else:
            found.append(1 + score)
    return found


def _divergence(own: np.ndarray, found: np.ndarray) -> np.ndarray:
    """(n,) Kullback-Leibler divergence of the second from the first of (n, classes) logits."""
    log_p, log_q = log_softmax(own), log_softmax(found)
    divergence: np.ndarray = np.sum(np.exp(log_p) * (log_p - log_q), axis=-1)
    return divergence
