"""Soft-NMS inside TFLite files, of builtin operations.

TFLite_Detection_PostProcess drops boxes and lowers no scores. NON_MAX_SUPPRESSION_V5 does Soft-NMS
(arXiv:1704.04503) among boxes of one class; what it needs around it are plain operations. Letters
in shapes: a anchors, c classes, k candidates, d detections.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.graph.detection import centred_anchors
from export.graph.signature import BOXES, COUNT, LABELS, SCORES
from export.tflite.model import TFLiteModel
from kerascnn.detection.specs import DetectorSpec

# What the operations begin with, by which the network's own ends are found again.
STARTS = {BOXES: "suppression_codes", SCORES: "suppression_scores"}
_Kind, _Type = schema.BuiltinOperator, schema.TensorType
# Boxes are compared within so much of the image's side around it, so that classes stay apart.
_LOW, _HIGH = -1.0, 2.0


def append_soft_suppression(model: TFLiteModel, *, spec: DetectorSpec, classes: int) -> None:
    """Put decoding and soft suppression into a file: see `postprocess.append_postprocess`.

    As `kerascnn.detection.postprocess.select`, but that of two boxes of a class that are equal to
    the last bit one is dropped (the operation takes no threshold above 1), and that of boxes which
    reach beyond the image by more than its side so much is compared.

    Source: tensorflow/lite/kernels/internal/reference/non_max_suppression.h.
    """
    graph, most = _Graph(model), spec.max_detections
    best, labels, anchors = _candidates(graph, spec, classes)
    boxes = _decoded(graph, spec, anchors, graph.shape(best)[0])
    compared = boxes if spec.class_agnostic else _apart(graph, boxes, labels, classes)
    # Scores from the threshold on, where the operation takes those above it.
    below = np.nextafter(np.float32(spec.score_threshold), np.float32(-1))
    limits = (np.int32(most), np.float32(1), below, np.float32(spec.soft_nms_sigma / 2))
    kept, scores, count = graph.nodes(
        *(_Kind.NON_MAX_SUPPRESSION_V5, [compared, best, *map(model.constant, limits)]),
        [("kept", (most,), True), ("kept_scores", (most,), False), ("kept_count", (), True)],
        schema.NonMaxSuppressionV5OptionsT(),
    )
    valid = graph.node(
        *(_Kind.LESS, [model.constant(np.arange(most)), count], "valid", (most,)),
        schema.LessOptionsT(),
    )
    model.graph.tensors[valid].type = _Type.BOOL
    found = graph.gathered(boxes, kept, "kept_boxes")
    for kind, edge in ((_Kind.MAXIMUM, 0), (_Kind.MINIMUM, 1)):
        limit, name = graph.floats(edge), f"boxes_clipped_at_{edge}"
        found = graph.node(kind, [limit, found], name, (most, 4), schema.MaximumMinimumOptionsT())
    column = graph.reshaped(valid, "valid_column", (most, 1))
    model.graph.tensors[column].type = _Type.BOOL
    nothing, select = graph.floats(np.zeros((most, 4))), schema.SelectV2OptionsT()
    found = graph.node(_Kind.SELECT_V2, [column, found, nothing], "found_boxes", (most, 4), select)
    own = graph.cast(graph.gathered(labels, kept, "kept_labels", True), "kept_labels_float")
    nothing = graph.floats(np.zeros(most))
    own = graph.node(_Kind.SELECT_V2, [valid, own, nothing], "found_labels", (most,), select)
    model.end_in({
        BOXES: graph.reshaped(found, "detection_boxes", (1, most, 4)),
        LABELS: graph.reshaped(own, "detection_labels", (1, most)),
        SCORES: graph.reshaped(scores, "detection_scores", (1, most)),
        COUNT: graph.reshaped(graph.cast(count, "count_float"), "detection_count", (1,)),
    })  # fmt: skip


def network_ends(model: TFLiteModel) -> dict[str, int] | None:
    """Tensors that the network of such a file ends in, by name; None of another file."""
    names = {one.name.decode(): index for index, one in enumerate(model.graph.tensors)}
    if not set(STARTS.values()) <= set(names):
        return None
    return {end: int(model.maker(names[start]).inputs[0]) for end, start in STARTS.items()}


class _Graph:
    """A file's graph that grows at its end; tensors go by their indices."""

    def __init__(self, model: TFLiteModel) -> None:
        self.model = model

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(int(side) for side in self.model.graph.tensors[tensor].shape)

    def floats(self, values: Any) -> int:
        return self.model.constant(np.asarray(values, np.float32))

    def nodes(
        self,
        kind: int,
        inputs: list[int],
        outputs: list[tuple[str, tuple[int, ...], bool]],
        options: Any = None,
    ) -> list[int]:
        """Outputs by name, shape and whether they are whole numbers."""
        made = self.model.add(kind, inputs, [(name, sides) for name, sides, _ in outputs], options)
        for index, (_, _, whole) in zip(made, outputs, strict=True):
            if whole:
                self.model.graph.tensors[index].type = _Type.INT32
        return made

    def node(
        self,
        kind: int,
        inputs: list[int],
        name: str,
        shape: tuple[int, ...],
        options: Any = None,
        *,
        whole: bool = False,
    ) -> int:
        (made,) = self.nodes(kind, inputs, [(name, shape, whole)], options)
        return made

    def reshaped(
        self, tensor: int, name: str, shape: tuple[int, ...], *, whole: bool = False
    ) -> int:
        options = schema.ReshapeOptionsT()
        options.newShape = np.array(shape, np.int32)
        inputs = [tensor, self.model.constant(np.array(shape))]
        return self.node(_Kind.RESHAPE, inputs, name, shape, options, whole=whole)

    def gathered(self, tensor: int, places: int, name: str, whole: bool = False) -> int:
        """Rows of a tensor."""
        shape = (*self.shape(places), *self.shape(tensor)[1:])
        options = schema.GatherOptionsT()
        options.axis = options.batchDims = 0
        return self.node(_Kind.GATHER, [tensor, places], name, shape, options, whole=whole)

    def cast(self, tensor: int, name: str) -> int:
        """Whole numbers as float32."""
        options = schema.CastOptionsT()
        options.inDataType, options.outDataType = _Type.INT32, _Type.FLOAT32
        return self.node(_Kind.CAST, [tensor], name, self.shape(tensor), options)

    def part(self, tensor: int, first: int, name: str) -> int:
        """Two columns of (k, 4)."""
        rows = self.shape(tensor)[0]
        inputs = [tensor, self.model.constant([0, first]), self.model.constant([rows, 2])]
        return self.node(_Kind.SLICE, inputs, name, (rows, 2), schema.SliceOptionsT())


def _candidates(graph: _Graph, spec: DetectorSpec, classes: int) -> tuple[int, int, int]:
    """Scores, labels and anchors (k,) of what suppression looks at, the best first."""
    model, anchors = graph.model, spec.anchors.count
    begin, sides = model.constant([0, 0, int(spec.background)]), [1, anchors, classes]
    inputs = [model.named(SCORES), begin, model.constant(sides)]
    # Without the background, where there is one.
    scores = graph.node(
        _Kind.SLICE, inputs, STARTS[SCORES], (1, anchors, classes), schema.SliceOptionsT()
    )
    own = 0
    if spec.class_agnostic:
        axis, options = model.constant(np.int32(2)), schema.ArgMaxOptionsT()
        options.outputType = _Type.INT32
        own = graph.node(
            _Kind.ARG_MAX, [scores, axis], "best_class", (1, anchors), options, whole=True
        )
        own = graph.reshaped(own, "best_classes", (anchors,), whole=True)
        reduced = [scores, model.constant([2])]
        scores = graph.node(
            _Kind.REDUCE_MAX, reduced, "best_score", (1, anchors), schema.ReducerOptionsT()
        )
    else:
        shape = (1, classes, anchors)
        turned = [scores, model.constant([0, 2, 1])]
        scores = graph.node(_Kind.TRANSPOSE, turned, "by_class", shape, schema.TransposeOptionsT())
    pairs = graph.reshaped(scores, "pairs", (anchors * (1 if spec.class_agnostic else classes),))
    count = min(spec.candidates, graph.shape(pairs)[0])
    best, places = graph.nodes(
        *(_Kind.TOPK_V2, [pairs, model.constant(np.int32(count))]),
        [("best", (count,), False), ("places", (count,), True)],
        schema.TopKV2OptionsT(),
    )
    if spec.class_agnostic:
        return best, graph.gathered(own, places, "candidate_labels", True), places
    inputs = [places, model.constant(np.int32(anchors))]
    label = graph.node(
        *(_Kind.FLOOR_DIV, inputs, "candidate_labels", (count,)),
        schema.FloorDivOptionsT(),
        whole=True,
    )
    anchor = graph.node(
        *(_Kind.FLOOR_MOD, inputs, "candidate_anchors", (count,)),
        schema.FloorModOptionsT(),
        whole=True,
    )
    return best, label, anchor


def _decoded(graph: _Graph, spec: DetectorSpec, anchors: int, count: int) -> int:
    """(k, 4) boxes of candidates."""
    all_codes = graph.reshaped(graph.model.named(BOXES), STARTS[BOXES], (spec.anchors.count, 4))
    codes = graph.gathered(all_codes, anchors, "candidate_codes")
    of_anchors = graph.gathered(
        graph.floats(centred_anchors(spec)), anchors, "candidate_of_anchors"
    )
    scales = graph.floats(spec.box_scales)
    codes = graph.node(_Kind.DIV, [codes, scales], "codes", (count, 4), schema.DivOptionsT())
    shifts, growths = (graph.part(codes, at, f"codes_from_{at}") for at in (0, 2))
    middles, sides = (graph.part(of_anchors, at, f"anchors_from_{at}") for at in (0, 2))
    two = (count, 2)
    moved = graph.node(_Kind.MUL, [shifts, sides], "moved", two, schema.MulOptionsT())
    centres = graph.node(_Kind.ADD, [moved, middles], "centres", two, schema.AddOptionsT())
    grown = graph.node(_Kind.EXP, [growths], "grown", two, schema.ExpOptionsT())
    half = graph.node(_Kind.MUL, [grown, graph.floats(0.5)], "half", two, schema.MulOptionsT())
    half = graph.node(_Kind.MUL, [half, sides], "halves", two, schema.MulOptionsT())
    low = graph.node(_Kind.SUB, [centres, half], "low", two, schema.SubOptionsT())
    high = graph.node(_Kind.ADD, [centres, half], "high", two, schema.AddOptionsT())
    options = schema.ConcatenationOptionsT()
    options.axis = 1
    return graph.node(_Kind.CONCATENATION, [low, high], "boxes_whole", (count, 4), options)


def _apart(graph: _Graph, boxes: int, labels: int, classes: int) -> int:
    """(k, 4) boxes, those of each class in a place of its own.

    Places are a square of squares about zero, where numbers are finest: with 90 classes an edge
    moves by up to 1e-6 of the image.
    """
    model, (count, _) = graph.model, graph.shape(boxes)
    side, length = math.ceil(math.sqrt(classes)), _HIGH - _LOW
    for kind, edge in ((_Kind.MAXIMUM, _LOW), (_Kind.MINIMUM, _HIGH)):
        name, options = f"compared_to_{edge:g}", schema.MaximumMinimumOptionsT()
        boxes = graph.node(kind, [graph.floats(edge), boxes], name, (count, 4), options)
    inputs = [labels, model.constant(np.int32(side))]
    ways = (
        (_Kind.FLOOR_DIV, "place_row", schema.FloorDivOptionsT()),
        (_Kind.FLOOR_MOD, "place_column", schema.FloorModOptionsT()),
    )
    corners = []
    for kind, name, options in ways:
        place = graph.node(kind, inputs, name, (count,), options, whole=True)
        corners.append(graph.reshaped(graph.cast(place, f"{name}_float"), f"{name}s", (count, 1)))
    together = schema.ConcatenationOptionsT()
    together.axis = 1
    corner = graph.node(_Kind.CONCATENATION, corners * 2, "places_of_classes", (count, 4), together)
    shift = graph.node(
        *(_Kind.MUL, [corner, graph.floats(length)], "shift", (count, 4)), schema.MulOptionsT()
    )
    middle = graph.floats(-length * (side // 2))
    shift = graph.node(_Kind.ADD, [shift, middle], "shifts", (count, 4), schema.AddOptionsT())
    return graph.node(_Kind.ADD, [boxes, shift], "boxes_apart", (count, 4), schema.AddOptionsT())
