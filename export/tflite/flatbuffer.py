"""Small edits and readings of TFLite files, through LiteRT's own generated schema."""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Iterator
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # bytes, as the schema demands of constants
_TYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT8: np.int8,
}
# In these a constant is a bias if it has a scale; without one it is a shape, an axis or a padding.
_WIDE_TYPES = {
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
}
# Operations that may end a network with several outputs; none has weights.
_JOINING = (
    schema.BuiltinOperator.CONCATENATION,
    schema.BuiltinOperator.LOGISTIC,
    schema.BuiltinOperator.RESHAPE,
    schema.BuiltinOperator.SOFTMAX,
)


def read(file: bytes) -> schema.ModelT:
    """Unpack a file, with all constants inside the object."""
    model = schema.ModelT.InitFromPackedBuf(file, 0)
    for buffer in model.buffers:
        # Writers of large files put constants behind the flatbuffer and keep their place.
        if buffer.offset > 1:
            buffer.data = np.frombuffer(file, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def write(model: schema.ModelT) -> bytes:
    """Pack a model into a file, in which equal lists of numbers are there once.

    A quantised network has thousands of equal ones: the zero points of every layer of a width.
    """
    builder = _Sharing(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


class _Sharing(flatbuffers.Builder):
    """A builder that writes equal lists of numbers once; the format lets tables share them."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            if x.dtype == np.uint8:
                # Constants; what is inside may be read as wider numbers, which some processors
                # want aligned.
                self.Prep(_ALIGNMENT, x.nbytes)
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


def compact(file: bytes) -> bytes:
    """The same network in fewer bytes, see `write`."""
    return write(read(file))


def prepend_uint8_input(file: bytes, *, name: str) -> bytes:
    """Let a file with an int8 input take uint8 bytes instead.

    The two integer types differ by 128 in the zero point alone, so the QUANTIZE operation in front
    changes no value.
    """
    model = read(file)
    graph = model.subgraphs[0]
    old_index = graph.inputs[0]
    raw = copy.deepcopy(graph.tensors[old_index])
    raw.name = f"{name}_bytes".encode()
    raw.type = schema.TensorType.UINT8
    raw.quantization.zeroPoint = [int(z) + 128 for z in raw.quantization.zeroPoint]
    graph.tensors.append(raw)
    index = len(graph.tensors) - 1
    graph.operators.insert(0, _quantize_operator(model, index, old_index))
    graph.inputs = [index]
    for signature in model.signatureDefs:
        for tensor in signature.inputs:
            tensor.tensorIndex = index
    return write(model)


def append_argmax(file: bytes, *, name: str) -> bytes:
    """Let a file end in the index of the largest along its output's last axis, the first of equals.

    Args:
        file: of one output (1, ..., c), float32.
        name: of the new output, (1, ...) int32.
    """
    model = read(file)
    graph = model.subgraphs[0]
    (source,) = graph.outputs
    *sides, _classes = _shape(graph.tensors[source])
    last = np.array(len(sides), "<i4")
    axis = _tensor(model, f"{name}_axis", (), schema.TensorType.INT32, last)
    index = _tensor(model, name, tuple(sides), schema.TensorType.INT32, None)
    graph.operators.append(_argmax_operator(model, [source, axis], index))
    graph.outputs = [index]
    for signature in model.signatureDefs:
        (output,) = signature.outputs
        output.name, output.tensorIndex = name.encode(), index
    return write(model)


def joining_tensors(file: bytes) -> list[str]:
    """What operations without weights make at the end of a file with several outputs.

    Returns:
        Names of all tensors between the last weights and the outputs; none of a single output.
    """
    model = read(file)
    graph, codes = model.subgraphs[0], [code.builtinCode for code in model.operatorCodes]
    makers = {int(t): operator for operator in graph.operators for t in operator.outputs}
    open_ends = list(graph.outputs) if len(graph.outputs) > 1 else []
    found: dict[int, str] = {}
    while open_ends:
        index = int(open_ends.pop())
        if index in makers and codes[makers[index].opcodeIndex] in _JOINING:
            found[index] = graph.tensors[index].name.decode()
            open_ends += list(makers[index].inputs)
    return list(found.values())


def map_logits(file: bytes) -> list[str]:
    """The name of a file's only output, where it has a row of logits for every pixel; else none."""
    graph = read(file).subgraphs[0]
    outputs = [graph.tensors[index] for index in graph.outputs]
    return [one.name.decode() for one in outputs if len(outputs) == 1 and len(_shape(one)) == 4]


def repeated_tensors(file: bytes) -> dict[str, str]:
    """Concatenations of a tensor with itself, with its name, in the order of the graph.

    Where that tensor is only reshaped or max-pooled from another, which keeps int8's scale, the
    other's name.
    """
    model = read(file)
    graph, codes = model.subgraphs[0], [code.builtinCode for code in model.operatorCodes]
    names = [tensor.name.decode() for tensor in graph.tensors]
    source: dict[int, int] = {}
    found = {}
    for operator in graph.operators:
        first, output = int(operator.inputs[0]), int(operator.outputs[0])
        origin = source.get(first, first)
        code = codes[operator.opcodeIndex]
        if code in (schema.BuiltinOperator.RESHAPE, schema.BuiltinOperator.MAX_POOL_2D):
            source[output] = origin
        if code == schema.BuiltinOperator.CONCATENATION and len(set(operator.inputs)) == 1:
            source[output] = origin
            found[names[output]] = names[origin]
    return found


def with_half_precision_kernels(file: bytes) -> bytes:
    """A float32 file whose kernels went through half precision and back."""
    model = read(file)
    for tensor, data in _kernel_buffers(model):
        if tensor.type == schema.TensorType.FLOAT32:
            rounded = data.view(np.float32).astype(np.float16).astype(np.float32)
            model.buffers[tensor.buffer].data = rounded.view(np.uint8)
    return write(model)


def weight_sparsity(file: bytes) -> float:
    """Share of exact zeros among the constants with two or more dimensions, 0 to 1."""
    zeros = total = 0
    for tensor, data in _kernel_buffers(read(file)):
        values = _values(tensor, data)
        if values is not None:
            zeros += int(np.count_nonzero(values == 0))
            total += values.size
    return zeros / total if total else 0.0


def nonzero_weights(file: bytes) -> int:
    """Numbers that are not zero among all weights of a file, biases included.

    Weights are all constants with a dimension, as lone numbers are arithmetic, that hold floats or
    stand for them. Kernels that lowering adds count: int8 files of networks with average pooling
    may have a few more than the network has parameters.
    """
    model = read(file)
    found = {}
    for tensor, data in _constants(model):
        values = _values(tensor, data) if len(_shape(tensor)) else None
        if values is not None:
            # By buffer: tensors may share one.
            found[tensor.buffer] = int(np.count_nonzero(values != _zero_points(tensor, values)))
    return sum(found.values())


def skeleton(file: bytes, *, compressed: bool = False) -> int:
    """Bytes of a file's graph alone, without any constant; after zlib -9 if `compressed`."""
    model = read(file)
    for buffer in model.buffers:
        buffer.data = None
    data = write(model)
    return len(zlib.compress(data, 9)) if compressed else len(data)


def _quantize_operator(model: schema.ModelT, source: int, target: int) -> schema.OperatorT:
    operator = _operator(model, schema.BuiltinOperator.QUANTIZE, 1, [source], target)
    operator.builtinOptionsType = schema.BuiltinOptions.QuantizeOptions
    operator.builtinOptions = schema.QuantizeOptionsT()
    return operator


def _argmax_operator(model: schema.ModelT, inputs: list[int], target: int) -> schema.OperatorT:
    operator = _operator(model, schema.BuiltinOperator.ARG_MAX, 1, inputs, target)
    operator.builtinOptionsType = schema.BuiltinOptions.ArgMaxOptions
    operator.builtinOptions = schema.ArgMaxOptionsT()
    operator.builtinOptions.outputType = schema.TensorType.INT32
    return operator


def _operator(
    model: schema.ModelT, kind: int, version: int, inputs: list[int], target: int
) -> schema.OperatorT:
    """An operation of a new code; it has no place yet."""
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = kind
    code.version = version
    model.operatorCodes.append(code)
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.inputs, operator.outputs = inputs, [target]
    return operator


def _tensor(
    model: schema.ModelT, name: str, shape: tuple[int, ...], kind: int, values: np.ndarray | None
) -> int:
    """Index of a new tensor: a constant of these values, or one that is computed."""
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = name.encode(), np.array(shape, np.int32), kind
    tensor.buffer = 0  # which is empty in every file
    if values is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1


def _kernel_buffers(model: schema.ModelT) -> Iterator[tuple[schema.TensorT, np.ndarray]]:
    """Constants with two or more dimensions, as bytes."""
    return ((tensor, data) for tensor, data in _constants(model) if len(_shape(tensor)) > 1)


def _constants(model: schema.ModelT) -> Iterator[tuple[schema.TensorT, np.ndarray]]:
    """Tensors whose values lie in the file, as bytes."""
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            if data is not None and len(data):
                yield tensor, np.ascontiguousarray(data, np.uint8)


def _shape(tensor: schema.TensorT) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(int(side) for side in tensor.shape)


def _values(tensor: schema.TensorT, data: np.ndarray) -> np.ndarray | None:
    """(n,) numbers as they are stored; `None` of a type that no weight or bias has."""
    if tensor.type == schema.TensorType.INT4:
        return int4_halves(tensor, data)
    if tensor.type in _WIDE_TYPES and _listed(tensor, "scale"):
        return data.view(_WIDE_TYPES[tensor.type])
    return data.view(_TYPES[tensor.type]) if tensor.type in _TYPES else None


def int4_halves(tensor: schema.TensorT, data: np.ndarray) -> np.ndarray:
    """(n,) numbers of 4 bits as they are stored, 0 to 15, out of packed uint8."""
    # Two in a byte, the low half first; an odd count leaves half a byte over.
    halves = np.stack([data & 15, data >> 4], axis=-1).reshape(-1)
    return halves[: math.prod(_shape(tensor))]


def _zero_points(tensor: schema.TensorT, values: np.ndarray) -> np.ndarray | int:
    """What stands for zero: one number, or (n,) where each channel has its own."""
    points = _listed(tensor, "zeroPoint")
    if not any(points):
        return 0
    if len(points) == 1:
        return points[0]
    sides = [1] * len(_shape(tensor))
    sides[tensor.quantization.quantizedDimension] = -1
    whole: np.ndarray = np.broadcast_to(np.reshape(points, sides), _shape(tensor))
    return whole.reshape(values.shape)


def _listed(tensor: schema.TensorT, field: str) -> list[Any]:
    """A list among a tensor's quantisation parameters; empty where there is none."""
    found = None if tensor.quantization is None else getattr(tensor.quantization, field)
    return [] if found is None else list(found)
