"""What the weights of a TFLite file are: its constants as numbers, and figures of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

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


def weight_sparsity(model: schema.ModelT) -> float:
    """Share of exact zeros among the constants with two or more dimensions, 0 to 1."""
    zeros = total = 0
    for tensor, data in kernel_buffers(model):
        values = _values(tensor, data)
        if values is not None:
            zeros += int(np.count_nonzero(values == 0))
            total += values.size
    return zeros / total if total else 0.0


def nonzero_weights(model: schema.ModelT) -> int:
    """Numbers that are not zero among all weights of a file, biases included.

    Weights are all constants with a dimension, as lone numbers are arithmetic, that hold floats or
    stand for them. Kernels that lowering adds count: int8 files of networks with average pooling
    may have a few more than the network has parameters.
    """
    found = {}
    for tensor, data in _constants(model):
        values = _values(tensor, data) if len(shape(tensor)) else None
        if values is not None:
            # By buffer: tensors may share one.
            found[tensor.buffer] = int(np.count_nonzero(values != _zero_points(tensor, values)))
    return sum(found.values())


def kernel_buffers(model: schema.ModelT) -> Iterator[tuple[schema.TensorT, np.ndarray]]:
    """Constants with two or more dimensions, as bytes."""
    return ((tensor, data) for tensor, data in _constants(model) if len(shape(tensor)) > 1)


def _constants(model: schema.ModelT) -> Iterator[tuple[schema.TensorT, np.ndarray]]:
    """Tensors whose values lie in the file, as bytes."""
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            if data is not None and len(data):
                yield tensor, np.ascontiguousarray(data, np.uint8)


def shape(tensor: schema.TensorT) -> tuple[int, ...]:
    """Sides of a tensor."""
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
    return halves[: math.prod(shape(tensor))]


def _zero_points(tensor: schema.TensorT, values: np.ndarray) -> np.ndarray | int:
    """What stands for zero: one number, or (n,) where each channel has its own."""
    points = _listed(tensor, "zeroPoint")
    if not any(points):
        return 0
    if len(points) == 1:
        return points[0]
    sides = [1] * len(shape(tensor))
    sides[tensor.quantization.quantizedDimension] = -1
    whole: np.ndarray = np.broadcast_to(np.reshape(points, sides), shape(tensor))
    return whole.reshape(values.shape)


def _listed(tensor: schema.TensorT, field: str) -> list[Any]:
    """A list among a tensor's quantisation parameters; empty where there is none."""
    found = None if tensor.quantization is None else getattr(tensor.quantization, field)
    return [] if found is None else list(found)
