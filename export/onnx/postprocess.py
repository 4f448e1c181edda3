"""Detectors as ONNX files: decoding and suppression of overlapping boxes inside."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from export.graph.detection import centred_anchors
from export.graph.signature import BOXES, COUNT, LABELS, SCORES
from export.onnx.extended import Extended
from export.onnx.model import ONNXModel
from export.onnx.soft_suppression import append_soft_suppression
from kerascnn.detection.specs import DetectorSpec
from kerascnn.errors import InputError

_CODES, _ALL_SCORES = "codes", "all_scores"
_BEST, _ORDER = "best_scores", "order"


def append_nms(model: ONNXModel, *, spec: DetectorSpec) -> None:
    """Put decoding and suppression of overlapping boxes into a file.

    Args:
        model: of `export.graph.detection.with_scores`; afterwards it is checked, for a batch of
            one, and gives, with d the most detections: `boxes` (1, d, 4) float32, `labels` (1, d)
            int64, `scores` (1, d) float32, best first, and `count` (1,) int32 of those that are
            valid. Behind them come boxes of zeros with label -1 and score 0. Boxes are clipped to
            the image; equal scores go by label, then by anchor.

    Raises:
        InputError: the file has other outputs than `spec` describes.
    """
    graph = model.graph
    shapes = {value.name: _shape(value) for value in graph.output}
    anchors = spec.anchors.count
    fine = shapes.keys() == {BOXES, SCORES} and shapes[BOXES][1:] == (anchors, 4)
    if not fine or shapes[SCORES][1] != anchors:
        raise InputError(
            f"the file gives {shapes}, not boxes (batch, {anchors}, 4) and scores (batch, "
            f"{anchors}, classes) of its anchors; convert the network that they belong to"
        )
    _rename(graph, {BOXES: _CODES, SCORES: _ALL_SCORES})
    extended = Extended(graph)
    boxes, scores = _decoded(extended, spec), _of_classes(extended, spec)
    if spec.rule.soft:
        classes = shapes[SCORES][2] - spec.background
        append_soft_suppression(extended, spec, boxes, scores, classes)
    else:
        _suppress(extended, spec, boxes, scores)
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    graph.ClearField("output")
    most = spec.max_detections
    for name, kind, shape in (
        (BOXES, TensorProto.FLOAT, (1, most, 4)),
        (LABELS, TensorProto.INT64, (1, most)),
        (SCORES, TensorProto.FLOAT, (1, most)),
        (COUNT, TensorProto.INT32, (1,)),
    ):
        graph.output.append(helper.make_tensor_value_info(name, kind, shape))
    onnx.checker.check_model(model.proto, full_check=True)


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Its sides; 0 for one that is not fixed."""
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def _decoded(graph: Extended, spec: DetectorSpec) -> str:
    """(1, a, 4) boxes out of the codes."""
    anchors = centred_anchors(spec)[None]
    codes = graph.node("Div", _CODES, graph.constant(spec.box_scales))
    axis, middle = graph.integers(2), graph.integers(2)
    shifts = graph.node("Slice", codes, graph.integers(0), middle, axis)
    growths = graph.node("Slice", codes, middle, graph.integers(4), axis)
    sizes = graph.constant(anchors[..., 2:])
    moved = graph.node("Mul", shifts, sizes)
    centres = graph.node("Add", moved, graph.constant(anchors[..., :2]))
    halves = graph.node("Mul", graph.constant(0.5), graph.node("Exp", growths))
    halves = graph.node("Mul", halves, sizes)
    low, high = (graph.node(kind, centres, halves) for kind in ("Sub", "Add"))
    return graph.node("Concat", low, high, axis=2)


def _of_classes(graph: Extended, spec: DetectorSpec) -> str:
    """(1, a, c) scores, without the background."""
    scores = _ALL_SCORES
    if spec.background:
        axis, to_the_end = graph.integers(2), graph.integers(np.iinfo(np.int64).max)
        scores = graph.node("Slice", scores, graph.integers(1), to_the_end, axis)
    return scores


def _suppress(graph: Extended, spec: DetectorSpec, boxes: str, of_classes: str) -> None:
    """Make the outputs: what suppression leaves of each class, the best of all first."""
    most = spec.max_detections
    own = ""
    if spec.class_agnostic:  # the best class of each anchor, as if it were the only one there is
        scores, own = graph.best_class(of_classes)
    else:
        scores = of_classes
    scores = graph.node("Transpose", scores, perm=[0, 2, 1])
    # TFLite takes scores from the threshold on, ONNX those above it.
    below = np.nextafter(np.float32(spec.score_threshold), np.float32(-1))
    limits = (graph.integers(most), graph.constant([spec.iou_threshold]), graph.constant([below]))
    # (k, 3): picture, class and anchor, class by class.
    chosen = graph.node("NonMaxSuppression", boxes, scores, *limits)
    found = graph.node("GatherND", scores, chosen)
    labels, places = (
        graph.node("Gather", chosen, graph.constant(column, np.int64), axis=1) for column in (1, 2)
    )
    if own:
        labels = graph.node("Gather", graph.node("Reshape", own, graph.integers(-1)), places)
    picture = graph.node("Gather", boxes, graph.constant(0, np.int64), axis=0)
    corners = graph.node("Gather", picture, places, axis=0)
    # Behind suppression, which compares whole boxes.
    corners = graph.node("Clip", corners, graph.constant(0), graph.constant(1))
    # Padding stands behind what is found, and of equal scores the first goes first.
    padded = graph.node("Concat", found, graph.constant(np.zeros(most)), axis=0)
    graph.node("TopK", padded, graph.integers(most), outputs=(_BEST, _ORDER), axis=0)
    for name, values, padding in (
        (BOXES, corners, graph.constant(np.zeros((most, 4)))),
        (LABELS, labels, graph.constant(np.full(most, -1), np.int64)),
    ):
        padded = graph.node("Concat", values, padding, axis=0)
        ordered = graph.node("Gather", padded, _ORDER, axis=0)
        graph.node("Unsqueeze", ordered, graph.integers(0), outputs=[name])
    graph.node("Unsqueeze", _BEST, graph.integers(0), outputs=[SCORES])
    count = graph.node("Min", graph.node("Shape", found), graph.integers(most))
    graph.node("Cast", count, outputs=[COUNT], to=TensorProto.INT32)
