"""What is kept of the logits of many images: of each a few numbers, of some all logits.

All logits of 50,000 images in 21,841 classes are 4.4 GB, and a comparison of two networks has them
twice. What figures, files and verdicts need of them grows with the images alone; all logits are
kept while they are few, and above that of images that are evenly spread.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

# Up to here all logits are kept: those of 50,000 images in 1,000 classes are.
LOGITS_BYTES = 256 << 20
# Of the smallest normal number of float32; runtimes may take smaller ones for 0.
LEAST_LOG_PROBABILITY = float(np.log(np.finfo(np.float32).tiny))
# Logits that are worked on at once, in float64.
AT_ONCE = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Outputs:
    """A network's answers on n images.

    Attributes:
        predictions: (n,) int32, the likeliest class.
        confidence: (n,) float64, its probability.
        largest: (n,) float32, its logit.
        finite: (n,) bool, whether all logits of the image are numbers.
        compared: (m,) int64, images whose logits are kept.
        logits: (m, classes) float32.
    """

    predictions: np.ndarray
    confidence: np.ndarray
    largest: np.ndarray
    finite: np.ndarray
    compared: np.ndarray
    logits: np.ndarray

    def __len__(self) -> int:
        return len(self.predictions)

    @property
    def answered(self) -> np.ndarray:
        """(n,) bool, whether the image's probabilities are numbers; else its prediction is none.

        A logit of minus infinity among numbers is a probability of 0; see `finite`.
        """
        return np.isfinite(self.confidence)

    def right(self, labels: np.ndarray) -> np.ndarray:
        """(n,) bool, whether each image got its class of `labels`; what is no answer is wrong."""
        right: np.ndarray = self.answered & (self.predictions == labels)
        return right

    @property
    def classes(self) -> int:
        """Length of the logits."""
        return int(self.logits.shape[-1])

    def difference(self, other: Outputs) -> float:
        """Largest absolute difference of a logit, as far as they are kept; NaN of no numbers.

        What the largest logits differ by is looked at in all images: the network's logits differ
        by that at least.

        Raises:
            ValueError: of other images or classes.
        """
        if not np.array_equal(self.compared, other.compared) or self.classes != other.classes:
            raise ValueError("answers on other images or of other classes")
        with np.errstate(invalid="ignore"):  # of two infinite ones
            parts = [np.abs(self.largest - other.largest).max()] + [
                np.abs(self.logits[rows] - other.logits[rows]).max()
                for rows in blocks(len(self.logits), self.classes)
            ]
        return float(np.max(parts))

    def log_probabilities(self) -> Outputs:
        """The same answers with logarithms of probabilities for logits, none below float32's.

        What a file answers that ends in probabilities is read so.
        """
        logits = np.empty_like(self.logits)
        for rows in blocks(len(logits), self.classes):
            some = self.logits[rows].astype(np.float64)
            some -= some.max(axis=-1, keepdims=True)
            logits[rows] = some - np.log(np.exp(some).sum(axis=-1, keepdims=True))
        largest = np.log(self.confidence).astype(np.float32)
        return dataclasses.replace(
            self, largest=largest, logits=np.maximum(logits, LEAST_LOG_PROBABILITY)
        )

    @property
    def spread(self) -> float:
        """How far a logit differs between images, at the most."""
        return float(max(np.ptp(self.logits, axis=0).max(), np.ptp(self.largest)))

    @property
    def coverage(self) -> str:
        """What is to be said where not all logits are kept; empty where they are."""
        some, all_ = len(self.compared), len(self)
        return "" if some == all_ else f" ({some:,} of {all_:,} images in all logits)"

    def arrays(self) -> dict[str, np.ndarray]:
        """The attributes by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Outputs:
        """Out of what `arrays` gave, and more."""
        return cls(**{field.name: arrays[field.name] for field in dataclasses.fields(cls)})


class Collected:
    """`Outputs` in the making.

    Args:
        images: how many there will be.
        keep_bytes: what the logits that are kept may take.
    """

    def __init__(self, images: int, classes: int, *, keep_bytes: int = LOGITS_BYTES) -> None:
        self._every = max(1, math.ceil(images * classes * 4 / keep_bytes))
        compared = np.arange(0, images, self._every)
        self._found: dict[str, Any] = {
            "predictions": np.empty(images, np.int32),
            "confidence": np.empty(images, np.float64),
            "largest": np.empty(images, np.float32),
            "finite": np.empty(images, bool),
            "compared": compared,
            "logits": np.empty((len(compared), classes), np.float32),
        }
        self._done = 0

    def add(self, logits: np.ndarray, log_probabilities: np.ndarray) -> None:
        """The next images: (k, classes) float32, and float64."""
        first, last = self._done, self._done + len(logits)
        predictions = logits.argmax(axis=-1)
        rows = {
            "predictions": predictions,
            "confidence": np.exp(log_probabilities.max(axis=-1)),
            "largest": np.take_along_axis(logits, predictions[:, None], axis=-1)[:, 0],
            "finite": np.isfinite(logits).all(axis=-1),
        }
        for name, values in rows.items():
            self._found[name][first:last] = values
        kept = self._found["compared"]
        chosen = slice(*np.searchsorted(kept, [first, last]))
        self._found["logits"][chosen] = logits[kept[chosen] - first]
        self._done = last

    def outputs(self) -> Outputs:
        """All of them."""
        return Outputs(**self._found)


def blocks(count: int, classes: int) -> list[slice]:
    """Rows of (count, classes) that are worked on at once."""
    size = max(1, AT_ONCE // max(1, classes))
    return [slice(first, min(first + size, count)) for first in range(0, count, size)]
