"""Metrics of anything that maps pictures to logits: Keras, TFLite and ONNX share them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from kerascnn.preprocessing import Preprocessing
from training.datasets.splits import Split
from training.pipeline import picture_batches

_PICTURES_AT_ONCE = 64

# (n, height, width, channels) uint8 -> (n, classes) float logits
PredictFn = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Answers on a split.

    Attributes:
        logits: (n, classes) float32.
        accuracy: top-1, in percent.
    """

    logits: np.ndarray
    accuracy: float

    @property
    def predictions(self) -> np.ndarray:
        """(n,) class indices."""
        return self.logits.argmax(axis=-1)

    @property
    def probabilities(self) -> np.ndarray:
        """(n, classes), softmax of the logits."""
        return softmax(self.logits)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: np.ndarray = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities


def evaluate(predict: PredictFn, split: Split, preprocessing: Preprocessing) -> Evaluation:
    """Run `predict` over a split and count the right answers."""
    blocks = [predict(block) for block in picture_batches(split, preprocessing)]
    logits = np.concatenate(blocks).astype(np.float32)
    accuracy = 100 * float(np.mean(logits.argmax(axis=-1) == split.labels))
    return Evaluation(logits=logits, accuracy=accuracy)


def keras_predict_fn(model: keras.Model, preprocessing: Preprocessing) -> PredictFn:
    """`predict` of a Keras model, normalisation included."""

    def predict(pictures: np.ndarray) -> np.ndarray:
        # Not `model.predict`: it makes a tuned stream for every call (see datasets/streams.py).
        parts = [
            model(preprocessing.normalise(pictures[i : i + _PICTURES_AT_ONCE]), training=False)
            for i in range(0, len(pictures), _PICTURES_AT_ONCE)
        ]
        return np.concatenate([keras.ops.convert_to_numpy(part) for part in parts])

    return predict
