"""Batch norms that can be one layer with the linear layer in front of them."""

from __future__ import annotations

import keras
from keras import layers


def foldable_norms(
    model: keras.Model, linear: tuple[type[keras.Layer], ...]
) -> dict[str, tuple[layers.BatchNormalization, keras.Layer]]:
    """Batch norms by name, each with the linear layer whose only reader it is.

    Args:
        model: functional.
        linear: kinds of layers in front of a norm.
    """
    found = {}
    for norm in model.layers:
        if not isinstance(norm, layers.BatchNormalization):
            continue
        maker = norm.input._keras_history.operation
        alone = len(maker._outbound_nodes) == 1
        if isinstance(maker, linear) and alone and maker.activation is keras.activations.linear:
            found[norm.name] = (norm, maker)
    return found


def by_output(linear: keras.Layer) -> tuple[int, ...]:
    """The shape in which a gain for each output is multiplied with the kernel."""
    if isinstance(linear, layers.DepthwiseConv2D):
        # (height, width, channels, multiplier): one gain a pair of the last two.
        return tuple(linear.kernel.shape[2:])
    # A transposed convolution's is (height, width, outputs, inputs).
    return (-1, 1) if isinstance(linear, layers.Conv2DTranspose) else (-1,)
