"""Options as they are read from the source are those that the builders have."""

from __future__ import annotations

import dataclasses
import importlib
import inspect

import pytest

from kerascnn import zoo
from kerascnn.catalogue import ENTRIES
from kerascnn.errors import InputError
from training.engine import options


def parameters(name: str) -> dict[str, object]:
    """By name with their defaults, of a builder and of the one that it passes others on to."""
    entry = ENTRIES[name]
    module, _, function = entry.builder.partition(":")
    own = inspect.signature(getattr(importlib.import_module(module), function)).parameters
    passes_on = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in own.values())
    found = {n: p.default for n, p in own.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    if passes_on and entry.backbone:
        found = {**parameters(entry.backbone), **found}
    return {n: v for n, v in found.items() if n not in ("input_shape", "classes", "name")}


@pytest.mark.parametrize("name", ENTRIES)
def test_options_of_networks(name: str) -> None:
    found = options.of_network(name)
    wanted = parameters(name)
    assert wanted.items() <= found.items()
    boxes = options.of_detector(name) if "_rcnn_" in name else {}
    assert set(found) == {*wanted, *boxes, "dtype"}


@pytest.mark.parametrize("name", zoo.list_models("detection"))
def test_options_of_detectors(name: str) -> None:
    found = options.of_detector(name)
    spec = zoo.detector_spec(name)
    fields = {field.name for field in dataclasses.fields(spec)}
    fields -= {"anchors", "background", "input_size", "masks", "coding"}
    if name.startswith("rtmdet"):  # without anchors
        fields -= {"positive_iou", "negative_iou", "box_scales", "loss"}
    module = importlib.import_module(zoo.spec_module(name))
    signature = inspect.signature(module.detector_spec).parameters.values()
    own = {p.name for p in signature if p.kind is inspect.Parameter.KEYWORD_ONLY}
    assert set(found) == fields | own
    # A value of the kind that each has by itself is taken.
    options.check(name, {}, {field: getattr(spec, field) for field in fields})


@pytest.mark.parametrize(
    ("name", "network", "boxes", "words"),
    [
        ("mobilenet_v2", {"alfa": 0.35}, {}, "did you mean 'alpha'"),
        ("mobilenet_v2", {"alpha": "small"}, {}, "--option alpha must be a number, not 'small'"),
        ("mobilenet_v2", {"input_shape": 3}, {}, "comes from --data"),
        ("unet_mobilenet_v2", {"decoder_width": 1.5}, {}, "a whole number, not 1.5"),
        ("mobilenet_v3_small", {"minimalistic": 1}, {}, "true or false, not 1"),
        ("ssdlite_mobilenet_v2", {}, {"agnostic": True}, "has no option --detector agnostic"),
        ("ssdlite_mobilenet_v2", {}, {"loss": 3}, "--detector loss must be a word, not 3"),
        ("ssdlite_mobilenet_v2", {}, {"box_scales": [1, "x"]}, "a list of numbers"),
        ("mask_rcnn_resnet50_fpn", {}, {"masks": False}, "decides on its own masks"),
    ],
)
def test_wrong_options(
    name: str, network: dict[str, object], boxes: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        options.check(name, network, boxes)
