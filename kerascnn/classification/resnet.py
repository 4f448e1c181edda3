"""ResNet (He et al., arXiv:1512.03385), ResNeXt (Xie et al., arXiv:1611.05431) and SENet.

One network, three sets of rows; SENet is Hu et al., arXiv:1709.01507.

ResNeXt is ResNet with grouped 3x3 convolutions; the SE networks add a squeeze-excite to each
block; SENet-154 is SE-ResNeXt-152 64x4d with the four changes of the SENet paper's appendix.

A bottleneck halves the picture in its first 1x1 convolution, as ResNet's paper does (and
keras.applications, and the published SE-ResNet-50), or in its 3x3 one, as ResNeXt's paper,
torchvision and timm do: `downsample_in` says which.

Deviations: batch-norm momentum and epsilon are the zoo's; pictures of less than 64 pixels get the
3x3 stem without pooling of ResNet's section 4.2 (its 16 channels stay 64).
"""

from __future__ import annotations

import dataclasses
import functools

import keras
from keras import layers

from kerascnn import blocks
from kerascnn.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One column of the papers' table 1.

    Attributes:
        repeats: blocks of the four stages (conv2_x to conv5_x).
        bottleneck: 1x1, 3x3, 1x1 with four times the channels at the end; else two 3x3.
        groups, group_width: of the 3x3 convolution in stage 1; its width doubles by stage.
        squeeze_ratio: of the squeeze-excite in each block, if any.
        downsample_in: the bottleneck's convolution with the stride, "conv1" or "conv2".
        reduce: width of the first 1x1 convolution, as a share of the 3x3 one's.
        deep_stem: three 3x3 convolutions for the 7x7 one.
        shortcut_kernel: of projections with a stride.
        dropout: before the logits.
    """

    repeats: tuple[int, int, int, int]
    bottleneck: bool = True
    groups: int = 1
    group_width: int = 64
    squeeze_ratio: int | None = None
    downsample_in: str = "conv1"
    reduce: float = 1.0
    deep_stem: bool = False
    shortcut_kernel: int = 1
    dropout: float = 0.0


RESNETS = {
    "resnet18": Config(repeats=(2, 2, 2, 2), bottleneck=False),
    "resnet34": Config(repeats=(3, 4, 6, 3), bottleneck=False),
    "resnet50": Config(repeats=(3, 4, 6, 3)),
    "resnet101": Config(repeats=(3, 4, 23, 3)),
    "resnet152": Config(repeats=(3, 8, 36, 3)),
    "resnext50_32x4d": Config(
        repeats=(3, 4, 6, 3), groups=32, group_width=4, downsample_in="conv2"
    ),
    "resnext101_32x8d": Config(
        repeats=(3, 4, 23, 3), groups=32, group_width=8, downsample_in="conv2"
    ),
    "resnext101_64x4d": Config(
        repeats=(3, 4, 23, 3), groups=64, group_width=4, downsample_in="conv2"
    ),
    "se_resnet50": Config(repeats=(3, 4, 6, 3), squeeze_ratio=16),
    "se_resnext50_32x4d": Config(
        repeats=(3, 4, 6, 3), groups=32, group_width=4, squeeze_ratio=16, downsample_in="conv2"
    ),
    "senet154": Config(
        repeats=(3, 8, 36, 3),
        groups=64,
        group_width=4,
        squeeze_ratio=16,
        downsample_in="conv2",
        reduce=0.5,
        deep_stem=True,
        shortcut_kernel=3,
        dropout=0.2,
    ),
}


def resnet(
    name: str,
    *,
    input_shape=(224, 224, 3),
    classes=1000,
    width=1.0,
    small_stem=None,
    downsample_in=None,
    activation="relu",
    dropout=None,
    drop_path=0.0,
    padding="same",
    pool_padding=None,
    norm_momentum=0.99,
    norm_epsilon=1e-3,
) -> keras.Model:
    """Build a ResNet, ResNeXt or SENet.

    Args:
        name: a key of `RESNETS`.
        input_shape: (height, width, channels), from 32 pixels.
        classes: length of the logits.
        width: multiplier of all channels.
        small_stem: a 3x3 stem without stride and pooling; for pictures of less than 64 pixels by
            default.
        downsample_in: "conv1" or "conv2" of a bottleneck, in place of the paper's.
        activation: of all but the gates.
        dropout: before the logits.
        drop_path: at the last block, growing linearly from 0 at the first.
        padding: "same" (TensorFlow) or "symmetric" (PyTorch, Caffe).
        pool_padding: of the stem's pooling where it differs; "ceil" lets the last window hang
            over, as Caffe does.
        norm_momentum, norm_epsilon: of the batch norms.

    Returns:
        A functional model from (batch, height, width, channels) to (batch, classes) logits.

    Raises:
        InputError: an unknown padding or convolution.
    """
    config = RESNETS[name]
    if downsample_in not in (None, "conv1", "conv2"):
        raise InputError(f"downsample_in must be 'conv1' or 'conv2', not {downsample_in!r}")
    config = dataclasses.replace(config, downsample_in=downsample_in or config.downsample_in)
    conventions = blocks.Conventions(
        activation=activation,
        padding=padding,
        norm_momentum=norm_momentum,
        norm_epsilon=norm_epsilon,
    )
    if small_stem is None:
        small_stem = min(input_shape[:2]) < blocks.SMALL_PICTURE
    x = inputs = blocks.picture_input(input_shape)
    x = _stem(x, conventions, config, width, small_stem)
    if not small_stem:
        x = conventions.max_pool(x, padding=pool_padding, name="stage1_pool")
    done = 0
    for s, repeats in enumerate(config.repeats):
        for b in range(repeats):
            x = _block(
                x,
                conventions,
                config,
                planes=round(64 * width) * 2**s,
                strides=2 if s > 0 and b == 0 else 1,
                drop_path=drop_path * done / sum(config.repeats),
                name=f"stage{s + 1}_block{b + 1}",
            )
            done += 1
    dropout = config.dropout if dropout is None else dropout
    return keras.Model(inputs, blocks.classifier(x, classes, dropout=dropout), name=name)


def _stem(x, conventions, config, width, small_stem):
    strides = 1 if small_stem else 2
    if not config.deep_stem:
        kernel = 3 if small_stem else 7
        return conventions.conv(x, round(64 * width), kernel, strides=strides, name="stem")
    for number, filters in enumerate((64, 64, 128), 1):
        first = strides if number == 1 else 1
        x = conventions.conv(x, round(filters * width), 3, strides=first, name=f"stem_conv{number}")
    return x


def _block(x, conventions, config: Config, *, planes, strides, drop_path, name):
    """One residual block; (batch, ceil(height / strides), ceil(width / strides), channels)."""
    filters = 4 * planes if config.bottleneck else planes
    shortcut = x
    if strides != 1 or x.shape[-1] != filters:
        kernel = config.shortcut_kernel if strides != 1 else 1
        shortcut = conventions.conv(
            x, filters, kernel, strides=strides, activation=False, name=f"{name}_shortcut"
        )
    if config.bottleneck:
        inner = planes * config.group_width * config.groups // 64
        first, second = (strides, 1) if config.downsample_in == "conv1" else (1, strides)
        x = conventions.conv(x, round(config.reduce * inner), strides=first, name=f"{name}_conv1")
        x = conventions.conv(
            x, inner, 3, strides=second, groups=config.groups, name=f"{name}_conv2"
        )
        x = conventions.conv(x, filters, activation=False, name=f"{name}_conv3")
    else:
        x = conventions.conv(x, filters, 3, strides=strides, name=f"{name}_conv1")
        x = conventions.conv(x, filters, 3, activation=False, name=f"{name}_conv2")
    if config.squeeze_ratio:
        x = blocks.squeeze_excite(x, filters // config.squeeze_ratio, name=f"{name}_se")
    x = blocks.dropped_path(x, drop_path, name)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return conventions.activate(x, f"{name}_act")


resnet18 = functools.partial(resnet, "resnet18")
resnet34 = functools.partial(resnet, "resnet34")
resnet50 = functools.partial(resnet, "resnet50")
resnet101 = functools.partial(resnet, "resnet101")
resnet152 = functools.partial(resnet, "resnet152")
resnext50_32x4d = functools.partial(resnet, "resnext50_32x4d")
resnext101_32x8d = functools.partial(resnet, "resnext101_32x8d")
resnext101_64x4d = functools.partial(resnet, "resnext101_64x4d")
se_resnet50 = functools.partial(resnet, "se_resnet50")
se_resnext50_32x4d = functools.partial(resnet, "se_resnext50_32x4d")
senet154 = functools.partial(resnet, "senet154")
