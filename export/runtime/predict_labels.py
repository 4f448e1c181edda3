"""What a classifier of several labels says of an image."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from export.runtime.answers import Prediction
from export.runtime.predictors import Classifier
from training.multilabel.evaluate import sigmoid
from training.multilabel.metrics import THRESHOLD


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labels(Prediction):
    """Labels with scores (0 to 1) for an image, the surest first; perhaps none."""

    def as_text(self) -> str:
        """One line: each label with its score."""
        return super().as_text() if self.labels else f"{self.title}: no label{self.written()}"

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        found = [{"label": label, "score": value} for label, value in self.labels]
        return {**super().as_json(), "labels": found}


class Labeller(Classifier):
    """Any number of labels."""

    answer = Labels

    def ranked(self, logits: np.ndarray) -> list[tuple[int, float]]:
        """Those from the score on, at most as many as asked for."""
        scores = sigmoid(logits)
        least = THRESHOLD if self.asked.score is None else self.asked.score
        order = [int(i) for i in (-scores).argsort(kind="stable") if scores[i] >= least]
        return [(i, float(scores[i])) for i in order[: self.asked.top]]
