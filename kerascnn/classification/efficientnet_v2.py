"""EfficientNetV2: Smaller Models and Faster Training (Tan and Le, arXiv:2104.00298).

Early stages fuse the expansion and the depthwise convolution into one. S, M and L have tables of
their own (table 4 and the reference code, github.com/google/automl, efficientnetv2); B0 to B3 grow
one table by EfficientNet's multipliers.

Deviations: batch-norm momentum is the zoo's; `stem_strides` and `early_strides` are ours, for
pictures of about 32 pixels. Below 64 pixels the stem keeps the picture's size by default.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import keras

from kerascnn import blocks
from kerascnn.classification.efficientnet import squeeze_excite_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """One line of table 4; `fused` is Fused-MBConv, else MBConv with squeeze-excite of 1/4."""

    fused: bool
    expansion: int
    channels: int
    repeats: int
    strides: int


def _fused(expansion, strides, channels, repeats) -> Stage:
    return Stage(
        fused=True, expansion=expansion, channels=channels, repeats=repeats, strides=strides
    )


def _mbconv(expansion, strides, channels, repeats) -> Stage:
    return Stage(
        fused=False, expansion=expansion, channels=channels, repeats=repeats, strides=strides
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """A table, its multipliers, picture size (of evaluation) and dropout."""

    stages: tuple[Stage, ...]
    stem: int
    size: int
    dropout: float = 0.2
    width: float = 1.0
    depth: float = 1.0


_B_STAGES = (
    _fused(1, 1, 16, 1),
    _fused(4, 2, 32, 2),
    _fused(4, 2, 48, 2),
    _mbconv(4, 2, 96, 3),
    _mbconv(6, 1, 112, 5),
    _mbconv(6, 2, 192, 8),
)

EFFICIENTNETS_V2 = {
    "efficientnet_v2_b0": Config(stages=_B_STAGES, stem=32, size=224),
    "efficientnet_v2_b1": Config(stages=_B_STAGES, stem=32, size=240, depth=1.1),
    "efficientnet_v2_b2": Config(
        stages=_B_STAGES, stem=32, size=260, width=1.1, depth=1.2, dropout=0.3
    ),
    "efficientnet_v2_b3": Config(
        stages=_B_STAGES, stem=32, size=300, width=1.2, depth=1.4, dropout=0.3
    ),
    "efficientnet_v2_s": Config(
        stages=(
            _fused(1, 1, 24, 2),
            _fused(4, 2, 48, 4),
            _fused(4, 2, 64, 4),
            _mbconv(4, 2, 128, 6),
            _mbconv(6, 1, 160, 9),
            _mbconv(6, 2, 256, 15),
        ),
        stem=24,
        size=384,
    ),
    "efficientnet_v2_m": Config(
        stages=(
            _fused(1, 1, 24, 3),
            _fused(4, 2, 48, 5),
            _fused(4, 2, 80, 5),
            _mbconv(4, 2, 160, 7),
            _mbconv(6, 1, 176, 14),
            _mbconv(6, 2, 304, 18),
            _mbconv(6, 1, 512, 5),
        ),
        stem=24,
        size=480,
        dropout=0.3,
    ),
    "efficientnet_v2_l": Config(
        stages=(
            _fused(1, 1, 32, 4),
            _fused(4, 2, 64, 7),
            _fused(4, 2, 96, 7),
            _mbconv(4, 2, 192, 10),
            _mbconv(6, 1, 224, 19),
            _mbconv(6, 2, 384, 25),
            _mbconv(6, 1, 640, 7),
        ),
        stem=32,
        size=480,
        dropout=0.4,
    ),
}


def efficientnet_v2(
    name: str,
    *,
    input_shape=None,
    classes=1000,
    width=None,
    depth=None,
    stem_strides=None,
    early_strides=2,
    activation="silu",
    dropout=None,
    drop_path=0.2,
    padding="same",
    norm_momentum=0.99,
    norm_epsilon=1e-3,
) -> keras.Model:
    """Build an EfficientNetV2.

    Args:
        name: a key of `EFFICIENTNETS_V2`.
        input_shape: (height, width, channels), from 32 pixels; the network's own by default.
        classes: length of the logits.
        width, depth: multipliers in place of the published ones.
        stem_strides: of the stem; 2, and 1 for pictures of less than 64 pixels, by default.
        early_strides: of the first block that halves the picture; 2 as published.
        activation: of all layers but the gates.
        dropout: before the logits.
        drop_path: at the last block, growing linearly from 0 at the first.
        padding: "same" (TensorFlow) or "symmetric" (PyTorch).
        norm_momentum, norm_epsilon: of the batch norms; a momentum of 0.9 suits runs of a few
            hundred steps.

    Returns:
        A functional model from (batch, height, width, channels) to (batch, classes) logits.
    """
    config = EFFICIENTNETS_V2[name]
    width = config.width if width is None else width
    depth = config.depth if depth is None else depth
    dropout = config.dropout if dropout is None else dropout
    input_shape = input_shape or (config.size, config.size, 3)
    conventions = blocks.Conventions(
        activation=activation,
        padding=padding,
        norm_momentum=norm_momentum,
        norm_epsilon=norm_epsilon,
    )
    strides = blocks.stem_strides_for(input_shape, stem_strides)
    x = inputs = blocks.picture_input(input_shape)
    x = conventions.conv(x, _channels(config.stem * width), 3, strides=strides, name="stem")
    done, repeats = 0, [math.ceil(depth * stage.repeats) for stage in config.stages]
    for s, stage in enumerate(blocks.with_early_strides(config.stages, early_strides)):
        for b in range(repeats[s]):
            x = (_fused_block if stage.fused else _mbconv_block)(
                x,
                conventions,
                stage,
                filters=_channels(stage.channels * width),
                strides=stage.strides if b == 0 else 1,
                drop_path=drop_path * done / sum(repeats),
                name=f"stage{s + 1}_block{b + 1}",
            )
            done += 1
    x = conventions.conv(x, _channels(1280 * width), name="head")
    return keras.Model(inputs, blocks.classifier(x, classes, dropout=dropout), name=name)


def _mbconv_block(x, conventions, stage, *, filters, strides, drop_path, name):
    return blocks.inverted_residual(
        x,
        conventions,
        expanded=stage.expansion * x.shape[-1],
        filters=filters,
        strides=strides,
        squeeze_excite=squeeze_excite_of(x, 0.25, conventions.activation),
        drop_path=drop_path,
        name=name,
    )


def _fused_block(x, conventions, stage, *, filters, strides, drop_path, name):
    """Expand by a 3x3 convolution, project; or one 3x3 convolution where nothing expands."""
    shortcut = x
    if stage.expansion == 1:
        x = conventions.conv(x, filters, 3, strides=strides, name=f"{name}_project")
    else:
        expanded = stage.expansion * x.shape[-1]
        x = conventions.conv(x, expanded, 3, strides=strides, name=f"{name}_expand")
        x = conventions.conv(x, filters, activation=False, name=f"{name}_project")
    return blocks.add_shortcut(x, shortcut, strides=strides, drop_path=drop_path, name=name)


def _channels(channels: float) -> int:
    """Nearest multiple of 8; unlike the first EfficientNet's, it may lose more than 10%."""
    return max(8, int(channels + 4) // 8 * 8)


efficientnet_v2_b0 = functools.partial(efficientnet_v2, "efficientnet_v2_b0")
efficientnet_v2_b1 = functools.partial(efficientnet_v2, "efficientnet_v2_b1")
efficientnet_v2_b2 = functools.partial(efficientnet_v2, "efficientnet_v2_b2")
efficientnet_v2_b3 = functools.partial(efficientnet_v2, "efficientnet_v2_b3")
efficientnet_v2_s = functools.partial(efficientnet_v2, "efficientnet_v2_s")
efficientnet_v2_m = functools.partial(efficientnet_v2, "efficientnet_v2_m")
efficientnet_v2_l = functools.partial(efficientnet_v2, "efficientnet_v2_l")
