"""Knowledge distillation: a trained network's answers as part of another one's labels.

Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network"
(arXiv:1503.02531), section 2. The teacher sees the very images that the student sees, augmented
as they are, and its logits travel beside the labels: (n, classes) one-hot becomes (n, 2 classes).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing, reversed_channels
from training.engine.config import TrainConfig
from training.engine.run import Run

_LUMA = (0.299, 0.587, 0.114)
# Of the ratio of height to width; 28x28 and 224x223 are the same shape to a network.
_SHAPE_TOLERANCE = 0.02


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


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Teacher:
    """A trained network that answers for another one's input.

    Attributes:
        model: from its own input to logits.
        preprocessing: of its own input.
        student: geometry and normalisation of the batches that it is asked about.
        name: of its run.
        sha256: of its model.keras.
    """

    model: keras.Model
    preprocessing: Preprocessing
    student: Preprocessing
    name: str
    sha256: str

    @classmethod
    def open(cls, run: Run, *, classes: Sequence[str], student: Preprocessing) -> Teacher:
        """The network of a finished run.

        Args:
            classes: of the student's data, in the order of its logits.
            student: the student's geometry and normalisation.

        Raises:
            InputError: other classes, another shape of image, or no readable network.
        """
        if run.labels != tuple(classes):
            raise InputError(
                f"the teacher {run.folder} has the classes {_listed(run.labels)}, and the data has "
                f"{_listed(classes)}; take a teacher that was trained on the same classes"
            )
        own = run.preprocessing
        ratio = (own.height * student.width) / (own.width * student.height)
        if abs(ratio - 1) > _SHAPE_TOLERANCE:
            raise InputError(
                f"the teacher {run.folder} takes images of {own.height}x{own.width}, to which "
                f"{student.height}x{student.width} would be distorted; "
                "give --image-size the teacher's shape, or take another teacher"
            )
        model = run.load_model()
        if len(model.outputs) != 1 or model.output_shape[-1] != len(classes):
            raise InputError(
                f"the teacher {run.folder} has outputs of {model.output_shape} where "
                f"{len(classes)} logits belong; take another teacher"
            )
        digest = hashlib.sha256(run.model_path.read_bytes()).hexdigest()
        return cls(model=model, preprocessing=own, student=student, name=run.name, sha256=digest)

    def teacher_logits(self, pictures: Any) -> Any:
        """Answers to the student's batch.

        Args:
            pictures: (n, height, width, channels) float32 as the student's network takes them.

        Returns:
            (n, classes) float32. Size, channels and normalisation are the teacher's first.
        """
        logits = self.model(self._as_own(pictures), training=False)
        return ops.stop_gradient(ops.cast(logits, "float32"))

    def _as_own(self, pictures: Any) -> Any:
        own, student = self.preprocessing, self.student
        if _normalisation(own) != _normalisation(student):
            pictures = pictures * np.asarray(student.std, np.float32) + np.asarray(
                student.mean, np.float32
            )
            if student.order == "bgr" and student.channels == 3:
                pictures = reversed_channels(pictures)
            pictures = own.normalise_floats(_with_channels(pictures, own.channels))
        if own.input_shape[:2] != student.input_shape[:2]:
            pictures = ops.image.resize(pictures, own.input_shape[:2], antialias=True)
        return pictures


def _normalisation(preprocessing: Preprocessing) -> tuple:
    return (
        preprocessing.mean,
        preprocessing.std,
        preprocessing.order,
        preprocessing.channels,
    )


def _with_channels(pictures: Any, channels: int) -> Any:
    """RGB or grey to the asked one, as `training.datasets.pictures.convert_channels`."""
    if pictures.shape[-1] == channels:
        return pictures
    if channels == 3:
        return ops.repeat(pictures, 3, axis=-1)
    return ops.sum(pictures * np.array(_LUMA, np.float32), axis=-1, keepdims=True)


def _listed(classes: Sequence[str]) -> str:
    few = ", ".join(classes[:4])
    return f"{few}, ... ({len(classes)} classes)" if len(classes) > 4 else few
