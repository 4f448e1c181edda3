"""A network of every kind of layer, some of whose channels have dead kernels."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

SIDE = 12


def every_kind(dead: float) -> keras.Model:
    """A layer of each kind, and in each some channels with kernels of `dead` alone."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    image = keras.Input((SIDE, SIDE, 3), name="image")
    x = layers.Conv2D(16, 3, padding="same", name="stem")(image)
    x = layers.ReLU()(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.ReLU(6.0)(x)
    x = layers.Conv2DTranspose(16, 2, strides=2, name="up")(x)
    x = layers.ReLU()(x)
    x = layers.Conv2D(24, 1, name="project")(x)
    x = layers.ReLU()(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(32, name="dense")(x)
    x = layers.ReLU()(x)
    model = keras.Model(image, layers.Dense(10, name="logits")(x))
    for layer in model.layers:
        if not layer.weights:
            continue
        kernel, bias = layer.get_weights()
        fan_in = {"depthwise": 9, "up": 16}.get(layer.name, kernel.size // kernel.shape[-1])
        kernel = rng.normal(0, np.sqrt(2 / fan_in), kernel.shape).astype(np.float32)
        bias = rng.normal(0, 0.1, bias.shape).astype(np.float32)
        if layer.name != "logits":
            axis = 2 if layer.name in ("depthwise", "up") else -1
            np.moveaxis(kernel, axis, 0)[::4] = dead
            bias[::4] = rng.uniform(0.5, 3, len(bias[::4]))
        layer.set_weights([kernel, bias])
    return model


def pictures_of(seed: int, count: int, side: int) -> np.ndarray:
    """A colour of its own each, with noise: so that answers differ from picture to picture."""
    rng = np.random.default_rng(seed)
    colours = rng.uniform(0, 255, (count, 1, 1, 3))
    noise = rng.normal(0, 40, (count, side, side, 3))
    return (colours + noise).clip(0, 255).astype(np.uint8)
