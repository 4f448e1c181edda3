"""The post-processing of detectors inside TFLite files.

A file comes in two forms. The raw one ends in two tensors, `boxes` (codes against the anchors) and
`scores`; the other has TFLite_Detection_PostProcess behind them, the custom operation that
MediaPipe, Android's Task library and every LiteRT runtime know, and gives detections.

Codes and scores are never one tensor: int8 would give both the scale of the codes, and the scores
a handful of values.
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

from export.graph.detection import centred_anchors
from export.graph.signature import BOXES, COUNT, LABELS, SCORES
from export.tflite import soft_suppression
from export.tflite.model import TFLiteModel
from export.tflite.soft_suppression import append_soft_suppression
from kerascnn.detection.specs import DetectorSpec
from kerascnn.errors import InputError

_OPERATION = "TFLite_Detection_PostProcess"
# With t > 1 threads, class t is never looked at (tensorflow issue 56058; so in LiteRT 2.3). Classes
# without scores in front see to it that this is none of ours, with 2 to 16 threads.
_IDLE = 17


def append_postprocess(model: TFLiteModel, *, spec: DetectorSpec) -> None:
    """Put decoding and suppression of overlapping boxes into a file.

    Args:
        model: of `export.graph.detection.with_scores`, quantised or not; afterwards it gives, in
            this order and with d the most detections, float32: `boxes` (1, d, 4), `labels` (1, d),
            `scores` (1, d), best first, and `count` (1,) of those that are valid. Boxes are clipped
            to the image; equal scores go by label, then by anchor, on one thread (on several the
            labels come as their threads end).

    Class-agnostic suppression is the operation's way without `use_regular_nms`, which looks at the
    best class of an anchor. It has no soft suppression: see `soft_suppression`.

    Raises:
        InputError: the file has other outputs than `spec` describes.

    Source: tensorflow/lite/kernels/detection_postprocess.cc.
    """
    classes = _classes(model.outputs(), spec)
    if spec.rule.soft:
        append_soft_suppression(model, spec=spec, classes=classes)
        return
    anchors, most = spec.anchors.count, spec.max_detections
    scores, idle = model.named(SCORES), 0 if spec.class_agnostic else _IDLE
    if spec.background:
        (scores,) = model.add(
            schema.BuiltinOperator.SLICE,
            [scores, model.constant([0, 0, 1]), model.constant([1, anchors, classes])],
            [("class_scores", (1, anchors, classes))],
            schema.SliceOptionsT(),
        )
    if idle:
        (scores,) = model.add(
            schema.BuiltinOperator.PAD,
            [scores, model.constant([[0, 0], [0, 0], [idle, 0]])],
            [("padded_scores", (1, anchors, idle + classes))],
            schema.PadOptionsT(),
        )
    boxes, labels, best, count = model.add(
        schema.BuiltinOperator.CUSTOM,
        [model.named(BOXES), scores, model.constant(centred_anchors(spec))],
        [
            ("detection_boxes", (1, most, 4)),
            ("padded_labels", (1, most)),
            ("detection_scores", (1, most)),
            ("detection_count", (1,)),
        ],
        _options(spec, idle + classes),
        custom=_OPERATION,
    )
    shift = schema.SubOptionsT()
    # Where there is no detection, the label is 0, not below.
    shift.fusedActivationFunction = schema.ActivationFunctionType.RELU
    (labels,) = model.add(
        schema.BuiltinOperator.SUB,
        [labels, model.constant(np.array([idle], np.float32))],
        [("detection_labels", (1, most))],
        shift,
    )
    if spec.class_agnostic:
        boxes, labels, best = _found_alone(model, count, (boxes, labels, best))
    boxes = _clipped(model, boxes, (1, most, 4))
    model.end_in({BOXES: boxes, LABELS: labels, SCORES: best, COUNT: count})


def _found_alone(model: TFLiteModel, count: int, outputs: tuple[int, ...]) -> list[int]:
    """Zeros where nothing is found: without `use_regular_nms` the operation leaves anything."""
    cleared = []
    for output in outputs:
        tensor = model.graph.tensors[output]
        shape = tuple(int(side) for side in tensor.shape)
        name = tensor.name.decode()
        numbers = np.arange(shape[1], dtype=np.float32).reshape((1, -1) + (1,) * (len(shape) - 2))
        (valid,) = model.add(
            schema.BuiltinOperator.LESS,
            [model.constant(numbers), count],
            [(f"{name}_valid", numbers.shape)],
            schema.LessOptionsT(),
        )
        model.graph.tensors[valid].type = schema.TensorType.BOOL
        cleared += model.add(
            schema.BuiltinOperator.SELECT_V2,
            [valid, output, model.constant(np.zeros(shape, np.float32))],
            [(f"{name}_found", shape)],
            schema.SelectV2OptionsT(),
        )
    return cleared


def network_ends(model: TFLiteModel) -> dict[str, int]:
    """Tensors that the network of a file of `append_postprocess` ends in, by name."""
    if (ends := soft_suppression.network_ends(model)) is not None:
        return ends
    custom = schema.BuiltinOperator.CUSTOM
    codes = [code.builtinCode for code in model.unpacked.operatorCodes]
    (operator,) = (one for one in model.graph.operators if codes[one.opcodeIndex] == custom)
    scores = int(operator.inputs[1])
    # In front of the padding, and of where the background is cut off.
    for kind in (schema.BuiltinOperator.PAD, schema.BuiltinOperator.SLICE):
        maker = model.maker(scores)
        if codes[maker.opcodeIndex] == kind:
            scores = int(maker.inputs[0])
    return {BOXES: int(operator.inputs[0]), SCORES: scores}


def _clipped(model: TFLiteModel, boxes: int, shape: tuple[int, ...]) -> int:
    """Cut boxes to 0..1, which the operation does not do itself; NaN stays NaN."""
    for kind, edge in ((schema.BuiltinOperator.MAXIMUM, 0), (schema.BuiltinOperator.MINIMUM, 1)):
        # The limit first: of a comparison with NaN, the runtime's kernels give the second.
        limit, name = model.constant(np.array([edge], np.float32)), f"boxes_clipped_at_{edge}"
        (boxes,) = model.add(kind, [limit, boxes], [(name, shape)], schema.MaximumMinimumOptionsT())
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
        "use_regular_nms": not spec.class_agnostic,
        "nms_score_threshold": float(spec.score_threshold),
        "nms_iou_threshold": float(spec.iou_threshold),
        "num_classes": classes,
        "y_scale": float(y),
        "x_scale": float(x),
        "h_scale": float(height),
        "w_scale": float(width),
    }
    return bytes(flexbuffers.Dumps(options))
