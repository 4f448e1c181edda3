"""Figures of anything that maps images to a logit a class: Keras, TFLite and ONNX share them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.datasets.decode import picture_batches
from training.datasets.splits import Split
from training.multilabel import metrics
from training.multilabel.metrics import THRESHOLD, ThresholdReport

# (n, height, width, channels) uint8 -> (n, classes) float logits
PredictFn = Callable[[np.ndarray], np.ndarray]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Scores from 0 to 1, float64; no overflow for any finite logits."""
    logits = np.asarray(logits, np.float64)
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1, small) / (1 + small)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MultilabelEvaluation:
    """A network's answers on n images.

    Attributes:
        logits: (n, classes) float32.
        truth: (n, classes) bool.
    """

    logits: np.ndarray
    truth: np.ndarray

    @classmethod
    def of_blocks(cls, logits: Iterable[np.ndarray], truth: np.ndarray) -> MultilabelEvaluation:
        """Of logits that come in blocks, (k, classes) each.

        Raises:
            InputError: no images, or not a row of logits for each.
        """
        blocks = [np.asarray(block, np.float32) for block in logits]
        if not blocks:
            raise InputError("there are no images to evaluate; give at least one")
        whole = np.concatenate(blocks)
        if whole.shape != truth.shape:
            raise InputError(
                f"logits of shape {whole.shape} do not fit labels of shape {truth.shape}; evaluate "
                "the network on the classes that it was trained for"
            )
        return cls(logits=whole, truth=np.asarray(truth, bool))

    @functools.cached_property
    def average_precisions(self) -> np.ndarray:
        """(classes,) in percent; see `metrics`. What is no number ranks last."""
        sure = np.nan_to_num(self.logits, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
        return metrics.average_precisions(sure, self.truth)

    @property
    def value(self) -> float:
        """mAP, in percent."""
        there = self.average_precisions[np.isfinite(self.average_precisions)]
        return float(there.mean()) if len(there) else float("nan")

    def figure(self, monitor: str) -> float:
        """What choices are made by."""
        return self.value

    @property
    def scores(self) -> np.ndarray:
        """(n, classes) float64, from 0 to 1."""
        return sigmoid(self.logits)

    @property
    def given(self) -> np.ndarray:
        """(n, classes) bool, the labels from the threshold on."""
        return self.scores >= THRESHOLD

    @property
    def loss(self) -> float:
        """Mean cross-entropy of a label, in nats."""
        logits = self.logits.astype(np.float64)
        each = np.maximum(logits, 0) - logits * self.truth + np.log1p(np.exp(-np.abs(logits)))
        return float(each.mean())

    def arrays(self) -> dict[str, np.ndarray]:
        """For a file; `from_arrays` is the way back."""
        return {"logits": self.logits}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], truth: np.ndarray
    ) -> MultilabelEvaluation:
        """Out of what `arrays` gave; raises KeyError for something else."""
        return cls.of_blocks([arrays["logits"]], truth)

    def by_class(self, labels: Sequence[str]) -> dict[str, Any]:
        """Figures of each class and of all, for JSON."""
        report = ThresholdReport.of(self.given, self.truth)
        images = self.truth.sum(axis=0)
        each = metrics.rows(
            labels,
            ap=self.average_precisions,
            precision=report.precision,
            recall=report.recall,
            f1=report.f1,
        )
        return {
            "f1": metrics.number(report.micro_f1),
            "macro_f1": metrics.number(report.macro_f1),
            "per_class": [
                row | {"pictures": int(count)} for row, count in zip(each, images, strict=True)
            ],
        }


def evaluate(
    predict: PredictFn, split: Split, preprocessing: Preprocessing
) -> MultilabelEvaluation:
    """Run `predict` over a split and compare its answers with the labels.

    Raises:
        InputError: the split has no images, other classes, or a file that cannot be read.
    """
    answers = (predict(block) for block in picture_batches(split, preprocessing))
    return MultilabelEvaluation.of_blocks(answers, split.labels)
