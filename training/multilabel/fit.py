"""By which loss classifiers of several labels are trained, and what is shown of it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from training import tasks
from training.classification import training_model
from training.classification.fit import ClassificationTraining, compile_with
from training.classification.linear_head import Head, sigmoid_loss
from training.classification.probe import Gathered, solved
from training.engine.config import TrainConfig
from training.multilabel.keras_metric import MeanAveragePrecision


class SigmoidLoss(keras.losses.Loss):
    """Cross-entropy of each class's sigmoid, summed over classes; with a teacher, its answers too.

    (1 - w) cross entropy(labels, student) + w T^2 KL(teacher at T || student at T), each class a
    choice between two, as Yang et al., "Multi-Label Knowledge Distillation" (arXiv:2308.06453),
    section 3.2. `y_true` is (n, classes) labels, which may be mixed, or (n, 2 classes) with the
    teacher's logits behind them.

    The sum, not the mean: a label's gradient does not depend on how many classes there are, as in
    Ridnik et al., "Asymmetric Loss For Multi-Label Classification" (arXiv:2009.14119), equation 2.

    Args:
        factors: (2, classes) float32 of the cross-entropy of images without a label, and with it;
            or None for 1.
        weight: w, the teacher's share of the loss, 0 to 1.
        temperature: T.
    """

    def __init__(
        self,
        factors: np.ndarray | None = None,
        *,
        weight: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(name="sigmoid_loss")
        self.factors, self.weight, self.temperature = factors, weight, temperature

    @classmethod
    def of(cls, config: TrainConfig, labels: np.ndarray) -> SigmoidLoss:
        """The loss that a configuration asks for.

        Args:
            labels: (n, classes) bool of all images that are learnt from.
        """
        weighed = config.class_weights == "balanced"
        return cls(
            balanced(labels) if weighed else None,
            weight=config.distil_weight,
            temperature=config.temperature,
        )

    def call(self, y_true, y_pred):
        """(n,) losses."""
        y_pred = ops.cast(y_pred, "float32")
        classes = y_pred.shape[-1]
        labels, teacher = y_true[..., :classes], y_true[..., classes:]
        each = _cross_entropy(labels, y_pred)
        if self.factors is not None:
            absent, there = self.factors
            each = each * (labels * there + (1 - labels) * absent)
        entropy = ops.sum(each, axis=-1)
        if y_true.shape[-1] == classes:
            return entropy
        soft, found = teacher / self.temperature, y_pred / self.temperature
        wanted = ops.sigmoid(soft)
        divergence = ops.sum(_cross_entropy(wanted, found) - _cross_entropy(wanted, soft), axis=-1)
        return (1 - self.weight) * entropy + self.weight * self.temperature**2 * divergence


def _cross_entropy(labels, logits):
    """Of each class, with labels from 0 to 1; no overflow for any logits."""
    return ops.relu(logits) - logits * labels + ops.log1p(ops.exp(-ops.abs(logits)))


def balanced(labels: np.ndarray) -> np.ndarray:
    """Factors by which images with a label weigh the same as those without; (2, classes) float32.

    Of each class 1 on average over images. Source: as of `training_model.balanced`, for two classes
    each.

    Args:
        labels: (n, classes) bool.
    """
    each = [training_model.balanced(of_class, 2) for of_class in labels.T.astype(np.int64)]
    return np.stack(each, axis=1)


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
        compile_with(model, config, rate, self.placement, *self.measures())
        return list(model.metrics[0].variables)  # made with the compilation: the mean loss

    def measures(self) -> tuple[keras.losses.Loss, list[keras.metrics.Metric]]:
        """The loss and the metrics of a training."""
        loss = SigmoidLoss.of(self.config, self._training_data.split.labels)
        return loss, [MeanAveragePrecision(self.network.output_shape[-1])]

    def _solved(self, train: Gathered, validation: Gathered | None) -> Head:
        weighed = self.config.class_weights == "balanced"
        factors = balanced(self._training_data.split.labels) if weighed else None

        def weights(labels: np.ndarray) -> np.ndarray | None:
            return None if factors is None else np.where(labels > 0, factors[1], factors[0])

        return solved(
            train,
            validation,
            sigmoid_loss,
            targets=lambda labels: labels,
            weights=weights,
            seed=self.config.split_seed,
        )

    def note(self, logs: dict[str, float]) -> str:
        """What is shown of a step."""
        return f"loss {float(logs['loss']):.3f}"
