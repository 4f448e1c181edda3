"""Give convolutions that branches were joined into a batch norm, for a training that goes on.

What joined branches leave is a deep network without a norm, which trains badly. RepVGG's authors
measure what each convolution gives, and put a batch norm of these statistics behind it
(github.com/DingXiaoH/RepVGG, quantization): the network answers as before, and its layers see in
training what they see at inference.
"""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np
from keras import layers

_KERNELS = (layers.Conv2D, layers.DepthwiseConv2D)


def with_norms(
    joined: keras.Model, original: keras.Model, batches: Iterable[np.ndarray]
) -> keras.Model:
    """Put a batch norm behind each joined convolution that has none.

    Args:
        joined: from `export.graph.join_branches`; its weights are copied, never shared.
        original: what it was made of; momentum and epsilon are those of its first norm.
        batches: normalised images (n, height, width, channels) of the training split.

    Returns:
        A model with equal outputs at inference, to float rounding; `joined` itself where there is
        no such convolution, or where the original has no norms.
    """
    norm = next((x for x in original.layers if isinstance(x, layers.BatchNormalization)), None)
    names = _bare(joined, original)
    if norm is None or not names:
        return joined

    def clone(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if layer.name in names:
            config["use_bias"] = False
        return type(layer).from_config(config)

    def call(layer: keras.Layer, *args, **kwargs):
        kwargs.pop("training", None)
        outputs = layer(*args, **kwargs)
        if layer.name not in names:
            return outputs
        return layers.BatchNormalization(
            momentum=norm.momentum,
            epsilon=norm.epsilon,
            dtype=norm.dtype_policy,
            name=_norm_of(layer.name),
        )(outputs)

    twin = keras.models.clone_model(joined, clone_function=clone, call_function=call)
    statistics = _statistics(joined, names, batches)
    for layer in joined.layers:
        weights = layer.get_weights()
        if layer.name in names:
            kernel, bias = weights
            mean, variance = statistics[layer.name]
            twin.get_layer(_norm_of(layer.name)).set_weights([
                np.sqrt(variance + norm.epsilon), mean, mean - bias, variance
            ])  # fmt: skip
            weights = [kernel]
        if weights:
            twin.get_layer(layer.name).set_weights(weights)
    return twin


def _norm_of(name: str) -> str:
    return f"{name}_norm"


def _bare(joined: keras.Model, original: keras.Model) -> list[str]:
    """Convolutions that the original has not, and that no norm reads."""
    known = {layer.name for layer in original.layers if isinstance(layer, _KERNELS)}
    normed = {
        layer.input._keras_history.operation.name
        for layer in joined.layers
        if isinstance(layer, layers.BatchNormalization)
    }
    return [
        layer.name
        for layer in joined.layers
        if isinstance(layer, _KERNELS) and layer.name not in known and layer.name not in normed
    ]


def _statistics(
    model: keras.Model, names: list[str], batches: Iterable[np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and variance of each channel that these layers give."""
    probe = keras.Model(model.inputs, [model.get_layer(name).output for name in names])
    totals = {name: np.zeros((3, model.get_layer(name).output.shape[-1])) for name in names}
    for batch in batches:
        for name, found in zip(
            names, keras.tree.flatten(probe([batch], training=False)), strict=True
        ):
            pixels = np.asarray(found, np.float64).reshape(-1, found.shape[-1])
            totals[name] += [len(pixels) + 0 * pixels[0], pixels.sum(0), np.square(pixels).sum(0)]
    moments = {}
    for name, (count, total, squares) in totals.items():
        mean = total / count
        moments[name] = mean, np.maximum(squares / count - np.square(mean), 0)
    return moments
