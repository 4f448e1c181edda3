"""Metrics of anything that maps images to logits: Keras, TFLite and ONNX share them.

Calibration error is that of Guo et al., "On Calibration of Modern Neural Networks"
(arXiv:1706.04599), equation 3.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.classification.closing import unequal
from training.classification.outputs import (
    LOGITS_BYTES,
    Collected,
    Outputs,
    blocks,
)
from training.datasets.decode import picture_batches
from training.datasets.splits import Split
from training.engine.evaluation import at_once

if TYPE_CHECKING:  # files are evaluated without a framework
    import keras

_PICTURES_AT_ONCE = 64
_BINS = 15
_TOP = 5
# Of `Evaluation`, those that are one number.
_FIGURES = ("accuracy", "top5", "calibration_error", "loss", "balanced_accuracy")

# (n, height, width, channels) uint8 -> (n, classes) float logits
PredictFn = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ClassReport:
    """Recall and precision of every class, all in percent.

    Attributes:
        recall: (classes,) of a class's images, those that got its label; NaN without images.
        precision: (classes,) of the images that got a label, those that are of its class; NaN
            for a label that no image got.
        support: (classes,) int64, images of each class.
        balanced_accuracy: mean recall of the classes that have images.
        majority_baseline: accuracy of always answering the commonest class.
        majority: index of that class, the first of several.
    """

    recall: np.ndarray
    precision: np.ndarray
    support: np.ndarray
    balanced_accuracy: float
    majority_baseline: float
    majority: int

    @property
    def unequal(self) -> bool:
        """Whether accuracy alone misleads: see `unequal`."""
        return unequal(self.support.tolist())

    def to_dict(self, labels: Sequence[str]) -> dict[str, Any]:
        """For JSON; a figure that there is none of is None."""
        columns = zip(labels, self.recall, self.precision, self.support, strict=True)
        return {
            "balanced_accuracy": _number(self.balanced_accuracy),
            "majority_baseline": _number(self.majority_baseline),
            "per_class": [
                {
                    "label": label,
                    "recall": _number(recall),
                    "precision": _number(precision),
                    "pictures": int(pictures),
                }
                for label, recall, precision, pictures in columns
            ],
        }


def class_report(
    labels: np.ndarray,
    predictions: np.ndarray,
    classes: int,
    *,
    answered: np.ndarray | None = None,
) -> ClassReport:
    """Judge predictions class by class.

    Args:
        labels: (n,) true class indices.
        predictions: (n,) predicted ones.
        classes: how many there are.
        answered: (n,) bool, images whose prediction is one; the others are wrong. None: all.
    """
    labels, predictions = np.asarray(labels, np.int64), np.asarray(predictions, np.int64)
    there = np.ones(len(labels), bool) if answered is None else answered
    support = np.bincount(labels, minlength=classes)
    given = np.bincount(predictions[there], minlength=classes)
    hits = np.bincount(labels[there & (labels == predictions)], minlength=classes)
    recall, there = _percent(hits, support), support > 0
    return ClassReport(
        recall=recall,
        precision=_percent(hits, given),
        support=support,
        balanced_accuracy=float(recall[there].mean()) if there.any() else math.nan,
        majority_baseline=100 * float(support.max()) / len(labels) if len(labels) else math.nan,
        majority=int(support.argmax()),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Answers on a split; `Evaluation.of` fills in every figure.

    A figure that nobody computed is NaN; so are `loss` and `calibration_error` of logits that
    are no numbers. An image whose answer is no number is wrong.

    Attributes:
        outputs: what is kept of the logits.
        accuracy: top-1, in percent.
        top5: images whose class is among the five likeliest, in percent; with fewer than five
            classes all are.
        calibration_error: distance between confidence and accuracy, in percent: the mean over 15
            equal bins of confidence, weighted by their images.
        loss: mean negative log-likelihood of the true class, in nats.
        per_class: (classes,) recall in percent, NaN for a class without images.
        balanced_accuracy: mean of `per_class` over the classes that have images.
    """

    outputs: Outputs
    accuracy: float
    top5: float = math.nan
    calibration_error: float = math.nan
    loss: float = math.nan
    per_class: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0))
    balanced_accuracy: float = math.nan

    @classmethod
    def of(
        cls, logits: np.ndarray, labels: np.ndarray, *, keep_bytes: int = LOGITS_BYTES
    ) -> Evaluation:
        """Every figure of these answers.

        Args:
            logits: (n, classes).
            labels: (n,) class indices.
            keep_bytes: see `training.classification.outputs`.

        Raises:
            InputError: no images, not a label an image, or a label that is no class.
        """
        return cls.of_blocks([logits] if len(logits) else [], labels, keep_bytes=keep_bytes)

    @classmethod
    def of_blocks(
        cls,
        logits: Iterable[np.ndarray],
        labels: np.ndarray,
        *,
        keep_bytes: int = LOGITS_BYTES,
    ) -> Evaluation:
        """The same of logits that come in blocks, (k, classes) each; no two are there at once."""
        labels = np.asarray(labels)
        judged = _Judged(labels, keep_bytes)
        for block in logits:
            judged.add(np.asarray(block, np.float32))
        outputs, ranks, losses = judged.finished()
        answered = outputs.answered
        right = outputs.right(labels)
        by_class = class_report(labels, outputs.predictions, outputs.classes, answered=answered)
        return cls(
            outputs=outputs,
            accuracy=100 * float(np.mean(right)),
            top5=100 * float(np.mean(answered & (ranks < _TOP))),
            calibration_error=_calibration_error(outputs.confidence, right),
            loss=float(np.mean(losses)),
            per_class=by_class.recall,
            balanced_accuracy=by_class.balanced_accuracy,
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """For a file; `from_arrays` is the way back."""
        figures = {name: np.asarray(getattr(self, name)) for name in (*_FIGURES, "per_class")}
        return figures | self.outputs.arrays()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], labels: np.ndarray) -> Evaluation:
        """Out of what `arrays` gave; earlier versions kept the logits alone.

        Raises:
            KeyError: something is missing.
        """
        if set(arrays) == {"logits"}:
            return cls.of(arrays["logits"], labels)
        figures = {name: float(arrays[name]) for name in _FIGURES}
        outputs = Outputs.from_arrays(arrays)
        return cls(outputs=outputs, per_class=arrays["per_class"], **figures)

    @property
    def value(self) -> float:
        """The metric, in percent."""
        return self.accuracy

    def figure(self, monitor: str) -> float:
        """What choices are made by (`TrainConfig.monitor`), in percent.

        Balanced accuracy is the mean of the accuracies of the classes that have images.
        """
        if monitor == "balanced_accuracy":
            return float(np.nanmean(self.per_class))
        return self.accuracy

    @property
    def predictions(self) -> np.ndarray:
        """(n,) class indices."""
        return self.outputs.predictions

    def right(self, labels: np.ndarray) -> np.ndarray:
        """(n,) bool, by the (n,) true classes; an answer that is no number is wrong."""
        result: np.ndarray = self.outputs.right(labels)
        return result

    @property
    def confidence(self) -> np.ndarray:
        """(n,) float64, probability of the prediction."""
        return self.outputs.confidence


class _Judged:
    """Logits as they come, held against the labels of all."""

    def __init__(self, labels: np.ndarray, keep_bytes: int) -> None:
        self._labels, self._keep_bytes = labels, keep_bytes
        self._collected: Collected | None = None
        self._done = 0
        self._ranks = np.empty(len(labels), np.int64)
        self._losses = np.empty(len(labels), np.float64)

    def add(self, logits: np.ndarray) -> None:
        self._check(logits)
        if self._collected is None:
            images, classes = len(self._labels), logits.shape[-1]
            self._collected = Collected(images, classes, keep_bytes=self._keep_bytes)
        for rows in blocks(*logits.shape):
            log_probabilities = log_softmax(logits[rows])
            self._collected.add(logits[rows], log_probabilities)
            place = slice(self._done, self._done + len(log_probabilities))
            labels = self._labels[place]
            self._ranks[place] = _rank(logits[rows], labels)
            self._losses[place] = -_of_label(log_probabilities, labels)
            self._done = place.stop

    def finished(self) -> tuple[Outputs, np.ndarray, np.ndarray]:
        """What is kept, and of each image the classes before the true one, and its loss."""
        if self._collected is None:
            raise InputError("there are no images to evaluate; give at least one")
        if self._done != len(self._labels):
            raise InputError(_unfitting((self._done, "classes"), self._labels))
        return self._collected.outputs(), self._ranks, self._losses

    def _check(self, logits: np.ndarray) -> None:
        labels = self._labels
        if logits.ndim != 2 or labels.ndim != 1 or self._done + len(logits) > len(labels):
            raise InputError(_unfitting(logits.shape, labels))
        if labels.min() < 0 or labels.max() >= logits.shape[-1]:
            raise InputError(
                f"labels go from {labels.min()} to {labels.max()}, the network has "
                f"{logits.shape[-1]} classes; evaluate it on the classes that it was trained for"
            )


def _unfitting(shape: Sequence[Any], labels: np.ndarray) -> str:
    return (
        f"logits of shape ({', '.join(map(str, shape))}) do not fit labels of shape "
        f"{labels.shape}; give one row of logits an image"
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis, float64."""
    return np.exp(log_softmax(logits))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the probabilities over the last axis, float64; exact for any finite logits."""
    logits = np.asarray(logits, np.float64)
    with np.errstate(invalid="ignore"):  # infinite logits of a broken file: the answer is NaN
        shifted = logits - logits.max(axis=-1, keepdims=True)
        result: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def evaluate(predict: PredictFn, split: Split, preprocessing: Preprocessing) -> Evaluation:
    """Run `predict` over a split and compare its answers with the labels.

    Raises:
        InputError: the split has no images, a label is no class of `predict`, or a file cannot
            be read.
    """
    answers = (predict(block) for block in picture_batches(split, preprocessing))
    return Evaluation.of_blocks(answers, split.labels)


def keras_predict_fn(model: keras.Model, preprocessing: Preprocessing) -> PredictFn:
    """`predict` of a Keras model, normalisation included."""
    from keras import ops

    count = at_once(model, _PICTURES_AT_ONCE)

    def predict(pictures: np.ndarray) -> np.ndarray:
        # Not `model.predict`: it makes a tuned stream for every call (see datasets/streams.py).
        parts = [
            model(preprocessing.normalise(pictures[i : i + count]), training=False)
            for i in range(0, len(pictures), count)
        ]
        return np.concatenate([ops.convert_to_numpy(part) for part in parts])

    return predict


def _of_label(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,): of each row of (n, classes), the value of its label."""
    return np.take_along_axis(values, labels[:, None], axis=-1)[:, 0]


def _rank(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) how many classes stand before the true one; equal ones by index, as in argmax."""
    # argmax takes a NaN for the largest.
    logits = np.nan_to_num(logits, nan=np.inf, posinf=np.inf, neginf=-np.inf)
    own = _of_label(logits, labels)[:, None]
    before = np.arange(logits.shape[-1]) < labels[:, None]
    ranks: np.ndarray = np.sum((logits > own) | ((logits == own) & before), axis=-1)
    return ranks


def _calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error, in percent; a bin holds its upper edge, not its lower one."""
    if not np.isfinite(confidence).all():
        return math.nan
    bins = np.clip(np.ceil(confidence * _BINS).astype(np.int64) - 1, 0, _BINS - 1)
    # |B| / n * |accuracy - confidence| of a bin is the |sum of differences| / n.
    gaps = np.bincount(bins, weights=right - confidence, minlength=_BINS)
    return 100 * float(np.abs(gaps).sum() / len(right))


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """NaN of nothing."""
    percent = np.full(whole.shape, math.nan)
    np.divide(100 * part, whole, out=percent, where=whole > 0)
    return percent


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
