"""EfficientNet-Lite: EfficientNet (Tan and Le, arXiv:1905.11946) for phones.

The Lite family is Google's: no squeeze-excite, ReLU6 for swish, and a stem, a head and a first
and last stage that do not grow with the multipliers
(github.com/tensorflow/tpu, models/official/efficientnet/lite).

Deviations: `stem_strides`, `early_strides`, and widths or depths below the family's are ours, for
pictures of about 32 pixels.
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
class LiteConfig:
    """Multipliers, picture size and dropout of one, from Google's `efficientnet_lite_params`."""

    width: float
    depth: float
    size: int
    dropout: float


LITE = {
    "efficientnet_lite0": LiteConfig(width=1.0, depth=1.0, size=224, dropout=0.2),
    "efficientnet_lite1": LiteConfig(width=1.0, depth=1.1, size=240, dropout=0.2),
    "efficientnet_lite2": LiteConfig(width=1.1, depth=1.2, size=260, dropout=0.3),
    "efficientnet_lite3": LiteConfig(width=1.2, depth=1.4, size=280, dropout=0.3),
    "efficientnet_lite4": LiteConfig(width=1.4, depth=1.8, size=300, dropout=0.3),
}


def efficientnet_lite(
    name: str,
    *,
    input_shape=None,
    classes=1000,
    width=None,
    depth=None,
    stem_strides=2,
    early_strides=2,
    dropout=None,
    drop_path=0.2,
    norm_momentum=0.99,
) -> keras.Model:
    """Build an EfficientNet-Lite.

    Args:
        name: a key of `LITE`.
        input_shape: (height, width, channels); the network's own size by default.
        classes: length of the logits.
        width, depth: multipliers in place of the published ones. A width below 1 narrows stem and
            head too, which otherwise keep their 32 and 1280 channels.
        stem_strides, early_strides: of the stem, and of the first block that halves the picture;
            2 as published. With either one 1, pictures of about 32 pixels keep twice the detail.
        dropout: before the logits.
        drop_path: at the last block, growing linearly from 0 at the first (section 5).
        norm_momentum: of the batch norms' moving averages; 0.9 suits runs of a few hundred steps.

    Returns:
        A functional model from (batch, height, width, channels) to (batch, classes) logits.
    """
    config = LITE[name]
    width = config.width if width is None else width
    depth = config.depth if depth is None else depth
    dropout = config.dropout if dropout is None else dropout
    fixed = min(1.0, width)
    relu6 = blocks.Conventions(activation="relu6", norm_momentum=norm_momentum)
    last = len(B0_STAGES) - 1
    repeats = [
        stage.repeats if s in (0, last) else math.ceil(depth * stage.repeats)
        for s, stage in enumerate(B0_STAGES)
    ]
    x = inputs = blocks.picture_input(input_shape or (config.size, config.size, 3))
    x = relu6.conv(x, round_channels(32 * fixed), 3, strides=stem_strides, name="stem")
    done = 0
    for s, stage in enumerate(blocks.with_early_strides(B0_STAGES, early_strides)):
        for b in range(repeats[s]):
            x = blocks.inverted_residual(
                x,
                relu6,
                expanded=stage.expansion * x.shape[-1],
                filters=round_channels(stage.channels * width),
                kernel_size=stage.kernel,
                strides=stage.strides if b == 0 else 1,
                drop_path=drop_path * done / sum(repeats),
                name=f"stage{s + 1}_block{b + 1}",
            )
            done += 1
    x = relu6.conv(x, round_channels(1280 * fixed), name="head")
    return keras.Model(inputs, blocks.classifier(x, classes, dropout=dropout), name=name)


efficientnet_lite0 = functools.partial(efficientnet_lite, "efficientnet_lite0")
efficientnet_lite1 = functools.partial(efficientnet_lite, "efficientnet_lite1")
efficientnet_lite2 = functools.partial(efficientnet_lite, "efficientnet_lite2")
efficientnet_lite3 = functools.partial(efficientnet_lite, "efficientnet_lite3")
efficientnet_lite4 = functools.partial(efficientnet_lite, "efficientnet_lite4")
