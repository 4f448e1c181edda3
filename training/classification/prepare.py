"""From bytes to what a network learns from: augmented, mixed, normalised; on any backend."""

from __future__ import annotations

import dataclasses
from typing import Any

from keras import ops

from kerascnn.preprocessing import Preprocessing
from training.augment import images, mixing, policies


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepare:
    """The last steps before the first layer, as pure functions of a batch.

    A batch is {"pictures": (n, h, w, c) uint8, "drawn": {...}, "mix": (n, 5)}: the rows of
    `epoch_schedule.epoch`, without "mix" where nothing is mixed and without both for an evaluation.

    Attributes:
        preprocessing: geometry and normalisation of the network's input.
        policy: a name in `policies.POLICIES`.
    """

    preprocessing: Preprocessing
    policy: str

    def for_training(self, batch: dict[str, Any]) -> Any:
        """Augmented, mixed and normalised images; (n, height, width, channels) float32."""
        pictures = images.augment(
            policies.POLICIES[self.policy],
            ops.cast(batch["pictures"], "float32"),
            batch["drawn"],
            self.preprocessing.input_shape[:2],
        )
        if "mix" in batch:
            pictures = mixing.mix_pictures(pictures, batch["mix"])
        return self.preprocessing.normalise_floats(pictures)

    def for_evaluation(self, batch: dict[str, Any]) -> Any:
        """Images, normalised; (n, height, width, channels) float32."""
        return self.preprocessing.normalise_floats(ops.cast(batch["pictures"], "float32"))

    def labels(self, batch: dict[str, Any], labels: Any) -> Any:
        """One-hot labels, mixed as the images are; (n, classes) float32."""
        return mixing.mix_labels(labels, batch["mix"]) if "mix" in batch else labels
