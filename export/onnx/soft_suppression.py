"""Soft-NMS inside ONNX files: a Loop, since the operation NonMaxSuppression lowers no scores.

Letters in shapes: a anchors, c classes, k candidates, d detections.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from export.graph.signature import BOXES, COUNT, LABELS, SCORES
from export.onnx.extended import Extended
from kerascnn.detection.specs import DetectorSpec


def append_soft_suppression(
    graph: Extended, spec: DetectorSpec, boxes: str, scores: str, classes: int
) -> None:
    """Make the outputs of `postprocess.append_nms` by Soft-NMS (arXiv:1704.04503).

    As `kerascnn.detection.postprocess.select`.

    Args:
        boxes: (1, a, 4).
        scores: (1, a, c), without a background.
    """
    best, labels, anchors = _candidates(graph, spec, scores, classes)
    first = graph.constant(0, np.int64)
    own = graph.node("Gather", graph.node("Gather", boxes, first, axis=0), anchors, axis=0)
    places, final = _loop(graph, spec, own, best, labels)
    most, zero = spec.max_detections, graph.constant(0)
    valid = graph.node("Greater", final, zero)
    corners = graph.node("Gather", own, places, axis=0)
    corners = graph.node("Clip", corners, graph.constant(0), graph.constant(1))
    column = graph.node("Reshape", valid, graph.integers(most, 1))
    corners = graph.node("Where", column, corners, zero)
    found = graph.node("Gather", labels, places, axis=0)
    found = graph.node("Where", valid, found, graph.constant(-1, np.int64))
    for name, values in ((BOXES, corners), (LABELS, found), (SCORES, final)):
        graph.node("Unsqueeze", values, graph.integers(0), outputs=[name])
    whole = graph.node("Cast", valid, to=TensorProto.INT32)
    graph.node("ReduceSum", whole, graph.integers(0), outputs=[COUNT], keepdims=1)


def _candidates(
    graph: Extended, spec: DetectorSpec, scores: str, classes: int
) -> tuple[str, str, str]:
    """Scores (k,), labels and anchors (k,) int64 of what suppression looks at, the best first."""
    own, count = "", spec.anchors.count
    if spec.class_agnostic:
        scores, own = graph.best_class(scores)
    else:
        scores, count = graph.node("Transpose", scores, perm=[0, 2, 1]), count * classes
    pairs = graph.node("Reshape", scores, graph.integers(-1))
    names = ("candidate_scores", "candidate_places")
    graph.node("TopK", pairs, graph.integers(min(spec.candidates, count)), outputs=names, axis=0)
    best, places = names
    if own:
        flat = graph.node("Reshape", own, graph.integers(-1))
        return best, graph.node("Gather", flat, places, axis=0), places
    anchors = graph.constant(spec.anchors.count, np.int64)
    label = graph.node("Div", places, anchors)
    return best, label, graph.node("Mod", places, anchors)


def _loop(
    graph: Extended, spec: DetectorSpec, boxes: str, scores: str, labels: str
) -> tuple[str, str]:
    """Places (d,) int64 among the candidates and the scores (d,) that are left, the best first."""
    axis, middle = graph.integers(1), graph.integers(2)
    low = graph.node("Slice", boxes, graph.integers(0), middle, axis)
    high = graph.node("Slice", boxes, middle, graph.integers(4), axis)
    areas = _area(graph, low, high)
    numbers = graph.node(
        "Range",
        graph.constant(0, np.int64),
        graph.node("Squeeze", graph.node("Shape", scores), graph.integers(0)),
        graph.constant(1, np.int64),
    )
    body = _body(spec, (low, high, areas, labels, numbers))
    start = _remaining(graph, spec, scores)
    trips, going = graph.constant(spec.max_detections, np.int64), graph.constant(True, np.bool_)
    names = ("scores_left", "places_by_turn", "scores_by_turn")
    graph.node("Loop", trips, going, start, outputs=names, body=body)
    flat = graph.integers(spec.max_detections)
    _left, places, final = names
    return graph.node("Reshape", places, flat), graph.node("Reshape", final, flat)


def _body(spec: DetectorSpec, seen: tuple[str, ...]) -> onnx.GraphProto:
    """One turn: the best candidate goes, and the scores of those that overlap with it fall."""
    low, high, areas, labels, numbers = seen
    body = helper.make_graph([], "soft_nms", [], [])
    turn = Extended(body, "soft_nms_")
    left = "soft_nms_left"
    zero = turn.constant(0)
    best = turn.node("ArgMax", left, axis=0, keepdims=1)
    score = turn.node("Gather", left, best, axis=0)
    corners = (turn.node("Gather", values, best, axis=0) for values in (low, high))
    inner = [
        turn.node(kind, values, corner)
        for kind, values, corner in zip(("Max", "Min"), (low, high), corners, strict=True)
    ]
    shared = _area(turn, *inner)
    union = turn.node("Add", areas, turn.node("Gather", areas, best, axis=0))
    union = turn.node("Sub", union, shared)
    # Of a box that is no number the overlap is none either: its score does not fall.
    rival = turn.node("Greater", shared, zero)
    if not spec.class_agnostic:
        same = turn.node("Equal", labels, turn.node("Gather", labels, best, axis=0))
        rival = turn.node("And", rival, same)
    iou = turn.node("Div", shared, union)
    share = turn.node("Div", turn.node("Mul", iou, iou), turn.constant(-spec.soft_nms_sigma))
    falls = turn.node("Where", rival, turn.node("Exp", share), turn.constant(1))
    fallen = turn.node("Mul", left, falls)
    fallen = turn.node("Where", turn.node("Equal", numbers, best), zero, fallen)
    fallen = _remaining(turn, spec, fallen)
    going = turn.node("Identity", "soft_nms_going")
    body.input.extend([
        helper.make_tensor_value_info("soft_nms_turn", TensorProto.INT64, ()),
        helper.make_tensor_value_info("soft_nms_going", TensorProto.BOOL, ()),
        helper.make_tensor_value_info(left, TensorProto.FLOAT, (None,)),
    ])  # fmt: skip
    body.output.extend([
        helper.make_tensor_value_info(going, TensorProto.BOOL, ()),
        helper.make_tensor_value_info(fallen, TensorProto.FLOAT, (None,)),
        helper.make_tensor_value_info(best, TensorProto.INT64, (1,)),
        helper.make_tensor_value_info(score, TensorProto.FLOAT, (1,)),
    ])  # fmt: skip
    return body


def _area(graph: Extended, low: str, high: str) -> str:
    """(k,) of (k, 2) corners; 0 where there is none."""
    sides = graph.node("Max", graph.node("Sub", high, low), graph.constant(0))
    height, width = (
        graph.node("Gather", sides, graph.constant(i, np.int64), axis=1) for i in (0, 1)
    )
    return graph.node("Mul", height, width)


def _remaining(graph: Extended, spec: DetectorSpec, scores: str) -> str:
    """(k,) scores, 0 where they are below the threshold."""
    low = graph.node("Less", scores, graph.constant(spec.score_threshold))
    return graph.node("Where", low, graph.constant(0), scores)
