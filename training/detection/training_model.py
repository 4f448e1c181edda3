"""A detector as it is trained: bytes and boxes go in, and its losses come out.

Boxes are matched to anchors, or assigned to points by what the network says of them, in the
training step, by the same code under every backend.
"""

from __future__ import annotations

from typing import Any

import keras

from kerascnn.preprocessing import Preprocessing
from training.detection.distillation import AnyDistillation
from training.detection.loss_of_spec import AnyLoss
from training.engine.devices import SINGLE, Placement
from training.engine.teacher import TeacherNetwork
from training.engine.training_model import TrainingModel


class DetectionTrainingModel(TrainingModel):
    """A detector behind its normalisation and in front of its loss.

    Args:
        network: functional, from normalised images to [codes (n, a, 4), logits (n, a, ...)].
        preprocessing: of the network.
        loss: of its outputs.
        placement: of the training; the loss sums over its devices.
        teacher: its answers are a part of the losses by `distillation`, or None; not trained.
        distillation: of both losses, where there is a teacher.
    """

    def __init__(
        self,
        network: keras.Model,
        preprocessing: Preprocessing,
        loss: AnyLoss,
        placement: Placement = SINGLE,
        teacher: TeacherNetwork | None = None,
        distillation: AnyDistillation | None = None,
    ) -> None:
        super().__init__(network, preprocessing, placement, teacher)
        self.detection_loss, self.distillation = loss, distillation
        self.parts = [keras.metrics.Mean(name=name) for name in ("box_loss", "class_loss")]
        self.built = True

    def call(self, batch: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Both losses of a batch (`training.detection.batches`), by name."""
        pictures = self.normalised(batch)
        codes, logits = self.network(pictures, training=training)
        truth = (batch["gt_boxes"], batch["gt_labels"], batch["gt_crowd"])
        if self.teacher is not None and self.distillation is not None:
            taught = self.teacher.answers(pictures)
            boxes, classes = self.distillation.both(truth, codes, logits, taught)
        else:
            boxes, classes = self.detection_loss.both(truth, codes, logits)
        return {"box_loss": boxes, "class_loss": classes}

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):  # fmt: skip
        """The sum of both."""
        return self.placement.part(y_pred["box_loss"] + y_pred["class_loss"])

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Means of both over the epoch so far, beside Keras' own of the loss."""
        for part in self.parts:
            part.update_state(y_pred[part.name])
        return self.get_metrics_result()
