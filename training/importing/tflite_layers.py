"""The operations of a float .tflite file as the layers of Keras that they were.

A converter folds a batch norm into the convolution before it, and activations into both; what comes
out here has the convolution with its bias and the activation behind it. Whatever is not in `_MADE`
is refused by its name.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from keras import layers, ops

from kerascnn.errors import InputError, reason
from kerascnn.layers import LocalResponseNormalization
from training.importing.tflite_graph import SHAPING, FileGraph, Operation, slices

_PADDINGS = {schema.Padding.SAME: "same", schema.Padding.VALID: "valid"}
_MIRRORED = {schema.MirrorPadMode.REFLECT: "reflect", schema.MirrorPadMode.SYMMETRIC: "symmetric"}
_FUSED = {
    schema.ActivationFunctionType.RELU: "RELU",
    schema.ActivationFunctionType.RELU6: "RELU6",
    schema.ActivationFunctionType.RELU_N1_TO_1: "RELU_N1_TO_1",
    schema.ActivationFunctionType.TANH: "TANH",
}
_IMAGE = 4  # dimensions
_TO_FIRST = (0, 3, 1, 2)  # axes, from channels last to channels first


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Call:
    """An operation that is about to become a layer.

    Attributes:
        given: tensors of Keras, constants, and None where an input is left out.
        shape: of the output, with a batch of one.
        outputs: how many there are.
        whole: whether the first axis of the first input is the batch.
        learnt: whether a layer with weights stands before it.
        network: what all of them share.
    """

    operation: Operation
    given: Sequence[Any]
    shape: tuple[int, ...]
    outputs: int
    whole: bool
    learnt: bool
    network: _Network

    @property
    def options(self) -> Any:
        """See `Operation`."""
        return self.operation.options

    @property
    def x(self) -> Any:
        """The first input, which is not a constant."""
        if isinstance(self.given[0], np.ndarray):
            raise InputError("of a constant cannot be taken")
        return self.given[0]

    def constant(self, place: int) -> np.ndarray:
        """An input that no image changes."""
        found = self.given[place]
        if not isinstance(found, np.ndarray):
            raise InputError("with weights or sizes that are computed cannot be taken")
        return found

    def optional(self, place: int) -> np.ndarray | None:
        """The same of one that may be left out."""
        there = len(self.given) > place and self.given[place] is not None
        return self.constant(place) if there else None

    def axes(self, place: int) -> tuple[int, ...]:
        """Axes of the first input, none of which is the batch."""
        rank = len(self.x.shape)
        found = tuple(sorted(int(one) % rank for one in np.ravel(self.constant(place))))
        if 0 in found:
            raise InputError("over the batch cannot be taken")
        return found

    def name(self, kind: str) -> str:
        """A name for a layer: "conv3"."""
        return self.network.name(kind)

    def weighted(self, layer: keras.Layer, x: Any, weights: Sequence[np.ndarray | None]) -> Any:
        """What a layer with these weights makes of a tensor."""
        made = layer(x)
        layer.set_weights([one for one in weights if one is not None])
        return made


def rebuilt(graph: FileGraph, *, name: str) -> keras.Model:
    """The functional model of a file, from images with the channels last to the file's answers.

    Raises:
        InputError: an operation that is not known here; it is named.
    """
    return _Network(graph).model(name)


class _Network:
    def __init__(self, graph: FileGraph) -> None:
        self._graph = graph
        self._values: dict[int, Any] = dict(graph.constants)
        self._makers = {number: one for one in graph.operations for number in one.outputs}
        self._counts: collections.Counter[str] = collections.Counter()
        self._permuted: dict[int, tuple[Any, tuple[int, ...]]] = {}
        self._kept: list[Any] = []  # so that no other tensor gets the number of one
        self._readers = collections.Counter(n for one in graph.operations for n in one.inputs)
        # Of products by channel: what was multiplied, and by what.
        self.scaled: dict[int, tuple[Any, np.ndarray]] = {}
        self._learnt = False

    def name(self, kind: str) -> str:
        self._counts[kind] += 1
        return f"{kind}{self._counts[kind]}"  # not as Keras calls its own operations: "add_3"

    def model(self, name: str) -> keras.Model:
        graph = self._graph
        shape = graph.shapes[graph.input]
        if len(shape) != _IMAGE or shape[0] != 1:
            sides = "x".join(map(str, shape))
            raise InputError(f"it takes {sides}, not one image of 1 x height x width x channels")
        first = shape[1] in (1, 3) and shape[3] not in (1, 3)
        _, height, width, channels = (shape[axis] for axis in (0, 2, 3, 1)) if first else shape
        image = keras.Input((height, width, channels), name="image")
        self._values[graph.input] = self.permuted(image, _TO_FIRST) if first else image
        for operation in graph.operations:
            self._add(operation)
        return keras.Model(image, self._values[graph.output], name=name)

    def permuted(self, x: Any, order: tuple[int, ...]) -> Any:
        """A tensor with its axes in another order; two that undo each other are none."""
        source, before = self._permuted.get(id(x), (x, tuple(range(len(order)))))
        whole = tuple(before[axis] for axis in order)
        if whole == tuple(range(len(order))):
            return source
        if whole[0] != 0:
            raise InputError("of the batch cannot be taken")
        made = layers.Permute(whole[1:], name=self.name("permute"))(source)
        self._permuted[id(made)] = source, whole
        self._kept.append(made)
        return made

    def gate_of(self, operation: Operation) -> Any:
        """The x of x * sigmoid(x), or None of another multiplication."""
        for number, other in (operation.inputs, operation.inputs[::-1]):
            maker = self._makers.get(number)
            if maker is not None and maker.kind == "LOGISTIC" and maker.inputs[0] == other:
                return self._values[other]
        return None

    def unscaled(self, operation: Operation, x: Any) -> tuple[Any, np.ndarray | None]:
        """What stands before a product by channel that this sum alone reads, and its factors."""
        for number in operation.inputs:
            if number in self.scaled and self._readers[number] == 1:
                return self.scaled[number]
        return x, None

    def _add(self, operation: Operation) -> None:
        graph = self._graph
        shape = graph.shapes[operation.outputs[0]]
        first = operation.inputs[0] if operation.inputs else -1
        try:
            if operation.kind not in _MADE:
                raise InputError("is not known here")
            call = Call(
                operation=operation,
                given=[self._values[one] if one >= 0 else None for one in operation.inputs],
                shape=shape,
                outputs=len(operation.outputs),
                whole=first >= 0 and graph.shapes[first][:1] == (1,),
                learnt=self._learnt,
                network=self,
            )
            made = _MADE[operation.kind](call)
            fused = _FUSED.get(getattr(operation.options, "fusedActivationFunction", 0))
            if fused:
                self.scaled.pop(operation.outputs[0], None)
                made = _ACTIVATIONS[fused](call, made)
        except Exception as error:  # a layer of Keras that does not take what the file says
            called = graph.names[operation.outputs[0]]
            raise InputError(
                f"operation {operation.kind} (which makes {called!r}) {reason(error)}"
            ) from error
        self._learnt = self._learnt or operation.kind in _WEIGHTED
        several = made if isinstance(made, list | tuple) else [made]
        for number, one in zip(operation.outputs, several, strict=True):
            if len(graph.shapes[number]) > 1 and tuple(one.shape[1:]) != graph.shapes[number][1:]:
                raise InputError(
                    f"operation {operation.kind} (which makes {graph.names[number]!r}) gives "
                    f"{graph.shapes[number]} in the file and {tuple(one.shape)} in Keras"
                )
            self._values[number] = one


def _convolution(call: Call) -> Any:
    kernel, bias, options = call.constant(1), call.optional(2), call.options
    layer = layers.Conv2D(
        kernel.shape[0],
        kernel.shape[1:3],
        strides=(options.strideH, options.strideW),
        padding=_PADDINGS[options.padding],
        dilation_rate=(options.dilationHFactor, options.dilationWFactor),
        groups=call.x.shape[-1] // kernel.shape[3],
        use_bias=bias is not None,
        name=call.name("conv"),
    )
    return call.weighted(layer, call.x, [kernel.transpose(1, 2, 3, 0), bias])


def _depthwise(call: Call) -> Any:
    kernel, bias, options = call.constant(1), call.optional(2), call.options
    channels = call.x.shape[-1]
    multiplier = kernel.shape[3] // channels
    layer = layers.DepthwiseConv2D(
        kernel.shape[1:3],
        strides=(options.strideH, options.strideW),
        padding=_PADDINGS[options.padding],
        dilation_rate=(options.dilationHFactor, options.dilationWFactor),
        depth_multiplier=multiplier,
        use_bias=bias is not None,
        name=call.name("depthwise"),
    )
    return call.weighted(
        layer, call.x, [kernel.reshape(*kernel.shape[1:3], channels, multiplier), bias]
    )


def _transposed_convolution(call: Call) -> Any:
    kernel, bias, options = call.constant(1), call.optional(3), call.options
    layer = layers.Conv2DTranspose(
        kernel.shape[0],
        kernel.shape[1:3],
        strides=(options.strideH, options.strideW),
        padding=_PADDINGS[options.padding],
        use_bias=bias is not None,
        name=call.name("conv_transpose"),
    )
    return call.weighted(layer, call.given[2], [kernel.transpose(1, 2, 0, 3), bias])


def _dense(call: Call) -> Any:
    kernel, bias, x = call.constant(1), call.optional(2), call.x
    if not call.options.keepNumDims and len(x.shape) > 2:
        flat = math.prod(x.shape[1:]) == kernel.shape[1]
        x = _reshaped(call, x, (1 if flat else -1, kernel.shape[1]))
    layer = layers.Dense(kernel.shape[0], use_bias=bias is not None, name=call.name("dense"))
    return call.weighted(layer, x, [kernel.T, bias])


def _reshaped(call: Call, x: Any, shape: tuple[int, ...]) -> Any:
    if len(shape) == 1 and x.shape[1:] == (1,) * (len(x.shape) - 2) + shape:
        return x  # of the one image, to be added to what has all axes
    if shape[0] != 1 or not call.whole:  # images and places are one axis, before or behind
        return ops.reshape(x, (-1, *shape[1:]))
    if len(shape) == 2:
        return layers.Flatten(name=call.name("flatten"))(x)
    return layers.Reshape(shape[1:], name=call.name("reshape"))(x)


def _norm(call: Call, scale: np.ndarray | None, offset: np.ndarray | None) -> Any:
    """A batch norm that no convolution stands before: numbers by channel."""
    x, channels = call.x, call.x.shape[-1]
    if scale is None:  # what was multiplied for this alone is one norm with it
        x, scale = call.network.unscaled(call.operation, x)
    layer = layers.BatchNormalization(epsilon=0.0, name=call.name("norm"))
    gamma = np.ones(channels) if scale is None else scale.reshape(-1)
    beta = np.zeros(channels) if offset is None else offset.reshape(-1)
    made = layer(x)
    layer.set_weights([gamma, beta, np.zeros(channels), np.ones(channels)])
    if offset is None:
        call.network.scaled[call.operation.outputs[0]] = x, gamma
    return made


def _by_channel(call: Call) -> bool:
    """Whether the second input is a number for each channel, in a network that has learnt."""
    other = call.given[1]
    if not call.learnt or not isinstance(other, np.ndarray) or len(call.x.shape) != _IMAGE:
        return False
    return other.size == other.shape[-1:][0] == call.x.shape[-1] if other.ndim else False


def _constant_last(call: Call) -> Call:
    """The same of an operation whose order does not matter, with a constant behind."""
    if isinstance(call.given[0], np.ndarray):
        return dataclasses.replace(call, given=call.given[::-1])
    return call


def _operand(value: Any) -> Any:
    """A constant as operations have it: one number where it is one."""
    if not isinstance(value, np.ndarray):
        return value
    return float(value.reshape(-1)[0]) if value.size == 1 else value


def _added(call: Call) -> Any:
    call = _constant_last(call)
    if _by_channel(call):
        return _norm(call, None, call.constant(1))
    if isinstance(call.given[1], np.ndarray):
        return ops.add(call.x, _operand(call.given[1]))
    return layers.Add(name=call.name("add"))(list(call.given))


def _multiplied(call: Call) -> Any:
    gate = call.network.gate_of(call.operation)
    if gate is not None:
        return layers.Activation("silu", name=call.name("silu"))(gate)
    call = _constant_last(call)
    if _by_channel(call):
        return _norm(call, call.constant(1), None)
    if isinstance(call.given[1], np.ndarray):
        return ops.multiply(call.x, _operand(call.given[1]))
    return layers.Multiply(name=call.name("multiply"))(list(call.given))


def _of_two(function: Callable[[Any, Any], Any]) -> Callable[[Call], Any]:
    return lambda call: function(_operand(call.given[0]), _operand(call.given[1]))


def _of_one(function: Callable[[Any], Any]) -> Callable[[Call], Any]:
    return lambda call: function(call.x)


def _pooled(kind: type[keras.Layer], name: str) -> Callable[[Call], Any]:
    def made(call: Call) -> Any:
        options = call.options
        return kind(
            pool_size=(options.filterHeight, options.filterWidth),
            strides=(options.strideH, options.strideW),
            padding=_PADDINGS[options.padding],
            name=call.name(name),
        )(call.x)

    return made


def _reduced(
    function: Callable[..., Any], whole: type[keras.Layer] | None
) -> Callable[[Call], Any]:
    """Args: whole: the layer for all pixels of an image."""

    def made(call: Call) -> Any:
        axes, keep = call.axes(1), bool(call.options.keepDims)
        if whole is not None and axes == (1, 2) and len(call.x.shape) == _IMAGE:
            return whole(keepdims=keep, name=call.name("global_pool"))(call.x)
        return function(call.x, axis=axes, keepdims=keep)

    return made


def _padded(call: Call) -> Any:
    sides = [tuple(map(int, pair)) for pair in call.constant(1)]
    value = 0.0 if len(call.given) < 3 else float(np.ravel(call.constant(2))[0])
    if sides[0] != (0, 0):
        raise InputError("of the batch cannot be taken")
    if value == 0 and len(sides) == _IMAGE and sides[3] == (0, 0):
        return layers.ZeroPadding2D((sides[1], sides[2]), name=call.name("pad"))(call.x)
    return ops.pad(call.x, sides, constant_values=value)


def _mirrored(call: Call) -> Any:
    sides = [tuple(map(int, pair)) for pair in call.constant(1)]
    return ops.pad(call.x, sides, mode=_MIRRORED[call.options.mode])


def _joined(call: Call) -> Any:
    axis = call.options.axis % len(call.shape)
    if axis == 0 or any(isinstance(one, np.ndarray) for one in call.given):
        raise InputError("of constants, or of batches, cannot be taken")
    return layers.Concatenate(axis=axis, name=call.name("concatenate"))(list(call.given))


def _sliced(call: Call) -> Any:
    index = slices(call.operation, *(call.constant(place) for place in (1, 2, 3)))
    if not call.whole or not isinstance(index[0], slice) or index[0].step not in (None, 1):
        raise InputError("of the batch cannot be taken")
    return call.x[(slice(None), *index[1:])]


def _cut(call: Call) -> Any:
    begin, size = (np.ravel(call.constant(place)) for place in (1, 2))
    parts = [
        slice(int(low), None if n < 0 else int(low + n)) for low, n in zip(begin, size, strict=True)
    ]
    if not call.whole or parts[0].start:
        raise InputError("of the batch cannot be taken")
    return call.x[(slice(None), *parts[1:])]


def _divided(call: Call) -> Any:
    axis, x = int(np.ravel(call.constant(0))[0]), call.given[1]
    return ops.split(x, call.outputs, axis=axis % len(x.shape))


def _chosen(call: Call) -> Any:
    axis = call.options.axis % len(call.x.shape)
    if axis == 0 or call.options.batchDims:
        raise InputError("of the batch cannot be taken")
    return ops.take(call.x, call.constant(1), axis=axis)


def _softmax(call: Call) -> Any:
    if call.options.beta != 1:
        raise InputError(f"of temperature {1 / call.options.beta:g} cannot be taken")
    return layers.Softmax(name=call.name("softmax"))(call.x)


def _matmul(call: Call) -> Any:
    sides = [
        ops.swapaxes(one, -1, -2) if turned else one
        for one, turned in zip(call.given, (call.options.adjX, call.options.adjY), strict=True)
    ]
    return ops.matmul(*sides)


def _response_norm(call: Call) -> Any:
    options = call.options
    return LocalResponseNormalization(
        size=2 * options.radius + 1,
        k=options.bias,
        alpha=options.alpha,
        beta=options.beta,
        name=call.name("response_norm"),
    )(call.x)


def _leaky(call: Call) -> Any:
    return layers.LeakyReLU(float(call.options.alpha), name=call.name("leaky_relu"))(call.x)


def _prelu(call: Call) -> Any:
    slopes = call.constant(1)
    shared = [axis for axis in range(1, slopes.ndim + 1) if slopes.shape[axis - 1] == 1]
    layer = layers.PReLU(shared_axes=shared or None, name=call.name("prelu"))
    return call.weighted(layer, call.x, [slopes])


def _relu6(call: Call, x: Any) -> Any:
    return layers.ReLU(6.0, name=call.name("relu6"))(x)


def _activation(function: str) -> Callable[[Call, Any], Any]:
    return lambda call, x: layers.Activation(function, name=call.name(function))(x)


_ACTIVATIONS: Mapping[str, Callable[[Call, Any], Any]] = {
    "ELU": lambda call, x: layers.ELU(name=call.name("elu"))(x),
    "HARD_SWISH": _activation("hard_silu"),
    "LOGISTIC": _activation("sigmoid"),
    "RELU": lambda call, x: layers.ReLU(name=call.name("relu"))(x),
    "RELU6": _relu6,
    "RELU_0_TO_1": lambda call, x: layers.ReLU(1.0, name=call.name("relu1"))(x),
    "RELU_N1_TO_1": lambda call, x: ops.clip(x, -1.0, 1.0),
    "TANH": _activation("tanh"),
}


def _alone(kind: str) -> Callable[[Call], Any]:
    return lambda call: _ACTIVATIONS[kind](call, call.x)


_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
_MADE: Mapping[str, Callable[[Call], Any]] = {
    "ABS": _of_one(ops.abs),
    "ADD": _added,
    "AVERAGE_POOL_2D": _pooled(layers.AveragePooling2D, "average_pool"),
    "BATCH_MATMUL": _matmul,
    "CAST": _of_one(lambda x: x),  # of the image's bytes: all is float here
    "CONCATENATION": _joined,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "DIV": _of_two(ops.divide),
    "EXP": _of_one(ops.exp),
    "FULLY_CONNECTED": _dense,
    "GATHER": _chosen,
    "GELU": lambda call: ops.gelu(call.x, approximate=bool(call.options.approximate)),
    "LEAKY_RELU": _leaky,
    "LOCAL_RESPONSE_NORMALIZATION": _response_norm,
    "LOG": _of_one(ops.log),
    "LOG_SOFTMAX": _of_one(ops.log_softmax),
    "MAXIMUM": _of_two(ops.maximum),
    "MAX_POOL_2D": _pooled(layers.MaxPooling2D, "max_pool"),
    "MEAN": _reduced(ops.mean, layers.GlobalAveragePooling2D),
    "MINIMUM": _of_two(ops.minimum),
    "MIRROR_PAD": _mirrored,
    "MUL": _multiplied,
    "NEG": _of_one(ops.negative),
    "PACK": lambda call: ops.stack(list(call.given), axis=call.options.axis % len(call.shape)),
    "PAD": _padded,
    "PADV2": _padded,
    "POW": _of_two(ops.power),
    "PRELU": _prelu,
    "REDUCE_MAX": _reduced(ops.max, layers.GlobalMaxPooling2D),
    "RSQRT": _of_one(ops.rsqrt),
    "SLICE": _cut,
    "SOFTMAX": _softmax,
    "SPLIT": _divided,
    "SQRT": _of_one(ops.sqrt),
    "SQUARE": _of_one(ops.square),
    "SQUARED_DIFFERENCE": _of_two(lambda one, other: ops.square(ops.subtract(one, other))),
    "STRIDED_SLICE": _sliced,
    "SUB": _of_two(ops.subtract),
    "SUM": _reduced(ops.sum, None),
    "TRANSPOSE": lambda call: call.network.permuted(call.x, tuple(map(int, call.constant(1)))),
    "TRANSPOSE_CONV": _transposed_convolution,
    **dict.fromkeys(SHAPING, lambda call: _reshaped(call, call.x, call.shape)),
    **{kind: _alone(kind) for kind in _ACTIVATIONS},
}
