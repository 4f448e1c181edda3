"""What a recipe is, and how one is found by its name; the recipes are in `training/recipes`.

These import the engine, which imports none of them: a recipe is loaded when its name is asked for.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Mapping
from typing import Any

from kerascnn.errors import InputError, did_you_mean
from training import tasks
from training.engine.config import TrainConfig
from training.engine.options import of_network

NAMES = (
    *("digits", "scenes_digits", "cifar", "scratch", "finetune", "modern", "modern_sgd"),
    *("lenet", "alexnet", "vgg", "googlenet", "resnet", "resnet_cifar", "senet"),
    *("mobilenet_v1", "mobilenet_v2", "mobilenet_v3", "efficientnet", "efficientnet_v2"),
    *("scenes", "detection", "detection_finetune", "ssdlite", "efficientdet", "rtmdet", "rcnn"),
    *("scenes_maps", "segmentation", "segmentation_finetune"),
    *("multilabel", "multilabel_finetune"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training configuration, and what single models need differently.

    Attributes:
        task: of the models that it trains.
        config: for every model.
        model_config: fields of `config` to replace, by model.
        options: of the builder, for every model that has them.
        model_options: options of the builder, by model; they replace those of `options`.
        detector_options: of `zoo.detector_spec`, by model.
    """

    config: TrainConfig
    task: str = "classification"
    model_config: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    model_options: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    detector_options: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain

    def config_for(self, model: str) -> TrainConfig:
        """The configuration that trains `model`."""
        return dataclasses.replace(self.config, **self.model_config.get(model, {}))

    def options_for(self, model: str) -> dict[str, Any]:
        """The builder options that belong to this recipe."""
        taken = of_network(model) if self.options else ()
        common = {name: value for name, value in self.options.items() if name in taken}
        return {**common, **self.model_options.get(model, {})}

    def detector_options_for(self, model: str) -> dict[str, Any]:
        """The anchors and thresholds that belong to this recipe."""
        return dict(self.detector_options.get(model, {}))


_REGISTERED: dict[str, str] = {}


def register(name: str, module: str) -> None:
    """Add the recipe of a module that lies elsewhere; it is not imported yet."""
    _REGISTERED[name] = module


def names() -> tuple[str, ...]:
    """All recipes: those of `training/recipes` in order, then those that were registered."""
    return (*NAMES, *(name for name in _REGISTERED if name not in NAMES))


def load(name: str) -> Recipe:
    """The recipe of a name, as in `training/recipes/<name>.py`; raises InputError for another."""
    recipe: Recipe = _module(name).RECIPE
    return recipe


def summary(name: str) -> str:
    """The first line of a recipe's docstring; raises InputError for another name."""
    return (_module(name).__doc__ or "").partition("\n")[0]


def page(name: str) -> str:
    """All of a recipe for a person: what it says of itself, and every setting."""
    recipe = load(name)
    lines = [f"{name}: {(_module(name).__doc__ or '').strip()}", ""]
    settings = dataclasses.asdict(recipe.config).items()
    lines += [f"{key:22}{json.dumps(value)}" for key, value in settings]
    if recipe.config.ema:
        lines += ["", "ema: the decay at update n is min(ema, (1 + n) / (10 + n))"]
    for title, values in (
        ("of the network", recipe.options),
        *((f"of {model}", changes) for model, changes in recipe.model_config.items()),
        *((f"of {model} as a network", options) for model, options in recipe.model_options.items()),
        *((f"of {model}'s boxes", options) for model, options in recipe.detector_options.items()),
    ):
        if values:
            lines += ["", title, *(f"  {key:20}{json.dumps(v)}" for key, v in values.items())]
    return "\n".join(lines)


def _module(name: str) -> Any:
    if name not in names():
        hint = did_you_mean(name, names()) or ";"
        raise InputError(f"unknown recipe {name!r}{hint} there are: {', '.join(names())}")
    return importlib.import_module(_REGISTERED.get(name, f"training.recipes.{name}"))


def default_name(model: str, data: str, weights: str | None) -> str:
    """The recipe for a network, a data set and initial weights when the user names none."""
    return tasks.of_model(model).default_recipe(data, weights)
