"""Detectors of two stages as files hold them: proposals and suppression inside, of builtins alone.

Keras suppresses in loops, which no phone's delegate has. In a file candidates go through
NonMaxSuppressionV4, which is a TFLite builtin and an ONNX operation, and whose results have shapes
that are known beforehand. `_suppressed` is written for what the runtimes make of it.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from export.graph.signature import DETECTIONS, MASKS
from export.graph.unshare import unshared
from kerascnn.detection import two_stage
from kerascnn.detection.roi_heads import Detections, Masks
from kerascnn.detection.rpn import Proposals
from kerascnn.detection.specs import TwoStageSpec
from kerascnn.errors import InputError


def with_suppression(model: keras.Model) -> keras.Model:
    """The network that files of a two-stage detector hold.

    Args:
        model: functional, as `kerascnn.detection.faster_rcnn` builds it.

    Returns:
        A twin with copied weights for a batch of one, in which no layer is called twice. Its
        outputs are `model`'s: [boxes (1, d, 4), labels (1, d) int32, scores (1, d), count (1,)
        int32], and of a Mask R-CNN masks (1, d, 28, 28).

    Raises:
        InputError: the model has other outputs.
    """
    given = model.output
    if not isinstance(given, dict) or not set(DETECTIONS) <= set(given):
        raise InputError(f"{model.name} is not a two-stage detector: it gives no detections")
    single = unshared(model)
    twin = keras.models.clone_model(
        single,
        input_tensors=keras.Input(batch_shape=(1, *single.input.shape[1:]), name=single.input.name),
        clone_function=_filed,
    )
    for layer in single.layers:
        if layer.weights:
            twin.get_layer(layer.name).set_weights(layer.get_weights())
    outputs = [
        layers.Identity(dtype=twin.output[name].dtype, name=name)(twin.output[name])
        for name in (*DETECTIONS, MASKS)
        if name in given
    ]
    return keras.Model(twin.input, outputs, name=model.name)


def _filed(layer: keras.Layer) -> keras.Layer:
    config = layer.get_config()
    if config["name"] in (*DETECTIONS, MASKS):
        config["name"] += "_layer"  # the outputs are called so
    kind: Any = _FILED.get(type(layer), type(layer))
    return kind.from_config(config)


class FiledProposals(Proposals):
    """`Proposals` as files have them, for a batch of one."""

    def suppress(self, boxes: Any, scores: Any, levels: np.ndarray) -> tuple[Any, Any]:
        """Level by level, then the best of all; as `two_stage.suppress_levels`."""
        most, threshold = self.spec.proposals, self.spec.rpn_iou_threshold
        ends = np.cumsum(np.bincount(levels)).tolist()
        kept, best = [], []
        for first, last in zip([0, *ends[:-1]], ends, strict=True):
            own, count = scores[0, first:last], min(most, last - first)
            places, there = _suppressed(boxes[0, first:last], own > -np.inf, count, threshold)
            kept.append(places + first)
            best.append(tf.where(there, tf.gather(own, places), -np.inf))
        missing = [[0, max(0, most - sum(part.shape[0] for part in kept))]]
        values, order = tf.math.top_k(
            tf.pad(tf.concat(best, 0), missing, constant_values=-np.inf), most
        )
        valid = values > -np.inf
        places = tf.gather(tf.pad(tf.concat(kept, 0), missing), order)
        return tf.where(valid, places, 0)[None], valid[None]


class FiledDetections(Detections):
    """`Detections` as files have them, for a batch of one."""

    def call(self, regions: Any, valid: Any, class_logits: Any, box_codes: Any) -> dict[str, Any]:
        """As in Keras, with `_suppress_classes`."""
        suppress = functools.partial(self._suppress_classes, class_logits.shape[-1] - 1)
        return two_stage.detect(
            self.spec, regions, valid, class_logits, box_codes, suppress=suppress
        )

    def _suppress_classes(
        self, classes: int, boxes: Any, scores: Any, labels: Any
    ) -> tuple[Any, ...]:
        """All classes at once, each moved to a place of its own; as `two_stage.suppress_classes`.

        Places are a square of unit pictures about zero, where numbers are finest: with 90 classes
        an edge moves by up to 2.4e-7 of the picture.
        """
        if self.spec.class_agnostic:
            moved = boxes[0]
        else:
            side = math.ceil(math.sqrt(classes))
            corner = tf.stack([labels[0] // side, labels[0] % side], axis=-1) - side // 2
            moved = boxes[0] + tf.tile(tf.cast(corner, tf.float32), [1, 2])
        if self.spec.rule.soft:
            return _softened(moved, scores[0], self.spec)
        kept, valid = _suppressed(
            moved, scores[0] > 0, self.spec.max_detections, self.spec.iou_threshold
        )
        return kept[None], valid[None]


class FiledMasks(Masks):
    """`Masks` as files have them, for a batch of one."""

    def call(self, logits: Any, labels: Any) -> Any:
        """One number out of each cell's, where Keras' way holds whole maps of indices."""
        (count, *sides), classes = logits.shape[1:-1], logits.shape[-1]
        cells = math.prod(sides)
        first = tf.maximum(labels[0] + 1, 0) + classes * cells * np.arange(count, dtype=np.int32)
        places = first[:, None] + classes * np.arange(cells, dtype=np.int32)
        own = tf.sigmoid(tf.gather(tf.reshape(logits, [-1]), places))
        masks = tf.where(labels[0][:, None] >= 0, own, 0.0)
        return tf.reshape(masks, [1, count, *sides])


def _suppressed(boxes: Any, candidate: Any, most: int, iou_threshold: float) -> tuple[Any, Any]:
    """Keep the first candidate, drop those that overlap with it, and so on.

    Args:
        boxes: (k, 4), the best first.
        candidate: (k,) bool; boxes without area must be none, as LiteRT keeps them over and over.
        most: d, how many to keep.
        iou_threshold: boxes with an IoU above it are dropped.

    Returns:
        indices (d,) int32, 0 where there are fewer; valid (d,) bool.
    """
    # By places, not scores: LiteRT takes equal scores in any order.
    places = np.arange(candidate.shape[0], 0, -1).astype(np.float32)
    # LiteRT drops boxes from the threshold on, TensorFlow and ONNX above it. The next number makes
    # LiteRT exact, and the others differ at that very number alone. (None takes one above 1.)
    threshold = np.nextafter(np.float32(iou_threshold), np.float32(1))
    kept, count = tf.raw_ops.NonMaxSuppressionV4(
        boxes=boxes,
        scores=tf.where(candidate, places, -1.0),
        max_output_size=most,
        iou_threshold=threshold,
        score_threshold=0.0,
        pad_to_max_output_size=True,
    )
    valid = tf.range(most) < count
    return tf.where(valid, kept, 0), valid


def _softened(boxes: Any, scores: Any, spec: TwoStageSpec) -> tuple[Any, Any, Any]:
    """Soft-NMS, for a batch of one: as `kerascnn.detection.nms.soft_nms` of one class.

    Of two boxes that are equal to the last bit LiteRT drops one: none takes a threshold above 1.
    """
    most = spec.max_detections
    kept, left, count = tf.raw_ops.NonMaxSuppressionV5(
        boxes=boxes,
        scores=scores,
        max_output_size=most,
        iou_threshold=1.0,
        # From the threshold on, where the operation takes scores above it.
        score_threshold=max(0.0, np.nextafter(np.float32(spec.score_threshold), np.float32(-1))),
        # It halves the exponent: exp(-0.5 * IoU^2 / sigma).
        soft_nms_sigma=spec.soft_nms_sigma / 2,
        pad_to_max_output_size=True,
    )
    valid = tf.range(most) < count
    places = tf.where(valid, kept, 0)
    return places[None], valid[None], tf.where(valid, left, 0.0)[None]


_FILED = {Proposals: FiledProposals, Detections: FiledDetections, Masks: FiledMasks}
