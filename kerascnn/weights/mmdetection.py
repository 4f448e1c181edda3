"""Name tables of mmdetection's RTMDets and of the CSPNeXts that they begin with (.pth).

The heads' convolutions are shared: a state dict has them once for each level, all the same, and
the first level's are read.
"""

from __future__ import annotations

import re

from kerascnn.preprocessing import IMAGENET
from kerascnn.weights.layout import NO_COUNTERS, Layout, Modules, Place

_STAGE = {
    "main": "main_conv",
    "short": "short_conv",
    "merge": "final_conv",
    "attention_excite": "attention.fc",
}
_UNIT = re.compile(r"unit(?P<number>\d+)_(?P<role>\w+)")
_IN_UNIT = {
    "conv": "conv1",
    "depthwise": "conv2.depthwise_conv",
    "pointwise": "conv2.pointwise_conv",
}
_NECK = re.compile(r"fpn(?P<way>\d)_p(?P<level>\d)_(?P<role>\w+)")
_HEAD = re.compile(r"(?P<head>box|class)_conv(?P<number>\d)(_map(?P<level>\d)_norm)?")
_PREDICTION = re.compile(r"(?P<head>box|class)_map(?P<level>\d)_predict")
_HEADS = {"box": "reg", "class": "cls"}
# The detectors' bytes come as blue, green, red; the classifiers' do not.
_BGR = {name: tuple(reversed(values)) for name, values in IMAGENET.items()} | {"order": "bgr"}


def _pair(module: str) -> Modules:
    return f"{module}.conv", f"{module}.bn"


def _in_stage(prefix: str, role: str) -> Modules:
    """Of a cross-stage partial stage."""
    if unit := _UNIT.fullmatch(role):
        number = int(unit["number"]) - 1
        return _pair(f"{prefix}.blocks.{number}.{_IN_UNIT[unit['role']]}")
    module = f"{prefix}.{_STAGE[role]}"
    return (module, "") if role == "attention_excite" else _pair(module)


def _cspnext(place: Place) -> Modules:
    if place.role in ("logits", "head"):
        return "head.fc", ""
    if place.role.startswith("stem_conv"):
        return _pair(f"backbone.stem.{int(place.role[-1]) - 1}")
    prefix = f"backbone.stage{place.stage}"
    if place.role == "down":
        return _pair(f"{prefix}.0")
    if place.role.startswith("spp_"):
        return _pair(f"{prefix}.1.conv{1 if place.role == 'spp_squeeze' else 2}")
    return _in_stage(f"{prefix}.{2 if place.stage == place.stages else 1}", place.role)


def _rtmdet(place: Place) -> Modules:
    if neck := _NECK.fullmatch(place.role):
        return _neck(int(neck["way"]), int(neck["level"]), neck["role"])
    if head := _HEAD.fullmatch(place.role):
        convs = f"bbox_head.{_HEADS[head['head']]}_convs"
        number = int(head["number"]) - 1
        if head["level"] is None:
            return f"{convs}.0.{number}.conv", ""
        return f"{convs}.{int(head['level']) - 1}.{number}.bn", ""
    if predict := _PREDICTION.fullmatch(place.role):
        return f"bbox_head.rtm_{_HEADS[predict['head']]}.{int(predict['level']) - 1}", ""
    return _cspnext(place)


def _neck(way: int, level: int, role: str) -> Modules:
    if way == 3:
        return _pair(f"neck.out_convs.{level - 3}")
    if way == 1:
        outer, inner, number = "reduce_layers", "top_down_blocks", 4 - level
    else:
        outer, inner, number = "downsamples", "bottom_up_blocks", level - 4
    if role in ("reduce", "down"):
        return _pair(f"neck.{outer}.{number}")
    return _in_stage(f"neck.{inner}.{number}", role)


_OPTIONS = {"padding": "symmetric", "norm_epsilon": 1e-5}

LAYOUTS = (
    Layout(
        origin="mmdetection",
        models=("rtmdet_tiny", "rtmdet_s"),
        kind="torch",
        signature="bbox_head.rtm_cls.0.weight",
        modules=_rtmdet,
        options=_OPTIONS,
        normalisation=_BGR,
        ignored=rf"{NO_COUNTERS}|bbox_head\.(cls|reg)_convs\.[12]\.\d\.conv\.weight",
        box_order=(1, 0, 3, 2),
    ),
    Layout(
        origin="mmdetection",
        models=("cspnext_tiny", "cspnext_s"),
        kind="torch",
        signature="head.fc.weight",
        modules=_cspnext,
        options=_OPTIONS,
        normalisation=IMAGENET,
        ignored=NO_COUNTERS,
    ),
)
