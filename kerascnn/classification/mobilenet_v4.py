"""MobileNetV4: Universal Models for the Mobile Ecosystem (Qin et al., arXiv:2404.10518).

A stack of universal inverted bottlenecks (figure 4): expansion and projection are always there, and
a depthwise convolution may stand before the expansion, between the two, in both places or in none.
`ExtraDW` has both, `IB` the inner one (MobileNetV2's block), `ConvNext` the first one, `FFN` none.
The hybrid forms add Mobile multi-query attention (section 5): every head has its own queries, and
all share one key and one value, which may come from a map of half the side. It is written in
convolutions, matrix products and a softmax, so that every converter takes it.

The tables are those of TensorFlow's Model Garden (official/vision/modeling/backbones/mobilenet.py)
and of timm (mobilenetv3.py), which agree.

Deviations: batch-norm momentum and epsilon are the zoo's; `stem_strides` and `early_strides` are
ours, for images of about 32 pixels. Below 64 pixels the stem keeps the image's size by default.
Layer scale is a depthwise 1x1 convolution, which conversion folds into the one before it.
"""

from __future__ import annotations

import dataclasses
import functools

import keras
from keras import layers

from kerascnn import blocks
from kerascnn.blocks import round_channels

# What residual branches of the hybrid forms begin with (Touvron et al., arXiv:2103.17239).
LAYER_SCALE = 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conv:
    """A convolution with norm and activation."""

    kernel: int
    channels: int
    strides: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fused:
    """A fused inverted bottleneck: a full convolution expands, a 1x1 one projects."""

    kernel: int
    expansion: float
    channels: int
    strides: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Universal:
    """A universal inverted bottleneck; a kernel of 0 is a depthwise convolution left out."""

    first: int
    inner: int
    expansion: float
    channels: int
    strides: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attention:
    """Mobile multi-query attention with `width` channels a head.

    `kv_strides` of 2 takes keys and values from a map of half the side.
    """

    heads: int
    width: int
    channels: int
    kv_strides: int = 1


Block = Conv | Fused | Universal | Attention


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """A network: its stem, its stages by resolution, and the image size it was published at."""

    stem: int
    stages: tuple[tuple[Block, ...], ...]
    size: int
    activation: str = "relu"
    layer_scale: bool = False
    dropout: float = 0.2


def _uib(first: int, inner: int, expansion: float, channels: int, strides: int = 1) -> Universal:
    return Universal(
        first=first, inner=inner, expansion=expansion, channels=channels, strides=strides
    )


def _mqa(heads: int, width: int, channels: int, kv_strides: int = 1) -> Attention:
    return Attention(heads=heads, width=width, channels=channels, kv_strides=kv_strides)


def _conv(kernel: int, channels: int, strides: int = 1) -> Conv:
    return Conv(kernel=kernel, channels=channels, strides=strides)


_FUSED = (Fused(kernel=3, expansion=4, channels=48, strides=2),)
_SMALL = (
    (_conv(3, 32, 2), _conv(1, 32)),
    (_conv(3, 96, 2), _conv(1, 64)),
    (_uib(5, 5, 3, 96, 2), *4 * (_uib(0, 3, 2, 96),), _uib(3, 0, 4, 96)),
    (
        _uib(3, 3, 6, 128, 2),
        _uib(5, 5, 4, 128),
        _uib(0, 5, 4, 128),
        _uib(0, 5, 3, 128),
        *2 * (_uib(0, 3, 4, 128),),
    ),
)
_MEDIUM = (
    _FUSED,
    (_uib(3, 5, 4, 80, 2), _uib(3, 3, 2, 80)),
    (
        _uib(3, 5, 6, 160, 2),
        *2 * (_uib(3, 3, 4, 160),),
        _uib(3, 5, 4, 160),
        _uib(3, 3, 4, 160),
        _uib(3, 0, 4, 160),
        _uib(0, 0, 2, 160),
        _uib(3, 0, 4, 160),
    ),
    (
        _uib(5, 5, 6, 256, 2),
        _uib(5, 5, 4, 256),
        *2 * (_uib(3, 5, 4, 256),),
        _uib(0, 0, 4, 256),
        _uib(3, 0, 4, 256),
        _uib(3, 5, 2, 256),
        _uib(5, 5, 4, 256),
        *2 * (_uib(0, 0, 4, 256),),
        _uib(5, 0, 2, 256),
    ),
)
_LARGE_EARLY = (_FUSED, (_uib(3, 5, 4, 96, 2), _uib(3, 3, 4, 96)))
_LARGE_MIDDLE = (_uib(3, 5, 4, 192, 2), *3 * (_uib(3, 3, 4, 192),), _uib(3, 5, 4, 192))
_LARGE_LATE = (
    _uib(5, 5, 4, 512, 2),
    *3 * (_uib(5, 5, 4, 512),),
    _uib(5, 0, 4, 512),
    _uib(5, 3, 4, 512),
    *2 * (_uib(5, 0, 4, 512),),
    _uib(5, 3, 4, 512),
    _uib(5, 5, 4, 512),
)
_LARGE = (
    *_LARGE_EARLY,
    (*_LARGE_MIDDLE, *5 * (_uib(5, 3, 4, 192),), _uib(3, 0, 4, 192)),
    (*_LARGE_LATE, *3 * (_uib(5, 0, 4, 512),)),
)
_HYBRID_MEDIUM = (
    _FUSED,
    (_uib(3, 5, 4, 80, 2), _uib(3, 3, 2, 80)),
    (
        _uib(3, 5, 6, 160, 2),
        _uib(0, 0, 2, 160),
        _uib(3, 3, 4, 160),
        _uib(3, 5, 4, 160),
        _mqa(4, 64, 160, 2),
        _uib(3, 3, 4, 160),
        _mqa(4, 64, 160, 2),
        _uib(3, 0, 4, 160),
        _mqa(4, 64, 160, 2),
        _uib(3, 3, 4, 160),
        _mqa(4, 64, 160, 2),
        _uib(3, 0, 4, 160),
    ),
    (
        _uib(5, 5, 6, 256, 2),
        _uib(5, 5, 4, 256),
        *2 * (_uib(3, 5, 4, 256),),
        _uib(0, 0, 2, 256),
        _uib(3, 5, 2, 256),
        _uib(0, 0, 2, 256),
        _uib(0, 0, 4, 256),
        _mqa(4, 64, 256),
        _uib(3, 0, 4, 256),
        _mqa(4, 64, 256),
        _uib(5, 5, 4, 256),
        _mqa(4, 64, 256),
        _uib(5, 0, 4, 256),
        _mqa(4, 64, 256),
        _uib(5, 0, 4, 256),
    ),
)
_HYBRID_LARGE = (
    *_LARGE_EARLY,
    (
        *_LARGE_MIDDLE,
        *2 * (_uib(5, 3, 4, 192),),
        *3 * (_mqa(8, 48, 192, 2), _uib(5, 3, 4, 192)),
        _mqa(8, 48, 192, 2),
        _uib(3, 0, 4, 192),
    ),
    (*_LARGE_LATE, *4 * (_mqa(8, 64, 512), _uib(5, 0, 4, 512))),
)

MOBILENETS_V4 = {
    "mobilenet_v4_conv_small": Config(stem=32, stages=_SMALL, size=224),
    "mobilenet_v4_conv_medium": Config(stem=32, stages=_MEDIUM, size=256),
    "mobilenet_v4_conv_large": Config(stem=24, stages=_LARGE, size=384),
    "mobilenet_v4_hybrid_medium": Config(
        stem=32, stages=_HYBRID_MEDIUM, size=256, layer_scale=True
    ),
    "mobilenet_v4_hybrid_large": Config(
        stem=24, stages=_HYBRID_LARGE, size=384, activation="gelu", layer_scale=True
    ),
}
_LAST, _HEAD = 960, 1280


def mobilenet_v4(
    name: str,
    *,
    input_shape=None,
    classes=1000,
    alpha=1.0,
    stem_strides=None,
    early_strides=2,
    activation=None,
    dropout=None,
    drop_path=0.0,
    padding="same",
    norm_momentum=0.99,
    norm_epsilon=1e-3,
) -> keras.Model:
    """Build a MobileNetV4 from its table.

    Args:
        name: a key of `MOBILENETS_V4`.
        input_shape: (height, width, channels), from 32 pixels; the network's own by default.
        classes: length of the logits.
        alpha: width multiplier; the stem and the last layers do not shrink below 1.
        stem_strides: of the stem; 2, and 1 for images of less than 64 pixels, by default.
        early_strides: of the first block that halves the image; 2 as published.
        activation: of all layers; ReLU, and GELU in the large hybrid form, by default.
        dropout: before the logits.
        drop_path: at the last block, growing linearly from 0 at the first.
        padding: "same" (TensorFlow) or "symmetric" (PyTorch).
        norm_momentum, norm_epsilon: of the batch norms; a momentum of 0.9 suits runs of a few
            hundred steps.

    Returns:
        A functional model from (batch, height, width, channels) to (batch, classes) logits.
    """
    config = MOBILENETS_V4[name]
    input_shape = input_shape or (config.size, config.size, 3)
    conventions = blocks.Conventions(
        activation=activation or config.activation,
        padding=padding,
        norm_momentum=norm_momentum,
        norm_epsilon=norm_epsilon,
    )
    strides = blocks.stem_strides_for(input_shape, stem_strides)
    x = inputs = blocks.picture_input(input_shape)
    stem = config.stem if alpha < 1 else round_channels(config.stem * alpha)
    x = conventions.conv(x, stem, 3, strides=strides, name="stem")
    first, *others = config.stages
    stages = (blocks.with_early_strides(first, early_strides), *others)
    done, total = 0, sum(map(len, stages))
    for s, stage in enumerate(stages, 1):
        for b, block in enumerate(stage, 1):
            build = functools.partial(
                _BUILDERS[type(block)],
                channels=round_channels(block.channels * alpha),
                layer_scale=config.layer_scale,
                drop_path=drop_path * done / total,
                name=f"stage{s}_block{b}",
            )
            x = build(x, conventions, block)
            done += 1
    x = conventions.conv(x, round_channels(_LAST * alpha), name="last")
    x = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(x)
    x = conventions.conv(x, _HEAD, name="head")
    x = layers.Flatten(name="flatten")(x)
    dropout = config.dropout if dropout is None else dropout
    return keras.Model(inputs, blocks.logits(x, classes, dropout=dropout), name=name)


def _convolution(x, conventions, block, *, channels, layer_scale, drop_path, name):
    return conventions.conv(x, channels, block.kernel, strides=block.strides, name=f"{name}_conv")


def _fused_bottleneck(x, conventions, block, *, channels, layer_scale, drop_path, name):
    shortcut, expanded = x, round_channels(x.shape[-1] * block.expansion)
    x = conventions.conv(x, expanded, block.kernel, strides=block.strides, name=f"{name}_expand")
    x = conventions.conv(x, channels, activation=False, name=f"{name}_project")
    return blocks.add_shortcut(x, shortcut, strides=block.strides, drop_path=drop_path, name=name)


def universal_bottleneck(x, conventions, block, *, channels, layer_scale, drop_path, name):
    """A universal inverted bottleneck.

    Args:
        x: (batch, height, width, channels).
        block: a `Universal`; the stride is the inner depthwise convolution's, else the first's.
        channels: out of the linear bottleneck.

    Returns:
        (batch, ceil(height / strides), ceil(width / strides), channels).

    Source: arXiv:2404.10518, section 4.
    """
    shortcut, expanded = x, round_channels(x.shape[-1] * block.expansion)
    if block.first:
        strides = 1 if block.inner else block.strides
        x = conventions.depthwise(
            x, block.first, strides=strides, activation=False, name=f"{name}_first"
        )
    x = conventions.conv(x, expanded, name=f"{name}_expand")
    if block.inner:
        x = conventions.depthwise(x, block.inner, strides=block.strides, name=f"{name}_depthwise")
    x = conventions.conv(x, channels, activation=False, name=f"{name}_project")
    x = _scaled(x, layer_scale, name)
    return blocks.add_shortcut(x, shortcut, strides=block.strides, drop_path=drop_path, name=name)


def multi_query_attention(x, conventions, block, *, channels, layer_scale, drop_path, name):
    """Mobile multi-query attention with its norm, layer scale and shortcut.

    Args:
        x: (batch, height, width, channels).
        block: an `Attention`.
        channels: out, as many as in.

    Returns:
        (batch, height, width, channels).

    Source: arXiv:2404.10518, section 5; Shazeer, arXiv:1911.02150.
    """
    shortcut = x
    height, width = x.shape[1:3]
    linear = dataclasses.replace(conventions, norm=False, bias=False)
    x = conventions.normalise(x, f"{name}_attention_norm")

    def project(role: str):
        y = x
        if block.kv_strides > 1:
            y = conventions.depthwise(
                y, 3, strides=block.kv_strides, activation=False, name=f"{name}_{role}_down"
            )
        y = linear.conv(y, block.width, activation=False, name=f"{name}_{role}")
        return layers.Reshape((-1, block.width), name=f"{name}_{role}_rows")(y)

    queries = linear.conv(x, block.heads * block.width, activation=False, name=f"{name}_query")
    # Softmax needs the scores by 1 / sqrt(width).
    queries = layers.Rescaling(block.width**-0.5, name=f"{name}_query_scale")(queries)
    queries = layers.Reshape(
        (height * width * block.heads, block.width), name=f"{name}_query_rows"
    )(queries)
    scores = layers.Dot((2, 2), name=f"{name}_scores")([queries, project("key")])
    scores = layers.Softmax(name=f"{name}_softmax")(scores)
    x = layers.Dot((2, 1), name=f"{name}_mix")([scores, project("value")])
    x = layers.Reshape((height, width, block.heads * block.width), name=f"{name}_heads")(x)
    x = linear.conv(x, channels, activation=False, name=f"{name}_out")
    x = _scaled(x, layer_scale, name)
    return blocks.add_shortcut(x, shortcut, strides=1, drop_path=drop_path, name=name)


def _scaled(x, layer_scale, name):
    if not layer_scale:
        return x
    return layers.DepthwiseConv2D(
        1,
        use_bias=False,
        depthwise_initializer=keras.initializers.Constant(LAYER_SCALE),
        name=f"{name}_scale",
    )(x)


_BUILDERS = {
    Conv: _convolution,
    Fused: _fused_bottleneck,
    Universal: universal_bottleneck,
    Attention: multi_query_attention,
}

mobilenet_v4_conv_small = functools.partial(mobilenet_v4, "mobilenet_v4_conv_small")
mobilenet_v4_conv_medium = functools.partial(mobilenet_v4, "mobilenet_v4_conv_medium")
mobilenet_v4_conv_large = functools.partial(mobilenet_v4, "mobilenet_v4_conv_large")
mobilenet_v4_hybrid_medium = functools.partial(mobilenet_v4, "mobilenet_v4_hybrid_medium")
mobilenet_v4_hybrid_large = functools.partial(mobilenet_v4, "mobilenet_v4_hybrid_large")
