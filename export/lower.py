"""Rewrite hard-swish and hard-sigmoid into operations that the int8 delegate takes whole.

XNNPACK has no int8 HARD_SWISH, so each one cuts an int8 file into pieces. The same values come
out of an ADD with fused ReLU6 and a MUL if the factor 6 that both functions divide by is not
divided here but taken out of the weights of the next layers:

    hard_swish(x)   = x * relu6(x + 3) / 6   ->   x * relu6(x + 3)    (six times too large)
    hard_sigmoid(x) =     relu6(x + 3) / 6   ->       relu6(x + 3)    (six times too large)

Every tensor of the new graph carries the factor by which it is too large; linear layers take it
out of their kernels, pooling and products hand it on, and whatever can do neither gets an
explicit multiplication in front.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import layers, ops

_LINEAR = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
_HOMOGENEOUS = (
    layers.AveragePooling2D,
    layers.Dropout,
    layers.Flatten,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
    layers.MaxPooling2D,
    layers.Reshape,
    layers.UpSampling2D,
    layers.ZeroPadding2D,
)


def lower_hard_activations(model: keras.Model) -> keras.Model:
    """Return an inference twin of a functional model without hard-swish and hard-sigmoid.

    Args:
        model: functional, of zoo layers; its weights are copied, never shared.

    Returns:
        A model with equal outputs (to float rounding) for every input; the weights of the layers
        that follow an activation are divided by 6, so it is for export and not for training.
    """
    lowering = _Lowering()
    twin = keras.models.clone_model(model, call_function=lowering.call)
    for layer in model.layers:
        weights = layer.get_weights()
        if not weights:
            continue
        weights[0] = weights[0] / np.float32(lowering.kernel_divisors.get(layer.name, 1.0))
        twin.get_layer(layer.name).set_weights(weights)
    return twin


class _Lowering:
    """State of one walk: the factor of each new tensor, the divisor of each kernel."""

    def __init__(self) -> None:
        self.kernel_divisors: dict[str, float] = {}
        # The tensor is kept with its factor: a freed one's id could be given to another.
        self._factors: dict[int, tuple[object, float]] = {}

    def call(self, layer: keras.Layer, *args, **kwargs):
        """Call a cloned layer on new tensors, as `clone_model` asks."""
        kwargs.pop("training", None)
        inputs: Sequence = keras.tree.flatten(args)
        factors = [self._factor(x) for x in inputs]
        kind = _hard_kind(layer)
        if kind:
            x = self._settled(inputs[0])
            gate = ops.relu6(x + 3.0)
            return self._carry(gate if kind == "hard_sigmoid" else layers.Multiply()([x, gate]), 6)
        if isinstance(layer, _LINEAR):
            if factors[0] != 1:
                self.kernel_divisors[layer.name] = factors[0]
            return layer(*args, **kwargs)
        if isinstance(layer, layers.Multiply):
            return self._carry(layer(*args, **kwargs), math.prod(factors))
        passes = isinstance(layer, _HOMOGENEOUS)
        merges = isinstance(layer, layers.Add | layers.Concatenate) and len(set(factors)) == 1
        if passes or merges:
            return self._carry(layer(*args, **kwargs), factors[0])
        settled = keras.tree.map_structure(self._settled, args)
        return layer(*settled, **kwargs)

    def _factor(self, x) -> float:
        return self._factors[id(x)][1] if id(x) in self._factors else 1.0

    def _carry(self, x, factor: float):
        self._factors[id(x)] = (x, float(factor))
        return x

    def _settled(self, x):
        factor = self._factor(x)
        return x if factor == 1 else x * (1.0 / factor)


def _hard_kind(layer: keras.Layer) -> str | None:
    if not isinstance(layer, layers.Activation):
        return None
    name = layer.activation.__name__
    return name if name in ("hard_silu", "hard_sigmoid") else None
