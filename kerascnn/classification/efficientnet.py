"""EfficientNet (Tan and Le, arXiv:1905.11946) and EfficientNet-Lite, its form for phones.

One table (B0's) grows by a width and a depth multiplier. The Lite family is Google's: no
squeeze-excite, ReLU6 for swish, and a stem, a head and a first and last stage that do not grow with
the multipliers (github.com/tensorflow/tpu, models/official/efficientnet/lite).

Deviations: batch-norm momentum is the zoo's; `stem_strides`, `early_strides`, and widths or depths
below the family's are ours, for pictures of about 32 pixels. Below 64 pixels the stem keeps the
picture's size by default.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import keras

from kerascnn import blocks
from kerascnn.blocks import round_channels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """One line of table 1 of the paper (EfficientNet-B0)."""

    expansion: int
    kernel: int
    channels: int
    repeats: int
    strides: int


B0_STAGES = (
    Stage(expansion=1, kernel=3, channels=16, repeats=1, strides=1),
    Stage(expansion=6, kernel=3, channels=24, repeats=2, strides=2),
    Stage(expansion=6, kernel=5, channels=40, repeats=2, strides=2),
    Stage(expansion=6, kernel=3, channels=80, repeats=3, strides=2),
    Stage(expansion=6, kernel=5, channels=112, repeats=3, strides=1),
    Stage(expansion=6, kernel=5, channels=192, repeats=4, strides=2),
    Stage(expansion=6, kernel=3, channels=320, repeats=1, strides=1),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Multipliers, picture size and dropout of one, from Google's `efficientnet_params`.

    Attributes:
        activation: of all convolutions.
        squeeze_ratio: of each block's input channels; None for no squeeze-excite.
        fixed_ends: stem, head, first and last stage do not grow.
    """

    width: float
    depth: float
    size: int
    dropout: float
    activation: str = "silu"
    squeeze_ratio: float | None = 0.25
    fixed_ends: bool = False


_lite = functools.partial(Config, activation="relu6", squeeze_ratio=None, fixed_ends=True)

EFFICIENTNETS = {
    "efficientnet_b0": Config(width=1.0, depth=1.0, size=224, dropout=0.2),
    "efficientnet_b1": Config(width=1.0, depth=1.1, size=240, dropout=0.2),
    "efficientnet_b2": Config(width=1.1, depth=1.2, size=260, dropout=0.3),
    "efficientnet_b3": Config(width=1.2, depth=1.4, size=300, dropout=0.3),
    "efficientnet_b4": Config(width=1.4, depth=1.8, size=380, dropout=0.4),
    "efficientnet_b5": Config(width=1.6, depth=2.2, size=456, dropout=0.4),
    "efficientnet_b6": Config(width=1.8, depth=2.6, size=528, dropout=0.5),
    "efficientnet_b7": Config(width=2.0, depth=3.1, size=600, dropout=0.5),
    "efficientnet_lite0": _lite(width=1.0, depth=1.0, size=224, dropout=0.2),
    "efficientnet_lite1": _lite(width=1.0, depth=1.1, size=240, dropout=0.2),
    "efficientnet_lite2": _lite(width=1.1, depth=1.2, size=260, dropout=0.3),
    "efficientnet_lite3": _lite(width=1.2, depth=1.4, size=280, dropout=0.3),
    "efficientnet_lite4": _lite(width=1.4, depth=1.8, size=300, dropout=0.3),
}


def efficientnet(
    name: str,
    *,
    input_shape=None,
    classes=1000,
    width=None,
    depth=None,
    stem_strides=None,
    early_strides=2,
    activation=None,
    dropout=None,
    drop_path=0.2,
    padding="same",
    norm_momentum=0.99,
    norm_epsilon=1e-3,
) -> keras.Model:
    """Build an EfficientNet or EfficientNet-Lite.

    Args:
        name: a key of `EFFICIENTNETS`.
        input_shape: (height, width, channels), from 32 pixels; the network's own by default.
        classes: length of the logits.
        width, depth: multipliers in place of the published ones. A width below 1 narrows the
            Lite family's stem and head too, which otherwise keep their 32 and 1280 channels.
        stem_strides: of the stem; 2, and 1 for pictures of less than 64 pixels, by default.
        early_strides: of the first block that halves the picture; 2 as published.
        activation: in place of swish or ReLU6.
        dropout: before the logits.
        drop_path: at the last block, growing linearly from 0 at the first (section 5).
        padding: "same" (TensorFlow) or "symmetric" (PyTorch).
        norm_momentum, norm_epsilon: of the batch norms; a momentum of 0.9 suits runs of a few
            hundred steps.

    Returns:
        A functional model from (batch, height, width, channels) to (batch, classes) logits.
    """
    config = EFFICIENTNETS[name]
    width = config.width if width is None else width
    depth = config.depth if depth is None else depth
    dropout = config.dropout if dropout is None else dropout
    activation = activation or config.activation
    input_shape = input_shape or (config.size, config.size, 3)
    ends = min(1.0, width) if config.fixed_ends else width
    conventions = blocks.Conventions(
        activation=activation,
        padding=padding,
        norm_momentum=norm_momentum,
        norm_epsilon=norm_epsilon,
    )
    repeats = _repeats(depth, config.fixed_ends)
    strides = blocks.stem_strides_for(input_shape, stem_strides)
    x = inputs = blocks.picture_input(input_shape)
    x = conventions.conv(x, round_channels(32 * ends), 3, strides=strides, name="stem")
    done = 0
    for s, stage in enumerate(blocks.with_early_strides(B0_STAGES, early_strides)):
        for b in range(repeats[s]):
            x = blocks.inverted_residual(
                x,
                conventions,
                expanded=stage.expansion * x.shape[-1],
                filters=round_channels(stage.channels * width),
                kernel_size=stage.kernel,
                strides=stage.strides if b == 0 else 1,
                squeeze_excite=squeeze_excite_of(x, config.squeeze_ratio, activation),
                drop_path=drop_path * done / sum(repeats),
                name=f"stage{s + 1}_block{b + 1}",
            )
            done += 1
    x = conventions.conv(x, round_channels(1280 * ends), name="head")
    return keras.Model(inputs, blocks.classifier(x, classes, dropout=dropout), name=name)


def squeeze_excite_of(block_input, ratio, activation):
    """The squeeze-excite of a block, sized by the block's input, or None without a ratio."""
    if not ratio:
        return None
    return functools.partial(
        blocks.squeeze_excite,
        squeeze_channels=max(1, int(block_input.shape[-1] * ratio)),
        activation=activation,
    )


def _repeats(depth, fixed_ends):
    last = len(B0_STAGES) - 1
    return [
        stage.repeats if fixed_ends and s in (0, last) else math.ceil(depth * stage.repeats)
        for s, stage in enumerate(B0_STAGES)
    ]


efficientnet_b0 = functools.partial(efficientnet, "efficientnet_b0")
efficientnet_b1 = functools.partial(efficientnet, "efficientnet_b1")
efficientnet_b2 = functools.partial(efficientnet, "efficientnet_b2")
efficientnet_b3 = functools.partial(efficientnet, "efficientnet_b3")
efficientnet_b4 = functools.partial(efficientnet, "efficientnet_b4")
efficientnet_b5 = functools.partial(efficientnet, "efficientnet_b5")
efficientnet_b6 = functools.partial(efficientnet, "efficientnet_b6")
efficientnet_b7 = functools.partial(efficientnet, "efficientnet_b7")
efficientnet_lite0 = functools.partial(efficientnet, "efficientnet_lite0")
efficientnet_lite1 = functools.partial(efficientnet, "efficientnet_lite1")
efficientnet_lite2 = functools.partial(efficientnet, "efficientnet_lite2")
efficientnet_lite3 = functools.partial(efficientnet, "efficientnet_lite3")
efficientnet_lite4 = functools.partial(efficientnet, "efficientnet_lite4")
