"""Operations that XNNPACK does not take, in others that it takes: a file it runs in one piece.

What runs between the pieces runs in TensorFlow Lite's own kernels, of which those of int8 are slow:
keras.applications' Xception took 16.0 ms with its eleven ReLUs as they are, and 3.0 without.

In all files, to the bit:

    pooling of single pixels, with strides -> SPACE_TO_DEPTH, of which the first channels
    concatenation of more than five        -> of some of them first, then of the rest

In int8 files, whose constants get ranges by which they are exact:

    RELU that is no other operation's      -> ADD of zero, with the ReLU fused
    AVERAGE_POOL_2D                        -> DEPTHWISE_CONV_2D of equal weights, and, where windows
                                              hang over the edges, MUL by what they lack there
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.tflite.model import TFLiteModel

_MOST_JOINED = 5  # tensors, by one of XNNPACK's concatenations
_POOLING = (schema.BuiltinOperator.MAX_POOL_2D, schema.BuiltinOperator.AVERAGE_POOL_2D)
_FUSED = {
    schema.BuiltinOperator.RELU: schema.ActivationFunctionType.RELU,
    schema.BuiltinOperator.RELU6: schema.ActivationFunctionType.RELU6,
    schema.BuiltinOperator.RELU_N1_TO_1: schema.ActivationFunctionType.RELU_N1_TO_1,
}
SUM = "sum"
"""Behind the name of a mean in int8 and a semicolon: the first of the two operations it is."""
_ZERO, _LACKING = ";zero", ";lacking"
_FEWEST_STEPS, _STEPS = 128, 255  # of a constant's range


def in_one_piece(file: bytes) -> bytes:
    """A float file with equal outputs, of operations that XNNPACK takes; itself where it has them.

    Args:
        file: of float tensors, with shapes that are known.
    """
    model = TFLiteModel.open(file)
    operators = model.graph.operators
    if not any(_is_of_single_pixels(model, one) or _is_wide(model, one) for one in operators):
        return file
    model.apply(_rewrite, edits=(_split_concatenation, _pick_pixels), concerns=lambda _name: True)
    return model.packed()


def in_one_piece_of_int8(file: TFLiteModel, becomes_int8: Callable[[str], bool]) -> TFLiteModel:
    """A float file with equal outputs, of operations that XNNPACK takes in int8.

    Args:
        file: left as it is.
        becomes_int8: whether the tensor of this name will.

    Returns:
        Another file, or `file` where there is nothing to do. `constant_ranges` has to be told to
        the quantiser with it.
    """
    operators = file.graph.operators
    if not any(_code(file, one) in _FUSED or _is_mean(file, one) for one in operators):
        return file
    made = TFLiteModel.open(file.packed())
    made.apply(_rewrite, edits=(_fuse_into_sum, _weigh_evenly), concerns=becomes_int8)
    return made


def constant_ranges(file: TFLiteModel, ranges: Mapping[str, Any]) -> dict[str, Any]:
    """Ranges of the constants that `in_one_piece_of_int8` made, by which int8 has them exactly.

    Args:
        file: what it returned.
        ranges: of activations, by tensor, as the quantiser will have them.

    Returns:
        By the constant's name, what litert-quantizer calls a QSV.
    """
    found = {}
    for tensor in file.graph.tensors:
        name = tensor.name.decode()
        if name.endswith(_ZERO) and (own := ranges.get(name.removesuffix(_ZERO))) is not None:
            # Of any range; XNNPACK adds tensors whose scales are not too far apart.
            found[name] = _range_to(float(np.max(own["max"])), 1)
        elif name.endswith(_LACKING):
            values = file.unpacked.buffers[tensor.buffer].data.view("<f4")
            found[name] = _range_to(_exact_end(values), len(tensor.shape))
    return found


_Edit = Callable[[TFLiteModel, schema.OperatorT, str], list[schema.OperatorT]]


def _rewrite(
    file: TFLiteModel, *, edits: tuple[_Edit, ...], concerns: Callable[[str], bool]
) -> None:
    """Put in each operation's place what one of the edits makes of it, if it makes anything."""
    operators: list[schema.OperatorT] = []
    for operator in file.graph.operators:
        name = file.graph.tensors[operator.outputs[0]].name.decode()
        found = (edit(file, operator, name) for edit in edits if concerns(name))
        operators += next(filter(None, found), [operator])
    file.graph.operators = operators


def _split_concatenation(
    file: TFLiteModel, operator: schema.OperatorT, name: str
) -> list[schema.OperatorT]:
    """Of as few as possible first, as those are copied twice."""
    made: list[schema.OperatorT] = []
    while _is_wide(file, operator):
        first = min(len(operator.inputs) - _MOST_JOINED + 1, _MOST_JOINED)
        read = [int(one) for one in operator.inputs]
        shapes = [_shape(file, one) for one in read[:first]]
        axis = operator.builtinOptions.axis % len(shapes[0])
        shape = list(shapes[0])
        shape[axis] = sum(one[axis] for one in shapes)
        part = file.tensor(f"{name};part{len(made)}", shape, file.graph.tensors[read[0]].type)
        options = schema.ConcatenationOptionsT()
        options.axis = axis
        made.append(
            file.operator(schema.BuiltinOperator.CONCATENATION, read[:first], [part], options)
        )
        operator.inputs = [part, *read[first:]]
    return [*made, operator] if made else []


def _pick_pixels(
    file: TFLiteModel, operator: schema.OperatorT, name: str
) -> list[schema.OperatorT]:
    if not _is_of_single_pixels(file, operator):
        return []
    step = operator.builtinOptions.strideW
    source = int(operator.inputs[0])
    kind = file.graph.tensors[source].type
    _one, height, width, channels = _shape(file, source)
    _one, rows, columns, _channels = _shape(file, int(operator.outputs[0]))
    made = []
    if (height, width) != (rows * step, columns * step):
        padded = file.tensor(f"{name};padded", (1, rows * step, columns * step, channels), kind)
        behind = [[0, 0], [0, rows * step - height], [0, columns * step - width], [0, 0]]
        read = [source, file.constant(behind)]
        made.append(file.operator(schema.BuiltinOperator.PAD, read, [padded], schema.PadOptionsT()))
        source = padded
    blocks = file.tensor(f"{name};blocks", (1, rows, columns, channels * step**2), kind)
    options = schema.SpaceToDepthOptionsT()
    options.blockSize = step
    read = [blocks, *map(file.constant, ([0] * 4, [1, rows, columns, channels]))]
    return [
        *made,
        file.operator(schema.BuiltinOperator.SPACE_TO_DEPTH, [source], [blocks], options),
        file.operator(schema.BuiltinOperator.SLICE, read, operator.outputs, schema.SliceOptionsT()),
    ]


def _fuse_into_sum(
    file: TFLiteModel, operator: schema.OperatorT, name: str
) -> list[schema.OperatorT]:
    code = _code(file, operator)
    if code not in _FUSED:
        return []
    zero = file.tensor(name + _ZERO, (1,), schema.TensorType.FLOAT32, np.zeros(1, np.float32))
    options = schema.AddOptionsT()
    options.fusedActivationFunction = _FUSED[code]
    read = [int(operator.inputs[0]), zero]
    return [file.operator(schema.BuiltinOperator.ADD, read, operator.outputs, options)]


def _weigh_evenly(
    file: TFLiteModel, operator: schema.OperatorT, name: str
) -> list[schema.OperatorT]:
    if not _is_mean(file, operator):
        return []
    pooling, source = operator.builtinOptions, int(operator.inputs[0])
    window = (pooling.filterHeight, pooling.filterWidth)
    shape, made_shape = _shape(file, source), _shape(file, int(operator.outputs[0]))
    channels = shape[-1]
    weights = np.full((1, *window, channels), 1 / np.prod(window), np.float32)
    kernel = file.tensor(f"{name};weights", weights.shape, schema.TensorType.FLOAT32, weights)
    no_bias = file.tensor(
        f"{name};bias", (channels,), schema.TensorType.FLOAT32, np.zeros(channels, np.float32)
    )
    options = schema.DepthwiseConv2DOptionsT()
    options.padding, options.depthMultiplier = pooling.padding, 1
    options.strideH, options.strideW = pooling.strideH, pooling.strideW
    lacking = _lacking(shape, made_shape, pooling)
    made = operator.outputs
    if lacking is not None:
        made = [file.tensor(f"{name};{SUM}", made_shape, schema.TensorType.FLOAT32)]
    first = file.operator(
        schema.BuiltinOperator.DEPTHWISE_CONV_2D, [source, kernel, no_bias], made, options
    )
    if lacking is None:
        options.fusedActivationFunction = pooling.fusedActivationFunction
        return [first]
    factors = file.tensor(name + _LACKING, lacking.shape, schema.TensorType.FLOAT32, lacking)
    product = schema.MulOptionsT()
    product.fusedActivationFunction = pooling.fusedActivationFunction
    return [
        first,
        file.operator(schema.BuiltinOperator.MUL, [made[0], factors], operator.outputs, product),
    ]


def _lacking(
    shape: tuple[int, ...], made: tuple[int, ...], pooling: schema.Pool2DOptionsT
) -> np.ndarray | None:
    """(1, rows, columns, 1) pixels of a window over those that lie on the map; None: all do."""
    if pooling.padding == schema.Padding.VALID:
        return None
    rows, columns = (
        _pixels(length, count, window, stride)
        for length, count, window, stride in (
            (shape[1], made[1], pooling.filterHeight, pooling.strideH),
            (shape[2], made[2], pooling.filterWidth, pooling.strideW),
        )
    )
    there = rows[:, None] * columns[None, :]
    whole = pooling.filterHeight * pooling.filterWidth
    if np.all(there == whole):
        return None
    factors: np.ndarray = (whole / there).astype(np.float32)[None, :, :, None]
    return factors


def _pixels(length: int, count: int, window: int, stride: int) -> np.ndarray:
    """(count,) how many places of each window lie within a side, padded as TensorFlow's "same"."""
    before = max((count - 1) * stride + window - length, 0) // 2
    begin = np.arange(count) * stride - before
    found: np.ndarray = np.minimum(begin + window, length) - np.maximum(begin, 0)
    return found


def _exact_end(values: np.ndarray) -> float:
    """The end of a range from 0 in whose steps these positive values are, as nearly as can be."""
    shares = np.unique(values.astype(np.float64)) / values.max()

    def off(steps: int) -> float:
        exact = shares * steps
        return float(np.abs(exact - np.rint(exact)).max() / steps)

    # The largest value is so many steps; more are finer where several are as near.
    steps = min(range(_STEPS, _FEWEST_STEPS, -1), key=off)
    return float(values.max()) * _STEPS / steps


def _range_to(end: float, sides: int) -> dict[str, np.ndarray]:
    """From 0, of a constant with so many sides."""
    shape = (1,) * sides
    return {"min": np.zeros(shape, np.float32), "max": np.full(shape, end, np.float32)}


def _code(file: TFLiteModel, operator: schema.OperatorT) -> int:
    return int(file.unpacked.operatorCodes[operator.opcodeIndex].builtinCode)


def _shape(file: TFLiteModel, tensor: int) -> tuple[int, ...]:
    return tuple(map(int, file.graph.tensors[tensor].shape))


def _is_wide(file: TFLiteModel, operator: schema.OperatorT) -> bool:
    return (
        _code(file, operator) == schema.BuiltinOperator.CONCATENATION
        and len(operator.inputs) > _MOST_JOINED
        and _is_plain(file, operator)
    )


def _is_of_single_pixels(file: TFLiteModel, operator: schema.OperatorT) -> bool:
    """Whether it takes every second pixel, or every third."""
    if _code(file, operator) not in _POOLING:
        return False
    pooling = operator.builtinOptions
    return (
        pooling.filterHeight == pooling.filterWidth == 1
        and pooling.strideH == pooling.strideW > 1
        and _is_plain(file, operator)
    )


def _is_mean(file: TFLiteModel, operator: schema.OperatorT) -> bool:
    return _code(file, operator) == schema.BuiltinOperator.AVERAGE_POOL_2D


def _is_plain(file: TFLiteModel, operator: schema.OperatorT) -> bool:
    """Whether no activation is fused into it, and all sides of what it makes are known."""
    sides = file.graph.tensors[operator.outputs[0]].shapeSignature
    none = schema.ActivationFunctionType.NONE
    known = sides is None or min(sides) > 0
    return known and operator.builtinOptions.fusedActivationFunction == none
