"""The region proposal network (Ren et al., arXiv:1506.01497, section 3.1) on a feature pyramid
(arXiv:1612.03144, section 4.1): one head for all levels, and the proposals out of what it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers

from kerascnn.detection import heads, two_stage
from kerascnn.detection.specs import TwoStageSpec

# Of the initial kernels (torchvision; the papers' as well).
STDDEV = 0.01


def rpn(maps, anchors_a_cell, *, levels):
    """Say of every anchor whether it is an object's, and how it is to be corrected.

    Args:
        maps: (batch, height, width, channels) of all levels, the finest first.
        anchors_a_cell: of every level.
        levels: their numbers, for the names of layers.

    Returns:
        codes (batch, anchors, 4) and logits (batch, anchors); a level's anchors go row by row, cell
        by cell, in the order of the spec's.
    """
    hidden = layers.Conv2D(
        maps[0].shape[-1],
        3,
        padding="same",
        activation="relu",
        kernel_initializer=_initializer(),
        name="rpn_conv",
    )
    maps, outputs = [hidden(x) for x in maps], []
    for name, values in (("rpn_codes", 4), ("rpn_logits", 1)):
        predict = layers.Conv2D(
            anchors_a_cell * values,
            1,
            kernel_initializer=_initializer(),
            dtype=heads.output_dtype(),
            name=name,
        )
        rows = [
            heads.rows(predict(x), values, name=f"{name}_p{level}_rows")
            for x, level in zip(maps, levels, strict=True)
        ]
        outputs.append(heads.joined(rows, name=f"{name}_rows"))
    codes, logits = outputs
    flat = layers.Reshape((logits.shape[1],), dtype=heads.output_dtype(), name="rpn_logits_flat")
    return codes, flat(logits)


def _initializer():
    # One a layer, since an initializer always draws the same.
    return keras.initializers.RandomNormal(stddev=STDDEV)


@keras.saving.register_keras_serializable(package="kerascnn")
class Proposals(keras.layers.Layer):
    """`two_stage.propose` as a layer: called with codes (n, a, 4) and logits (n, a)."""

    def __init__(self, spec: TwoStageSpec | Mapping[str, Any], **kwargs: Any) -> None:
        # Boxes in half precision would be off by pixels.
        super().__init__(autocast=False, **kwargs)
        self.spec = spec if isinstance(spec, TwoStageSpec) else TwoStageSpec.from_dict(spec)

    def call(self, codes: Any, logits: Any) -> tuple[Any, Any]:
        """Boxes (n, proposals, 4) and valid (n, proposals)."""
        return two_stage.propose(self.spec, codes, logits, suppress=self.suppress)

    def suppress(self, boxes: Any, scores: Any, levels: Any) -> tuple[Any, Any]:
        """`two_stage.suppress_levels`; a subclass may have another operation for it."""
        return two_stage.suppress_levels(self.spec, boxes, scores, levels)

    def compute_output_spec(self, codes: Any, logits: Any) -> tuple[Any, Any]:
        """The results' shapes and types."""
        shape = (codes.shape[0], self.spec.proposals)
        boxes = keras.KerasTensor((*shape, 4), dtype="float32")
        return boxes, keras.KerasTensor(shape, dtype="bool")

    def get_config(self) -> dict[str, Any]:
        """The spec, for saving."""
        return super().get_config() | {"spec": self.spec.to_dict()}
