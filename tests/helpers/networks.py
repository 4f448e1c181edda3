"""Networks with the statistics of trained ones, without a training."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any
from unittest import mock

import keras
import numpy as np
from keras import layers

import kerascnn
from training import recipes

DEMO_MODELS = ("lenet5", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_lite0")


def lively(name: str, seed: int = 0, **options) -> keras.Model:
    """A zoo model as the demo builds it, with batch norms as if it had been trained."""
    channels = 1 if name == "lenet5" else 3
    keras.utils.set_random_seed(seed)
    options = recipes.load("digits").options_for(name) | options
    model = kerascnn.build(name, input_shape=(28, 28, channels), classes=10, **options)
    return with_random_norms(model, seed)


@functools.cache
def converted(name: str, *, lowered: bool = False) -> tuple[keras.Model, bytes]:
    """`lively(name)` and its float32 file, or those of its graph for int8; none changes them."""
    from export.graph.lower import lower_for_int8  # not for the scripts of other backends
    from export.tflite.convert import to_tflite

    model = lower_for_int8(lively(name)) if lowered else lively(name)
    return model, to_tflite(model)


@contextlib.contextmanager
def zeros_at_first() -> Iterator[None]:
    """Networks that are built meanwhile begin with zeros: their weights come from elsewhere."""

    def zeros(_self: keras.Initializer, shape: Any, dtype: Any = None) -> Any:
        return keras.ops.zeros(shape, dtype)

    kinds = ("VarianceScaling", "RandomNormal", "RandomUniform", "TruncatedNormal")
    with contextlib.ExitStack() as stack:
        for kind in kinds:
            stack.enter_context(
                mock.patch.object(getattr(keras.initializers, kind), "__call__", zeros)
            )
        yield


def with_random_norms(model: keras.Model, seed: int = 0) -> keras.Model:
    """The model, with batch norms as if it had been trained."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            n = layer.gamma.shape[0]
            layer.set_weights([
                rng.uniform(0.5, 1.5, n), rng.normal(0, 0.3, n),
                rng.normal(0, 0.1, n), rng.uniform(0.5, 1.5, n),
            ])  # fmt: skip
    return model


def with_random_weights(model: keras.Model, seed: int = 0) -> keras.Model:
    """The model with norms of a trained one, kernels by fan-in, and biases that are not zero."""
    rng = np.random.default_rng(seed)
    for layer in with_random_norms(model, seed).layers:
        kernel, *bias = layer.get_weights() or [None]
        if kernel is None or kernel.ndim < 2:
            continue
        inputs = kernel.shape[: 2 if isinstance(layer, layers.DepthwiseConv2D) else -1]
        kernel = rng.normal(0, np.sqrt(2 / np.prod(inputs)), kernel.shape)
        layer.set_weights([kernel, *(rng.normal(0, 0.1, b.shape) for b in bias)])
    return model


def with_measured_norms(model: keras.Model, pictures: np.ndarray) -> keras.Model:
    """The model, with batch norms that know what they are given: of (n, h, w, c) normalised."""
    norms = [each for each in model.layers if isinstance(each, layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0
    model(pictures, training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model


def outputs_of(model: keras.Model, pictures: np.ndarray) -> Any:
    """What `model.predict_on_batch` gives, by a call: to trace a deep network takes seconds."""
    return keras.tree.map_structure(np.asarray, model(pictures, training=False))
