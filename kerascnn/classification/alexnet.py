"""AlexNet: ImageNet Classification with Deep Convolutional Neural Networks (Krizhevsky et al.).

2012, doi:10.1145/3065386, section 3 and figure 2. The default is the single-tower form of "One
weird trick for parallelizing convolutional neural networks" (Krizhevsky, arXiv:1404.5997), which is
torchvision's: 61,100,840 trainable parameters. `towers=2` is the network of 2012, whose two towers
meet in the third convolution and which normalises local responses: 60,965,224.

Deviations: pictures of 224 pixels get a border of two, so that the first convolution gives the
55x55 that the paper's figures need (its own 224 without border do not); pictures of less than 63
pixels are not strided in the stem.
"""

from __future__ import annotations

import dataclasses
import itertools

import keras
from keras import layers

from kerascnn import blocks
from kerascnn.errors import InputError
from kerascnn.layers import LocalResponseNormalization

_SMALLEST = 63  # of a picture that four strides of two and more leave one pixel of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conv:
    """One convolution: filters, kernel, groups, and whether normalisation and pooling follow."""

    filters: int
    kernel: int
    groups: int = 1
    normalise: bool = False
    pool: bool = False


CONVOLUTIONS = {
    1: (
        Conv(filters=64, kernel=11, pool=True),
        Conv(filters=192, kernel=5, pool=True),
        Conv(filters=384, kernel=3),
        Conv(filters=256, kernel=3),
        Conv(filters=256, kernel=3, pool=True),
    ),
    2: (
        Conv(filters=96, kernel=11, normalise=True, pool=True),
        Conv(filters=256, kernel=5, groups=2, normalise=True, pool=True),
        Conv(filters=384, kernel=3),
        Conv(filters=384, kernel=3, groups=2),
        Conv(filters=256, kernel=3, groups=2, pool=True),
    ),
}


def alexnet(
    *, input_shape=(224, 224, 3), classes=1000, towers=1, stem_strides=None, dropout=0.5
) -> keras.Model:
    """Build AlexNet.

    Args:
        input_shape: (height, width, channels), from 32 pixels.
        classes: length of the logits.
        towers: 1 for the form of 2014, 2 for that of 2012.
        stem_strides: of the stem; 4, and 1 for pictures of less than 63 pixels, by default.
        dropout: behind both hidden dense layers (section 4.2).

    Returns:
        A functional model from (batch, height, width, channels) to (batch, classes) logits.

    Raises:
        InputError: another number of towers, or a picture that is too small for its strides.
    """
    if towers not in CONVOLUTIONS:
        raise InputError(f"alexnet has 1 or 2 towers, not {towers}")
    side = min(input_shape[:2])
    strides = stem_strides or (4 if side >= _SMALLEST else 1)
    if side < (_SMALLEST if strides > 1 else 32):
        raise InputError(f"alexnet takes images of at least 32 pixels, not {side}")
    relu = blocks.Conventions(activation="relu", norm=False)
    stem = CONVOLUTIONS[towers][0]
    x = inputs = blocks.picture_input(input_shape)
    x = layers.ZeroPadding2D(2, name="stem_pad")(x)
    x = layers.Conv2D(stem.filters, stem.kernel, strides=strides, name="stem")(x)
    x = relu.activate(x, "stem_act")
    if stem.normalise:
        x = LocalResponseNormalization(name="stem_lrn")(x)
    for s, (before, conv) in enumerate(itertools.pairwise(CONVOLUTIONS[towers]), 1):
        if before.pool:
            x = layers.MaxPooling2D(3, strides=2, name=f"stage{s}_pool")(x)
        name = f"stage{s}_block1_conv"
        x = relu.conv(x, conv.filters, conv.kernel, groups=conv.groups, name=name)
        if conv.normalise:
            x = LocalResponseNormalization(name=f"stage{s}_block1_lrn")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool")(x)
    return keras.Model(inputs, blocks.dense_classifier(x, classes, dropout=dropout), name="alexnet")
