"""Batch norms that can be one layer with the linear layer in front of them."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

# Layers with a kernel: what batch norms fold into, and what is quantised by its channels.
LINEAR = (layers.Conv2D, layers.Conv2DTranspose, layers.DepthwiseConv2D, layers.Dense)


def foldable_norms(
    model: keras.Model,
) -> dict[str, tuple[layers.BatchNormalization, keras.Layer]]:
    """Batch norms by name, each with the linear layer whose only reader it is.

    Args:
        model: functional. A norm behind several layers is behind none alone, nor is one behind a
            layer whose output is the model's too.
    """
    found, ends = {}, {id(output) for output in model.outputs}
    for norm in model.layers:
        if not isinstance(norm, layers.BatchNormalization) or len(norm._inbound_nodes) != 1:
            continue
        maker = norm.input._keras_history.operation
        alone = len(maker._outbound_nodes) == 1 and id(norm.input) not in ends
        if isinstance(maker, LINEAR) and alone and maker.activation is keras.activations.linear:
            found[norm.name] = (norm, maker)
    return found


def by_output(linear: keras.Layer) -> tuple[int, ...]:
    """The shape in which a gain for each output is multiplied with the kernel."""
    if isinstance(linear, layers.DepthwiseConv2D):
        # (height, width, channels, multiplier): one gain a pair of the last two.
        return tuple(linear.kernel.shape[2:])
    # A transposed convolution's is (height, width, outputs, inputs).
    return (-1, 1) if isinstance(linear, layers.Conv2DTranspose) else (-1,)


def moments(norm: layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gain, mean and shift of each channel at inference: (x - mean) * gain + shift; float64."""
    mean = _numbers(norm.moving_mean)
    gamma = _numbers(norm.gamma) if norm.scale else np.ones_like(mean)
    shift = _numbers(norm.beta) if norm.center else np.zeros_like(mean)
    return gamma / np.sqrt(_numbers(norm.moving_variance) + norm.epsilon), mean, shift


def even_gains(model: keras.Model, *, but: tuple[str, ...] = ()) -> None:
    """Write kernels and the statistics behind them so that a norm amplifies all channels alike.

    A channel that never varied has a deviation of next to nothing, by which what its kernel learns
    is divided: behind stored statistics a step of an optimiser that moves all weights by as much
    (Adam) moved some channels of EfficientNet-Lite0 a hundred times as far as others. Kernel, mean
    and deviation of a channel times the same number are the same channel; here none is amplified
    by more than the layer's median.

    Args:
        model: functional; its outputs stay as they are, to float rounding.
        but: beginnings of names of norms that are left alone.
    """
    for norm, layer in foldable_norms(model).values():
        if norm.name.startswith(but):
            continue
        gain, mean, _shift = moments(norm)
        gain = np.abs(gain)
        factor = np.maximum(1.0, gain / max(np.median(gain), 1e-12))
        variance = _numbers(norm.moving_variance)
        wider = factor**2 * (variance + norm.epsilon) - norm.epsilon
        norm.moving_variance.assign(np.where(factor > 1, wider, variance))
        norm.moving_mean.assign(factor * mean)
        layer.kernel.assign(_numbers(layer.kernel) * factor.reshape(by_output(layer)))
        if layer.use_bias:
            layer.bias.assign(factor * _numbers(layer.bias))


def _numbers(variable: keras.Variable) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float64)
