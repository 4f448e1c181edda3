"""SSDLite: MobileNetV2 (arXiv:1801.04381, section 6.2) and V3 (arXiv:1905.02244, section 6.3) with
the head of SSD (Liu et al., arXiv:1512.02325) in depthwise separable convolutions; and the same on
MobileNetV4 (arXiv:2404.10518) and MobileOne (arXiv:2206.04040).

Six maps are predicted from: the expansion in the block of the last stride (1/16 of the picture's
size), the backbone's last convolution (1/32), and four extra blocks, each of which halves the map.
MobileNetV4's are found as V3's are. MobileOne has no expansions: its maps are the ends of the last
two stages.

The networks are torchvision's `ssdlite320_mobilenet_v3_large` and what it becomes on the
other backbones: six anchors in every cell of every map, a background logit, ReLU6 and batch-norm
epsilon 1e-3 outside the backbone. TensorFlow's Object Detection API, with which the papers
measured, has three anchors in a cell of the first map; at 90 classes its ssdlite_mobilenet_v2 is
smaller by the channels of the other three.

Deviations: the stem halves pictures of any size; batch-norm momentum is the zoo's; padding is
"same" by default, torchvision's is "symmetric"; with alpha the extra blocks narrow too, as the
Object Detection API's do.
"""

from __future__ import annotations

import functools

import keras
from keras import layers

from kerascnn import blocks
from kerascnn.classification import mobilenet
from kerascnn.classification.mobilenet_v4 import mobilenet_v4
from kerascnn.classification.mobileone import mobileone
from kerascnn.detection import heads
from kerascnn.zoo import features

# Output channels of the extra blocks, and the least that alpha leaves of them.
EXTRAS = (512, 256, 256, 128)
NARROWEST = 16
# Aspect ratios 1, 2, 1/2, 3 and 1/3, and 1 again at a size between this map's and the next one's.
ANCHORS_A_CELL = 6
# Of the initial kernels outside the backbone (torchvision).
STDDEV = 0.03


def ssdlite_mobilenet_v2(
    *,
    input_shape=(320, 320, 3),
    classes=90,
    alpha=1.0,
    activation="relu6",
    drop_path=0.0,
    padding="same",
    norm_momentum=0.99,
    norm_epsilon=1e-3,
) -> keras.Model:
    """Build SSDLite on MobileNetV2.

    Args:
        input_shape: (height, width, channels).
        classes: without the background, which has a logit of its own.
        alpha: width multiplier of the backbone and of the extra blocks.
        activation: of the backbone; the layers behind it have ReLU6.
        drop_path: at the backbone's last block, growing linearly from 0 at the first.
        padding: "same" (TensorFlow) or "symmetric" (PyTorch).
        norm_momentum, norm_epsilon: of the batch norms; a momentum of 0.9 suits runs of a few
            hundred steps.

    Returns:
        A functional model from (batch, height, width, channels) to coded boxes (batch, anchors, 4)
        and logits (batch, anchors, 1 + classes).
    """
    norms = {"padding": padding, "norm_momentum": norm_momentum, "norm_epsilon": norm_epsilon}
    backbone = mobilenet.mobilenet_v2(
        input_shape=input_shape,
        classes=1,
        alpha=alpha,
        stem_strides=2,
        activation=activation,
        drop_path=drop_path,
        **norms,
    )
    conventions = blocks.Conventions(activation="relu6", **norms)
    maps = [_last_expansion(backbone), "head_act"]
    return _ssdlite("ssdlite_mobilenet_v2", backbone, maps, conventions, classes, alpha)


def ssdlite_mobilenet_v3(
    name: str,
    *,
    input_shape=(320, 320, 3),
    classes=90,
    alpha=1.0,
    minimalistic=False,
    reduced_tail=True,
    activation=None,
    drop_path=0.0,
    padding="same",
    norm_momentum=0.99,
    norm_epsilon=1e-3,
) -> keras.Model:
    """Build SSDLite on a MobileNetV3.

    Args:
        name: "ssdlite_mobilenet_v3_small" or "ssdlite_mobilenet_v3_large".
        input_shape: (height, width, channels).
        classes: without the background, which has a logit of its own.
        alpha: width multiplier of the backbone and of the extra blocks.
        minimalistic: no squeeze-excite, no hard-swish, no 5x5 kernels in the backbone.
        reduced_tail: half as many channels behind the backbone's last stride, as published;
            weights of a classifier need False.
        activation: in place of hard-swish, where the backbone's table has it; the layers behind it
            have ReLU6.
        drop_path: at the backbone's last block, growing linearly from 0 at the first.
        padding: "same" (TensorFlow) or "symmetric" (PyTorch).
        norm_momentum, norm_epsilon: of the batch norms; a momentum of 0.9 suits runs of a few
            hundred steps.

    Returns:
        A functional model from (batch, height, width, channels) to coded boxes (batch, anchors, 4)
        and logits (batch, anchors, 1 + classes).
    """
    norms = {"padding": padding, "norm_momentum": norm_momentum, "norm_epsilon": norm_epsilon}
    backbone = mobilenet.mobilenet_v3(
        name.removeprefix("ssdlite_"),
        input_shape=input_shape,
        classes=1,
        alpha=alpha,
        minimalistic=minimalistic,
        reduced_tail=reduced_tail,
        stem_strides=2,
        activation=activation,
        drop_path=drop_path,
        **norms,
    )
    conventions = blocks.Conventions(activation="relu6", **norms)
    maps = [_last_expansion(backbone), "last_act"]
    return _ssdlite(name, backbone, maps, conventions, classes, alpha)


def ssdlite_mobilenet_v4(
    name: str,
    *,
    input_shape=(320, 320, 3),
    classes=90,
    alpha=1.0,
    activation=None,
    drop_path=0.0,
    padding="same",
    norm_momentum=0.99,
    norm_epsilon=1e-3,
) -> keras.Model:
    """Build SSDLite on a MobileNetV4.

    Args:
        name: "ssdlite_" and a key of `mobilenet_v4.MOBILENETS_V4`.
        input_shape: (height, width, channels).
        classes: without the background, which has a logit of its own.
        alpha: width multiplier of the backbone and of the extra blocks.
        activation: of the backbone; the layers behind it have ReLU6.
        drop_path: at the backbone's last block, growing linearly from 0 at the first.
        padding: "same" (TensorFlow) or "symmetric" (PyTorch).
        norm_momentum, norm_epsilon: of the batch norms; a momentum of 0.9 suits runs of a few
            hundred steps.

    Returns:
        A functional model from (batch, height, width, channels) to coded boxes (batch, anchors, 4)
        and logits (batch, anchors, 1 + classes).
    """
    norms = {"padding": padding, "norm_momentum": norm_momentum, "norm_epsilon": norm_epsilon}
    backbone = mobilenet_v4(
        name.removeprefix("ssdlite_"),
        input_shape=input_shape,
        classes=1,
        alpha=alpha,
        stem_strides=2,
        activation=activation,
        drop_path=drop_path,
        **norms,
    )
    conventions = blocks.Conventions(activation="relu6", **norms)
    maps = [_last_expansion(backbone), "last_act"]
    return _ssdlite(name, backbone, maps, conventions, classes, alpha)


def ssdlite_mobileone(
    name: str,
    *,
    input_shape=(320, 320, 3),
    classes=90,
    alpha=1.0,
    branches=None,
    activation="relu",
    padding="same",
    norm_momentum=0.99,
    norm_epsilon=1e-3,
) -> keras.Model:
    """Build SSDLite on a MobileOne.

    Args:
        name: "ssdlite_" and a key of `mobileone.MOBILEONES`.
        input_shape: (height, width, channels).
        classes: without the background, which has a logit of its own.
        alpha: width multiplier of the backbone and of the extra blocks.
        branches: convolutions in a sum of branches of the backbone, which files have as one.
        activation: of the backbone; the layers behind it have ReLU6.
        padding: "same" (TensorFlow) or "symmetric" (PyTorch).
        norm_momentum, norm_epsilon: of the batch norms; a momentum of 0.9 suits runs of a few
            hundred steps.

    Returns:
        A functional model from (batch, height, width, channels) to coded boxes (batch, anchors, 4)
        and logits (batch, anchors, 1 + classes).
    """
    norms = {"padding": padding, "norm_momentum": norm_momentum, "norm_epsilon": norm_epsilon}
    backbone = mobileone(
        name.removeprefix("ssdlite_"),
        input_shape=input_shape,
        classes=1,
        alpha=alpha,
        branches=branches,
        stem_strides=2,
        activation=activation,
        **norms,
    )
    conventions = blocks.Conventions(activation="relu6", **norms)
    return _ssdlite(name, backbone, ["stage3", "stage4"], conventions, classes, alpha)


def _ssdlite(name, backbone, first_maps, conventions, classes, alpha):
    """Extra blocks and heads behind a backbone, of which `first_maps` are the names of two maps."""
    backbone = features(backbone, first_maps)
    maps = list(backbone.outputs)
    for number, channels in enumerate(EXTRAS, 1):
        narrow = max(NARROWEST, int(alpha * channels))
        maps.append(_extra_block(maps[-1], conventions, narrow, name=f"extra{number}"))
    outputs = []
    for role, values, output in (("box", 4, "boxes"), ("class", 1 + classes, "logits")):
        predictions = [
            _prediction(x, conventions, values, name=f"{role}_map{number}")
            for number, x in enumerate(maps, 1)
        ]
        outputs.append(heads.joined(predictions, name=output))
    model = keras.Model(backbone.inputs[0], outputs, name=name)
    _draw_kernels(model)
    return model


def _last_expansion(backbone):
    """The expansion in the block of the last stride."""
    strided = [x.name for x in backbone.layers if getattr(x, "strides", None) == (2, 2)]
    return f"{strided[-1].removesuffix('_depthwise')}_expand_act"


def _extra_block(x, conventions, channels, *, name):
    """Squeeze to half the channels, halve the map, expand; (batch, ceil(h/2), ceil(w/2), c)."""
    x = conventions.conv(x, channels // 2, name=f"{name}_squeeze")
    x = conventions.depthwise(x, strides=2, name=f"{name}_depthwise")
    return conventions.conv(x, channels, name=f"{name}_expand")


def _prediction(x, conventions, values, *, name):
    """What one head says of one map: (batch, anchors of the map, values)."""
    x = conventions.depthwise(x, name=f"{name}_depthwise")
    conv = layers.Conv2D(
        ANCHORS_A_CELL * values, 1, dtype=heads.output_dtype(), name=f"{name}_predict"
    )
    return heads.rows(conv(x), values, name=f"{name}_rows")


def _draw_kernels(model):
    """Draw the kernels outside the backbone anew, as torchvision does."""
    for layer in model.layers:
        if layer.name.startswith(("extra", "box", "class")) and hasattr(layer, "kernel"):
            kernel = keras.random.normal(layer.kernel.shape, stddev=STDDEV)
            layer.kernel.assign(kernel)


ssdlite_mobilenet_v3_small = functools.partial(ssdlite_mobilenet_v3, "ssdlite_mobilenet_v3_small")
ssdlite_mobilenet_v3_large = functools.partial(ssdlite_mobilenet_v3, "ssdlite_mobilenet_v3_large")
ssdlite_mobilenet_v4_conv_small = functools.partial(
    ssdlite_mobilenet_v4, "ssdlite_mobilenet_v4_conv_small"
)
ssdlite_mobilenet_v4_conv_medium = functools.partial(
    ssdlite_mobilenet_v4, "ssdlite_mobilenet_v4_conv_medium"
)
ssdlite_mobileone_s0 = functools.partial(ssdlite_mobileone, "ssdlite_mobileone_s0")
