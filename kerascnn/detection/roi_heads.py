"""The second stage: what a detector says of regions, and what becomes of it.

The box head is FPN's, two hidden dense layers (arXiv:1612.03144, section 4.2); the mask head is
four convolutions and a doubling, a small fully convolutional network for every region (Mask R-CNN,
arXiv:1703.06870, figure 4, right).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers, ops

from kerascnn.detection import heads, two_stage
from kerascnn.detection.roi_align import RoIAlign
from kerascnn.detection.specs import TwoStageSpec

MASK_CONVS = 4
# So that no class and no correction is preferred at first (detectron2's FastRCNNOutputLayers).
CLASS_STDDEV, CODE_STDDEV = 0.01, 0.001


def box_head(maps, regions, classes, *, align, units):
    """Classes and corrections of regions.

    Args:
        maps: (n, height, width, channels) of the levels that regions are read from.
        regions: (n, r, 4).
        classes: c, without the background.
        align: options of `RoIAlign`.
        units: of both hidden layers. The first one's rows go by row, column and channel of the
            region's map, where torchvision's `fc6` has channel, row and column.

    Returns:
        logits (n, r, 1 + c), the background first; codes (n, r, 1 + c, 4), the background's unused.
    """
    x = RoIAlign(**align, name="box_roi_align")(maps, regions)
    x = layers.Reshape((-1, x.shape[2] * x.shape[3] * x.shape[4]), name="box_flat")(x)
    for number in (1, 2):
        x = layers.Dense(units, activation="relu", name=f"box_head{number}")(x)
    logits = _predicted(x, 1 + classes, CLASS_STDDEV, name="class_logits")
    codes = _predicted(x, 4 * (1 + classes), CODE_STDDEV, name="box_codes")
    rows = layers.Reshape((-1, 1 + classes, 4), dtype=heads.output_dtype(), name="box_codes_rows")
    return logits, rows(codes)


def _predicted(x, units, stddev, *, name):
    initial = keras.initializers.RandomNormal(stddev=stddev)
    dtype = heads.output_dtype()
    return layers.Dense(units, kernel_initializer=initial, dtype=dtype, name=name)(x)


def mask_head(maps, regions, classes, *, align, filters):
    """Masks of regions for every class: logits (n, r, 2 * rows, 2 * columns, 1 + c).

    Args:
        maps: (n, height, width, channels) of the levels that regions are read from.
        regions: (n, r, 4).
        classes: c, without the background, which has a mask that is unused.
        align: options of `RoIAlign`, its size half the masks'.
        filters: of all hidden layers.
    """
    x = RoIAlign(**align, name="mask_roi_align")(maps, regions)
    x = FoldRegions(name="mask_fold")(x)
    for number in range(1, MASK_CONVS + 1):
        x = layers.Conv2D(
            filters,
            3,
            padding="same",
            activation="relu",
            kernel_initializer=_initializer(),
            name=f"mask_conv{number}",
        )(x)
    x = layers.Conv2DTranspose(
        filters,
        2,
        strides=2,
        activation="relu",
        kernel_initializer=_initializer(),
        name="mask_deconv",
    )(x)
    predict = layers.Conv2D(
        1 + classes,
        1,
        kernel_initializer=_initializer(),
        dtype=heads.output_dtype(),
        name="mask_logits",
    )
    return UnfoldRegions(name="mask_unfold")(predict(x), regions)


def _initializer():
    # torchvision's kaiming_normal_(mode="fan_out"). One a layer, since it always draws the same.
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


@keras.saving.register_keras_serializable(package="kerascnn")
class FoldRegions(keras.layers.Layer):
    """Regions as pictures of a batch: (n, r, height, width, channels) to (n * r, height, ...)."""

    def call(self, x: Any) -> Any:
        """Reshape."""
        return ops.reshape(x, (-1, *x.shape[2:]))

    def compute_output_spec(self, x: Any) -> Any:
        """The result's shape and type."""
        return keras.KerasTensor((None, *x.shape[2:]), dtype=x.dtype)


@keras.saving.register_keras_serializable(package="kerascnn")
class UnfoldRegions(keras.layers.Layer):
    """What `FoldRegions` did, undone; called with (n * r, height, ...) and regions (n, r, 4)."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def call(self, x: Any, regions: Any) -> Any:
        """Reshape."""
        return ops.reshape(x, (-1, ops.shape(regions)[1], *x.shape[1:]))

    def compute_output_spec(self, x: Any, regions: Any) -> Any:
        """The result's shape and type."""
        return keras.KerasTensor((*regions.shape[:2], *x.shape[1:]), dtype=x.dtype)


@keras.saving.register_keras_serializable(package="kerascnn")
class Detections(keras.layers.Layer):
    """`two_stage.detect` as a layer: called with regions, valid, logits and codes."""

    def __init__(self, spec: TwoStageSpec | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.spec = spec if isinstance(spec, TwoStageSpec) else TwoStageSpec.from_dict(spec)

    def call(self, regions: Any, valid: Any, class_logits: Any, box_codes: Any) -> dict[str, Any]:
        """The dictionary of `two_stage.detect`."""
        return two_stage.detect(
            self.spec, regions, valid, class_logits, box_codes, suppress=self.suppress
        )

    def suppress(self, boxes: Any, scores: Any, labels: Any) -> tuple[Any, ...]:
        """`two_stage.suppress_classes`; a subclass may have another operation for it."""
        return two_stage.suppress_classes(self.spec, boxes, scores, labels)

    def compute_output_spec(self, regions: Any, *others: Any) -> dict[str, Any]:
        """The results' shapes and types."""
        shape = (regions.shape[0], self.spec.max_detections)
        return {
            "boxes": keras.KerasTensor((*shape, 4), dtype="float32"),
            "labels": keras.KerasTensor(shape, dtype="int32"),
            "scores": keras.KerasTensor(shape, dtype="float32"),
            "count": keras.KerasTensor(shape[:1], dtype="int32"),
        }

    def get_config(self) -> dict[str, Any]:
        """The spec, for saving."""
        return super().get_config() | {"spec": self.spec.to_dict()}


@keras.saving.register_keras_serializable(package="kerascnn")
class Masks(keras.layers.Layer):
    """Of the masks of all classes, each detection's own, as probabilities.

    Called with logits (n, d, height, width, 1 + c), the background first, and labels (n, d); gives
    (n, d, height, width) in 0..1, of zeros where the label is -1.

    Source: Mask R-CNN (arXiv:1703.06870), section 3: the k-th mask of class k, by a sigmoid.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def call(self, logits: Any, labels: Any) -> Any:
        """Choose, then squash."""
        # Not `take_along_axis`, which makes an index of 8 bytes for every number (TensorFlow).
        chosen = ops.one_hot(labels + 1, logits.shape[-1], dtype=logits.dtype)
        own = ops.sum(logits * chosen[:, :, None, None], axis=-1)
        return ops.where(labels[..., None, None] >= 0, ops.sigmoid(own), 0.0)

    def compute_output_spec(self, logits: Any, labels: Any) -> Any:
        """The result's shape and type."""
        return keras.KerasTensor(logits.shape[:-1], dtype=logits.dtype)
