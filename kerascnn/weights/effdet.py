"""Name table of effdet's ports of Google's EfficientDet-Lites (tf_efficientdet_lite*, .pth).

The backbone is timm's. A cell's nodes are numbered down from level 6 to 3 and up from 4 to 7, its
inputs from level 3 on; a head's batch norms come by convolution, then by level.
"""

from __future__ import annotations

import re

from kerascnn.weights.layout import NO_COUNTERS, Layout, Modules, Place
from kerascnn.weights.timm import efficientnet_lite_modules

_NODE = re.compile(r"fpn(?P<cell>\d+)_p(?P<level>\d)_(?P<way>down|up)_(?P<role>.+)")
_HEAD = re.compile(r"(?P<net>box|class)_(conv(?P<number>\d)|predict)_(?P<role>.+)")
_SEPARABLE = {"depthwise": "conv_dw", "pointwise": "conv_pw"}


def _efficientdet_lite(place: Place) -> Modules:
    if place.role == "fpn_p6_lateral":
        return "fpn.resample.3.conv.conv", "fpn.resample.3.conv.bn"
    if node := _NODE.fullmatch(place.role):
        return _node(int(node["cell"]), int(node["level"]), node["way"], node["role"])
    if head := _HEAD.fullmatch(place.role):
        return _head(f"{head['net']}_net", head["number"], head["role"])
    conv, norm = efficientnet_lite_modules(place)
    return f"backbone.{conv}", f"backbone.{norm}"


def _node(cell: int, level: int, way: str, role: str) -> Modules:
    number = 6 - level if way == "down" else level
    prefix = f"fpn.cell.{cell - 1}.fnode.{number}."
    if role == "lateral":
        prefix += f"combine.resample.{level - 3}.conv."
        return f"{prefix}conv", f"{prefix}bn"
    prefix += "after_combine.conv."
    return prefix + _SEPARABLE[role], f"{prefix}bn"


def _head(net: str, number: str | None, role: str) -> Modules:
    if number is None:
        return f"{net}.predict.{_SEPARABLE[role]}", ""
    if role in _SEPARABLE:
        return f"{net}.conv_rep.{int(number) - 1}.{_SEPARABLE[role]}", ""
    level = int(role.removeprefix("p").removesuffix("_norm"))
    return f"{net}.bn_rep.{int(number) - 1}.{level - 3}.bn", ""


LAYOUTS = (
    Layout(
        origin="effdet",
        models=tuple(f"efficientdet_lite{n}" for n in range(5)),
        kind="torch",
        signature="fpn.resample.3.conv.conv.weight",
        modules=_efficientdet_lite,
        normalisation={"mean": 127.5, "std": 127.5},
        ignored=NO_COUNTERS,
    ),
)
