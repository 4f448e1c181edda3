"""A trained network that teaches another one: what every task's teacher has.

What of its answers becomes a loss is each task's own (`distillation` of its package).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any, Generic, Self, TypeVar

import keras
import numpy as np
from keras import ops

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing, reversed_channels
from training.engine.config import TrainConfig
from training.engine.run import Run

Loss = TypeVar("Loss")

_LUMA = (0.299, 0.587, 0.114)
# Of the ratio of height to width; 28x28 and 224x223 are the same shape to a network.
_SHAPE_TOLERANCE = 0.02


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TeacherNetwork:
    """A trained network that answers for another one's input.

    Attributes:
        model: from its own input to its outputs, before anything decodes them.
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
    def open(cls, run: Run, *, classes: Sequence[str], student: Preprocessing) -> Self:
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
        cls.check(run, model, len(classes))
        digest = hashlib.sha256(run.model_path.read_bytes()).hexdigest()
        return cls(model=model, preprocessing=own, student=student, name=run.name, sha256=digest)

    @classmethod
    def check(cls, run: Run, model: keras.Model, classes: int) -> None:
        """Raise InputError for a network whose outputs teach nothing here."""
        return None

    @property
    def facts(self) -> dict[str, Any]:
        """What run.json notes of it."""
        return {"teacher": {"run": self.name, "sha256": self.sha256}}

    def answers(self, pictures: Any) -> list[Any]:
        """Its outputs for the student's batch, float32, through which no gradient goes.

        Args:
            pictures: (n, height, width, channels) float32 as the student's network takes them;
                size, channels and normalisation become the teacher's first.
        """
        outputs = keras.tree.flatten(self.model(self._as_own(pictures), training=False))
        return [ops.stop_gradient(ops.cast(each, "float32")) for each in outputs]

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


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Distillation(Generic[Loss]):
    """A loss with a teacher's part: (1 - w) of the truth's and w of the teacher's.

    Attributes:
        loss: of the truth.
        weight: w, 0 to 1.
        temperature: of the softmaxes over places.
    """

    loss: Loss
    weight: float
    temperature: float

    @classmethod
    def of(cls, loss: Loss, config: TrainConfig) -> Self:
        """As a configuration asks for it."""
        return cls(loss=loss, weight=config.distil_weight, temperature=config.temperature)


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


def channel_wise_divergence(
    wanted: Any, found: Any, temperature: float, total: Any = ops.sum
) -> Any:
    """How far the places that a student's channels look at are from those of a teacher's.

    A softmax over the places of each channel makes a distribution of it; the result is T^2 times
    the Kullback-Leibler divergence of the student's from the teacher's, the mean over channels and
    images. A constant that is added to a channel changes nothing, so that networks of different
    strength can be compared.

    Args:
        wanted, found: (n, places, channels) float32 of the teacher and of the student.
        temperature: T, which both softmaxes are taken at.
        total: sums over the whole batch, see `training.engine.devices.Placement`.

    Source: Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction" (ICCV 2021,
    arXiv:2011.13256), equations 3 and 4.
    """
    expected = ops.log_softmax(wanted / temperature, axis=1)
    given = ops.log_softmax(found / temperature, axis=1)
    divergence = ops.sum(ops.exp(expected) * (expected - given), axis=1)
    return temperature**2 * total(divergence) / total(ops.ones_like(divergence))
