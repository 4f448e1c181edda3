"""Name tables of keras.applications' weight files, in Keras 3 and in tf.keras.

EfficientNet's files also hold the constants of a normalisation layer; ours is outside the network.
"""

from __future__ import annotations

import functools

from kerascnn.preprocessing import CAFFE, IMAGENET
from kerascnn.weights.layout import Layout, Modules, Place

ORIGIN = "keras.applications"
_layout = functools.partial(Layout, origin=ORIGIN, kind="keras")
# "tf": bytes from -1 to 1.
_INCEPTION = {"mean": 127.5, "std": 127.5}


def _vgg(place: Place) -> Modules:
    names = {"head1": "fc1", "head2": "fc2", "logits": "predictions"}
    return names.get(place.role, f"block{place.stage}_conv{place.block}"), ""


def _resnet(place: Place) -> Modules:
    if place.role == "stem":
        return "conv1_conv", "conv1_bn"
    if place.role == "logits":
        return "predictions", ""
    number = "0" if place.role == "shortcut" else place.role.removeprefix("conv")
    stem = f"conv{place.stage + 1}_block{place.block}_{number}"
    return f"{stem}_conv", f"{stem}_bn"


def _mobilenet_v1(place: Place) -> Modules:
    if place.role == "stem":
        return "conv1", "conv1_bn"
    if place.role == "logits":
        return "conv_preds", ""
    kind = {"depthwise": "dw", "pointwise": "pw"}[place.role]
    stem = f"conv_{kind}_{place.index + 1}"
    return stem, f"{stem}_bn"


def _mobilenet_v2(place: Place) -> Modules:
    ends = {"stem": ("Conv1", "bn_Conv1"), "head": ("Conv_1", "Conv_1_bn")}
    if place.role in ends:
        return ends[place.role]
    if place.role == "logits":
        return "predictions", ""
    prefix = f"block_{place.index}" if place.index else "expanded_conv"
    return f"{prefix}_{place.role}", f"{prefix}_{place.role}_BN"


def _mobilenet_v3(place: Place) -> Modules:
    ends = {
        "stem": ("conv", "conv_bn"),
        "last": ("conv_1", "conv_1_bn"),
        "head": ("conv_2", ""),
        "logits": ("logits", ""),
    }
    if place.role in ends:
        return ends[place.role]
    prefix = f"expanded_conv_{place.index}" if place.index else "expanded_conv"
    if place.role.startswith("se_"):
        return f"{prefix}_squeeze_excite_{_SQUEEZE[place.role]}", ""
    return f"{prefix}_{place.role}", f"{prefix}_{place.role}_bn"


_SQUEEZE = {"se_reduce": "conv", "se_expand": "conv_1"}


def _mobilenet_v3_of_tf_keras(place: Place) -> Modules:
    ends = {
        "stem": ("Conv", "Conv/BatchNorm"),
        "last": ("Conv_1", "Conv_1/BatchNorm"),
        "head": ("Conv_2", ""),
        "logits": ("Logits", ""),
    }
    if place.role in ends:
        return ends[place.role]
    prefix = f"expanded_conv_{place.index}" if place.index else "expanded_conv"
    if place.role.startswith("se_"):
        return f"{prefix}/squeeze_excite/{_SQUEEZE[place.role].capitalize()}", ""
    return f"{prefix}/{place.role}", f"{prefix}/{place.role}/BatchNorm"


def _efficientnet(place: Place, depthwise: str = "dwconv") -> Modules:
    ends = {
        "stem": ("stem_conv", "stem_bn"),
        "head": ("top_conv", "top_bn"),
        "logits": ("predictions", ""),
    }
    if place.role in ends:
        return ends[place.role]
    prefix = f"block{place.stage}{place.letter}_"
    if place.role.startswith("se_"):
        return prefix + place.role, ""
    if place.role == "depthwise":
        return prefix + depthwise, f"{prefix}bn"
    return f"{prefix}{place.role}_conv", f"{prefix}{place.role}_bn"


def _efficientnet_v2(place: Place) -> Modules:
    return _efficientnet(place, depthwise="dwconv2")


LAYOUTS = (
    _layout(
        models=("vgg16", "vgg19"),
        signature="block1_conv1/kernel",
        modules=_vgg,
        normalisation=CAFFE,
    ),
    _layout(
        models=("resnet50", "resnet101", "resnet152"),
        signature="conv1_conv/kernel",
        modules=_resnet,
        options={
            "padding": "symmetric",
            "norm_epsilon": 1.001e-5,
            "downsample_in": "conv1",
            "small_stem": False,
        },
        normalisation=CAFFE,
    ),
    _layout(
        models=("mobilenet_v1",),
        signature="conv_dw_1/kernel",
        modules=_mobilenet_v1,
        normalisation=_INCEPTION,
    ),
    _layout(
        models=("mobilenet_v2",),
        signature="expanded_conv_project_BN/gamma",
        modules=_mobilenet_v2,
        normalisation=_INCEPTION,
    ),
    _layout(
        models=("mobilenet_v3_small", "mobilenet_v3_large"),
        signature="expanded_conv_project_bn/gamma",
        modules=_mobilenet_v3,
        normalisation=_INCEPTION,
    ),
    _layout(
        models=("mobilenet_v3_small", "mobilenet_v3_large"),
        signature="expanded_conv/project/BatchNorm/gamma",
        modules=_mobilenet_v3_of_tf_keras,
        normalisation=_INCEPTION,
    ),
    _layout(
        models=tuple(f"efficientnet_b{n}" for n in range(8)),
        signature="block1a_dwconv/kernel",
        modules=_efficientnet,
        normalisation=IMAGENET,
        ignored=r"normalization(_\d+)?/.*",
    ),
    _layout(
        models=tuple(f"efficientnet_v2_b{n}" for n in range(4)),
        signature="block4a_dwconv2/kernel",
        modules=_efficientnet_v2,
        normalisation=IMAGENET,
        ignored=r"normalization(_\d+)?/.*",
    ),
    _layout(
        models=("efficientnet_v2_s", "efficientnet_v2_m", "efficientnet_v2_l"),
        signature="block4a_dwconv2/kernel",
        modules=_efficientnet_v2,
        normalisation={"mean": 128.0, "std": 128.0},
    ),
)
