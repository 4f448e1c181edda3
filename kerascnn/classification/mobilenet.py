"""MobileNet V1 (Howard et al., arXiv:1704.04861), V2 (Sandler et al., arXiv:1801.04381) and V3
(Howard et al., arXiv:1905.02244).

V1 is a stack of depthwise separable convolutions. V2 and V3 are stacks of the inverted residual of
`kerascnn.blocks`; V3 differs by its tables, by hard-swish and by squeeze-excite with a hard-sigmoid
gate. V3's minimalistic forms (Google's reference code) have none of these, and 3x3 kernels alone.

Deviations: V1 has ReLU6, as its reference code; batch-norm momentum is 0.99 (the papers' 0.999
needs ImageNet-length schedules) with epsilon 1e-3; `stem_strides` and `early_strides` are ours, for
pictures of about 32 pixels. Below 64 pixels the stem keeps the picture's size by default.
"""

from __future__ import annotations

import dataclasses
import functools

import keras
from keras import layers

from kerascnn import blocks
from kerascnn.blocks import round_channels


@dataclasses.dataclass(frozen=True, kw_only=True)
class V1Stage:
    """Lines of V1's table 1 between two strides: output channels and blocks."""

    channels: int
    repeats: int
    strides: int = 2


V1_STAGES = (
    V1Stage(channels=64, repeats=1, strides=1),
    V1Stage(channels=128, repeats=2),
    V1Stage(channels=256, repeats=2),
    V1Stage(channels=512, repeats=6),
    V1Stage(channels=1024, repeats=2),
)


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
    """A V3 network: its table, and the width of the dense layer before the logits."""

    blocks: tuple[V3Block, ...]
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
        head=1024,
    ),
}


def mobilenet_v1(
    *,
    input_shape=(224, 224, 3),
    classes=1000,
    alpha=1.0,
    stem_strides=None,
    early_strides=2,
    activation="relu6",
    dropout=1e-3,
    padding="same",
    norm_momentum=0.99,
    norm_epsilon=1e-3,
) -> keras.Model:
    """Build MobileNet.

    Args:
        input_shape: (height, width, channels), from 32 pixels.
        classes: length of the logits.
        alpha: width multiplier; 1, 0.75, 0.5 and 0.25 are published (470,072 parameters).
        stem_strides: of the stem; 2, and 1 for pictures of less than 64 pixels, by default.
        early_strides: of the first block that halves the picture; 2 as published.
        activation: of all layers.
        dropout: before the logits.
        padding: "same" (TensorFlow) or "symmetric" (PyTorch).
        norm_momentum, norm_epsilon: of the batch norms; a momentum of 0.9 suits runs of a few
            hundred steps.

    Returns:
        A functional model from (batch, height, width, channels) to (batch, classes) logits.
    """
    conventions = blocks.Conventions(
        activation=activation,
        padding=padding,
        norm_momentum=norm_momentum,
        norm_epsilon=norm_epsilon,
    )
    strides = blocks.stem_strides_for(input_shape, stem_strides)
    x = inputs = blocks.picture_input(input_shape)
    x = conventions.conv(x, int(32 * alpha), 3, strides=strides, name="stem")
    for s, stage in enumerate(blocks.with_early_strides(V1_STAGES, early_strides), 1):
        for b in range(stage.repeats):
            name = f"stage{s}_block{b + 1}"
            strides = stage.strides if b == 0 else 1
            x = conventions.depthwise(x, strides=strides, name=f"{name}_depthwise")
            x = conventions.conv(x, int(stage.channels * alpha), name=f"{name}_pointwise")
    return keras.Model(inputs, blocks.classifier(x, classes, dropout=dropout), name="mobilenet_v1")


def mobilenet_v2(
    *,
    input_shape=(224, 224, 3),
    classes=1000,
    alpha=1.0,
    stem_strides=None,
    early_strides=2,
    activation="relu6",
    dropout=0.2,
    drop_path=0.0,
    padding="same",
    norm_momentum=0.99,
    norm_epsilon=1e-3,
) -> keras.Model:
    """Build MobileNetV2.

    Args:
        input_shape: (height, width, channels), from 32 pixels.
        classes: length of the logits.
        alpha: width multiplier; the last layer keeps its 1280 channels below 1 (section 6.1).
        stem_strides: of the stem; 2, and 1 for pictures of less than 64 pixels, by default.
        early_strides: of the first block that halves the picture; 2 as published.
        activation: of all layers.
        dropout: before the logits.
        drop_path: at the last block, growing linearly from 0 at the first.
        padding: "same" (TensorFlow) or "symmetric" (PyTorch).
        norm_momentum, norm_epsilon: of the batch norms; a momentum of 0.9 suits runs of a few
            hundred steps.

    Returns:
        A functional model from (batch, height, width, channels) to (batch, classes) logits.
    """
    conventions = blocks.Conventions(
        activation=activation,
        padding=padding,
        norm_momentum=norm_momentum,
        norm_epsilon=norm_epsilon,
    )
    strides = blocks.stem_strides_for(input_shape, stem_strides)
    x = inputs = blocks.picture_input(input_shape)
    x = conventions.conv(x, round_channels(32 * alpha), 3, strides=strides, name="stem")
    done, total = 0, sum(stage.repeats for stage in V2_STAGES)
    for s, stage in enumerate(blocks.with_early_strides(V2_STAGES, early_strides), 1):
        for b in range(stage.repeats):
            x = blocks.inverted_residual(
                x,
                conventions,
                expanded=stage.expansion * x.shape[-1],
                filters=round_channels(stage.channels * alpha),
                strides=stage.strides if b == 0 else 1,
                drop_path=drop_path * done / total,
                name=f"stage{s}_block{b + 1}",
            )
            done += 1
    x = conventions.conv(x, round_channels(1280 * max(1.0, alpha)), name="head")
    return keras.Model(inputs, blocks.classifier(x, classes, dropout=dropout), name="mobilenet_v2")


def mobilenet_v3(
    name: str,
    *,
    input_shape=(224, 224, 3),
    classes=1000,
    alpha=1.0,
    minimalistic=False,
    reduced_tail=False,
    stem_strides=None,
    early_strides=2,
    activation=None,
    dropout=0.2,
    drop_path=0.0,
    padding="same",
    norm_momentum=0.99,
    norm_epsilon=1e-3,
) -> keras.Model:
    """Build a MobileNetV3 from its table.

    Args:
        name: a key of `V3`.
        input_shape: (height, width, channels), from 32 pixels.
        classes: length of the logits.
        alpha: width multiplier; the layer before the logits does not shrink below 1.
        minimalistic: no squeeze-excite, no hard-swish, no 5x5 kernels.
        reduced_tail: half as many channels behind the last stride, as detectors have (section 6.3).
        stem_strides: of the stem; 2, and 1 for pictures of less than 64 pixels, by default.
        early_strides: of the first block that halves the picture; 2 as published.
        activation: in place of hard-swish, where the table has it.
        dropout: before the logits.
        drop_path: at the last block, growing linearly from 0 at the first.
        padding: "same" (TensorFlow) or "symmetric" (PyTorch).
        norm_momentum, norm_epsilon: of the batch norms; a momentum of 0.9 suits runs of a few
            hundred steps.

    Returns:
        A functional model from (batch, height, width, channels) to (batch, classes) logits.
    """
    config = _minimalistic(V3[name]) if minimalistic else V3[name]
    config = _reduced_tail(config) if reduced_tail else config
    relu = blocks.Conventions(
        activation="relu", padding=padding, norm_momentum=norm_momentum, norm_epsilon=norm_epsilon
    )
    activation = activation or ("relu" if minimalistic else "hard_silu")
    hard_swish = dataclasses.replace(relu, activation=activation)
    strides = blocks.stem_strides_for(input_shape, stem_strides)
    x = inputs = blocks.picture_input(input_shape)
    x = hard_swish.conv(x, round_channels(16 * alpha), 3, strides=strides, name="stem")
    stage = number = 0
    for i, block in enumerate(blocks.with_early_strides(config.blocks, early_strides)):
        # A stage begins where the stride or the width changes, as in V2's table.
        if block.strides == 2 or round_channels(block.channels * alpha) != x.shape[-1] or not stage:
            stage, number = stage + 1, 0
        number += 1
        # As the reference code, which states expansions as ratios.
        before = config.blocks[i - 1].channels if i else 16
        expanded = round_channels(block.expanded / before * x.shape[-1])
        x = blocks.inverted_residual(
            x,
            hard_swish if block.hard_swish else relu,
            expanded=expanded,
            filters=round_channels(block.channels * alpha),
            kernel_size=block.kernel,
            strides=block.strides,
            squeeze_excite=_hard_squeeze_excite(expanded) if block.squeeze else None,
            drop_path=drop_path * i / len(config.blocks),
            name=f"stage{stage}_block{number}",
        )
    x = hard_swish.conv(x, 6 * x.shape[-1], name="last")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(round_channels(config.head * max(1.0, alpha)), name="head")(x)
    x = hard_swish.activate(x, "head_act")
    return keras.Model(inputs, blocks.logits(x, classes, dropout=dropout), name=name)


def _hard_squeeze_excite(expanded):
    return functools.partial(
        blocks.squeeze_excite,
        squeeze_channels=round_channels(expanded / 4),
        gate="hard_sigmoid",
    )


def _minimalistic(config: V3Config) -> V3Config:
    rows = tuple(
        dataclasses.replace(block, kernel=3, squeeze=False, hard_swish=False)
        for block in config.blocks
    )
    return dataclasses.replace(config, blocks=rows)


def _reduced_tail(config: V3Config) -> V3Config:
    last = max(i for i, block in enumerate(config.blocks) if block.strides == 2)
    rows = [
        dataclasses.replace(
            block,
            # The block with the stride expands what comes before it, which keeps its width.
            expanded=block.expanded if i == last else block.expanded // 2,
            channels=block.channels // 2,
        )
        for i, block in enumerate(config.blocks[last:], last)
    ]
    return dataclasses.replace(config, blocks=(*config.blocks[:last], *rows), head=config.head // 2)


mobilenet_v3_small = functools.partial(mobilenet_v3, "mobilenet_v3_small")
mobilenet_v3_large = functools.partial(mobilenet_v3, "mobilenet_v3_large")
