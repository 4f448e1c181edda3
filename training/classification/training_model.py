"""A network as it is trained: bytes go in, and augmentation is a part of the training step.

So images travel to a device as bytes, a quarter of their size, and are changed there, by the
same code under every backend. Keras' own `fit` trains it.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from training.classification.distillation import Teacher
from training.classification.prepare import Prepare
from training.engine.config import TrainConfig


class ClassificationTrainingModel(keras.Model):
    """A network behind `Prepare`, with a teacher's answers beside it if there is one.

    Args:
        network: functional, from normalised images to (n, classes) logits.
        prepare: what is done to a batch before it.
        class_weights: (classes,) factors of the loss, or None for 1.
        teacher: its answers are put behind the labels for the loss; not trained.
    """

    def __init__(
        self,
        network: keras.Model,
        prepare: Prepare,
        *,
        class_weights: np.ndarray | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        # Inputs keep their types: half precision would round what was drawn.
        super().__init__(name=f"{network.name}_training_model", autocast=False)
        self.dtype_policy = network.dtype_policy  # half precision has its loss scaled
        self.network, self.prepare = network, prepare
        self.class_weights = class_weights
        self.teacher = teacher
        if teacher is not None:
            self.teacher_network = teacher.model
            self.teacher_network.trainable = False
        self.built = True

    def call(self, batch: dict[str, Any], training: bool = False) -> Any:
        """Logits of a batch; with a teacher while training, both in a dict."""
        if not training:
            return self.network(self.prepare.for_evaluation(batch), training=False)
        pictures = self.prepare.for_training(batch)
        logits = self.network(pictures, training=True)
        if self.teacher is None:
            return logits
        return {"logits": logits, "teacher": self.teacher.teacher_logits(pictures)}

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):  # fmt: skip
        """Keras' loss of the mixed labels; in training weighted by class."""
        labels = self.prepare.labels(x, y)
        if self.class_weights is not None and training:
            sample_weight = ops.matmul(labels, ops.convert_to_tensor(self.class_weights))
        if isinstance(y_pred, dict):
            labels = ops.concatenate([labels, y_pred["teacher"]], axis=-1)
            y_pred = y_pred["logits"]
        return super().compute_loss(
            x=x, y=labels, y_pred=y_pred, sample_weight=sample_weight, training=training
        )

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Keras' metrics of the mixed labels; each image counts alike."""
        logits = y_pred["logits"] if isinstance(y_pred, dict) else y_pred
        return super().compute_metrics(x, self.prepare.labels(x, y), logits)


def factors_of(config: TrainConfig, labels: np.ndarray, classes: int) -> np.ndarray | None:
    """What a configuration weighs each class with in the loss; (classes,) float32, None for 1.

    Args:
        labels: (n,) of all images that are learnt from. (n, classes) of several labels each have
            no weights here: their loss has them (`training.multilabel.fit`).
    """
    weighed = config.class_weights == "balanced" and labels.ndim == 1
    return balanced(labels, classes) if weighed else None


def balanced(labels: np.ndarray, classes: int) -> np.ndarray:
    """Factors that make each class weigh the same; (classes,) float32, 1 on average over images.

    Source: King and Zeng, "Logistic Regression in Rare Events Data", 2001, section 4.2.
    """
    counts = np.bincount(labels, minlength=classes)
    return (len(labels) / (classes * np.maximum(counts, 1))).astype(np.float32)
