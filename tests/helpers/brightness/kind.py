"""What of its files is known before a framework is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from export.artefacts.kinds.base import Kind
from export.artefacts.variants import Variant
from kerascnn.errors import InputError

# Figures of files are percentages, the higher the better: which a mean error is not.
FIGURE = "variance explained"


def explained(truth: np.ndarray, found: np.ndarray) -> float:
    """What share of the variance of (n,) truths (n,) numbers explain, in percent; at most 100."""
    whole = float(np.square(truth - truth.mean()).mean())
    return 100 * (1 - float(np.square(truth - found).mean()) / whole) if whole else math.nan


class BrightnessKind(Kind):
    """Files that answer a number."""

    metrics = ("mean error", FIGURE)
    columns: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "Accuracy, %": {"title": "Variance explained, %", "meaning": "of the held-out numbers"},
        "Same top-1, %": {"title": "Same numbers, %", "meaning": "as near as the file has to be"},
        "Logit difference": {"title": "Difference", "meaning": "largest one of a number"},
    }
    decodings: ClassVar[Mapping[str, str]] = {"number": "a number, as it is"}
    predicted = "brightness.answers:BrightnessPredictor"
    scorer = "brightness.answers:BrightnessScorer"

    def check(self, variant: Variant, info: Mapping[str, Any]) -> None:
        """Plain precisions alone."""
        if variant.steps or variant.fine_tuning or variant.mixed_bits or variant.raw_outputs:
            raise InputError(f"{variant.name}: brightness networks have the plain precisions alone")

    def answers(self, evaluation: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Two (2, n) arrays: truths, and the numbers that were found."""
        truth = evaluation["truth"]
        before, after = (np.array([truth, evaluation[key]]) for key in ("float_found", "found"))
        return before, after

    def drop_interval(self, before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
        """The bootstrap over images."""
        rng, count = np.random.default_rng(0), before.shape[1]
        chosen = rng.integers(0, count, (self.resamples, count))
        drops = [explained(*before[:, one]) - explained(*after[:, one]) for one in chosen]
        low, high = np.nanpercentile(drops, [2.5, 97.5])
        return float(low), float(high)

    def below_floor(
        self, evaluation: Mapping[str, Any], classes: int, *, imported: bool = False
    ) -> str | None:
        """The mean explains nothing."""
        value = evaluation["value"]
        return None if value > 0 else f"this network finds nothing yet: {FIGURE} {value:.1f}%"

    def keras_figure(self, results: Mapping[str, Any]) -> str:
        """Of the training."""
        return f"off by {results['held_out']:.3f}"
