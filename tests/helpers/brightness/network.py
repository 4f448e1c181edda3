"""The smallest network that can tell how bright an image is."""

from __future__ import annotations

import keras
from keras import layers


def tiny(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """From (n, height, width, 3) to (n, classes) numbers."""
    image = keras.Input(input_shape, name="image")
    x = layers.Conv2D(4, 3, activation="relu", name="stem")(image)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(classes, name="value")(x), name="brightness_tiny")
