"""U-Net (Ronneberger, Fischer and Brox, arXiv:1505.04597), and the same with a classifier of the
zoo as its contracting path.

Level n has 1 / 2**(n - 1) of the picture's size. Of level n, enc{n} is the contracting path and
dec{n} the expansive one, where the level below is up-sampled and concatenated with what enc{n}
kept; the paper's figure 1 is enc1 to enc5, then dec4 to dec1.

Padding "valid" is the paper's: 572x572 pixels in, 388x388 out, and kept maps are cut to their
middle. With "same" the output has the input's size; the weights are the same. What the paper calls
"an upsampling of the feature map followed by a 2x2 convolution" is a transposed convolution in the
authors' code, and here by default.

With a backbone, the decoder is the one of segmentation_models (github.com/qubvel): at every level
an up-sampling, the concatenation and two 3x3 convolutions with batch norm, of 256 channels that
halve to 16.

Deviations: batch norm is not in the paper; with it convolutions have no bias, as in
github.com/milesial/Pytorch-UNet (31,037,698 trainable parameters). With padding "same" any size
will do: an odd side is halved upwards, and cut on the way up. segmentation_models repeats pixels
for up-sampling and has a 3x3 convolution for logits; ours are bilinear and 1x1.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import re
from importlib import import_module
from typing import Any

import keras
from keras import layers

from kerascnn import blocks
from kerascnn.detection.fpn import doubled
from kerascnn.detection.heads import output_dtype
from kerascnn.errors import InputError, did_you_mean
from kerascnn.zoo import entry, features

# No picture is halved more often.
_DEEPEST = 12
# To the next good size.
_WAYS = (math.floor, math.ceil)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convolutions:
    """How the 3x3 convolutions of a network are written.

    Attributes:
        activation: behind each of them.
        norm: whether batch normalisation stands before it; they have no bias then.
        norm_momentum, norm_epsilon: of every batch normalisation.
        padding: "same" or "valid".
    """

    activation: str
    norm: bool
    norm_momentum: float
    norm_epsilon: float
    padding: str = "same"

    def __post_init__(self) -> None:
        if self.padding not in ("same", "valid"):
            hint = did_you_mean(str(self.padding), ("same", "valid"))
            raise InputError(
                f"a U-Net's padding must be 'same' or 'valid', not {self.padding!r}{hint}"
            )

    def pair(self, x, filters, *, name):
        """Two of them; (n, h, w, filters), 4 pixels less each way with padding "valid"."""
        return self.conv(self.conv(x, filters, name=f"{name}_conv1"), filters, name=f"{name}_conv2")

    def conv(self, x, filters, *, name):
        """Convolution, batch norm and activation."""
        x = _convolution(x, filters, 3, padding=self.padding, use_bias=not self.norm, name=name)
        if self.norm:
            x = layers.BatchNormalization(
                momentum=self.norm_momentum, epsilon=self.norm_epsilon, name=f"{name}_norm"
            )(x)
        return layers.Activation(self.activation, name=f"{name}_act")(x)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Upsampling:
    """How a map becomes twice as high and wide.

    Attributes:
        kind: "transposed" for a transposed convolution, or of a resizing "bilinear" (between pixel
            centres) or "nearest".
        kernel_size: of the transposed convolution, or of the convolution behind the resizing; 0
            for resizing alone, which keeps the channels.
        activation: behind the convolution, if any.
    """

    kind: str
    kernel_size: int = 2
    activation: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in (kinds := ("transposed", "bilinear", "nearest")):
            hint = did_you_mean(str(self.kind), kinds)
            raise InputError(
                f"upsample must be 'transposed', 'bilinear' or 'nearest', not {self.kind!r}{hint}"
            )
        least = 2 if self.kind == "transposed" else 0
        if self.kernel_size < least:
            raise InputError(
                f"up_kernel must be at least {least} with upsample={self.kind!r}, "
                f"not {self.kernel_size}"
            )

    def __call__(self, x, filters, *, name):
        """(n, 2 * h, 2 * w, filters)."""
        if self.kind == "transposed":
            x = _transposed(x, filters, self.kernel_size, name=name)
        else:
            x = self._resized(x, name=f"{name}_resize" if self.kernel_size else name)
            if not self.kernel_size:
                return x
            x = _convolution(x, filters, self.kernel_size, padding="same", name=name)
        return layers.Activation(self.activation, name=f"{name}_act")(x) if self.activation else x

    def _resized(self, x, *, name):
        if self.kind == "nearest":  # XNNPACK has no kernel for what UpSampling2D becomes
            return doubled(x, (2 * x.shape[1], 2 * x.shape[2]), name=name)
        return layers.UpSampling2D(2, interpolation=self.kind, name=name)(x)


def _convolution(x, filters, kernel_size, **options):
    initial = _gaussian(kernel_size**2 * x.shape[-1])
    return layers.Conv2D(filters, kernel_size, kernel_initializer=initial, **options)(x)


def _transposed(x, filters, kernel_size, **options):
    # Each output pixel sums a quarter of the kernel.
    initial = _gaussian(kernel_size**2 / 4 * x.shape[-1])
    up = layers.Conv2DTranspose(
        filters, kernel_size, strides=2, padding="same", kernel_initializer=initial, **options
    )
    return up(x)


def _gaussian(incoming):
    """Section 3: a standard deviation of sqrt(2 / N), with N incoming nodes of one neuron."""
    return keras.initializers.RandomNormal(stddev=math.sqrt(2 / incoming))


def unet(
    *,
    input_shape=(512, 512, 3),
    classes=2,
    depth=4,
    width=64,
    padding="same",
    upsample="transposed",
    up_kernel=2,
    up_activation=False,
    kept_first=True,
    head=0,
    norm=False,
    activation="relu",
    dropout=0.5,
    norm_momentum=0.99,
    norm_epsilon=1e-3,
) -> keras.Model:
    """Build a U-Net.

    Args:
        input_shape: (height, width, channels).
        classes: length of a pixel's logits, 2 for a mask and its background.
        depth: how often the picture is halved; 4 in the paper.
        width: channels of level 1, which double by level; 64 in the paper.
        padding: "same", or "valid" as in the paper.
        upsample: "transposed", or "bilinear" or "nearest" for a resizing and a convolution.
        up_kernel: of the up-convolutions; 2 in the paper, 0 for a resizing alone.
        up_activation: whether the activation stands behind up-convolutions too, as in the
            authors' code.
        kept_first: whether the kept map is before the up-sampled one in the concatenation, as in
            figure 1.
        head: channels of a last 3x3 convolution before the logits; 0 for none.
        norm: batch normalisation in each 3x3 convolution.
        activation: of all layers.
        dropout: at the end of the contracting path, behind its last two levels (section 3.1; the
            authors' code).
        norm_momentum, norm_epsilon: of the batch norms; a momentum of 0.9 suits runs of a few
            hundred steps.

    Returns:
        A functional model from (n, h, w, channels) to logits (n, h', w', classes).

    Raises:
        InputError: an option of no such value, or a size that cannot be halved so often; the
            message names sizes that can.
    """
    _check_classes(classes)
    _check_size(input_shape, depth, padding, head)
    convolutions = Convolutions(
        activation=activation,
        norm=norm,
        norm_momentum=norm_momentum,
        norm_epsilon=norm_epsilon,
        padding=padding,
    )
    up = Upsampling(
        kind=upsample, kernel_size=up_kernel, activation=activation if up_activation else None
    )
    x = inputs = blocks.picture_input(input_shape)
    kept = _contracted(x, convolutions, depth, width, dropout)
    x = kept.pop()
    for level in reversed(range(1, depth + 1)):
        name, filters = f"dec{level}", width * 2 ** (level - 1)
        pair = _of_one_size(kept.pop(), up(x, filters, name=f"{name}_up"), name=name)
        x = layers.Concatenate(name=f"{name}_concat")(pair if kept_first else pair[::-1])
        x = convolutions.pair(x, filters, name=name)
    if head:
        x = convolutions.conv(x, head, name="head")
    return keras.Model(inputs, _logits(x, classes), name="unet")


def _contracted(x, convolutions, depth, width, dropout):
    """The maps that the contracting path ends its levels with, finest first."""
    kept = []
    for level in range(1, depth + 2):
        name = f"enc{level}"
        if level > 1:
            x = layers.MaxPooling2D(2, padding=convolutions.padding, name=f"{name}_pool")(x)
        x = convolutions.pair(x, width * 2 ** (level - 1), name=name)
        if dropout and level >= depth:
            x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
        kept.append(x)
    return kept


def _of_one_size(kept, x, *, name):
    """A kept map and an up-sampled one: the former's middle, or the latter without what is over."""
    over = [a - b for a, b in zip(kept.shape[1:3], x.shape[1:3], strict=True)]
    if max(over) > 0:
        cut = tuple((pixels // 2, pixels - pixels // 2) for pixels in over)
        kept = layers.Cropping2D(cut, name=f"{name}_crop")(kept)
    return [kept, _cut(x, kept.shape[1:3], name=name)]


def _cut(x, size, *, name):
    over = [have - wanted for have, wanted in zip(x.shape[1:3], size, strict=True)]
    if not any(over):
        return x
    return layers.Cropping2D(tuple((0, pixels) for pixels in over), name=f"{name}_up_crop")(x)


def _logits(x, classes):
    return _convolution(x, classes, 1, dtype=output_dtype(), name="logits")


def _check_size(input_shape, depth, padding, head):
    if depth < 1:
        raise InputError(f"a U-Net halves the image at least once, not {depth} times")
    height, width = input_shape[:2]
    step = 2**depth
    if padding == "same" and min(height, width) < step:
        raise InputError(
            f"{height}x{width} pixels cannot be halved {depth} times; take {step} or more each "
            "way, or a smaller depth"
        )
    # With n pixels at the deepest level, level 1 has step * n + 4 * (step - 1), and the output
    # step * (n - 8) + 4, which has to be a pixel, or the three of the head's convolution.
    least = 4 * (step - 1) + step * math.ceil(8 + ((3 if head else 1) - 4) / step)
    if padding == "valid" and any(s < least or (s - least) % step for s in (height, width)):
        near = (
            "x".join(str(_nearest(side, way, least, step)) for side in (height, width))
            for way in _WAYS
        )
        raise InputError(
            f"with padding 'valid' {height}x{width} pixels cannot be halved evenly; take "
            f"{' or '.join(dict.fromkeys(near))}, or padding='same'"
        )


def _check_classes(classes):
    if classes < 2:
        raise InputError(f"classes must be at least 2 (a mask and its background), not {classes}")


def _nearest(side, way, least, step):
    """The next of least, least + step, ..., below or above."""
    return least + max(0, way((side - least) / step)) * step


def unet_on(
    backbone: str,
    *,
    input_shape=(224, 224, 3),
    classes=2,
    decoder_width=16,
    upsample="bilinear",
    dropout=0.0,
    drop_path=0.0,
    norm_momentum=0.99,
    norm_epsilon=1e-3,
    **backbone_options: Any,
) -> keras.Model:
    """Build a U-Net with a classifier of the zoo as contracting path.

    Kept is the last tensor of each of the classifier's strides, the end of a stage or of the stem;
    what stands behind the last stage is left out.

    Args:
        backbone: zoo name of the classifier.
        input_shape: (height, width, channels).
        classes: length of a pixel's logits, 2 for a mask and its background.
        decoder_width: channels of dec1, which has the picture's size; they double by level.
        upsample: "bilinear" or "nearest" without weights, or "transposed", a transposed 2x2
            convolution to the level's width.
        dropout: behind the contracting path.
        drop_path: at the classifier's last block, growing linearly from 0 at the first.
        norm_momentum, norm_epsilon: of the batch norms; a momentum of 0.9 suits runs of a few
            hundred steps.
        **backbone_options: other options of the classifier's builder, such as `alpha=0.35`.

    Returns:
        A functional model from (n, h, w, channels) to logits (n, h, w, classes).

    Raises:
        InputError: an unknown up-sampling, or a classifier whose maps are no halves of the picture;
            where this size is to blame, the message names sizes that are not.
        TypeError: an option that the classifier's builder has not.
    """
    _check_classes(classes)
    norms = {"norm_momentum": norm_momentum, "norm_epsilon": norm_epsilon}
    convolutions = Convolutions(activation="relu", norm=True, **norms)
    up = Upsampling(kind=upsample, kernel_size=2 if upsample == "transposed" else 0)
    classifier = _classifier(
        backbone, input_shape, {**norms, "drop_path": drop_path}, backbone_options
    )
    kept = _by_level(classifier, input_shape)
    x = kept.pop(max(kept))
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    for level in reversed(range(1, _level_of(x, input_shape))):
        name, filters = f"dec{level}", decoder_width * 2 ** (level - 1)
        x = up(x, filters, name=f"{name}_up")
        if level in kept:
            pair = _of_one_size(kept[level], x, name=name)
            x = layers.Concatenate(name=f"{name}_concat")(pair)
        else:
            x = _cut(x, _size(input_shape, level), name=name)
        x = convolutions.pair(x, filters, name=name)
    return keras.Model(classifier.inputs[0], _logits(x, classes), name=f"unet_{backbone}")


def _classifier(name, input_shape, common, options):
    """The backbone; of `common` it is given what its builder takes."""
    module, _, function = entry(name).builder.partition(":")
    builder = getattr(import_module(module), function)
    taken = inspect.signature(builder).parameters
    common = {option: value for option, value in common.items() if option in taken}
    return builder(input_shape=input_shape, classes=2, **{**common, **options})


def _by_level(classifier, input_shape):
    """The last tensor of each stride of a classifier, by level."""
    found = (re.match(r"(stem|stage\d+)(_|$)", layer.name) for layer in classifier.layers)
    parts = list(dict.fromkeys(name[1] for name in found if name))
    kept = {_level_of(x, input_shape): x for x in features(classifier, parts).outputs}
    if None in kept or max(kept) == 1:
        raise InputError(_why_not(classifier, kept, input_shape))
    return kept


def _level_of(x, input_shape):
    """The first level of this map's size, or None."""
    levels = range(1, _DEEPEST)
    return next((n for n in levels if _size(input_shape, n) == tuple(x.shape[1:3])), None)


def _size(input_shape, level):
    return tuple(-(-side // 2 ** (level - 1)) for side in input_shape[:2])


def _why_not(classifier, kept, input_shape):
    """What to say of maps that are no halves of the picture."""
    height, width = input_shape[:2]
    step = 2 ** round(math.log2(max(height / x.shape[1] for x in kept.values())))
    near = (f"{way(height / step) * step}x{way(width / step) * step}" for way in _WAYS)
    divides = height % step == width % step == 0
    return (
        f"the maps of {classifier.name} do not halve {height}x{width} pixels evenly; take "
        f"{'' if divides else ' or '.join(near) + ', or '}another backbone"
    )


unet_mobilenet_v2 = functools.partial(unet_on, "mobilenet_v2")
unet_efficientnet_lite0 = functools.partial(unet_on, "efficientnet_lite0")
unet_resnet50 = functools.partial(unet_on, "resnet50")
unet_mobileone_s0 = functools.partial(unet_on, "mobileone_s0")
unet_mobilenet_v4_conv_small = functools.partial(unet_on, "mobilenet_v4_conv_small")
unet_mobilenet_v4_conv_medium = functools.partial(unet_on, "mobilenet_v4_conv_medium")
