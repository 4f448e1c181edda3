"""Rewrite what the int8 delegate does not take into operations that it takes whole.

XNNPACK has no int8 HARD_SWISH, so each one cuts an int8 file into pieces. The same values come
out of an ADD with fused ReLU6 and a MUL if the factor 6 that both functions divide by is not
divided here but taken out of the weights of the next layers:

    hard_swish(x)   = x * relu6(x + 3) / 6   ->   x * relu6(x + 3)    (six times too large)
    hard_sigmoid(x) =     relu6(x + 3) / 6   ->       relu6(x + 3)    (six times too large)

Every tensor of the new graph carries the factor by which it is too large; linear layers take it
out of their kernels, pooling and products hand it on, sums bring all their terms to the largest,
and whatever can do none of these gets an explicit division in front.

Nor has XNNPACK an int8 AVERAGE_POOL_2D: the mean of a window is a depthwise convolution with a
constant kernel.

Activations that a linear layer carries become layers of their own, and swish becomes its two, so
that every tensor that int8 has to give a scale is the output of one layer (see
`export.compress.qat`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from export.graph.legacy_keras import register_elementwise
from kerascnn.preprocessing import Preprocessing
from training.engine.foldable_norms import LINEAR

_HOMOGENEOUS = (
    layers.AveragePooling2D,
    layers.Cropping2D,
    layers.Dropout,
    layers.Flatten,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
    layers.MaxPooling2D,
    layers.Reshape,
    layers.UpSampling2D,
    layers.ZeroPadding2D,
)


@register_elementwise
@keras.saving.register_keras_serializable("kerascnn.export")
class HardGate(layers.Layer):
    """relu6(x + 3): a hard-sigmoid six times too large."""

    def call(self, inputs):
        """Any shape, kept."""
        return ops.relu6(inputs + 3.0)


@register_elementwise
@keras.saving.register_keras_serializable("kerascnn.export")
class Scale(layers.Layer):
    """Multiply by a constant.

    Args:
        factor: the constant.
    """

    def __init__(self, factor: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = float(factor)

    def call(self, inputs):
        """Any shape, kept."""
        return inputs * self.factor

    def get_config(self) -> dict[str, Any]:
        """For saving and cloning."""
        return {**super().get_config(), "factor": self.factor}


def needs_lowering(model: keras.Model) -> bool:
    """Whether `lower_for_int8` would change the graph at all."""
    return any(_hard_kind(layer) or _without_pooling(layer) is not layer for layer in model.layers)


def lower_for_int8(model: keras.Model) -> keras.Model:
    """Return an inference twin of a functional model that int8 XNNPACK runs in one piece.

    Args:
        model: functional, of zoo layers; its weights are copied, never shared.

    Returns:
        A model with equal outputs (to float rounding) for every input; the weights of the layers
        that follow an activation are divided by 6, so it is for export and not for training.

    Raises:
        ValueError: a hard activation is the model's output, with no layer behind to mend it.
    """
    lowering = _Lowering()
    twin = keras.models.clone_model(model, clone_function=_bare, call_function=lowering.call)
    if any(lowering.factor(output) != 1 for output in twin.outputs):
        raise ValueError(f"{model.name} ends in a hard activation")
    for layer in model.layers:
        weights = layer.get_weights()
        if not weights:
            continue
        weights[0] = weights[0] / np.float32(lowering.kernel_divisors.get(layer.name, 1.0))
        twin.get_layer(layer.name).set_weights(weights)
    return twin


def with_raw_input(
    model: keras.Model, preprocessing: Preprocessing
) -> tuple[keras.Model, Preprocessing]:
    """Move a normalisation that no tensor's scale can express into the network.

    Args:
        preprocessing: of the model.

    Returns:
        The model and its preprocessing as they are where a scale will do; else a model that takes
        bytes, red first, as floats, and the preprocessing that hands them on untouched.
    """
    if preprocessing.is_a_scale:
        return model, preprocessing
    kernel, bias = as_convolution(preprocessing)
    channels = preprocessing.channels
    inputs = keras.Input(batch_shape=model.input_shape, name="bytes")
    normalise = layers.Conv2D(channels, 1, trainable=False, name="normalise")
    # Layer by layer, so that the network stays flat: calling the model would nest it.
    # An imported one may have operations among its layers, as in `x + 3`.
    clones = {one.name: type(one).from_config(one.get_config()) for one in model.operations}
    outputs = model._run_through_graph(
        [normalise(inputs)], operation_fn=lambda operation: clones[operation.name]
    )
    twin = keras.Model(inputs, outputs, name=model.name)
    for layer in model.layers:
        if layer.weights:
            clones[layer.name].set_weights(layer.get_weights())
    normalise.set_weights([kernel[None, None], bias])
    return twin, of_raw_input(preprocessing)


def as_convolution(preprocessing: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
    """What is done to each pixel, as a kernel (channels, channels) and a bias (channels,)."""
    channels = preprocessing.channels
    # The map is affine: its value at no light, and its slope in each channel.
    bias = preprocessing.normalise(np.zeros(channels))
    return (preprocessing.normalise(255 * np.eye(channels)) - bias) / np.float32(255), bias


def of_raw_input(preprocessing: Preprocessing) -> Preprocessing:
    """That of a network which normalises images itself."""
    return dataclasses.replace(preprocessing, mean=0.0, std=1.0, order="rgb")


class _Lowering:
    """State of one walk: the factor of each new tensor, the divisor of each kernel."""

    def __init__(self) -> None:
        self.kernel_divisors: dict[str, float] = {}
        # The tensor is kept with its factor: a freed one's id could be given to another.
        self._factors: dict[int, tuple[object, float]] = {}
        self._rescaled: dict[tuple[int, float], tuple[object, Any]] = {}

    def call(self, layer: keras.Layer, *args, **kwargs):
        """Call a cloned layer on new tensors, as `clone_model` asks."""
        kwargs.pop("training", None)
        inputs: Sequence = keras.tree.flatten(args)
        factors = [self.factor(x) for x in inputs]
        if isinstance(layer, LINEAR):
            return self._linear(layer, layer(*args, **kwargs), factors[0])
        if isinstance(layer, layers.Multiply):
            return self._carry(layer(*args, **kwargs), math.prod(factors))
        if isinstance(layer, layers.Add | layers.Concatenate):
            # Down to the smallest would spell hard-swish again, which the converter fuses.
            top = max(factors)
            raised = [self._scaled(x, top / f) for x, f in zip(inputs, factors, strict=True)]
            return self._carry(layer(raised), top)
        if isinstance(layer, layers.Activation):
            return self._activated(layer.activation, layer.name, inputs[0])
        if isinstance(layer, _HOMOGENEOUS):
            return self._carry(_without_pooling(layer)(*args, **kwargs), factors[0])
        settled = keras.tree.map_structure(self._settled, args)
        return layer(*settled, **kwargs)

    def _linear(self, layer: keras.Layer, outputs, factor: float):
        if factor != 1:
            self.kernel_divisors[layer.name] = factor
        if layer._carried is keras.activations.linear:
            return outputs
        return self._activated(layer._carried, f"{layer.name}_activation", outputs)

    def _activated(self, function, name: str, x):
        kind = function.__name__
        if kind in ("relu", "leaky_relu", "linear"):
            # max(x, 0) hands a factor on.
            return self._carry(layers.Activation(function, name=name)(x), self.factor(x))
        x = self._settled(x)
        if kind == "hard_sigmoid":
            return self._carry(HardGate(name=name)(x), 6)
        if kind == "hard_silu":
            gate = HardGate(name=f"{name}_gate")(x)
            return self._carry(layers.Multiply(name=name)([x, gate]), 6)
        if kind == "silu":
            gate = layers.Activation("sigmoid", name=f"{name}_gate")(x)
            return layers.Multiply(name=name)([x, gate])
        return layers.Activation(function, name=name)(x)

    def factor(self, x) -> float:
        return self._factors[id(x)][1] if id(x) in self._factors else 1.0

    def _carry(self, x, factor: float):
        self._factors[id(x)] = (x, float(factor))
        return x

    def _settled(self, x):
        return self._scaled(x, 1.0 / self.factor(x))

    def _scaled(self, x, by: float):
        if by == 1:
            return x
        if (id(x), by) not in self._rescaled:
            name = f"{x._keras_history.operation.name}_scaled{len(self._rescaled)}"
            # Kept with its source, for the reason that `_factors` has.
            self._rescaled[id(x), by] = (x, Scale(by, name=name)(x))
        return self._rescaled[id(x), by][1]


def _bare(layer: keras.Layer) -> keras.Layer:
    """A clone; of a linear layer without the activation that it carries, which it remembers."""
    config = layer.get_config()
    if isinstance(layer, LINEAR):
        config["activation"] = "linear"
    clone = type(layer).from_config(config)
    if isinstance(layer, LINEAR):
        clone._carried = layer.activation
    return clone


def _without_pooling(layer: keras.Layer) -> keras.Layer:
    """The layer, or the convolution that equals an average pooling without padding."""
    if not isinstance(layer, layers.AveragePooling2D) or layer.padding != "valid":
        return layer
    height, width = layer.pool_size
    if len(set(layer.strides)) != 1:
        return layer
    return layers.DepthwiseConv2D(
        (height, width),
        strides=layer.strides,
        use_bias=False,
        depthwise_initializer=keras.initializers.Constant(1 / (height * width)),
        trainable=False,
        name=layer.name,
    )


def _hard_kind(layer: keras.Layer) -> str | None:
    if not isinstance(layer, layers.Activation):
        return None
    name = layer.activation.__name__
    return name if name in ("hard_silu", "hard_sigmoid") else None
