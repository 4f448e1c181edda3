"""Fold batch normalisation into the convolution or dense layer in front of it.

What a file holds are folded kernels: clustering has to share their values, and
quantisation-aware training has to feel their rounding.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

import keras
import numpy as np
from keras import layers

from training.engine.foldable_norms import by_output, foldable_norms, moments


def fold_batch_norms(model: keras.Model) -> keras.Model:
    """Return an inference twin without the batch norms that can be folded.

    Args:
        model: functional; its weights are copied, never shared.

    Returns:
        A model with equal outputs at inference, to float rounding. A batch norm stays where no
        linear layer is in front of it, or where others read that layer's output too.
    """
    norms = foldable_norms(model)
    return without_norms(
        model, norms, {linear.name: _folded(linear, norm) for norm, linear in norms.values()}
    )


def without_norms(
    model: keras.Model, norms: Container[str], folded: Mapping[str, list[np.ndarray]]
) -> keras.Model:
    """Return a twin that lacks some layers.

    Args:
        model: functional; its weights are copied, never shared.
        norms: names of what it lacks.
        folded: by linear layer its kernel and bias, which have the norms in them.
    """

    def clone(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if layer.name in folded:
            config["use_bias"] = True
        return type(layer).from_config(config)

    def call(layer: keras.Layer, *args, **kwargs):
        kwargs.pop("training", None)
        return args[0] if layer.name in norms else layer(*args, **kwargs)

    twin = keras.models.clone_model(model, clone_function=clone, call_function=call)
    copy_weights(model, twin, folded)
    return twin


def copy_weights(
    model: keras.Model, twin: keras.Model, changed: Mapping[str, list[np.ndarray]]
) -> None:
    """Give every layer of the twin its weights: changed ones, or those of its namesake."""
    for layer in twin.layers:
        if layer.weights:
            found = changed.get(layer.name)
            layer.set_weights(model.get_layer(layer.name).get_weights() if found is None else found)


def _folded(linear: keras.Layer, norm: layers.BatchNormalization) -> list[np.ndarray]:
    """Kernel and bias of both as one, computed in double precision, as the layer holds them."""
    gain, mean, shift = moments(norm)
    kernel = np.asarray(linear.kernel, np.float64)
    bias = np.asarray(linear.bias, np.float64) if linear.use_bias else 0.0
    shifted = (bias - mean) * gain + shift
    scaled = kernel * gain.reshape(by_output(linear))
    dtype = linear.kernel.dtype
    return [scaled.astype(dtype), shifted.astype(dtype)]
