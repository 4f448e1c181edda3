"""A misspelt word gets the right one offered, wherever there is a list of words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from export.artefacts.variants import ChannelPrune, parse_variant
from export.tools import budget
from kerascnn import zoo
from kerascnn.detection.specs import DetectorSpec
from kerascnn.errors import InputError, did_you_mean
from kerascnn.segmentation import unet
from kerascnn.zoo import entry
from training import recipes as training_recipes
from training.engine import options
from training.engine.config import CHOICES, TrainConfig
from training.engine.request import request


def misspelt(word: str) -> str:
    return word[:-2] + word[-1] if len(word) > 3 else word[0] + word


@pytest.mark.parametrize(
    ("setting", "word"), [(name, word) for name, words in CHOICES.items() for word in words]
)
def test_every_setting_that_is_one_of_some_words(setting: str, word: str) -> None:
    wrong = misspelt(word)
    assert wrong not in CHOICES[setting]
    with pytest.raises(InputError, match=f"{setting} must be one of .*; did you mean '\\w+'\\?$"):
        TrainConfig(**{setting: wrong})


def test_the_nearest_word_is_the_meant_one() -> None:
    with pytest.raises(InputError, match=r"monitor must be .*'balanced_accuracy'\?$"):
        request("lenet5", data="mnist", settings={"monitor": "balanced_acuracy"})
    with pytest.raises(InputError, match=r"optimizer .*did you mean 'adamw'\?$"):
        request("lenet5", data="mnist", optimizer="adam")
    with pytest.raises(InputError, match=r"unknown setting 'moniter'; did you mean 'monitor'\?"):
        request("lenet5", data="mnist", settings={"moniter": "loss"})


SPEC = zoo.detector_spec("ssdlite_mobilenet_v2", (96, 96, 3)).to_dict()


@pytest.mark.parametrize(
    ("make", "meant"),
    [
        (lambda: budget.Budget(metric="downlod"), "download"),
        (lambda: parse_variant("imt8"), "int8"),
        (lambda: ChannelPrune(macs=50, score="tailor"), "taylor"),
        (lambda: zoo.entry("mobilenetv2"), "mobilenet_v2"),
        (lambda: zoo.entry("ResNet50"), "resnet50"),
        (lambda: training_recipes.load("finetun"), "finetune"),
        (lambda: DetectorSpec.from_dict(SPEC | {"loss": "focl"}), "focal"),
        (lambda: unet.Upsampling(kind="biliner"), "bilinear"),
        (lambda: options.check("mobilenet_v2", {"alfa": 1.0}), "alpha"),
    ],
)
def test_other_words(make: Callable[[], Any], meant: str) -> None:
    with pytest.raises(InputError, match=rf"did you mean '{meant}'\?"):
        make()


def test_what_is_like_nothing_gets_no_offer() -> None:
    assert did_you_mean("qwertz", ("loss", "accuracy")) == ""
    assert did_you_mean("x" * 10**6, ("x" * 50,)) == ""
    assert did_you_mean("LOSS", ("loss", "accuracy")) == "; did you mean 'loss'?"


def test_all_words_of_a_beginning_are_offered() -> None:
    with pytest.raises(InputError, match="mean 'ssdlite_mobilenet_v3_small' or 'ssdlite_mobilenet"):
        entry("ssdlite_mobilenet_v3")
    many = tuple(f"loss{number}" for number in range(9))
    assert " or " not in did_you_mean("loss", many)
