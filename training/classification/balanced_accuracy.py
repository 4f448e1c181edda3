"""Balanced accuracy while training: the mean of the classes' recalls."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class BalancedAccuracy(keras.metrics.Metric):
    """The mean, over the classes that have images, of the share that is answered rightly.

    Its variables count images, so that they may be added up over batches, devices and hosts.

    Args:
        classes: length of the logits.
    """

    def __init__(self, classes: int, name: str = "balanced_accuracy") -> None:
        super().__init__(name=name)
        self.classes = classes
        self.right = self.add_variable((classes,), "zeros", name="right")
        self.pictures = self.add_variable((classes,), "zeros", name="pictures")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count (n, classes) one-hot labels and logits; images weigh alike."""
        labels = ops.cast(y_true[..., : self.classes], self.dtype)
        right = ops.equal(ops.argmax(labels, axis=-1), ops.argmax(y_pred, axis=-1))
        right = ops.cast(right, self.dtype)[..., None]
        self.right.assign_add(ops.sum(labels * right, axis=0))
        self.pictures.assign_add(ops.sum(labels, axis=0))

    def result(self) -> Any:
        """A share of 1; 0 without images."""
        there = ops.cast(self.pictures > 0, self.dtype)
        recalls = self.right / ops.maximum(self.pictures, 1)
        return ops.sum(recalls * there) / ops.maximum(ops.sum(there), 1)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {"name": self.name, "classes": self.classes}
