"""Name tables of timm's checkpoints (.safetensors or .pth) that torchvision has no model for.

timm has two SE-ResNets: the authors' own (`legacy_`, the stride in the first 1x1 convolution and a
stem pooling that is not padded in front) and its newer one. Their names tell them apart. Its two
EfficientNet-Lites have equal names and shapes: `tf_efficientnet_lite*` are Google's weights, which
are assumed here; for the weights without `tf_` ask for padding="symmetric" and norm_epsilon=1e-5.
"""

from __future__ import annotations

import functools

from kerascnn.weights.layout import IMAGENET, NO_COUNTERS, Layout, Modules, Place
from kerascnn.weights.torchvision import resnet_modules

_layout = functools.partial(
    Layout, origin="timm", kind="torch", normalisation=IMAGENET, ignored=NO_COUNTERS
)
_MODERN = {"padding": "symmetric", "norm_epsilon": 1e-5, "small_stem": False}
_LEGACY = _MODERN | {"pool_padding": "ceil"}
_SQUEEZE = {"se_reduce": "fc1", "se_expand": "fc2"}


def _se_resnet(place: Place) -> Modules:
    if place.role in _SQUEEZE:
        return f"layer{place.stage}.{place.block - 1}.se.{_SQUEEZE[place.role]}", ""
    return resnet_modules(place)


def _legacy_se_resnet(place: Place) -> Modules:
    if place.role.startswith("stem"):
        number = place.role.removeprefix("stem_conv") if place.role != "stem" else "1"
        return f"layer0.conv{number}", f"layer0.bn{number}"
    if place.role == "logits":
        return "last_linear", ""
    if place.role in _SQUEEZE:
        return f"layer{place.stage}.{place.block - 1}.se_module.{_SQUEEZE[place.role]}", ""
    return resnet_modules(place)


def efficientnet_lite_modules(place: Place) -> Modules:
    ends = {
        "stem": ("conv_stem", "bn1"),
        "head": ("conv_head", "bn2"),
        "logits": ("classifier", ""),
    }
    if place.role in ends:
        return ends[place.role]
    prefix = f"blocks.{place.stage - 1}.{place.block - 1}."
    expands = "expand" in place.roles
    conv = {
        "expand": "conv_pw",
        "depthwise": "conv_dw",
        "project": "conv_pwl" if expands else "conv_pw",
    }[place.role]
    number = ("expand", "depthwise", "project").index(place.role) + expands
    return prefix + conv, f"{prefix}bn{number}"


LAYOUTS = (
    _layout(
        models=("se_resnet50",),
        signature="layer0.conv1.weight",
        modules=_legacy_se_resnet,
        options=_LEGACY | {"downsample_in": "conv1"},
    ),
    _layout(
        models=("se_resnext50_32x4d", "senet154"),
        signature="layer0.conv1.weight",
        modules=_legacy_se_resnet,
        options=_LEGACY,
    ),
    _layout(
        models=("se_resnet50", "se_resnext50_32x4d"),
        signature="layer1.0.se.fc1.weight",
        modules=_se_resnet,
        options=_MODERN | {"downsample_in": "conv2"},
    ),
    _layout(
        models=tuple(f"efficientnet_lite{n}" for n in range(5)),
        signature="blocks.0.0.conv_dw.weight",
        modules=efficientnet_lite_modules,
        normalisation={"mean": 127.5, "std": 127.5},
    ),
)
