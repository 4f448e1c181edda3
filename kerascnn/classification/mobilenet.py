"""MobileNet V2 (Sandler et al., arXiv:1801.04381) and V3 (Howard et al., arXiv:1905.02244).

Both are stacks of the inverted residual of `kerascnn.blocks`; V3 differs by its tables, by
hard-swish and by squeeze-excite with a hard-sigmoid gate.

Deviations: batch-norm momentum is 0.99 (the papers' 0.999 needs ImageNet-length schedules) with
epsilon 1e-3; `stem_strides` and `early_strides` are ours, for pictures of about 32 pixels.
"""

from __future__ import annotations

import dataclasses
import functools

import keras
from keras import layers

from kerascnn import blocks
from kerascnn.blocks import round_channels


@dataclasses.dataclass(frozen=True, kw_only=True)
class V2Stage:
    """One line of V2's table 2: expansion t, channels c, repeats n, stride s."""

    expansion: int
    channels: int
    repeats: int
    strides: int


V2_STAGES = (
    V2Stage(expansion=1, channels=16, repeats=1, strides=1),
    V2Stage(expansion=6, channels=24, repeats=2, strides=2),
    V2Stage(expansion=6, channels=32, repeats=3, strides=2),
    V2Stage(expansion=6, channels=64, repeats=4, strides=2),
    V2Stage(expansion=6, channels=96, repeats=3, strides=1),
    V2Stage(expansion=6, channels=160, repeats=3, strides=2),
    V2Stage(expansion=6, channels=320, repeats=1, strides=1),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class V3Block:
    """One line of V3's tables 1 and 2."""

    kernel: int
    expanded: int
    channels: int
    squeeze: bool = False
    hard_swish: bool = False
    strides: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class V3Config:
    """A V3 network: its table, and the widths of the two layers before the logits."""

    blocks: tuple[V3Block, ...]
    last_conv: int
    head: int


V3 = {
    "mobilenet_v3_large": V3Config(
        blocks=(
            V3Block(kernel=3, expanded=16, channels=16),
            V3Block(kernel=3, expanded=64, channels=24, strides=2),
            V3Block(kernel=3, expanded=72, channels=24),
            V3Block(kernel=5, expanded=72, channels=40, squeeze=True, strides=2),
            V3Block(kernel=5, expanded=120, channels=40, squeeze=True),
            V3Block(kernel=5, expanded=120, channels=40, squeeze=True),
            V3Block(kernel=3, expanded=240, channels=80, hard_swish=True, strides=2),
            V3Block(kernel=3, expanded=200, channels=80, hard_swish=True),
            V3Block(kernel=3, expanded=184, channels=80, hard_swish=True),
            V3Block(kernel=3, expanded=184, channels=80, hard_swish=True),
            V3Block(kernel=3, expanded=480, channels=112, squeeze=True, hard_swish=True),
            V3Block(kernel=3, expanded=672, channels=112, squeeze=True, hard_swish=True),
            V3Block(kernel=5, expanded=672, channels=160, squeeze=True, hard_swish=True, strides=2),
            V3Block(kernel=5, expanded=960, channels=160, squeeze=True, hard_swish=True),
            V3Block(kernel=5, expanded=960, channels=160, squeeze=True, hard_swish=True),
        ),
        last_conv=960,
        head=1280,
    ),
    "mobilenet_v3_small": V3Config(
        blocks=(
            V3Block(kernel=3, expanded=16, channels=16, squeeze=True, strides=2),
            V3Block(kernel=3, expanded=72, channels=24, strides=2),
            V3Block(kernel=3, expanded=88, channels=24),
            V3Block(kernel=5, expanded=96, channels=40, squeeze=True, hard_swish=True, strides=2),
            V3Block(kernel=5, expanded=240, channels=40, squeeze=True, hard_swish=True),
            V3Block(kernel=5, expanded=240, channels=40, squeeze=True, hard_swish=True),
            V3Block(kernel=5, expanded=120, channels=48, squeeze=True, hard_swish=True),
            V3Block(kernel=5, expanded=144, channels=48, squeeze=True, hard_swish=True),
            V3Block(kernel=5, expanded=288, channels=96, squeeze=True, hard_swish=True, strides=2),
            V3Block(kernel=5, expanded=576, channels=96, squeeze=True, hard_swish=True),
            V3Block(kernel=5, expanded=576, channels=96, squeeze=True, hard_swish=True),
        ),
        last_conv=576,
        head=1024,
    ),
}


def mobilenet_v2(
    *,
    input_shape=(224, 224, 3),
    classes=1000,
    alpha=1.0,
    stem_strides=2,
    early_strides=2,
    dropout=0.2,
    norm_momentum=0.99,
) -> keras.Model:
    """Build MobileNetV2.

    Args:
        input_shape: (height, width, channels).
        classes: length of the logits.
        alpha: width multiplier; the last layer keeps its 1280 channels below 1 (section 6.1).
        stem_strides, early_strides: of the stem, and of the first block that halves the picture;
            2 as published. With either one 1, pictures of about 32 pixels keep twice the detail.
        dropout: before the logits.
        norm_momentum: of the batch norms' moving averages; 0.9 suits runs of a few hundred steps.

    Returns:
        A functional model from (batch, height, width, channels) to (batch, classes) logits.
    """
    relu6 = blocks.Conventions(activation="relu6", norm_momentum=norm_momentum)
    x = inputs = blocks.picture_input(input_shape)
    x = relu6.conv(x, round_channels(32 * alpha), 3, strides=stem_strides, name="stem")
    for s, stage in enumerate(blocks.with_early_strides(V2_STAGES, early_strides), 1):
        for b in range(stage.repeats):
            x = blocks.inverted_residual(
                x,
                relu6,
                expanded=stage.expansion * x.shape[-1],
                filters=round_channels(stage.channels * alpha),
                strides=stage.strides if b == 0 else 1,
                name=f"stage{s}_block{b + 1}",
            )
    x = relu6.conv(x, round_channels(1280 * max(1.0, alpha)), name="head")
    return keras.Model(inputs, blocks.classifier(x, classes, dropout=dropout), name="mobilenet_v2")


def mobilenet_v3(
    name: str,
    *,
    input_shape=(224, 224, 3),
    classes=1000,
    alpha=1.0,
    stem_strides=2,
    early_strides=2,
    dropout=0.2,
    norm_momentum=0.99,
) -> keras.Model:
    """Build a MobileNetV3 from its table.

    Args:
        name: a key of `V3`.
        input_shape: (height, width, channels).
        classes: length of the logits.
        alpha: width multiplier; the layer before the logits does not shrink below 1.
        stem_strides, early_strides: of the stem, and of the first block that halves the picture;
            2 as published. With either one 1, pictures of about 32 pixels keep twice the detail.
        dropout: before the logits.
        norm_momentum: of the batch norms' moving averages; 0.9 suits runs of a few hundred steps.

    Returns:
        A functional model from (batch, height, width, channels) to (batch, classes) logits.
    """
    config = V3[name]
    relu = blocks.Conventions(activation="relu", norm_momentum=norm_momentum)
    hard_swish = blocks.Conventions(activation="hard_silu", norm_momentum=norm_momentum)
    x = inputs = blocks.picture_input(input_shape)
    x = hard_swish.conv(x, round_channels(16 * alpha), 3, strides=stem_strides, name="stem")
    stage = number = 0
    for block in blocks.with_early_strides(config.blocks, early_strides):
        # A stage begins where the stride or the width changes, as in V2's table.
        if block.strides == 2 or round_channels(block.channels * alpha) != x.shape[-1] or not stage:
            stage, number = stage + 1, 0
        number += 1
        expanded = round_channels(block.expanded * alpha)
        x = blocks.inverted_residual(
            x,
            hard_swish if block.hard_swish else relu,
            expanded=expanded,
            filters=round_channels(block.channels * alpha),
            kernel_size=block.kernel,
            strides=block.strides,
            squeeze_channels=round_channels(expanded / 4) if block.squeeze else None,
            name=f"stage{stage}_block{number}",
        )
    x = hard_swish.conv(x, round_channels(config.last_conv * alpha), name="last")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(round_channels(config.head * max(1.0, alpha)), name="head")(x)
    x = hard_swish.activate(x, "head_act")
    return keras.Model(inputs, blocks.logits(x, classes, dropout=dropout), name=name)


mobilenet_v3_small = functools.partial(mobilenet_v3, "mobilenet_v3_small")
mobilenet_v3_large = functools.partial(mobilenet_v3, "mobilenet_v3_large")
