"""A .tflite file whose graph cannot be built again, as the network that it is.

The file is put into the form that all files here have: float32 throughout, from `image` to
`logits`, with the softmax or sigmoid behind them taken off.
"""

from __future__ import annotations

import math
from typing import Any

import flatbuffers
import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from kerascnn.errors import InputError
from training.common import tflite_file
from training.engine import file_network
from training.importing.tflite_graph import FileGraph, kind_of, read

_IDENTIFIER = b"TFL3"
_LARGEST_SIDE = 4096
_REMOVED = {"SOFTMAX": "softmax", "LOGISTIC": "sigmoid"}
_IMAGE = 4  # dimensions
# How the sides of an output, or of an input, count together with a kernel.
_BY_OUTPUT = ("CONV_2D", "DEPTHWISE_CONV_2D")


def network(file: bytes, why: str, *, name: str) -> tuple[keras.Model, str | None]:
    """The model of a file, and what was taken off behind its logits.

    Args:
        file: float, of one image and one answer.
        why: its graph cannot be built again.

    Raises:
        InputError: it takes no images with the channels last, or gives no logits of classes.
    """
    made, removed = prepared(file)
    graph = read(made)
    shape = graph.shapes[graph.input]
    model = file_network.model_of(
        made,
        (shape[1], shape[2], shape[3]),
        name=name,
        classes=graph.shapes[graph.output][-1],
        told_parameters=_parameters(graph),
        told_macs=_macs(graph),
        reason=why,
    )
    return model, removed


def prepared(file: bytes) -> tuple[bytes, str | None]:
    """The file in the form that is wanted here, and "softmax" or "sigmoid" if that was taken off.

    Raises InputError as `network` does.
    """
    model = tflite_file.read(file)
    graph = model.subgraphs[0]
    _check_input(graph.tensors[int(graph.inputs[0])])
    _widen(model)
    removed = _without_activation(model)
    _check_output(graph.tensors[int(graph.outputs[0])])
    for one in model.metadata or ():
        model.buffers[one.buffer].data = None
    model.metadata, model.description = [], b""
    _drop_unused(graph)
    model.signatureDefs = [_signature(graph)]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output()), removed


def _check_input(tensor: schema.TensorT) -> None:
    shape = [] if tensor.shape is None else [int(side) for side in tensor.shape]
    sides = "x".join(map(str, shape))
    if tensor.type != schema.TensorType.FLOAT32:
        raise InputError("it takes no float32 images")
    if len(shape) != _IMAGE or shape[0] != 1 or shape[3] not in (1, 3):
        raise InputError(f"it takes {sides}, not one image of 1 x height x width x channels")
    if not 0 < min(shape[1:3]) <= max(shape[1:3]) <= _LARGEST_SIDE:
        raise InputError(f"it takes images of {sides}")
    tensor.shapeSignature = None  # of a batch of one


def _check_output(tensor: schema.TensorT) -> None:
    shape = [] if tensor.shape is None else [int(side) for side in tensor.shape]
    if len(shape) != 2 or shape[0] != 1 or shape[1] < 2 or tensor.type != schema.TensorType.FLOAT32:
        sides = "x".join(map(str, shape))
        raise InputError(f"it answers with {sides}, not with 1 x classes, of which there are two")
    tensor.shapeSignature = None


def _widen(model: schema.ModelT) -> None:
    """Store constants of half precision, which are widened at each run, in single precision."""
    graph, left = model.subgraphs[0], []
    for operator in graph.operators:
        widens = kind_of(model.operatorCodes[operator.opcodeIndex]) == "DEQUANTIZE"
        half = graph.tensors[int(operator.inputs[0])] if widens else None
        data = None if half is None else model.buffers[half.buffer].data
        if half is None or half.type != schema.TensorType.FLOAT16 or data is None or not len(data):
            left.append(operator)
            continue
        values = np.frombuffer(np.ascontiguousarray(data, np.uint8), np.float16)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)
        model.buffers.append(buffer)
        graph.tensors[int(operator.outputs[0])].buffer = len(model.buffers) - 1
        model.buffers[half.buffer].data = None
    graph.operators = left


def _without_activation(model: schema.ModelT) -> str | None:
    """Take off the softmax or sigmoid at the end."""
    graph = model.subgraphs[0]
    (output,) = map(int, graph.outputs)
    for operator in graph.operators:
        kind = kind_of(model.operatorCodes[operator.opcodeIndex])
        if output in map(int, operator.outputs) and kind in _REMOVED:
            graph.operators.remove(operator)
            graph.outputs = np.array(operator.inputs, np.int32)
            return _REMOVED[kind]
    return None


def _drop_unused(graph: schema.SubGraphT) -> None:
    """Leave out tensors that no operation is left for: runtimes have no values of them."""
    holders = [graph, *graph.operators]
    used = {int(one) for holder in holders for one in (*holder.inputs, *holder.outputs)} - {-1}
    places = {old: new for new, old in enumerate(sorted(used))} | {-1: -1}
    graph.tensors = [graph.tensors[old] for old in sorted(used)]
    for holder in holders:
        holder.inputs = np.array([places[int(one)] for one in holder.inputs], np.int32)
        holder.outputs = np.array([places[int(one)] for one in holder.outputs], np.int32)


def _signature(graph: schema.SubGraphT) -> schema.SignatureDefT:
    made: Any = schema.SignatureDefT()
    made.signatureKey, made.subgraphIndex = b"serving_default", 0
    made.inputs = [_named(b"image", graph.inputs[0])]
    made.outputs = [_named(b"logits", graph.outputs[0])]
    return made


def _named(name: bytes, tensor: Any) -> schema.TensorMapT:
    made: Any = schema.TensorMapT()
    made.name, made.tensorIndex = name, int(tensor)
    return made


def _parameters(graph: FileGraph) -> int:
    """Numbers in arrays of floats that operations read."""
    read_ = {number for one in graph.operations for number in one.inputs}
    arrays = [graph.constants[number] for number in read_ if number in graph.constants]
    return sum(one.size for one in arrays if one.dtype == np.float32 and one.size > 1)


def _macs(graph: FileGraph) -> int:
    """As `kerascnn.complexity` counts them, of what is known to have kernels."""
    found = 0
    for one in graph.operations:
        kernel = graph.constants.get(one.inputs[1]) if len(one.inputs) > 1 else None
        if kernel is None:
            continue
        if one.kind in _BY_OUTPUT:
            found += math.prod(graph.shapes[one.outputs[0]][1:3]) * kernel.size
        elif one.kind == "TRANSPOSE_CONV":
            found += math.prod(graph.shapes[one.inputs[2]][1:3]) * kernel.size
        elif one.kind == "FULLY_CONNECTED":
            found += math.prod(graph.shapes[one.outputs[0]][:-1]) * kernel.size
    return found
