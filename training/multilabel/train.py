"""The training of a classifier of several labels, and its figures on held-out images."""

from __future__ import annotations

import pathlib
from typing import Any

import keras
import numpy as np

from training.classification.evaluate import keras_predict_fn
from training.classification.train import ClassifierTraining
from training.datasets.pictures import check_picture
from training.multilabel import metrics
from training.multilabel.evaluate import evaluate
from training.multilabel.fit import MultilabelLoop


class MultilabelTraining(ClassifierTraining):
    """See `training.engine.training.OpenedTraining`."""

    of = MultilabelLoop

    def results(self, folder: pathlib.Path, saved: keras.Model) -> dict[str, Any]:
        """Figures on the held-out images."""
        predict = keras_predict_fn(saved, self.preprocessing)
        held_out, found = self._broken.measured(
            self.dataset.held_out,
            lambda split, index: check_picture(split.encoded(index), split.names[index]),
            lambda split: evaluate(predict, split, self.preprocessing),
        )
        truth = np.asarray(held_out.labels, bool)
        return {
            "metric": "mAP",
            "held_out": found.value,
            "loss": found.loss,
            "map_by_luck": metrics.number(metrics.by_luck(truth)),
            **found.by_class(self.classes),
        }
