"""Detectors of two stages: what their outputs mean, proposals, detections, and their parts.

The first stage says of every anchor whether an object is there and how the anchor is to be
corrected (RPN); the best corrected anchors are the proposals. The second says of every proposal
which class it is and how it is to be corrected for that class; then which pixels of it are the
object's (Mask R-CNN).

Everything here is the arithmetic of torchvision (models/detection/rpn.py, roi_heads.py, _utils.py)
in boxes of shares; deviations stand where they are.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from kerascnn.detection import boxes as box_ops
from kerascnn.detection import postprocess
from kerascnn.detection.nms import nms_of_groups
from kerascnn.detection.specs import TwoStageSpec
from kerascnn.errors import InputError

# Of the codes dy, dx, dh and dw of the first stage; the second's are in the spec.
RPN_SCALES = (1.0, 1.0, 1.0, 1.0)
# No box becomes more than 62.5 times as high or wide (Detectron: 1000 pixels of an anchor of 16).
MOST_GROWTH = math.log(1000 / 16)
# The least sides in pixels of a proposal and of a detection.
LEAST_PROPOSAL, LEAST_DETECTION = 1e-3, 1e-2

# Called with boxes, scores and groups; gives indices and valid, and where suppression is soft what
# is left of the scores.
Suppress = Callable[[Any, Any, Any], tuple[Any, ...]]


def decode(codes: Any, boxes: Any, scales: tuple[float, float, float, float]) -> Any:
    """Corrected boxes (..., 4) of codes and boxes (..., 4), cut to the picture.

    As `boxes.decode`, but no side grows by more than `MOST_GROWTH`.
    """
    most = [math.inf, math.inf, MOST_GROWTH * scales[2], MOST_GROWTH * scales[3]]
    codes = ops.minimum(ops.convert_to_tensor(codes, "float32"), np.array(most, "float32"))
    return box_ops.clip(box_ops.decode(codes, boxes, scales))


def propose(
    spec: TwoStageSpec, rpn_codes: Any, rpn_logits: Any, *, suppress: Suppress | None = None
) -> tuple[Any, Any]:
    """The proposals of a batch, the best first.

    Of every level the `candidates_a_level` best anchors are corrected, cut to the picture, and
    suppressed among themselves; the best of all levels stay. The order is that of the logits, where
    torchvision takes the sigmoids, of which high ones are equal.

    Args:
        rpn_codes: (n, a, 4), of dy, dx, dh and dw, without scales.
        rpn_logits: (n, a), of an object being there.
        suppress: in place of `suppress_levels`, without the spec.

    Returns:
        boxes (n, proposals, 4), inside the picture, of zeros behind the last one; valid
        (n, proposals) bool. No gradient comes back.
    """
    codes = ops.stop_gradient(ops.convert_to_tensor(rpn_codes, "float32"))
    logits = ops.stop_gradient(ops.convert_to_tensor(rpn_logits, "float32"))
    best, anchors = _best_of_levels(spec, logits)
    boxes = decode(
        ops.take_along_axis(codes, anchors[..., None], axis=1),
        ops.take(ops.convert_to_tensor(spec.anchors.boxes()), anchors, axis=0),
        RPN_SCALES,
    )
    real = _has_sides(boxes, spec, LEAST_PROPOSAL) & (ops.abs(best) < np.inf)
    if spec.rpn_score_threshold > 0:
        real = real & (ops.sigmoid(best) >= spec.rpn_score_threshold)
    scores = ops.where(real, best, -np.inf)
    levels = np.repeat(np.arange(len(spec.anchors.levels)), _counts(spec))
    kept, valid = (suppress or functools.partial(suppress_levels, spec))(boxes, scores, levels)
    kept_boxes = ops.take_along_axis(boxes, kept[..., None], axis=1)
    return ops.where(valid[..., None], kept_boxes, 0.0), valid


def _counts(spec: TwoStageSpec) -> list[int]:
    """Candidates of each level."""
    return [min(spec.candidates_a_level, level.count) for level in spec.anchors.levels]


def _best_of_levels(spec: TwoStageSpec, logits: Any) -> tuple[Any, Any]:
    """Logits and anchors (n, k) of the candidates, level by level, each level's best first."""
    start, best, anchors = 0, [], []
    for level, count in zip(spec.anchors.levels, _counts(spec), strict=True):
        values, places = ops.top_k(logits[:, start : start + level.count], count)
        best.append(values)
        anchors.append(ops.cast(places, "int32") + start)
        start += level.count
    return ops.concatenate(best, axis=1), ops.concatenate(anchors, axis=1)


def suppress_levels(
    spec: TwoStageSpec, boxes: Any, scores: Any, levels: np.ndarray
) -> tuple[Any, Any]:
    """The best candidates of all levels, of which none overlaps with a better one of its level.

    Args:
        boxes: (n, k, 4).
        scores: (n, k), of any sign; -inf for what is no candidate.
        levels: (k,) whole numbers, the level of each candidate, in order.

    Returns:
        indices (n, proposals) int32, the best first, 0 where there are fewer; valid likewise, bool.
    """
    return nms_of_groups(
        boxes,
        scores,
        np.bincount(levels).tolist(),
        iou_threshold=spec.rpn_iou_threshold,
        max_detections=spec.proposals,
    )


def detect(
    spec: TwoStageSpec,
    regions: Any,
    valid: Any,
    class_logits: Any,
    box_codes: Any,
    *,
    suppress: Suppress | None = None,
) -> dict[str, Any]:
    """Detections of a batch, the best first.

    Args:
        regions: (n, r, 4).
        valid: (n, r) bool, which of them there are.
        class_logits: (n, r, 1 + c), the background first.
        box_codes: (n, r, 1 + c, 4), of each class; the background's are not used.
        suppress: in place of `suppress_classes`, without the spec.

    Returns:
        "boxes" (n, d, 4), inside the picture; "labels" (n, d) int32; "scores" (n, d); "count" (n,)
        int32. Behind `count` come boxes of zeros with label -1 and score 0. Equal scores go by
        label, then by region; see `kerascnn.detection`.

    Deviation: suppression looks at the `candidates` best pairs of region and class, torchvision's
    at all above the score threshold.
    """
    scores = ops.softmax(ops.convert_to_tensor(class_logits, "float32"), axis=-1)[..., 1:]
    return select(spec, regions, valid, scores, box_codes, suppress=suppress)


def select(
    spec: TwoStageSpec,
    regions: Any,
    valid: Any,
    class_scores: Any,
    box_codes: Any,
    *,
    suppress: Suppress | None = None,
) -> dict[str, Any]:
    """The same of scores (n, r, c), without the background."""
    scores = ops.convert_to_tensor(class_scores, "float32")
    count, classes = scores.shape[1:]
    scores = ops.where((scores > spec.score_threshold) & valid[..., None], scores, 0.0)
    if spec.class_agnostic:  # the best class of a region alone
        # Not `argmax`, which looks at signs of zeros by bits: no file has an operation for it.
        _, best_class = ops.top_k(scores, 1)
        scores = ops.where(ops.arange(classes) == best_class, scores, 0.0)
    # Class by class, as detectors of one stage have them: `top_k` keeps equal ones in that order.
    pairs = ops.reshape(ops.swapaxes(scores, 1, 2), (-1, classes * count))
    best, pair = ops.top_k(pairs, min(spec.candidates, classes * count))
    label, region = ops.cast(pair // count, "int32"), pair % count
    codes = ops.convert_to_tensor(box_codes, "float32")[..., 1:, :]
    code = region * classes + ops.cast(label, region.dtype)
    boxes = decode(
        ops.take_along_axis(ops.reshape(codes, (-1, count * classes, 4)), code[..., None], axis=1),
        ops.take_along_axis(ops.convert_to_tensor(regions), region[..., None], axis=1),
        spec.box_scales,
    )
    best = ops.where(_has_sides(boxes, spec, LEAST_DETECTION), best, 0.0)
    kept, real, *softened = (suppress or functools.partial(suppress_classes, spec))(
        boxes, best, label
    )
    kept_boxes = ops.take_along_axis(boxes, kept[..., None], axis=1)
    return {
        "boxes": ops.where(real[..., None], kept_boxes, 0.0),
        "labels": ops.where(real, ops.take_along_axis(label, kept, axis=1), -1),
        "scores": ops.where(real, postprocess.left_of(softened, best, kept), 0.0),
        "count": ops.sum(ops.cast(real, "int32"), axis=1),
    }


def suppress_classes(spec: TwoStageSpec, boxes: Any, scores: Any, labels: Any) -> tuple[Any, ...]:
    """The best candidates of all classes, of which none overlaps with a better one of its class.

    With a spec that says so, of any class; or scores fall, and nothing is dropped.

    Args:
        boxes: (n, k, 4).
        scores: (n, k), 0 for what is no candidate.
        labels: (n, k) int32, the class of each candidate.

    Returns:
        indices (n, d) int32, the best first, 0 where there are fewer; valid likewise, bool; and
        (n, d) what is left of the scores where suppression is soft.
    """
    return postprocess.suppress(spec, boxes, scores, labels)


def _has_sides(boxes: Any, spec: TwoStageSpec, least: float) -> Any:
    """(...) bool: whether boxes (..., 4) are that many pixels high and wide."""
    height, width = spec.input_size
    tall = (boxes[..., 2] - boxes[..., 0]) * height >= least
    return tall & ((boxes[..., 3] - boxes[..., 1]) * width >= least)


@dataclasses.dataclass(frozen=True)
class Parts:
    """The pieces that training calls one by one; they share the network's weights.

    Attributes:
        front: pictures to {"maps": list of (n, h_l, w_l, channels), "rpn_codes": (n, a, 4),
            "rpn_logits": (n, a)}.
        box_head: [*maps, regions (n, r, 4)] to {"class_logits": (n, r, 1 + c), "box_codes":
            (n, r, 1 + c, 4)}.
        mask_head: [*maps, regions (n, r, 4)] to logits (n, r, 28, 28, 1 + c), or None.
    """

    front: keras.Model
    box_head: keras.Model
    mask_head: keras.Model | None


def parts(network: keras.Model) -> Parts:
    """Cut a two-stage detector into what its training needs.

    Args:
        network: as `kerascnn.detection.faster_rcnn` builds it, or as it is loaded from a file.

    Raises:
        InputError: a network without proposals.
    """
    names = {layer.name for layer in network.layers}
    if not {"proposals", "box_roi_align", "class_logits", "box_codes_rows"} <= names:
        raise InputError(f"{network.name} is not a two-stage detector")
    codes, logits = network.get_layer("proposals").input
    *maps, _ = network.get_layer("box_roi_align").input
    outputs = {"maps": maps, "rpn_codes": codes, "rpn_logits": logits}
    front = keras.Model(network.inputs[0], outputs, name="front")
    box_outputs = {"class_logits": "class_logits", "box_codes": "box_codes_rows"}
    mask_head = None
    if "mask_unfold" in names:
        mask_head = _head(network, "mask_roi_align", "mask_unfold", name="mask_head")
    box_head = _head(network, "box_roi_align", box_outputs, name="box_head")
    return Parts(front=front, box_head=box_head, mask_head=mask_head)


def _head(network: keras.Model, first: str, last: Any, *, name: str) -> keras.Model:
    """The layers from `first` to `last`, for any number of regions."""
    inputs = network.get_layer(first).input
    outputs = keras.tree.map_structure(lambda layer: network.get_layer(layer).output, last)
    own = [keras.Input(x.shape[1:], dtype=x.dtype) for x in inputs[:-1]]
    own.append(keras.Input((None, 4), dtype="float32", name="regions"))
    # Calling the graph of the network's own number of regions makes one of any number.
    return keras.Model(own, keras.Model(inputs, outputs).call(own), name=name)
