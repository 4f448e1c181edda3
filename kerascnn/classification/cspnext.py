"""CSPNeXt, the backbone of RTMDet (Lyu et al., arXiv:2212.07784, section 3.2), as a classifier.

A cross-stage partial network: the map's channels go two ways, of which one passes a stack of
blocks; both are joined, weighted by channel attention, and mixed. A block is a 3x3 convolution and
a 5x5 depthwise separable one, whose large kernel sees far for few multiplications. The last stage
pools over 5, 9 and 13 cells first (spatial pyramid pooling).

The tables are those of github.com/open-mmlab/mmdetection (mmdet/models/backbones/cspnext.py,
configs/rtmdet/cspnext_imagenet_pretrain).

Deviations: batch-norm momentum is the zoo's; `alpha`, `stem_strides` and `early_strides` are ours,
for images of about 32 pixels. Below 64 pixels the stem keeps the image's size by default.
"""

from __future__ import annotations

import dataclasses
import functools

import keras
from keras import layers

from kerascnn import blocks

_STEM = 64
# Channels and blocks of each stage, before they are multiplied.
_STAGES = ((128, 3), (256, 6), (512, 6), (1024, 3))
_POOLS = (5, 9, 13)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """A network: what channels and numbers of blocks are multiplied by."""

    widen: float
    deepen: float


CSPNEXTS = {
    "cspnext_tiny": Config(widen=0.375, deepen=0.167),
    "cspnext_s": Config(widen=0.5, deepen=0.33),
}


def cspnext(
    name: str,
    *,
    input_shape=(224, 224, 3),
    classes=1000,
    alpha=1.0,
    stem_strides=None,
    early_strides=2,
    activation="silu",
    dropout=0.0,
    drop_path=0.0,
    padding="same",
    norm_momentum=0.99,
    norm_epsilon=1e-5,
) -> keras.Model:
    """Build a CSPNeXt from its table.

    Args:
        name: a key of `CSPNEXTS`.
        input_shape: (height, width, channels), from 32 pixels.
        classes: length of the logits.
        alpha: width multiplier.
        stem_strides: of the stem's first convolution; 2, and 1 for images of less than 64 pixels,
            by default.
        early_strides: of the first stage; 2 as published.
        activation: of all layers.
        dropout: before the logits.
        drop_path: at the last block with a shortcut, growing linearly from 0 at the first block.
        padding: "same" (TensorFlow) or "symmetric" (PyTorch).
        norm_momentum, norm_epsilon: of the batch norms; a momentum of 0.9 suits runs of a few
            hundred steps.

    Returns:
        A functional model from (batch, height, width, channels) to (batch, classes) logits.
    """
    config = CSPNEXTS[name]
    conventions = blocks.Conventions(
        activation=activation,
        padding=padding,
        norm_momentum=norm_momentum,
        norm_epsilon=norm_epsilon,
    )
    width = config.widen * alpha
    strides = blocks.stem_strides_for(input_shape, stem_strides)
    x = inputs = blocks.picture_input(input_shape)
    half, whole = (_channels(width * stem) for stem in (_STEM / 2, _STEM))
    x = conventions.conv(x, half, 3, strides=strides, name="stem_conv1")
    x = conventions.conv(x, half, 3, name="stem_conv2")
    x = conventions.conv(x, whole, 3, name="stem_conv3")
    depths = [max(round(depth * config.deepen), 1) for _, depth in _STAGES]
    done = 0
    for s, ((channels, _), depth) in enumerate(zip(_STAGES, depths, strict=True), 1):
        filters, last = _channels(width * channels), s == len(_STAGES)
        name_1, name_2 = f"stage{s}_block1", f"stage{s}_block2"
        strides = early_strides if s == 1 else 2
        x = conventions.conv(x, filters, 3, strides=strides, name=f"{name_1}_down")
        if last:
            x = pyramid_pooling(x, conventions, name=f"{name_1}_spp")
        x = partial_stage(
            *(x, conventions, filters),
            units=depth,
            shortcut=not last,
            attention=True,
            drop_paths=[drop_path * (done + n) / sum(depths) for n in range(depth)],
            name=name_2,
        )
        done += depth
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, blocks.logits(x, classes, dropout=dropout), name=name)


def _channels(width: float) -> int:
    return max(int(width), 1)


def pyramid_pooling(x, conventions, *, name):
    """The map beside its maxima over 5x5, 9x9 and 13x13 cells, mixed (arXiv:1406.4729)."""
    channels = x.shape[-1]
    x = conventions.conv(x, max(channels // 2, 1), name=f"{name}_squeeze")
    pooled = [
        layers.MaxPooling2D(size, strides=1, padding="same", name=f"{name}_pool{number}")(x)
        for number, size in enumerate(_POOLS, 1)
    ]
    x = layers.Concatenate(name=f"{name}_concat")([x, *pooled])
    return conventions.conv(x, channels, name=f"{name}_merge")


def partial_stage(
    x, conventions, filters, *, units, shortcut=False, attention=False, drop_paths=(), name
):
    """A cross-stage partial stage (arXiv:1911.11929) of CSPNeXt blocks.

    Args:
        x: (batch, height, width, channels).
        filters: channels of the output; both ways have half of them.
        units: blocks on the one way.
        shortcut: whether each block is added to its input.
        attention: whether channels are weighted before they are mixed.
        drop_paths: of each block with a shortcut; none by default.

    Returns:
        (batch, height, width, filters).
    """
    half = max(filters // 2, 1)
    short = conventions.conv(x, half, name=f"{name}_short")
    x = conventions.conv(x, half, name=f"{name}_main")
    for number in range(1, units + 1):
        unit, before = f"{name}_unit{number}", x
        x = conventions.conv(x, half, 3, name=f"{unit}_conv")
        x = conventions.depthwise(x, 5, name=f"{unit}_depthwise")
        x = conventions.conv(x, half, name=f"{unit}_pointwise")
        if shortcut:
            rate = drop_paths[number - 1] if drop_paths else 0.0
            x = blocks.add_shortcut(x, before, strides=1, drop_path=rate, name=unit)
    x = layers.Concatenate(name=f"{name}_concat")([x, short])
    if attention:
        x = _channel_attention(x, name=f"{name}_attention")
    return conventions.conv(x, filters, name=f"{name}_merge")


def _channel_attention(x, *, name):
    """Weigh channels by one layer of their means; (batch, height, width, channels)."""
    channels = x.shape[-1]
    s = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    s = layers.Conv2D(channels, 1, name=f"{name}_excite")(s)
    s = layers.Activation("hard_sigmoid", name=f"{name}_gate")(s)
    return layers.Multiply(name=f"{name}_scale")([x, s])


cspnext_tiny = functools.partial(cspnext, "cspnext_tiny")
cspnext_s = functools.partial(cspnext, "cspnext_s")
