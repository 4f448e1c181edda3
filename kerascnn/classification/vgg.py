"""VGG: Very Deep Convolutional Networks for Large-Scale Image Recognition.

Simonyan and Zisserman, arXiv:1409.1556, table 1, columns D (16 layers) and E (19).

Deviations: `batch_norm` is not in the paper; it is torchvision's `vgg16_bn`, which keeps the
convolutions' biases (138,365,992 trainable parameters, 143,678,248 for `vgg19`).
"""

from __future__ import annotations

import functools

import keras
from keras import layers

from kerascnn import blocks

# Convolutions of each stage, all 3x3; their channels double up to 512.
REPEATS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
CHANNELS = (64, 128, 256, 512, 512)


def vgg(
    name: str,
    *,
    input_shape=(224, 224, 3),
    classes=1000,
    batch_norm=False,
    dropout=0.5,
    norm_momentum=0.99,
    norm_epsilon=1e-3,
) -> keras.Model:
    """Build a VGG.

    Args:
        name: a key of `REPEATS`.
        input_shape: (height, width, channels), from 32 pixels. The first dense layer's size
            follows it.
        classes: length of the logits.
        batch_norm: behind each convolution.
        dropout: behind both hidden dense layers (section 3.1).
        norm_momentum, norm_epsilon: of the batch norms.

    Returns:
        A functional model from (batch, height, width, channels) to (batch, classes) logits.
    """
    relu = blocks.Conventions(
        activation="relu",
        norm=batch_norm,
        bias=True,
        norm_momentum=norm_momentum,
        norm_epsilon=norm_epsilon,
    )
    x = inputs = blocks.picture_input(input_shape)
    for s, (repeats, channels) in enumerate(zip(REPEATS[name], CHANNELS, strict=True), 1):
        if s > 1:
            x = layers.MaxPooling2D(2, name=f"stage{s}_pool")(x)
        for b in range(repeats):
            x = relu.conv(x, channels, 3, name=f"stage{s}_block{b + 1}_conv")
    x = layers.MaxPooling2D(2, name="pool")(x)
    return keras.Model(inputs, blocks.dense_classifier(x, classes, dropout=dropout), name=name)


vgg16 = functools.partial(vgg, "vgg16")
vgg19 = functools.partial(vgg, "vgg19")
