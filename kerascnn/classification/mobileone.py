"""MobileOne: An Improved One Millisecond Mobile Backbone (Vasu et al., arXiv:2206.04040).

MobileNetV1's stack of depthwise 3x3 and pointwise convolutions, without a shortcut. In training
each of them is a sum of branches (figure 3): `branches` convolutions with a batch norm each, a 1x1
depthwise convolution with a batch norm beside a 3x3, and a batch norm alone where the shapes allow.
All of these are linear, so that the sum is one convolution with a bias: `fused=True` builds that
form, and export makes it of a trained network (`export.graph.join_branches`).

The tables are those of github.com/apple/ml-mobileone and of timm (byobnet.py), which agree; S4,
with squeeze-excite, is left out.

Deviations: batch-norm momentum and epsilon are the zoo's; `alpha`, `stem_strides` and
`early_strides` are ours. Below 64 pixels the stem keeps the image's size by default.
"""

from __future__ import annotations

import dataclasses
import functools

import keras
from keras import layers

from kerascnn import blocks
from kerascnn.blocks import round_channels

# Blocks of each stage, and the most channels that the stem has.
_DEPTHS = (2, 8, 10, 1)
_STEM = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """A row of table 2: channels of each stage, and convolutions in a sum of branches."""

    widths: tuple[int, int, int, int]
    branches: int = 1


MOBILEONES = {
    "mobileone_s0": Config(widths=(48, 128, 256, 1024), branches=4),
    "mobileone_s1": Config(widths=(96, 192, 512, 1280)),
    "mobileone_s2": Config(widths=(96, 256, 640, 2048)),
    "mobileone_s3": Config(widths=(128, 320, 768, 2048)),
}


def mobileone(
    name: str,
    *,
    input_shape=(224, 224, 3),
    classes=1000,
    alpha=1.0,
    branches=None,
    fused=False,
    stem_strides=None,
    early_strides=2,
    activation="relu",
    dropout=0.0,
    padding="same",
    norm_momentum=0.99,
    norm_epsilon=1e-3,
) -> keras.Model:
    """Build a MobileOne from its table.

    Args:
        name: a key of `MOBILEONES`.
        input_shape: (height, width, channels), from 32 pixels.
        classes: length of the logits.
        alpha: width multiplier.
        branches: convolutions in a sum of branches; the network's own number by default. The stem
            has one.
        fused: one convolution with a bias in place of each sum, as files have it. This form has no
            batch norms, and is not for a training from random weights.
        stem_strides: of the stem; 2, and 1 for images of less than 64 pixels, by default.
        early_strides: of the first stage; 2 as published.
        activation: of all layers.
        dropout: before the logits.
        padding: "same" (TensorFlow) or "symmetric" (PyTorch).
        norm_momentum, norm_epsilon: of the batch norms; a momentum of 0.9 suits runs of a few
            hundred steps.

    Returns:
        A functional model from (batch, height, width, channels) to (batch, classes) logits.
    """
    config = MOBILEONES[name]
    conventions = blocks.Conventions(
        activation=activation,
        norm=not fused,
        padding=padding,
        norm_momentum=norm_momentum,
        norm_epsilon=norm_epsilon,
    )
    build = _fused_unit if fused else branched_unit
    unit = functools.partial(build, conventions=conventions, branches=branches or config.branches)
    strides = blocks.stem_strides_for(input_shape, stem_strides)
    widths = [round_channels(width * alpha) for width in config.widths]
    x = inputs = blocks.picture_input(input_shape)
    stem = {"channels": min(_STEM, widths[0]), "kernel_size": 3, "strides": strides}
    x = unit(x, branches=1, **stem, name="stem")
    for s, (depth, width) in enumerate(zip(_DEPTHS, widths, strict=True), 1):
        for b in range(1, depth + 1):
            strides = 1 if b > 1 else early_strides if s == 1 else 2
            block = f"stage{s}_block{b}"
            x = unit(x, channels=None, kernel_size=3, strides=strides, name=f"{block}_depthwise")
            x = unit(x, channels=width, kernel_size=1, strides=1, name=f"{block}_pointwise")
    return keras.Model(inputs, blocks.classifier(x, classes, dropout=dropout), name=name)


def branched_unit(x, *, conventions, branches, channels, kernel_size, strides, name):
    """A sum of linear branches, and the activation; the sum has the unit's name.

    Args:
        x: (batch, height, width, channels).
        branches: convolutions of `kernel_size` in the sum.
        channels: out of the unit; None for a depthwise one, which keeps them.

    Returns:
        (batch, ceil(height / strides), ceil(width / strides), channels).

    Source: arXiv:2206.04040, figure 3.
    """
    identity = strides == 1 and channels in (None, x.shape[-1])

    def branch(size, role):
        settings = {"strides": strides, "activation": False, "name": f"{name}{role}"}
        if channels is None:
            return conventions.depthwise(x, size, **settings)
        return conventions.conv(x, channels, size, **settings)

    if kernel_size == 1 and branches == 1 and not identity:
        return conventions.activate(branch(1, ""), f"{name}_act")
    terms = [branch(kernel_size, f"_conv{number}") for number in range(1, branches + 1)]
    if kernel_size > 1:
        terms.append(branch(1, "_scale"))
    if identity:
        terms.append(conventions.normalise(x, f"{name}_identity_norm"))
    return conventions.activate(layers.Add(name=name)(terms), f"{name}_act")


def _fused_unit(x, *, conventions, branches, channels, kernel_size, strides, name):
    """The same as one convolution with a bias."""
    if channels is None:
        return conventions.depthwise(x, kernel_size, strides=strides, name=name)
    return conventions.conv(x, channels, kernel_size, strides=strides, name=name)


mobileone_s0 = functools.partial(mobileone, "mobileone_s0")
mobileone_s1 = functools.partial(mobileone, "mobileone_s1")
mobileone_s2 = functools.partial(mobileone, "mobileone_s2")
mobileone_s3 = functools.partial(mobileone, "mobileone_s3")
