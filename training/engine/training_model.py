"""A network as it is trained: bytes go in, and what the loss is made of comes out."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerascnn.preprocessing import Preprocessing
from training.engine.devices import Placement
from training.engine.teacher import TeacherNetwork


class TrainingModel(keras.Model):
    """A network behind its normalisation; a task's own puts its loss behind it.

    Args:
        network: functional, of normalised images.
        preprocessing: of the network.
        placement: of the training; losses sum over its devices.
        teacher: a network whose answers are a part of the loss, or None; not trained.
    """

    def __init__(
        self,
        network: keras.Model,
        preprocessing: Preprocessing,
        placement: Placement,
        teacher: TeacherNetwork | None = None,
    ) -> None:
        super().__init__(name=f"{network.name}_training_model", autocast=False)
        self.dtype_policy = network.dtype_policy  # half precision has its loss scaled
        self.network, self.preprocessing, self.placement = network, preprocessing, placement
        self.teacher = teacher
        if teacher is not None:
            self.teacher_network = teacher.model
            self.teacher_network.trainable = False

    def normalised(self, batch: dict[str, Any]) -> Any:
        """The images of a batch as the network sees them; (n, height, width, channels) floats."""
        return self.preprocessing.normalise_floats(ops.cast(batch["pictures"], "float32"))
