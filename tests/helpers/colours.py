"""Red, green and blue images, and a network that tells them apart without a training.

Its weights are set by hand: each channel's mean is the logit of its colour. Some images are nearly
grey, so that rounding may change an answer.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from keras import layers
from PIL import Image

CLASSES = ("blue", "green", "red")  # as folders are read
CHANNEL = {"red": 0, "green": 1, "blue": 2}


def picture(number: int, side: int = 24) -> tuple[str, np.ndarray]:
    """The colour and the pixels of an image."""
    name = CLASSES[number % 3]
    rng = np.random.default_rng([5, number])
    pixels = rng.normal(110, 30, (side, side, 3))
    pixels[..., CHANNEL[name]] += rng.uniform(10, 90)
    return name, np.clip(pixels, 0, 255).astype(np.uint8)


def folders(root: Path, count: int, *, names: dict[str, str] | None = None) -> Path:
    """`count` images by class: root/blue/0.png; `names` calls folders otherwise."""
    for number in range(count):
        name, pixels = picture(number)
        folder = root / (names or {}).get(name, name)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def flat(root: Path, count: int) -> Path:
    """The same in one folder."""
    root.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(picture(number)[1]).save(root / f"{number}.png")
    return root


def network(
    *,
    outputs: tuple[str, ...] = CLASSES,
    activation: str | None = "softmax",
    side: int = 16,
    name: str = "colours",
) -> keras.Model:
    """From images of -1 to 1; outputs of other names than a colour's are never the answer."""
    x = inputs = keras.Input((side, side, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv_first")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="by_channel")(x)
    x = layers.Conv2D(8, 1, activation="relu", name="mix")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    x = layers.Dropout(0.1, name="dropout")(x)
    x = layers.Dense(len(outputs), activation=activation, name="predictions")(x)
    model = keras.Model(inputs, x, name=name)
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, 0.02, (3, 3, 3, 8))
    kernel[1, 1, range(3), range(3)] = 1.0  # channels 0 to 2 are the colours, about
    model.get_layer("conv_first").set_weights([kernel])
    # As after a training on such images; what is added keeps all above zero.
    mean, variance = np.zeros(8), np.full(8, 0.002)
    mean[:3], variance[:3] = -0.01, 0.13
    gamma, beta = np.sqrt(variance), mean + 1.0
    model.get_layer("norm").set_weights([gamma, beta, mean, variance])
    each = np.zeros((3, 3, 8, 1))
    each[1, 1] = 1.0
    model.get_layer("by_channel").set_weights([each, np.zeros(8)])
    same = np.eye(8)[None, None] + rng.normal(0, 0.01, (1, 1, 8, 8))
    model.get_layer("mix").set_weights([same, np.zeros(8)])
    dense, bias = rng.normal(0, 0.02, (8, len(outputs))), np.full(len(outputs), -20.0)
    for place, output in enumerate(outputs):
        if output in CHANNEL:
            dense[CHANNEL[output], place] = 10.0
            bias[place] = 0.0
    model.get_layer("predictions").set_weights([dense, bias])
    return model
