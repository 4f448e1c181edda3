"""Files as other programs make them: they do not describe themselves.

The classifier says "bright" where red, green and blue are above half on average, else "dark"; never
"striped". No framework is needed to make these files.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers
from onnx import TensorProto, helper, numpy_helper

from export.tflite import flatbuffer, metadata

LABELS = ("dark", "bright", "striped")
SIDE = 8
KERNEL = np.array([[-4.0, 4.0, 0.0]] * 3, np.float32)  # by channel
BIAS = np.array([6.0, -6.0, -12.0], np.float32)
_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32, np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.uint8): schema.TensorType.UINT8, np.dtype(np.int32): schema.TensorType.INT32,
}  # fmt: skip


class _Graph:
    """A TFLite model as it grows."""

    def __init__(self) -> None:
        self.model, self.graph = schema.ModelT(), schema.SubGraphT()
        self.model.version, self.model.buffers = 3, [schema.BufferT()]
        self.model.subgraphs, self.model.operatorCodes = [self.graph], []
        self.graph.tensors, self.graph.operators = [], []

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: Any = np.float32,
        *,
        data: np.ndarray | None = None,
        scale: float = 0.0,
        zero: int = 0,
    ) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape = name.encode(), np.array(shape, np.int32)
        tensor.type = _TYPES[np.dtype(dtype)]
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data, dtype).tobytes(), np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        if scale:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.array([scale], np.float32)
            tensor.quantization.zeroPoint = np.array([zero], np.int64)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Any = None,
        custom: Mapping[str, Any] | None = None,
    ) -> None:
        code = schema.OperatorCodeT()
        builtin = getattr(schema.BuiltinOperator, name, schema.BuiltinOperator.CUSTOM)
        code.builtinCode = code.deprecatedBuiltinCode = builtin
        operator = schema.OperatorT()
        if custom is not None:
            code.customCode = name.encode()
            builder = flexbuffers.Builder()
            builder.MapFromElements(dict(custom))
            operator.customOptions = np.frombuffer(bytes(builder.Finish()), np.uint8)
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        self.model.operatorCodes.append(code)
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        self.graph.operators.append(operator)

    def bytes(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        self.graph.inputs, self.graph.outputs = list(inputs), list(outputs)
        return flatbuffer.write(self.model)


def tflite(path: Path, kind: str = "float32", *, softmax: bool = True) -> Path:
    """The classifier for bytes / 255; of kind "int8" and "uint8" quantised throughout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_classifier(kind, softmax))
    return path


def _classifier(kind: str, softmax: bool) -> bytes:
    graph, eight = _Graph(), kind != "float32"
    inner: Any = np.int8 if eight else np.float32
    share = {"scale": 1 / 255, "zero": -128} if eight else {}
    given = image = graph.tensor("image", (1, SIDE, SIDE, 3), inner, **share)
    if kind == "uint8":
        image = graph.tensor("input", (1, SIDE, SIDE, 3), np.uint8, scale=1 / 255, zero=0)
        graph.operator("QUANTIZE", [image], [given], schema.QuantizeOptionsT())
    axes = graph.tensor("axes", (2,), np.int32, data=np.array([1, 2]))
    mean = graph.tensor("mean", (1, 3), inner, **share)
    graph.operator("MEAN", [given, axes], [mean], schema.ReducerOptionsT())
    rows = KERNEL.T
    step = 4 / 127
    if eight:
        weights = graph.tensor("weights", (3, 3), np.int8, data=np.round(rows / step), scale=step)
        unit = step / 255
        bias = graph.tensor("bias", (3,), np.int32, data=np.round(BIAS / unit), scale=unit)
        logits = graph.tensor("logits", (1, 3), np.int8, scale=0.1)
    else:
        weights = graph.tensor("weights", (3, 3), data=rows)
        bias = graph.tensor("bias", (3,), data=BIAS)
        logits = graph.tensor("logits", (1, 3))
    graph.operator(
        "FULLY_CONNECTED", [mean, weights, bias], [logits], schema.FullyConnectedOptionsT()
    )
    if not softmax:
        return graph.bytes([image], [logits])
    of = {"scale": 1 / 256, "zero": -128} if eight else {}
    found = graph.tensor("probabilities", (1, 3), inner, **of)
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    graph.operator("SOFTMAX", [logits], [found], options)
    return graph.bytes([image], [found])


def with_metadata(
    path: Path, mean: Sequence[float], std: Sequence[float], labels: Sequence[str] = LABELS
) -> Path:
    """TFLite Metadata alone, as Model Maker and MediaPipe write them: no kerascnn.json."""
    model = flatbuffer.read(path.read_bytes())
    numbers = {0: np.array(mean, np.float32), 1: np.array(std, np.float32)}
    image = {0: "image", 3: {0: 2, 1: {0: 1}}, 4: [{0: 1, 1: numbers}]}
    answer = {0: "probability", 6: [{0: "labelmap.txt", 2: 2}]}
    buffer = schema.BufferT()
    packed = metadata._packed({0: "of a test", 3: [{2: [image], 3: [answer]}], 7: "1.0.0"})
    buffer.data = np.frombuffer(packed, np.uint8)
    entry = schema.MetadataT()
    entry.name, entry.buffer = b"TFLITE_METADATA", len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [entry]
    whole = io.BytesIO(flatbuffer.write(model))
    with zipfile.ZipFile(whole, "a") as archive:
        archive.writestr("labelmap.txt", "".join(f"{label}\n" for label in labels))
    path.write_bytes(whole.getvalue())
    return path


def onnx_file(
    path: Path,
    *,
    channels_first: bool = True,
    fixed: bool = False,
    softmax: bool = False,
    broken_below: float | None = None,
) -> Path:
    """The classifier, as PyTorch exports it: (n, 3, h, w), sides that may be of any length.

    Args:
        broken_below: the answer is NaN where the image's mean is below.
    """
    sides: list[Any] = [SIDE, SIDE] if fixed else ["height", "width"]
    shape = ["n", 3, *sides] if channels_first else ["n", *sides, 3]
    axes = [2, 3] if channels_first else [1, 2]
    nodes = [
        helper.make_node("ReduceMean", ["input", "axes"], ["mean"], keepdims=0),
        helper.make_node(
            "Gemm", ["mean", "kernel", "bias"], ["logits" if broken_below is None else "sound"]
        ),
    ]
    if broken_below is not None:  # the root of a negative number is none
        nodes += [
            helper.make_node("Sub", ["mean", "limit"], ["above"]),
            helper.make_node("Sqrt", ["above"], ["root"]),
            helper.make_node("Mul", ["root", "zero"], ["nothing"]),
            helper.make_node("Add", ["sound", "nothing"], ["logits"]),
        ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["output"], axis=-1))
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(
                "output" if softmax else "logits", TensorProto.FLOAT, ["n", 3]
            )
        ],
        [
            numpy_helper.from_array(np.array(axes, np.int64), "axes"),
            numpy_helper.from_array(KERNEL, "kernel"),
            numpy_helper.from_array(BIAS, "bias"),
            numpy_helper.from_array(np.float32(broken_below or 0), "limit"),
            numpy_helper.from_array(np.float32(0), "zero"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def onnx_maps(path: Path, *, channels_first: bool = True) -> Path:
    """Three scores of each pixel, from (1, 3, 8, 8): "bright", or "dark"."""
    shape = (1, 3, SIDE, SIDE) if channels_first else (1, SIDE, SIDE, 3)
    before = (
        []
        if channels_first
        else [helper.make_node("Transpose", ["input"], ["x"], perm=[0, 3, 1, 2])]
    )
    first = "input" if channels_first else "x"
    last = "scores" if channels_first else "y"
    after = (
        []
        if channels_first
        else [helper.make_node("Transpose", ["y"], ["scores"], perm=[0, 2, 3, 1])]
    )
    nodes = [*before, helper.make_node("Conv", [first, "kernel", "bias"], [last]), *after]
    graph = helper.make_graph(
        nodes,
        "maps",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(np.ascontiguousarray(KERNEL.T)[..., None, None], "kernel"),
            numpy_helper.from_array(BIAS, "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def postprocessed(path: Path, *, shuffled: bool = False) -> Path:
    """A detector that finds the left half of every image, of class 1, sure by nine tenths."""
    graph = _Graph()
    image = graph.tensor("image", (1, SIDE, SIDE, 3))
    # The anchor is y, x, height, width in shares, and the code leaves it as it is.
    anchors = graph.tensor("anchors", (1, 4), data=np.array([[0.5, 0.25, 1.0, 0.5]]))
    codes = graph.tensor("codes", (1, 1, 4), data=np.zeros((1, 1, 4)))
    scores = graph.tensor("scores", (1, 1, 3), data=np.array([[[0.0, 0.2, 0.9]]]))
    names = ("boxes", "labels", "scores", "count")
    shapes = ((1, 2, 4), (1, 2), (1, 2), (1,))
    ends = [graph.tensor(f"{name}_found", shape) for name, shape in zip(names, shapes, strict=True)]
    custom = {
        "max_detections": 2, "max_classes_per_detection": 1, "num_classes": 2,
        "nms_score_threshold": 0.01, "nms_iou_threshold": 0.5, "y_scale": 10.0, "x_scale": 10.0,
        "h_scale": 5.0, "w_scale": 5.0, "use_regular_nms": False,
    }  # fmt: skip
    graph.operator("TFLite_Detection_PostProcess", [codes, scores, anchors], ends, custom=custom)
    order = [3, 2, 1, 0] if shuffled else [0, 1, 2, 3]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(graph.bytes([image], [ends[i] for i in order]))
    return path
