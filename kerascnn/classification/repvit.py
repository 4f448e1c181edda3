"""RepViT: Revisiting Mobile CNN From ViT Perspective (Wang et al., arXiv:2307.09283).

MobileNetV3's block taken apart as a transformer's (figure 3): a token mixer, which is a depthwise
convolution and squeeze-excite in every second block, and behind it a channel mixer, which is an
expansion and a projection with a shortcut. In training the token mixer is a sum of branches: a 3x3
and a 1x1 depthwise convolution and the input itself. All are linear, and so are the batch norm
behind the sum and the one before the logits: `fused=True` builds the network with one convolution
with a bias in place of each, and export makes it of a trained one (`export.graph.join_branches`).

The tables are those of github.com/THU-MIG/RepViT and of timm (repvit.py), which agree. The authors
distil into a second head and classify by the mean of the two. Of a network that is not trained on,
two linear heads are one: there is one here, and both heads of their files are read into it.

Deviations: batch-norm momentum and epsilon are the zoo's, and no gain begins at 0; `alpha`,
`stem_strides` and `early_strides` are ours. Below 64 pixels the stem halves the image once by
default, for twice.
"""

from __future__ import annotations

import dataclasses
import functools

import keras
from keras import layers

from kerascnn import blocks
from kerascnn.blocks import round_channels

_EXPANSION = 2
_SQUEEZE = 1 / 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """A network: channels and blocks of each stage, those that halve the map left out."""

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int] = (2, 2, 14, 2)


REPVITS = {
    "repvit_m0_9": Config(widths=(48, 96, 192, 384)),
    "repvit_m1_0": Config(widths=(56, 112, 224, 448)),
}


def repvit(
    name: str,
    *,
    input_shape=(224, 224, 3),
    classes=1000,
    alpha=1.0,
    fused=False,
    stem_strides=None,
    early_strides=2,
    activation="gelu",
    dropout=0.0,
    drop_path=0.0,
    padding="same",
    norm_momentum=0.99,
    norm_epsilon=1e-3,
) -> keras.Model:
    """Build a RepViT from its table.

    Args:
        name: a key of `REPVITS`.
        input_shape: (height, width, channels), from 32 pixels.
        classes: length of the logits.
        alpha: width multiplier.
        fused: one convolution with a bias in place of each sum of branches and each batch norm, as
            files have it. This form is not for a training from random weights.
        stem_strides: of the stem's first convolution; 2, and 1 for images of less than 64 pixels,
            by default.
        early_strides: of the stem's second convolution; 2 as published.
        activation: of the stem and the channel mixers.
        dropout: before the logits.
        drop_path: at the last channel mixer, growing linearly from 0 at the first.
        padding: "same" (TensorFlow) or "symmetric" (PyTorch).
        norm_momentum, norm_epsilon: of the batch norms; a momentum of 0.9 suits runs of a few
            hundred steps.

    Returns:
        A functional model from (batch, height, width, channels) to (batch, classes) logits.
    """
    config = REPVITS[name]
    conventions = blocks.Conventions(
        activation=activation,
        norm=not fused,
        padding=padding,
        norm_momentum=norm_momentum,
        norm_epsilon=norm_epsilon,
    )
    widths = [round_channels(width * alpha) for width in config.widths]
    strides = blocks.stem_strides_for(input_shape, stem_strides)
    x = inputs = blocks.picture_input(input_shape)
    x = conventions.conv(x, widths[0] // 2, 3, strides=strides, name="stem_conv1")
    x = conventions.conv(
        x, widths[0], 3, strides=early_strides, activation=False, name="stem_conv2"
    )
    # Where the map is halved there are two channel mixers, before and behind.
    mixers = sum(config.depths) + 2 * (len(widths) - 1)
    rates = iter(drop_path * number / mixers for number in range(mixers))
    for s, (width, depth) in enumerate(zip(widths, config.depths, strict=True), 1):
        if s > 1:
            x = _halved(x, conventions, width, rates, fused=fused, name=f"stage{s}_block1")
        for b in range(depth):
            block = f"stage{s}_block{b + 1 + (s > 1)}"
            x = token_mixer(x, conventions, fused=fused, name=block)
            if b % 2 == 0:
                x = blocks.squeeze_excite(x, round_channels(width * _SQUEEZE), name=f"{block}_se")
            x = _channel_mixer(x, conventions, next(rates), name=block)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    if not fused:
        x = conventions.normalise(x, "head_norm")
    return keras.Model(inputs, blocks.logits(x, classes, dropout=dropout), name=name)


def token_mixer(x, conventions, *, fused, name):
    """Depthwise 3x3 and 1x1 convolutions and their input, summed; the sum has the mixer's name.

    Args:
        x: (batch, height, width, channels); the output is as large.
        fused: all of it as one convolution.

    Source: arXiv:2307.09283, figure 3; github.com/THU-MIG/RepViT.
    """
    mixer = f"{name}_mixer"
    if fused:
        return conventions.depthwise(x, 3, activation=False, name=mixer)
    wide = conventions.depthwise(x, 3, activation=False, name=f"{mixer}_conv")
    scaled = layers.DepthwiseConv2D(1, name=f"{mixer}_scale")(x)
    return conventions.normalise(layers.Add(name=mixer)([wide, scaled, x]), f"{mixer}_norm")


def _channel_mixer(x, conventions, drop_path, *, name):
    """Expand, activate, project; added to the input."""
    shortcut, channels = x, x.shape[-1]
    x = conventions.conv(x, _EXPANSION * channels, name=f"{name}_expand")
    x = conventions.conv(x, channels, activation=False, name=f"{name}_project")
    return blocks.add_shortcut(x, shortcut, strides=1, drop_path=drop_path, name=name)


def _halved(x, conventions, channels, rates, *, fused, name):
    """A block, then the map halved, made as wide as its stage, and mixed across channels."""
    x = token_mixer(x, conventions, fused=fused, name=name)
    x = _channel_mixer(x, conventions, next(rates), name=name)
    x = conventions.depthwise(x, 3, strides=2, activation=False, name=f"{name}_down")
    x = conventions.conv(x, channels, activation=False, name=f"{name}_widen")
    return _channel_mixer(x, conventions, next(rates), name=f"{name}_ffn")


repvit_m0_9 = functools.partial(repvit, "repvit_m0_9")
repvit_m1_0 = functools.partial(repvit, "repvit_m1_0")
