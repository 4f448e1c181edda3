"""By which loss classifiers of several labels are trained, and what is shown of it."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from training import tasks
from training.classification.fit import ClassificationTraining, compile_with
from training.engine.config import TrainConfig
from training.multilabel.keras_metric import MeanAveragePrecision


class SigmoidLoss(keras.losses.Loss):
    """Cross-entropy of each class's sigmoid, summed over classes.

    The sum, not the mean: a label's gradient does not depend on how many classes there are, as in
    Ridnik et al., "Asymmetric Loss For Multi-Label Classification" (arXiv:2009.14119), equation 2.
    """

    def __init__(self) -> None:
        super().__init__(name="sigmoid_loss")

    def call(self, y_true, y_pred):
        """(n,) losses of (n, classes) labels, which may be mixed, and logits."""
        y_pred = ops.cast(y_pred, "float32")
        each = ops.relu(y_pred) - y_pred * y_true + ops.log1p(ops.exp(-ops.abs(y_pred)))
        return ops.sum(each, axis=-1)


class MultilabelLoop(ClassificationTraining):
    """Images with any number of labels."""

    head = tasks.of("multilabel").head
    unkept = frozenset({"mAP"})

    def compile(self, config: TrainConfig, rate: Any) -> list[keras.Variable]:
        """See `ClassificationTraining.compile`.

        mAP is there for validation: of mixed labels it tells nothing, and what an interrupted epoch
        has counted of it is not kept.
        """
        model = self.training_model
        metric = MeanAveragePrecision(model.network.output_shape[-1])
        compile_with(model, config, rate, self.placement, SigmoidLoss(), [metric])
        return list(model.metrics[0].variables)  # made with the compilation: the mean loss

    def note(self, logs: dict[str, float]) -> str:
        """What is shown of a step."""
        return f"loss {float(logs['loss']):.3f}"
