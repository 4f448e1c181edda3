"""Parameters, multiply-adds and activations of a Keras model, counted from its graph."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras

from kerascnn.detection.roi_heads import FoldRegions, UnfoldRegions


def count_parameters(model: keras.Model, *, trainable_only: bool = True) -> int:
    """Number of (trainable) scalars, the figure that papers and torchvision print.

    A layer that is a network of another runtime says its own (`told_parameters`).
    """
    weights = model.trainable_weights if trainable_only else model.weights
    declared = sum(getattr(layer, "told_parameters", 0) for layer in model.layers)
    return declared + sum(math.prod(w.shape) for w in weights)


def count_macs(model: keras.Model) -> int:
    """Multiply-adds of convolutions, dense layers and attention for one image.

    A layer that is called several times, as the heads of EfficientDet are, counts at every call,
    and one that looks at regions counts for each that there can be. Normalisation (folded at
    inference), activations, pooling and biases are left out, as in the MobileNet papers.
    A layer that is a network of another runtime says its own (`told_macs`).
    """
    return sum(
        many * _macs_of_call(call.operation, call.input_tensors, call.outputs)
        for call, many in _calls(model)
    )


def count_activations(model: keras.Model) -> int:
    """Numbers that all layers give for one image, models inside included.

    Keras holds all of them until a call outside of a compiled function ends.
    """
    functional = getattr(model, "_functional", None) or model  # of a Sequential one
    if not hasattr(functional, "_nodes_by_depth"):
        return 0
    return sum(
        many * sum(map(_numbers, call.outputs)) + _inside(call.operation)
        for call, many in _calls(functional)
    )


def _inside(operation: keras.Operation) -> int:
    return count_activations(operation) if isinstance(operation, keras.Model) else 0


def _numbers(tensor: Any) -> int:
    return math.prod(side or 1 for side in tensor.shape[1:])


def _calls(model: keras.Model) -> Iterator[tuple[Any, int]]:
    """Calls of layers from the input on, and for how many regions of an image each is at once."""
    # Of tensors that have the regions of a picture for a batch: how many.
    regions: dict[int, int] = {}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for call in model._nodes_by_depth[depth]:
            layer, inputs = call.operation, call.input_tensors
            many = max((regions.get(id(x), 1) for x in inputs), default=1)
            if isinstance(layer, FoldRegions):
                many = inputs[0].shape[1]
            elif isinstance(layer, UnfoldRegions):
                many = 1
            regions |= {id(x): many for x in call.outputs}
            yield call, many


def _macs_of_call(layer: keras.Operation, inputs: list[Any], outputs: list[Any]) -> int:
    if isinstance(layer, keras.layers.Conv2DTranspose):
        return math.prod(inputs[0].shape[1:3]) * math.prod(layer.kernel.shape)
    if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
        return math.prod(outputs[0].shape[1:3]) * math.prod(layer.kernel.shape)
    if isinstance(layer, keras.layers.Dense):
        return math.prod(outputs[0].shape[1:-1]) * math.prod(layer.kernel.shape)
    if isinstance(layer, keras.layers.Dot):
        return math.prod(outputs[0].shape[1:]) * inputs[0].shape[layer.axes[0]]
    return getattr(layer, "told_macs", 0)
