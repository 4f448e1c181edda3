"""A detector whose heads are shared by two levels."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers
from networks import with_random_norms

from kerascnn.detection import fpn

SIDE, CLASSES, ANCHORS = 48, 3, 2


def toy(*, background: bool = False, activation: str = "relu6", seed: int = 0) -> keras.Model:
    """A detector of two levels with EfficientDet's parts: shared heads, norms of each level."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((SIDE, SIDE, 3), name="image")
    x = _normed(layers.Conv2D(8, 3, strides=2, padding="same", name="stem")(inputs), activation)
    depthwise = layers.DepthwiseConv2D(3, strides=2, padding="same", name="depthwise")
    x = _normed(depthwise(x), activation)
    fine = _normed(layers.Conv2D(16, 3, strides=2, padding="same", name="p3")(x), activation)
    # Of 6 and 3 cells a side.
    coarse = layers.MaxPooling2D(3, strides=2, padding="same", name="p4")(fine)
    fine = layers.Add(name="add")([fine, fpn.doubled(coarse, fine.shape[1:3], name="coarse")])
    boxes = _head([fine, coarse], 4, activation, "boxes")
    logits = _head([fine, coarse], CLASSES + background, activation, "logits")
    return with_random_norms(keras.Model(inputs, [boxes, logits], name="toy"), seed)


def _head(maps, values: int, activation: str, name: str):
    shared = layers.Conv2D(16, 3, padding="same", use_bias=False, name=f"{name}_conv")
    last = layers.Conv2D(ANCHORS * values, 1, name=f"{name}_predict")
    rows = []
    for level, x in zip(("p3", "p4"), maps, strict=True):
        y = last(_normed(shared(x), activation, f"{name}_{level}"))
        rows.append(layers.Reshape((-1, values), name=f"{name}_{level}_rows")(y))
    return layers.Concatenate(axis=1, name=name)(rows)


def _normed(x, activation: str, name: str | None = None):
    name = name or x._keras_history.operation.name
    x = layers.BatchNormalization(name=f"{name}_norm")(x)
    return layers.Activation(activation, name=f"{name}_act")(x)


def pictures(count: int = 2) -> np.ndarray:
    shape = (count, SIDE, SIDE, 3)
    return np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)


def answers(model, x: np.ndarray) -> list[np.ndarray]:
    outputs = model(x, training=False)
    assert isinstance(outputs, list)
    return [np.asarray(output) for output in outputs]
