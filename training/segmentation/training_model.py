"""A segmentation network as it is trained: bytes and masks go in, and its loss comes out."""

from __future__ import annotations

from typing import Any

import keras

from kerascnn.preprocessing import Preprocessing
from training.engine.devices import SINGLE, Placement
from training.engine.teacher import TeacherNetwork
from training.engine.training_model import TrainingModel
from training.segmentation.distillation import SegmentationDistillation
from training.segmentation.losses import SegmentationLoss


class SegmentationTrainingModel(TrainingModel):
    """A network behind its normalisation and in front of its loss.

    Args:
        network: functional, from normalised images to (n, h', w', c) logits.
        preprocessing: of the network.
        loss: of its logits.
        placement: of the training; the loss sums over its devices.
        teacher: its answers are a part of the loss by `distillation`, or None; not trained.
        distillation: of the loss, where there is a teacher.
    """

    def __init__(
        self,
        network: keras.Model,
        preprocessing: Preprocessing,
        loss: SegmentationLoss,
        placement: Placement = SINGLE,
        teacher: TeacherNetwork | None = None,
        distillation: SegmentationDistillation | None = None,
    ) -> None:
        super().__init__(network, preprocessing, placement, teacher)
        self.map_loss, self.distillation = loss, distillation
        self.built = True

    def call(self, batch: dict[str, Any], training: bool = False) -> Any:
        """Logits of a batch of `training.segmentation.batches`; (n, h', w', c).

        With a teacher both networks', in a dict.
        """
        pictures = self.normalised(batch)
        logits = self.network(pictures, training=training)
        if self.teacher is None:
            return logits
        return {"logits": logits, "teacher": self.teacher.answers(pictures)[0]}

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):  # fmt: skip
        """The loss of the batch's own maps."""
        if self.distillation is not None:
            answers = y_pred["logits"], y_pred["teacher"]
            loss = self.distillation(x["gt_map"], *answers, x.get("gt_weights"))
        else:
            loss = self.map_loss(x["gt_map"], y_pred, x.get("gt_weights"))
        return self.placement.part(loss)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Keras' own of the loss: masks are compared after the epoch."""
        return self.get_metrics_result()
