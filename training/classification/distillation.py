"""Knowledge distillation: a trained network's answers as part of another one's labels.

Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network"
(arXiv:1503.02531), section 2. The teacher sees the very images that the student sees, augmented
as they are, and its logits travel beside the labels: (n, classes) one-hot becomes (n, 2 classes).
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerascnn.errors import InputError
from training.engine.config import TrainConfig
from training.engine.run import Run
from training.engine.teacher import TeacherNetwork


class DistillationLoss(keras.losses.Loss):
    """(1 - w) cross entropy(labels, student) + w T^2 KL(teacher at T || student at T).

    `y_true` is (n, 2 classes), the one-hot labels and the teacher's logits, and `y_pred`
    (n, classes), the student's logits. T^2 keeps the two gradients in proportion whatever T is.
    For (n, classes) labels, of images that no teacher saw, it is the cross entropy alone.

    Args:
        weight: w, the teacher's share of the loss, 0 to 1.
        temperature: T, which both softmaxes are taken at.
        label_smoothing: of the one-hot labels.
    """

    def __init__(self, *, weight: float, temperature: float, label_smoothing: float = 0.0) -> None:
        super().__init__(name="distillation_loss")
        self.weight, self.temperature = weight, temperature
        self.label_smoothing = label_smoothing

    @classmethod
    def of(cls, config: TrainConfig) -> DistillationLoss:
        """The loss that a configuration asks for."""
        return cls(
            weight=config.distil_weight,
            temperature=config.temperature,
            label_smoothing=config.label_smoothing,
        )

    def call(self, y_true, y_pred):
        """(n,) losses."""
        classes = y_pred.shape[-1]
        labels, teacher = y_true[..., :classes], y_true[..., classes:]
        labels = labels * (1 - self.label_smoothing) + self.label_smoothing / classes
        entropy = -ops.sum(labels * ops.log_softmax(y_pred), axis=-1)
        if y_true.shape[-1] == classes:
            return entropy
        expected = ops.log_softmax(teacher / self.temperature)
        found = ops.log_softmax(y_pred / self.temperature)
        divergence = ops.sum(ops.exp(expected) * (expected - found), axis=-1)
        return (1 - self.weight) * entropy + self.weight * self.temperature**2 * divergence


def accuracy(y_true, y_pred):
    """Top-1 of (n, classes) logits, (n,) of 0 and 1; `y_true` with a teacher's logits or without.

    The name is the metric's: history.csv has the same columns with and without a teacher.
    """
    labels = y_true[..., : y_pred.shape[-1]]
    right = ops.equal(ops.argmax(labels, axis=-1), ops.argmax(y_pred, axis=-1))
    return ops.cast(right, "float32")


class Teacher(TeacherNetwork):
    """A classifier that teaches another one."""

    @classmethod
    def check(cls, run: Run, model: keras.Model, classes: int) -> None:
        """Raise InputError for a network that gives no logits of these classes."""
        if len(model.outputs) != 1 or model.output_shape[-1] != classes:
            raise InputError(
                f"the teacher {run.folder} has outputs of {model.output_shape} where "
                f"{classes} logits belong; take another teacher"
            )

    def teacher_logits(self, pictures: Any) -> Any:
        """(n, classes) float32 of the student's batch, see `TeacherNetwork.answers`."""
        (logits,) = self.answers(pictures)
        return logits
