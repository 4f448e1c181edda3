"""Name tables of torchvision's checkpoints (.pth, or the same as .safetensors).

Its SSDLite cuts the backbone in two behind the expansion of the last strided block. Its detectors
code a box as dx, dy, dw, dh.

Its R-CNNs changed names with version 0.13 ("rpn.head.conv.weight" became
"rpn.head.conv.0.0.weight"). The published COCO_V1 files have the old ones, and those with a
ResNet-50 were trained with frozen batch norms of epsilon 0, which their models keep; all others
have 1e-5 (github.com/pytorch/vision, pull requests 2933 and 2940). A state dict does not tell, so
the names decide: the old ones mean epsilon 0 with a ResNet-50. Ask for norm_epsilon=0.0 where
COCO_V1, or what was tuned from it, was saved again under the new names; for norm_epsilon=1e-5 where
an older version trained from ImageNet's weights.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from kerascnn.preprocessing import IMAGENET
from kerascnn.weights.layout import NO_COUNTERS, Layout, Modules, Place

_layout = functools.partial(
    Layout, origin="torchvision", kind="torch", normalisation=IMAGENET, ignored=NO_COUNTERS
)
# torch.nn.BatchNorm2d's own epsilon, where a model does not set one.
_TORCH = {"padding": "symmetric", "norm_epsilon": 1e-5}
# TensorFlow's epsilon, which the models that were first published there keep.
_TENSORFLOWS = {"padding": "symmetric", "norm_epsilon": 1e-3}


def _alexnet(place: Place) -> Modules:
    dense = {"head1": 1, "head2": 4, "logits": 6}
    if place.role in dense:
        return f"classifier.{dense[place.role]}", ""
    return f"features.{(0, 3, 6, 8, 10)[place.stage]}", ""


def _googlenet(place: Place) -> Modules:
    if place.role == "stem":
        return "conv1.conv", "conv1.bn"
    if place.role == "logits":
        return "fc", ""
    if place.role.startswith("aux"):
        head, _, role = place.role.partition("_")
        conv, norm = {
            "conv": ("conv.conv", "conv.bn"), "head": ("fc1", ""), "logits": ("fc2", ""),
        }[role]  # fmt: skip
        return f"{head}.{conv}", f"{head}.{norm}" if norm else ""
    if place.stage == 2:
        module = {"reduce": "conv2", "conv": "conv3"}[place.role]
    else:
        branch = {
            "conv1": "branch1", "conv3_reduce": "branch2.0", "conv3": "branch2.1",
            "conv5_reduce": "branch3.0", "conv5": "branch3.1", "pool_project": "branch4.1",
        }[place.role]  # fmt: skip
        module = f"inception{place.stage}{place.letter}.{branch}"
    return f"{module}.conv", f"{module}.bn"


def _vgg(place: Place) -> Modules:
    dense = {"head1": 0, "head2": 3, "logits": 6}
    if place.role in dense:
        return f"classifier.{dense[place.role]}", ""
    # Convolutions, their norms and activations, and one pooling a stage, numbered through.
    number = place.index * (3 if place.normed else 2) + place.stage - 1
    return f"features.{number}", f"features.{number + 1}" if place.normed else ""


def resnet_modules(place: Place) -> Modules:
    ends = {"stem": ("conv1", "bn1"), "logits": ("fc", "")}
    if place.role in ends:
        return ends[place.role]
    prefix = f"layer{place.stage}.{place.block - 1}."
    if place.role == "shortcut":
        return f"{prefix}downsample.0", f"{prefix}downsample.1"
    return prefix + place.role, prefix + place.role.replace("conv", "bn")


def _mobilenet_v2(place: Place) -> Modules:
    if place.role == "logits":
        return "classifier.1", ""
    if place.role in ("stem", "head"):
        number = 0 if place.role == "stem" else place.blocks + 1
        return f"features.{number}.0", f"features.{number}.1"
    prefix = f"features.{place.index + 1}.conv."
    if place.role == "project":
        at = place.project_at
        return f"{prefix}{at}", f"{prefix}{at + 1}"
    at = 0 if place.role == "expand" else place.depthwise_at
    return f"{prefix}{at}.0", f"{prefix}{at}.1"


def _mobilenet_v3(place: Place) -> Modules:
    dense = {"head": "classifier.0", "logits": "classifier.3"}
    if place.role in dense:
        return dense[place.role], ""
    if place.role in ("stem", "last"):
        number = 0 if place.role == "stem" else place.blocks + 1
        return f"features.{number}.0", f"features.{number}.1"
    return _mbconv(place, f"features.{place.index + 1}.block.")


def _efficientnet(place: Place) -> Modules:
    if place.role == "logits":
        return "classifier.1", ""
    if place.role in ("stem", "head"):
        number = 0 if place.role == "stem" else place.stages + 1
        return f"features.{number}.0", f"features.{number}.1"
    return _mbconv(place, f"features.{place.stage}.{place.block - 1}.block.")


def _mbconv(place: Place, prefix: str) -> Modules:
    if place.role.startswith("se_"):
        layer = {"se_reduce": "fc1", "se_expand": "fc2"}[place.role]
        return f"{prefix}{place.depthwise_at + 1}.{layer}", ""
    at = {"expand": 0, "depthwise": place.depthwise_at, "project": place.project_at}[place.role]
    return f"{prefix}{at}.0", f"{prefix}{at}.1"


_SSD_HEADS = {"box": "head.regression_head", "class": "head.classification_head"}
_EXTRA = ("squeeze", "depthwise", "expand")


def _ssdlite(place: Place) -> Modules:
    part, _, role = place.role.partition("_")
    if part.startswith("extra"):
        number = int(part.removeprefix("extra")) - 1
        prefix = f"backbone.extra.{number}.{_EXTRA.index(role)}."
        return f"{prefix}0", f"{prefix}1"
    if part in _SSD_HEADS:
        level, _, role = role.partition("_")
        prefix = f"{_SSD_HEADS[part]}.module_list.{int(level.removeprefix('map')) - 1}."
        return (f"{prefix}1", "") if role == "predict" else (f"{prefix}0.0", f"{prefix}0.1")
    return _ssdlite_backbone(place)


def _ssdlite_backbone(place: Place) -> Modules:
    if place.role == "last":  # both V3s have three blocks behind the cut
        return "backbone.features.1.3.0", "backbone.features.1.3.1"
    if place.stage < place.stages:
        conv, norm = _mobilenet_v3(place)
        ahead = "backbone.features.0."
        return conv.replace("features.", ahead), norm.replace("features.", ahead)
    if place.block > 1:
        return _mbconv(place, f"backbone.features.1.{place.block - 1}.block.")
    if place.role == "expand":
        prefix = f"backbone.features.0.{place.index + 1}."
        return f"{prefix}0", f"{prefix}1"
    return _mbconv(place, "backbone.features.1.0.")


_PYRAMID = re.compile(r"fpn_p(?P<level>\d)_(?P<role>lateral|output)")
_BLOCKS = {"lateral": "inner_blocks", "output": "layer_blocks"}
_RCNN_HEADS = {
    "rpn_logits": "rpn.head.cls_logits",
    "rpn_codes": "rpn.head.bbox_pred",
    "box_head1": "roi_heads.box_head.fc6",
    "box_head2": "roi_heads.box_head.fc7",
    "class_logits": "roi_heads.box_predictor.cls_score",
    "box_codes": "roi_heads.box_predictor.bbox_pred",
    "mask_deconv": "roi_heads.mask_predictor.conv5_mask",
    "mask_logits": "roi_heads.mask_predictor.mask_fcn_logits",
}


def _rcnn(
    place: Place, *, body: Callable[[Place], Modules], finest: int, old_names: bool
) -> Modules:
    """Modules of an R-CNN on a backbone whose first map in the pyramid is level `finest`."""
    if place.role in _RCNN_HEADS:
        return _RCNN_HEADS[place.role], ""
    if place.role == "rpn_conv":
        return "rpn.head.conv" if old_names else "rpn.head.conv.0.0", ""
    if place.role.startswith("mask_conv"):
        number = int(place.role.removeprefix("mask_conv"))
        name = f"mask_fcn{number}" if old_names else f"{number - 1}.0"
        return f"roi_heads.mask_head.{name}", ""
    if match := _PYRAMID.fullmatch(place.role):
        module = f"backbone.fpn.{_BLOCKS[match['role']]}.{int(match['level']) - finest}"
        return module if old_names else f"{module}.0", ""
    conv, norm = (module.removeprefix("features.") for module in body(place))
    return f"backbone.body.{conv}", f"backbone.body.{norm}"


def _rcnn_layouts(
    backbone: str, body: Callable[[Place], Modules], finest: int, old_epsilon: float, **options
) -> tuple[Layout, ...]:
    """Of Faster and Mask R-CNN on one backbone, under the new names and the old ones."""
    return tuple(
        _layout(
            models=tuple(f"{kind}_rcnn_{backbone}_fpn" for kind in ("faster", "mask")),
            signature="rpn.head.conv.weight" if old_names else "rpn.head.conv.0.0.weight",
            modules=functools.partial(_rcnn, body=body, finest=finest, old_names=old_names),
            options=_TORCH | {"norm_epsilon": old_epsilon if old_names else 1e-5} | options,
            box_order=(1, 0, 3, 2),
        )
        for old_names in (False, True)
    )


LAYOUTS = (
    _layout(
        models=("alexnet",),
        signature="features.10.weight",
        modules=_alexnet,
    ),
    _layout(
        models=("googlenet",),
        signature="inception3a.branch1.conv.weight",
        modules=_googlenet,
        options=_TENSORFLOWS,
        # Its `transform_input` turns the usual normalisation into this one.
        normalisation={"mean": 127.5, "std": 127.5},
        ignored=rf"aux[12]\..*|{NO_COUNTERS}",
    ),
    _layout(
        models=("vgg16", "vgg19"),
        signature="features.1.running_mean",
        modules=_vgg,
        options={"batch_norm": True, "norm_epsilon": 1e-5},
    ),
    _layout(
        models=("vgg16", "vgg19"),
        signature="features.2.weight",
        modules=_vgg,
    ),
    _layout(
        models=(
            "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
            "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d",
        ),
        signature="layer1.0.conv1.weight",
        modules=resnet_modules,
        options=_TORCH | {"downsample_in": "conv2", "small_stem": False},
    ),
    _layout(
        models=("mobilenet_v2",),
        signature="features.1.conv.0.0.weight",
        modules=_mobilenet_v2,
        options=_TORCH,
    ),
    _layout(
        models=("mobilenet_v3_small", "mobilenet_v3_large"),
        signature="features.1.block.0.0.weight",
        modules=_mobilenet_v3,
        options=_TENSORFLOWS,
    ),
    _layout(
        models=tuple(f"efficientnet_b{n}" for n in range(5)),
        signature="features.1.0.block.0.0.weight",
        modules=_efficientnet,
        options=_TORCH,
    ),
    _layout(
        models=(
            "efficientnet_b5", "efficientnet_b6", "efficientnet_b7",
            "efficientnet_v2_s", "efficientnet_v2_m",
        ),
        signature="features.1.0.block.0.0.weight",
        modules=_efficientnet,
        options=_TENSORFLOWS,
    ),
    _layout(
        models=("efficientnet_v2_l",),
        signature="features.1.0.block.0.0.weight",
        modules=_efficientnet,
        options=_TENSORFLOWS,
        normalisation={"mean": 127.5, "std": 127.5},
    ),
    _layout(
        models=("ssdlite_mobilenet_v3_small", "ssdlite_mobilenet_v3_large"),
        signature="head.classification_head.module_list.0.0.0.weight",
        modules=_ssdlite,
        options=_TENSORFLOWS,
        normalisation={"mean": 127.5, "std": 127.5},
        box_order=(1, 0, 3, 2),
    ),
    *_rcnn_layouts("resnet50", resnet_modules, 2, 0.0, downsample_in="conv2"),
    *_rcnn_layouts("mobilenet_v3_large", _mobilenet_v3, 4, 1e-5),
)  # fmt: skip
