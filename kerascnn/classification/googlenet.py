"""GoogLeNet: Going Deeper with Convolutions (Szegedy et al., arXiv:1409.4842), table 1.

Two forms. With batch norm, as torchvision has it and the default: 6,624,904 trainable parameters,
13,004,888 with auxiliary heads. As in the paper (`batch_norm=False`), with biases and local
response normalisation: 6,998,552, or 13,378,280.

Deviations of the batch-norm form, which its trained weights need: the 5x5 branch has a 3x3
kernel, and the last pooling before stage 5 a 2x2 window.
"""

from __future__ import annotations

import dataclasses

import keras
from keras import layers

from kerascnn import blocks
from kerascnn.errors import InputError
from kerascnn.layers import LocalResponseNormalization


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inception:
    """One line of table 1: channels of the branches, `_reduce` those of the 1x1 in front."""

    conv1: int
    conv3_reduce: int
    conv3: int
    conv5_reduce: int
    conv5: int
    pool: int


def _row(conv1, conv3_reduce, conv3, conv5_reduce, conv5, pool) -> Inception:
    return Inception(
        conv1=conv1,
        conv3_reduce=conv3_reduce,
        conv3=conv3,
        conv5_reduce=conv5_reduce,
        conv5=conv5,
        pool=pool,
    )


STAGES = {
    3: (_row(64, 96, 128, 16, 32, 32), _row(128, 128, 192, 32, 96, 64)),
    4: (
        _row(192, 96, 208, 16, 48, 64),
        _row(160, 112, 224, 24, 64, 64),
        _row(128, 128, 256, 24, 64, 64),
        _row(112, 144, 288, 32, 64, 64),
        _row(256, 160, 320, 32, 128, 128),
    ),
    5: (_row(256, 160, 320, 32, 128, 128), _row(384, 192, 384, 48, 128, 128)),
}
# Behind inception 4a and 4d.
AUXILIARY = {"stage4_block1": "aux1", "stage4_block4": "aux2"}


def googlenet(
    *,
    input_shape=(224, 224, 3),
    classes=1000,
    batch_norm=True,
    auxiliary=False,
    stem_strides=None,
    dropout=0.4,
    padding="same",
    norm_momentum=0.99,
    norm_epsilon=1e-3,
) -> keras.Model:
    """Build GoogLeNet.

    Args:
        input_shape: (height, width, channels), from 32 pixels.
        classes: length of the logits.
        batch_norm: torchvision's form; False is the paper's.
        auxiliary: adds the two heads that the paper trains with a weight of 0.3.
        stem_strides: of the stem; 2, and 1 for pictures of less than 64 pixels, by default.
        dropout: before the logits (section 5).
        padding: "same" (TensorFlow) or "symmetric" (PyTorch).
        norm_momentum, norm_epsilon: of the batch norms.

    Returns:
        A functional model from (batch, height, width, channels) to (batch, classes) logits; with
        `auxiliary` to the list [logits, logits of 4a's head, logits of 4d's head].

    Raises:
        InputError: a picture too small for the auxiliary heads.
    """
    relu = blocks.Conventions(
        activation="relu",
        norm=batch_norm,
        padding=padding,
        norm_momentum=norm_momentum,
        norm_epsilon=norm_epsilon,
    )
    strides = blocks.stem_strides_for(input_shape, stem_strides)
    x = inputs = blocks.picture_input(input_shape)
    x = relu.conv(x, 64, 7, strides=strides, name="stem")
    # torchvision's poolings are not padded in front, as its convolutions are.
    pool_padding = "same" if padding == "same" else "ceil"
    x = relu.max_pool(x, padding=pool_padding, name="stage2_pool")
    if not batch_norm:
        x = LocalResponseNormalization(name="stage2_block1_lrn")(x)
    x = relu.conv(x, 64, 1, name="stage2_block1_reduce")
    x = relu.conv(x, 192, 3, name="stage2_block1_conv")
    if not batch_norm:
        x = LocalResponseNormalization(name="stage2_block2_lrn")(x)
    heads = []
    for s, rows in STAGES.items():
        window = 2 if batch_norm and s == 5 else 3
        x = relu.max_pool(x, window, padding=pool_padding, name=f"stage{s}_pool")
        for b, row in enumerate(rows, 1):
            name = f"stage{s}_block{b}"
            x = _inception(x, relu, row, name=name)
            if auxiliary and name in AUXILIARY:
                heads.append(_auxiliary_head(x, relu, classes, prefix=f"{AUXILIARY[name]}_"))
    main = blocks.classifier(x, classes, dropout=dropout)
    return keras.Model(inputs, [main, *heads] if heads else main, name="googlenet")


def _inception(x, conventions, row: Inception, *, name):
    """Four branches beside each other (figure 2b); (batch, height, width, their channels)."""
    conv, five = conventions.conv, 3 if conventions.norm else 5
    three = conv(x, row.conv3_reduce, name=f"{name}_conv3_reduce")
    wide = conv(x, row.conv5_reduce, name=f"{name}_conv5_reduce")
    pooled = layers.MaxPooling2D(3, strides=1, padding="same", name=f"{name}_pool")(x)
    branches = [
        conv(x, row.conv1, name=f"{name}_conv1"),
        conv(three, row.conv3, 3, name=f"{name}_conv3"),
        conv(wide, row.conv5, five, name=f"{name}_conv5"),
        conv(pooled, row.pool, name=f"{name}_pool_project"),
    ]
    return layers.Concatenate(name=f"{name}_concat")(branches)


def _auxiliary_head(x, conventions, classes, *, prefix):
    """Section 5's head: 5x5 average with stride 3, 1x1, dense, dropout of 70%, logits."""
    if min(x.shape[1:3]) < 5:
        raise InputError("googlenet's auxiliary heads need images of at least 65 pixels")
    x = layers.AveragePooling2D(5, strides=3, name=f"{prefix}pool")(x)
    x = conventions.conv(x, 128, name=f"{prefix}conv")
    x = layers.Flatten(name=f"{prefix}flatten")(x)
    x = layers.Dense(1024, activation="relu", name=f"{prefix}head")(x)
    return blocks.logits(x, classes, dropout=0.7, prefix=prefix)
