"""Name tables of timm's checkpoints (.safetensors or .pth) that torchvision has no model for.

timm has two SE-ResNets: the authors' own (`legacy_`, the stride in the first 1x1 convolution and a
stem pooling that is not padded in front) and its newer one. Their names tell them apart. Its two
EfficientNet-Lites have equal names and shapes: `tf_efficientnet_lite*` are Google's weights, which
are assumed here; for the weights without `tf_` ask for padding="symmetric" and norm_epsilon=1e-5.
Of its MobileNetV3s and EfficientNets its own are assumed; for `tf_mobilenetv3_*` and
`tf_efficientnet_b*` ask for padding="same" and norm_epsilon=1e-3.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from kerascnn.preprocessing import IMAGENET
from kerascnn.weights.layout import NO_COUNTERS, Layout, Modules, Place
from kerascnn.weights.torchvision import resnet_modules

_layout = functools.partial(
    Layout, origin="timm", kind="torch", normalisation=IMAGENET, ignored=NO_COUNTERS
)
_SYMMETRIC = {"padding": "symmetric", "norm_epsilon": 1e-5}
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


def _with_squeeze(place: Place) -> Modules:
    if place.role.startswith("se_"):
        layer = place.role.replace("se_", "se.conv_")
        return f"blocks.{place.stage - 1}.{place.block - 1}.{layer}", ""
    return efficientnet_lite_modules(place)


def _mobilenet_v3(place: Place) -> Modules:
    ends = {
        "last": (f"blocks.{place.stages}.0.conv", f"blocks.{place.stages}.0.bn1"),
        "head": ("conv_head", ""),
    }
    if place.role in ends:
        return ends[place.role]
    return _with_squeeze(place)


# By role: the modules of a layer and of its norm in a block of MobileNetV4.
_V4 = {
    "conv": ("conv", "bn1"),
    "first": ("dw_start.conv", "dw_start.bn"),
    "expand": ("pw_exp.conv", "pw_exp.bn"),
    "depthwise": ("dw_mid.conv", "dw_mid.bn"),
    "project": ("pw_proj.conv", "pw_proj.bn"),
    "scale": ("layer_scale", ""),
    "attention_norm": ("norm", ""),
    "query": ("attn.query.proj", ""),
    "key_down": ("attn.key.down_conv", "attn.key.norm"),
    "key": ("attn.key.proj", ""),
    "value_down": ("attn.value.down_conv", "attn.value.norm"),
    "value": ("attn.value.proj", ""),
    "out": ("attn.output.proj", ""),
}
_V4_FUSED = {"expand": ("conv_exp", "bn1"), "project": ("conv_pwl", "bn2")}


def _mobilenet_v4(place: Place) -> Modules:
    ends = {
        "stem": ("conv_stem", "bn1"),
        "last": (f"blocks.{place.stages}.0.conv", f"blocks.{place.stages}.0.bn1"),
        "head": ("conv_head", "norm_head"),
        "logits": ("classifier", ""),
    }
    if place.role in ends:
        return ends[place.role]
    # The fused bottleneck is the first stage, where there is one.
    roles = _V4 | _V4_FUSED if place.stage == 1 else _V4
    conv, norm = roles[place.role]
    prefix = f"blocks.{place.stage - 1}.{place.block - 1}."
    return prefix + conv, norm and prefix + norm


class _MobileNetV4(Layout):
    """Layer scale is a vector of theirs and a depthwise 1x1 convolution of ours."""

    def read(self, tensors: Mapping[str, Any]) -> tuple[Layout, Mapping[str, Any]] | None:
        if self.signature not in tensors:
            return None
        scale = ".layer_scale.gamma"
        return self, {
            name.replace(scale, ".layer_scale.weight"): (
                tensor.reshape(-1, 1, 1, 1) if name.endswith(scale) else tensor
            )
            for name, tensor in tensors.items()
        }


# By role: the modules of a layer and of its norm in a block of RepViT.
_REPVIT = {
    "mixer_conv": ("token_mixer.conv.c", "token_mixer.conv.bn"),
    "mixer_scale": ("token_mixer.conv1", ""),
    "mixer_norm": ("token_mixer.bn", ""),
    "se_reduce": ("se.fc1", ""),
    "se_expand": ("se.fc2", ""),
    "expand": ("channel_mixer.conv1.c", "channel_mixer.conv1.bn"),
    "project": ("channel_mixer.conv2.c", "channel_mixer.conv2.bn"),
}
# Of those that halve the map, behind their own block.
_REPVIT_HALVES = {
    "down": "spatial_downsample",
    "widen": "channel_downsample",
    "ffn_expand": "ffn.conv1",
    "ffn_project": "ffn.conv2",
}


def _repvit(place: Place) -> Modules:
    ends = {
        "stem_conv1": ("stem.conv1.c", "stem.conv1.bn"),
        "stem_conv2": ("stem.conv2.c", "stem.conv2.bn"),
        "head_norm": ("head.head.bn", ""),
        # Nothing of ours; a backbone has no use for the norm.
        "head": ("head.head.bn", ""),
        "logits": ("head.head.l", ""),
    }
    if place.role in ends:
        return ends[place.role]
    stage = f"stages.{place.stage - 1}."
    if place.role in _REPVIT_HALVES:
        module = f"{stage}downsample.{_REPVIT_HALVES[place.role]}"
        return f"{module}.c", f"{module}.bn"
    halves = place.stage > 1
    prefix = f"{stage}blocks.{place.block - 1 - halves}."
    if halves and place.block == 1:
        prefix = f"{stage}downsample.pre_block."
    layer, norm = _REPVIT[place.role]
    return prefix + layer, norm and prefix + norm


class _RepViT(Layout):
    """The authors' two heads, whose mean classifies, as the one that gives it."""

    def read(self, tensors: Mapping[str, Any]) -> tuple[Layout, Mapping[str, Any]] | None:
        if self.signature not in tensors:
            return None
        first, second = "head.head.", "head.head_dist."
        if f"{second}l.weight" not in tensors:
            return self, tensors
        kept = {name: x for name, x in tensors.items() if not name.startswith((first, second))}
        return self, kept | _mean_of_heads(tensors, (first, second), epsilon=1e-5)


def _mean_of_heads(
    tensors: Mapping[str, Any], heads: tuple[str, str], *, epsilon: float
) -> dict[str, np.ndarray]:
    """Two norms with a dense layer each as one of both, whose norm has the first's statistics."""

    def read(head: str, name: str) -> np.ndarray:
        return np.asarray(tensors[head + name], np.float64)

    mean, variance = (read(heads[0], f"bn.running_{kind}") for kind in ("mean", "var"))
    deviation = np.sqrt(variance + epsilon)
    kernel = np.zeros_like(read(heads[0], "l.weight"))
    bias = np.zeros_like(read(heads[0], "l.bias"))
    for head in heads:
        gain = read(head, "bn.weight") / np.sqrt(read(head, "bn.running_var") + epsilon)
        shift = read(head, "bn.bias") + (mean - read(head, "bn.running_mean")) * gain
        kernel = kernel + read(head, "l.weight") * (gain * deviation) / len(heads)
        bias = bias + (read(head, "l.bias") + read(head, "l.weight") @ shift) / len(heads)
    merged = {
        "bn.weight": np.ones_like(mean), "bn.bias": np.zeros_like(mean),
        "bn.running_mean": mean, "bn.running_var": variance,
        "l.weight": kernel, "l.bias": bias,
    }  # fmt: skip
    return {heads[0] + name: np.asarray(array, np.float32) for name, array in merged.items()}


def _mobileone(place: Place) -> Modules:
    if place.role in ("head", "logits"):  # of which there is one alone
        return "head.fc", ""
    if place.stage:
        # A depthwise unit and a pointwise one by turns.
        unit, _, branch = place.role.partition("_")
        number = 2 * (place.block - 1) + (unit == "pointwise")
        prefix = f"stages.{place.stage - 1}.{number}."
    else:
        prefix, branch = "stem.", place.role.removeprefix("stem").lstrip("_")
    if branch == "identity_norm":
        return f"{prefix}identity", ""
    if branch == "scale":
        module = "conv_scale"
    else:
        # A unit of one branch has the name of the unit.
        module = f"conv_kxk.{int(branch.removeprefix('conv') or 1) - 1}"
    return f"{prefix}{module}.conv", f"{prefix}{module}.bn"


LAYOUTS = (
    _RepViT(
        origin="timm",
        kind="torch",
        models=("repvit_m0_9", "repvit_m1_0"),
        signature="stages.0.blocks.0.token_mixer.conv.c.weight",
        modules=_repvit,
        options=_SYMMETRIC,
        normalisation=IMAGENET,
        ignored=NO_COUNTERS,
    ),
    _layout(
        models=tuple(f"mobileone_s{n}" for n in range(4)),
        signature="stem.conv_kxk.0.conv.weight",
        modules=_mobileone,
        options=_SYMMETRIC,
    ),
    _MobileNetV4(
        origin="timm",
        kind="torch",
        models=(
            *(f"mobilenet_v4_conv_{size}" for size in ("small", "medium", "large")),
            *(f"mobilenet_v4_hybrid_{size}" for size in ("medium", "large")),
        ),
        signature="norm_head.weight",
        modules=_mobilenet_v4,
        options=_SYMMETRIC,
        normalisation=IMAGENET,
        ignored=NO_COUNTERS,
    ),
    _layout(
        models=("mobilenet_v3_small", "mobilenet_v3_large"),
        signature="blocks.0.0.conv_dw.weight",
        modules=_mobilenet_v3,
        options=_SYMMETRIC,
    ),
    _layout(
        models=tuple(f"efficientnet_b{n}" for n in range(8)),
        signature="blocks.0.0.conv_dw.weight",
        modules=_with_squeeze,
        options=_SYMMETRIC,
    ),
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
