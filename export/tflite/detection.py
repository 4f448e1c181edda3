"""The post-processing of detectors inside TFLite files.

A file comes in two forms. The raw one ends in two tensors, `boxes` (codes against the anchors) and
`scores`; the other has TFLite_Detection_PostProcess behind them, the custom operation that
MediaPipe, Android's Task library and every LiteRT runtime know, and gives detections.

Codes and scores are never one tensor: int8 would give both the scale of the codes, and the scores
a handful of values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

from export.graph.detection import centred_anchors
from export.graph.signature import BOXES, COUNT, DETECTIONS, LABELS, MASKS, SCORES
from export.tflite import flatbuffer
from kerascnn.detection.specs import DetectorSpec
from kerascnn.errors import InputError

_OPERATION = "TFLite_Detection_PostProcess"
# With t > 1 threads, class t is never looked at (tensorflow issue 56058; so in LiteRT 2.3). Classes
# without scores in front see to it that this is none of ours, with 2 to 16 threads.
_IDLE = 17


def append_postprocess(file: bytes, spec: DetectorSpec) -> bytes:
    """Put decoding and suppression of overlapping boxes into a file.

    Args:
        file: of `export.graph.detection.with_scores`, quantised or not.

    Returns:
        A file that gives, in this order and with d the most detections, float32: `boxes` (1, d, 4),
        `labels` (1, d), `scores` (1, d), best first, and `count` (1,) of those that are valid.
        Boxes are clipped to the picture; equal scores go by label, then by anchor.

    Raises:
        InputError: the file has other outputs than `spec` describes.

    Source: tensorflow/lite/kernels/detection_postprocess.cc.
    """
    graph = Extended(file)
    classes = _classes(graph.outputs(), spec)
    anchors, most = spec.anchors.count, spec.max_detections
    scores = graph.named(SCORES)
    if spec.background:
        (scores,) = graph.add(
            schema.BuiltinOperator.SLICE,
            [scores, graph.constant([0, 0, 1]), graph.constant([1, anchors, classes])],
            [("class_scores", (1, anchors, classes))],
            schema.SliceOptionsT(),
        )
    (scores,) = graph.add(
        schema.BuiltinOperator.PAD,
        [scores, graph.constant([[0, 0], [0, 0], [_IDLE, 0]])],
        [("padded_scores", (1, anchors, _IDLE + classes))],
        schema.PadOptionsT(),
    )
    boxes, labels, best, count = graph.add(
        schema.BuiltinOperator.CUSTOM,
        [graph.named(BOXES), scores, graph.constant(centred_anchors(spec))],
        [
            ("detection_boxes", (1, most, 4)),
            ("padded_labels", (1, most)),
            ("detection_scores", (1, most)),
            ("detection_count", (1,)),
        ],
        _options(spec, _IDLE + classes),
    )
    shift = schema.SubOptionsT()
    # Where there is no detection, the label is 0, not below.
    shift.fusedActivationFunction = schema.ActivationFunctionType.RELU
    (labels,) = graph.add(
        schema.BuiltinOperator.SUB,
        [labels, graph.constant(np.array([_IDLE], np.float32))],
        [("detection_labels", (1, most))],
        shift,
    )
    boxes = _clipped(graph, boxes, (1, most, 4))
    return graph.ending_in({BOXES: boxes, LABELS: labels, SCORES: best, COUNT: count})


def _clipped(graph: Extended, boxes: int, shape: tuple[int, ...]) -> int:
    """Cut boxes to 0..1, which the operation does not do itself; NaN stays NaN."""
    for kind, edge in ((schema.BuiltinOperator.MAXIMUM, 0), (schema.BuiltinOperator.MINIMUM, 1)):
        # The limit first: of a comparison with NaN, the runtime's kernels give the second.
        limit, name = graph.constant(np.array([edge], np.float32)), f"boxes_clipped_at_{edge}"
        (boxes,) = graph.add(kind, [limit, boxes], [(name, shape)], schema.MaximumMinimumOptionsT())
    return boxes


def _classes(outputs: dict[str, schema.TensorT], spec: DetectorSpec) -> int:
    """How many classes the scores are of, without the background."""
    shapes = {name: tuple(int(n) for n in tensor.shape) for name, tensor in outputs.items()}
    anchors = spec.anchors.count
    fine = shapes.keys() == {BOXES, SCORES} and shapes[BOXES] == (1, anchors, 4)
    fine = fine and shapes[SCORES][:2] == (1, anchors) and shapes[SCORES][2] > spec.background
    if not fine or any(t.type != schema.TensorType.FLOAT32 for t in outputs.values()):
        raise InputError(
            f"the file gives {shapes}, not float boxes (1, {anchors}, 4) and scores "
            f"(1, {anchors}, classes) of its anchors; convert the network that they belong to"
        )
    return shapes[SCORES][2] - spec.background


def _options(spec: DetectorSpec, classes: int) -> bytes:
    y, x, height, width = spec.box_scales
    options = {
        "max_detections": spec.max_detections,
        "max_classes_per_detection": 1,
        "detections_per_class": spec.max_detections,
        "use_regular_nms": True,
        "nms_score_threshold": float(spec.score_threshold),
        "nms_iou_threshold": float(spec.iou_threshold),
        "num_classes": classes,
        "y_scale": float(y),
        "x_scale": float(x),
        "h_scale": float(height),
        "w_scale": float(width),
    }
    return bytes(flexbuffers.Dumps(options))


class Extended:
    """A file that grows at its end."""

    def __init__(self, file: bytes) -> None:
        self._model = flatbuffer.read(file)
        self._graph = self._model.subgraphs[0]
        self._signature = self._model.signatureDefs[0]

    def outputs(self) -> dict[str, schema.TensorT]:
        """The tensors that the signature names."""
        return {
            output.name.decode(): self._graph.tensors[output.tensorIndex]
            for output in self._signature.outputs
        }

    def named(self, name: str) -> int:
        """Index of the output of that name."""
        (index,) = (o.tensorIndex for o in self._signature.outputs if o.name.decode() == name)
        return int(index)

    def constant(self, values: Any) -> int:
        """Index of a new constant, float32 if its values are, else int32."""
        array = np.asarray(values)
        array = array.astype("<f4" if array.dtype == np.float32 else "<i4")
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        kind = schema.TensorType.FLOAT32 if array.dtype.kind == "f" else schema.TensorType.INT32
        name = f"postprocess_constant_{len(self._model.buffers) - 1}"
        return self._tensor(name, array.shape, kind, len(self._model.buffers) - 1)

    def add(
        self,
        kind: int,
        inputs: Sequence[int],
        outputs: Sequence[tuple[str, tuple[int, ...]]],
        options: Any,
    ) -> list[int]:
        """Add an operation: the indices of its float32 outputs, each given by name and shape."""
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = kind
        code.version = 1
        operator = schema.OperatorT()
        if kind == schema.BuiltinOperator.CUSTOM:
            code.customCode = _OPERATION.encode()
            operator.customOptions = np.frombuffer(options, np.uint8)
        else:
            operator.builtinOptionsType = getattr(
                schema.BuiltinOptions, type(options).__name__.removesuffix("T")
            )
            operator.builtinOptions = options
        self._model.operatorCodes.append(code)
        operator.opcodeIndex = len(self._model.operatorCodes) - 1
        operator.inputs = list(inputs)
        operator.outputs = [
            self._tensor(name, shape, schema.TensorType.FLOAT32, 0) for name, shape in outputs
        ]
        self._graph.operators.append(operator)
        return operator.outputs

    def ending_in(self, outputs: dict[str, int]) -> bytes:
        """The file, with these outputs in this order."""
        self._graph.outputs = list(outputs.values())
        self._signature.outputs = []
        for name, index in outputs.items():
            named = schema.TensorMapT()
            named.name, named.tensorIndex = name.encode(), index
            self._signature.outputs.append(named)
        return flatbuffer.write(self._model)

    def _tensor(self, name: str, shape: tuple[int, ...], kind: int, buffer: int) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape = name.encode(), np.array(shape, np.int32)
        tensor.type, tensor.buffer = kind, buffer
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1


def with_float_counts(file: bytes) -> bytes:
    """A file whose outputs have the order and the types of other detectors' files.

    Args:
        file: of `export.graph.two_stage.with_suppression`, quantised or not.

    Returns:
        A file that gives, float32: `boxes` (1, d, 4), `labels` (1, d), `scores` (1, d), `count`
        (1,), and `masks` (1, d, 28, 28) if it has them.
    """
    graph = Extended(file)
    outputs = {name: graph.named(name) for name in (*DETECTIONS, MASKS) if name in graph.outputs()}
    for name in (LABELS, COUNT):
        shape = tuple(int(n) for n in graph.outputs()[name].shape)
        (outputs[name],) = graph.add(
            schema.BuiltinOperator.CAST, [outputs[name]], [(f"float_{name}", shape)], _to_float()
        )
    return graph.ending_in(outputs)


def _to_float() -> schema.CastOptionsT:
    options = schema.CastOptionsT()
    options.inDataType, options.outDataType = schema.TensorType.INT32, schema.TensorType.FLOAT32
    return options
