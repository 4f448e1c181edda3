"""What stands in a float .tflite file: its operations in their order, constants and shapes.

What hangs on constants alone is computed here: sizes of a batch of one, and kernels that are stored
in half precision.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from kerascnn.errors import InputError
from training.common import tflite_file

_TYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.BOOL: np.bool_,
}
_KINDS = {
    number: name
    for name, number in vars(schema.BuiltinOperator).items()
    if not name.startswith("_")
}
# Change the shape alone, to the one that the file says.
SHAPING = ("EXPAND_DIMS", "RESHAPE", "SQUEEZE")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Operation:
    """One operation.

    Attributes:
        kind: as the schema calls it: "CONV_2D".
        options: of the schema's class for its kind, or None.
        inputs: numbers of tensors; -1 where one is left out.
        outputs: likewise.
    """

    kind: str
    options: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FileGraph:
    """A network from one image to one answer.

    Attributes:
        names, shapes: of all tensors, by number; a batch has one image.
        constants: of tensors that no image changes.
        operations: the others, in an order in which they can be run.
        input, output: tensors.
    """

    names: Sequence[str]
    shapes: Sequence[tuple[int, ...]]
    constants: Mapping[int, np.ndarray]
    operations: Sequence[Operation]
    input: int
    output: int


def read(file: bytes) -> FileGraph:
    """Read a file that its runtime takes.

    Raises:
        InputError: it has integers for floats, several inputs or outputs, or control flow.
    """
    model = tflite_file.read(file)
    _check(model)
    graph = model.subgraphs[0]
    shapes = [() if t.shape is None else tuple(map(int, t.shape)) for t in graph.tensors]
    names = [(t.name or b"").decode(errors="replace") for t in graph.tensors]
    constants = _constants(model)
    left = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        one = Operation(
            kind=kind_of(code),
            options=operator.builtinOptions,
            inputs=tuple(map(int, operator.inputs)),
            outputs=tuple(map(int, operator.outputs)),
        )
        found = _computed(one, constants, shapes)
        if found is None:
            left.append(one)
        else:
            constants[one.outputs[0]] = found
    return FileGraph(
        names=names,
        shapes=shapes,
        constants=constants,
        operations=left,
        input=int(graph.inputs[0]),
        output=int(graph.outputs[0]),
    )


def _check(model: schema.ModelT) -> None:
    graph = model.subgraphs[0]
    if len(model.subgraphs) > 1:
        raise InputError("it has control flow, or several networks, inside")
    for what, found in (("input", graph.inputs), ("output", graph.outputs)):
        if len(found) != 1:
            listed = ", ".join(graph.tensors[one].name.decode(errors="replace") for one in found)
            raise InputError(f"it has {len(found)} {what}s ({listed}), and not one")
    for tensor in graph.tensors:
        params = tensor.quantization
        if params is not None and params.scale is not None and len(params.scale):
            raise InputError(
                "it is quantised already (tensor "
                f"{tensor.name.decode(errors='replace')!r}): import the float network that it was "
                "made of; as it is, it can be measured: kerascnn evaluate"
            )


def kind_of(code: schema.OperatorCodeT) -> str:
    """What the schema calls an operation; a custom one "CUSTOM" and its name."""
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    kind = _KINDS.get(number, str(number))
    return kind if kind != "CUSTOM" else f"CUSTOM {(code.customCode or b'').decode()}"


def _constants(model: schema.ModelT) -> dict[int, np.ndarray]:
    found = {}
    for number, tensor in enumerate(model.subgraphs[0].tensors):
        data = model.buffers[tensor.buffer].data
        if data is None or not len(data) or tensor.type not in _TYPES:
            continue
        shape = () if tensor.shape is None else tuple(map(int, tensor.shape))
        values: np.ndarray = np.frombuffer(
            np.ascontiguousarray(data, np.uint8), _TYPES[tensor.type]
        )
        found[number] = values.reshape(shape)
    return found


def _computed(
    one: Operation, constants: Mapping[int, np.ndarray], shapes: Sequence[tuple[int, ...]]
) -> np.ndarray | None:
    """What an operation gives whatever the image is; None where that hangs on the image."""
    if one.kind == "SHAPE":
        return np.array(shapes[one.inputs[0]], np.int32)
    there = [number for number in one.inputs if number >= 0]
    fused: int = getattr(one.options, "fusedActivationFunction", 0)
    if fused or not all(number in constants for number in there):
        return None
    given = [constants[number] for number in there]
    if one.kind in SHAPING:
        return given[0].reshape(shapes[one.outputs[0]])
    return np.asarray(_FOLDED[one.kind](one, given)) if one.kind in _FOLDED else None


def slices(
    one: Operation, begin: np.ndarray, end: np.ndarray, strides: np.ndarray
) -> tuple[Any, ...]:
    """The index of a STRIDED_SLICE, for NumPy and Keras.

    Raises:
        InputError: it makes axes, or has an ellipsis.
    """
    options = one.options
    if options.ellipsisMask or options.newAxisMask or getattr(options, "offset", False):
        raise InputError(f"{one.kind} that makes axes cannot be taken")
    found: list[Any] = []
    for axis, (low, high, step) in enumerate(zip(begin, end, strides, strict=True)):
        bit = 1 << axis
        if options.shrinkAxisMask & bit:
            found.append(int(low))
            continue
        first = None if options.beginMask & bit else int(low)
        last = None if options.endMask & bit else int(high)
        found.append(slice(first, last, int(step)))
    return tuple(found)


def _gathered(one: Operation, given: Sequence[Any]) -> np.ndarray:
    return np.take(given[0], given[1], axis=one.options.axis)


def _binary(function: Callable[[Any, Any], Any]) -> Callable[[Operation, Sequence[Any]], Any]:
    return lambda _one, given: function(given[0], given[1])


_CAST = {number: kind for number, kind in _TYPES.items() if kind is not np.float16}
_FOLDED: dict[str, Callable[[Operation, Sequence[Any]], Any]] = {
    "ADD": _binary(np.add),
    "SUB": _binary(np.subtract),
    "MUL": _binary(np.multiply),
    "BROADCAST_ARGS": lambda _one, given: np.array(
        np.broadcast_shapes(*(tuple(map(int, each)) for each in given)), np.int32
    ),
    "BROADCAST_TO": lambda _one, given: np.broadcast_to(given[0], tuple(map(int, given[1]))),
    "CAST": lambda one, given: given[0].astype(_CAST[one.options.outDataType]),
    "CONCATENATION": lambda one, given: np.concatenate(given, axis=one.options.axis),
    "DEQUANTIZE": lambda _one, given: given[0].astype(np.float32),
    "GATHER": _gathered,
    "NEG": lambda _one, given: -given[0],
    "PACK": lambda one, given: np.stack(given, axis=one.options.axis),
    "REDUCE_PROD": lambda one, given: functools.reduce(np.multiply, np.ravel(given[0])),
    "RSQRT": lambda _one, given: 1 / np.sqrt(given[0]),
    "STRIDED_SLICE": lambda one, given: given[0][slices(one, *given[1:])],
    "TRANSPOSE": lambda _one, given: np.transpose(given[0], tuple(map(int, given[1]))),
}
