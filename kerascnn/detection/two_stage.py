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
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from kerascnn.detection import boxes as box_ops
from kerascnn.detection.anchors import Anchors
from kerascnn.detection.nms import nms, nms_of_groups
from kerascnn.errors import InputError

# Of the codes dy, dx, dh and dw of the first stage; the second's are in the spec.
RPN_SCALES = (1.0, 1.0, 1.0, 1.0)
# No box becomes more than 62.5 times as high or wide (Detectron: 1000 pixels of an anchor of 16).
MOST_GROWTH = math.log(1000 / 16)
# The least sides in pixels of a proposal and of a detection.
LEAST_PROPOSAL, LEAST_DETECTION = 1e-3, 1e-2

# Called with boxes, scores and groups; gives indices and valid.
Suppress = Callable[[Any, Any, Any], tuple[Any, Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoStageSpec:
    """What a two-stage detector's outputs mean; travels in run.json and beside every artefact.

    Attributes:
        anchors: of the first stage, level by level.
        input_size: (height, width) of the network's input in pixels.
        box_scales: of dy, dx, dh and dw of the second stage.
        rpn_positive_iou, rpn_negative_iou: an anchor is an object's from the first on, and
            background below the second.
        rpn_samples, rpn_positive_share: anchors of a picture that the first stage's loss looks at,
            and how many of them may be objects'.
        candidates_a_level: anchors of a level that can become proposals, the best ones.
        proposals: of a picture; training takes twice as many.
        rpn_iou_threshold: of two candidates of a level with a higher IoU, the better one stays.
        rpn_score_threshold: the lowest score of a proposal.
        positive_iou: a region is an object's from this IoU on, else background.
        samples, positive_share: regions of a picture that the second stage's loss looks at, and
            how many of them may be objects'.
        score_threshold: detections have scores above it.
        iou_threshold: of two detections of a class with a higher IoU, the better one stays.
        max_detections: of a picture, of all classes together.
        candidates: (region, class) pairs of a picture that suppression looks at, the best ones.
        masks: whether there are masks.
    """

    anchors: Anchors
    input_size: tuple[int, int]
    box_scales: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    rpn_positive_iou: float = 0.7
    rpn_negative_iou: float = 0.3
    rpn_samples: int = 256
    rpn_positive_share: float = 0.5
    candidates_a_level: int = 1000
    proposals: int = 1000
    rpn_iou_threshold: float = 0.7
    rpn_score_threshold: float = 0.0
    positive_iou: float = 0.5
    samples: int = 512
    positive_share: float = 0.25
    score_threshold: float = 0.05
    iou_threshold: float = 0.5
    max_detections: int = 100
    candidates: int = 5000
    masks: bool = False

    def __post_init__(self) -> None:
        if len(self.box_scales) != 4 or min(self.box_scales) <= 0:
            raise InputError(f"box_scales must be four numbers above 0, not {self.box_scales}")
        if not 0 < self.rpn_negative_iou <= self.rpn_positive_iou <= 1:
            raise InputError(
                "0 < rpn_negative_iou <= rpn_positive_iou <= 1 must hold, not with "
                f"{self.rpn_negative_iou} and {self.rpn_positive_iou}"
            )
        for name in ("positive_iou", "rpn_iou_threshold", "iou_threshold"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name} must be above 0 and at most 1, not {getattr(self, name)}")
        for name in ("rpn_positive_share", "positive_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be between 0 and 1, not {getattr(self, name)}")
        for name in ("rpn_score_threshold", "score_threshold"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(
                    f"{name} must be at least 0 and below 1, not {getattr(self, name)}"
                )
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if len(self.input_size) != 2 or min(self.input_size) < 1:
            raise InputError(f"input_size must be a height and a width, not {self.input_size}")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; "stages" tells it from a `DetectorSpec`'s."""
        return {"stages": 2, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TwoStageSpec:
        """Read the JSON form; raises KeyError, TypeError or ValueError on anything else."""
        own = {name: value for name, value in values.items() if name != "stages"}
        for name in ("input_size", "box_scales"):
            own[name] = tuple(values[name])
        return cls(**{**own, "anchors": Anchors.from_dict(values["anchors"])})


_COUNTS = (
    "rpn_samples", "candidates_a_level", "proposals", "samples", "max_detections", "candidates",
)  # fmt: skip


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
        box_codes: (n, r, 1 + c, 4), for each class.
        suppress: in place of `suppress_classes`, without the spec.

    Returns:
        "boxes" (n, d, 4), inside the picture; "labels" (n, d) int32; "scores" (n, d); "count" (n,)
        int32. Behind `count` come boxes of zeros with label -1 and score 0. Equal scores go by
        label, then by region; see `kerascnn.detection`.

    Deviation: suppression looks at the `candidates` best pairs of region and class, torchvision's
    at all above the score threshold.
    """
    scores = ops.softmax(ops.convert_to_tensor(class_logits, "float32"), axis=-1)[..., 1:]
    count, classes = scores.shape[1:]
    scores = ops.where((scores > spec.score_threshold) & valid[..., None], scores, 0.0)
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
    kept, real = (suppress or functools.partial(suppress_classes, spec))(boxes, best, label)
    kept_boxes = ops.take_along_axis(boxes, kept[..., None], axis=1)
    return {
        "boxes": ops.where(real[..., None], kept_boxes, 0.0),
        "labels": ops.where(real, ops.take_along_axis(label, kept, axis=1), -1),
        "scores": ops.where(real, ops.take_along_axis(best, kept, axis=1), 0.0),
        "count": ops.sum(ops.cast(real, "int32"), axis=1),
    }


def suppress_classes(spec: TwoStageSpec, boxes: Any, scores: Any, labels: Any) -> tuple[Any, Any]:
    """The best candidates of all classes, of which none overlaps with a better one of its class.

    Args:
        boxes: (n, k, 4).
        scores: (n, k), 0 for what is no candidate.
        labels: (n, k) int32, the class of each candidate.

    Returns:
        indices (n, d) int32, the best first, 0 where there are fewer; valid likewise, bool.
    """
    return nms(
        boxes,
        scores,
        labels,
        iou_threshold=spec.iou_threshold,
        max_detections=spec.max_detections,
    )


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
