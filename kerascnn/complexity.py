"""Parameters and multiply-adds of a Keras model, counted from its graph."""

from __future__ import annotations

import math

import keras


def count_parameters(model: keras.Model, *, trainable_only: bool = True) -> int:
    """Number of (trainable) scalars, the figure that papers and torchvision print."""
    weights = model.trainable_weights if trainable_only else model.weights
    return sum(math.prod(w.shape) for w in weights)


def count_macs(model: keras.Model) -> int:
    """Multiply-adds of convolutions and dense layers for one picture.

    A layer that is called several times, as the heads of EfficientDet are, counts at every call.
    Normalisation (folded at inference), activations, pooling and biases are left out, as in the
    MobileNet papers.
    """
    total = 0
    calls = [node for nodes in model._nodes_by_depth.values() for node in nodes]
    for call in calls:
        layer = call.operation
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            _, height, width, _ = call.outputs[0].shape
            total += height * width * math.prod(layer.kernel.shape)
        elif isinstance(layer, keras.layers.Dense):
            total += math.prod(layer.kernel.shape)
    return total
