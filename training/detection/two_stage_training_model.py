"""A two-stage detector as it is trained: bytes, boxes and masks go in, and its losses come out.

Both stages learn together, in one step (arXiv:1506.01497, section 3.2, "approximate joint
training"): no gradient goes through the coordinates of proposals.
"""

from __future__ import annotations

from typing import Any

import keras

from kerascnn.detection import two_stage
from kerascnn.detection.specs import TwoStageSpec
from kerascnn.preprocessing import Preprocessing
from training.detection.two_stage_losses import RCNNLoss, Regions, Truth
from training.engine.devices import SINGLE, Placement
from training.engine.training_model import TrainingModel


class TwoStageTrainingModel(TrainingModel):
    """A two-stage detector behind its normalisation and in front of its losses.

    Args:
        network: functional, from normalised images to detections; its stages are cut out of it.
        preprocessing: of the network.
        spec: of the network.
        placement: of the training; the losses sum over its devices.
    """

    def __init__(
        self,
        network: keras.Model,
        preprocessing: Preprocessing,
        spec: TwoStageSpec,
        placement: Placement = SINGLE,
    ) -> None:
        super().__init__(network, preprocessing, placement)
        self.rcnn_loss = RCNNLoss(spec=spec, total=placement.total)
        self._stages = two_stage.parts(network)
        names = ["rpn_class_loss", "rpn_box_loss", "class_loss", "box_loss"]
        names += ["mask_loss"] if spec.masks else []
        self.parts = [keras.metrics.Mean(name=name) for name in names]
        self.built = True

    def call(self, batch: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """All losses of a batch (`training.detection.batches`, with chance and masks), by name."""
        loss, stages = self.rcnn_loss, self._stages
        truth = Truth(batch["gt_boxes"], batch["gt_labels"], batch["gt_crowd"])
        pictures = self.normalised(batch)
        seen = stages.front(pictures, training=training)
        maps, codes, logits = seen["maps"], seen["rpn_codes"], seen["rpn_logits"]
        objects, corrections = loss.of_anchors(truth, codes, logits, batch["chance"])
        proposals, valid = two_stage.propose(loss.proposing, codes, logits)
        regions = loss.regions(truth, proposals, valid, batch["chance"])
        found = stages.box_head([*maps, regions.boxes], training=training)
        classes, boxes = loss.of_regions(truth, regions, found["class_logits"], found["box_codes"])
        losses = {
            "rpn_class_loss": objects,
            "rpn_box_loss": corrections,
            "class_loss": classes,
            "box_loss": boxes,
        }
        if stages.mask_head is not None:
            some = Regions(*(each[:, : loss.positives] for each in regions))
            masks = stages.mask_head([*maps, some.boxes], training=training)
            losses["mask_loss"] = loss.of_masks(
                some, masks, batch["gt_masks"], self.preprocessing.width
            )
        return losses

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):  # fmt: skip
        """The sum of all."""
        return self.placement.part(sum(y_pred.values()))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Means of all over the epoch so far, beside Keras' own of the loss."""
        for part in self.parts:
            part.update_state(y_pred[part.name])
        return self.get_metrics_result()
