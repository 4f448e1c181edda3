"""A segmentation network as it is trained: bytes and masks go in, and its loss comes out."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerascnn.preprocessing import Preprocessing
from training.segmentation.losses import SegmentationLoss


class SegmentationTrainingModel(keras.Model):
    """A network behind its normalisation and in front of its loss.

    Args:
        network: functional, from normalised images to (n, h', w', c) logits.
        preprocessing: of the network.
        loss: of its logits.
    """

    def __init__(
        self, network: keras.Model, preprocessing: Preprocessing, loss: SegmentationLoss
    ) -> None:
        super().__init__(name=f"{network.name}_training_model", autocast=False)
        self.dtype_policy = network.dtype_policy  # half precision has its loss scaled
        self.network, self.preprocessing, self.map_loss = network, preprocessing, loss
        self.built = True

    def call(self, batch: dict[str, Any], training: bool = False) -> Any:
        """Logits of a batch of `training.segmentation.batches`; (n, h', w', c)."""
        pictures = self.preprocessing.normalise_floats(ops.cast(batch["pictures"], "float32"))
        return self.network(pictures, training=training)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):  # fmt: skip
        """The loss of the batch's own maps."""
        return self.map_loss(x["gt_map"], y_pred, x.get("gt_weights"))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Keras' own of the loss: masks are compared after the epoch."""
        return self.get_metrics_result()
