"""Recipes: Python files holding one frozen value each.

A recipe's docstring gives the command, the hardware, the time and the score, or "not yet run".
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

from kerascnn.errors import InputError
from training.config import TrainConfig

NAMES = ("digits", "finetune", "scenes_digits", "scratch")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training configuration, and what single models need differently.

    Attributes:
        config: for every model.
        model_config: fields of `config` to replace, by model.
        model_options: options of the builder, by model.
    """

    config: TrainConfig
    model_config: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    model_options: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def config_for(self, model: str) -> TrainConfig:
        """The configuration that trains `model`."""
        return dataclasses.replace(self.config, **self.model_config.get(model, {}))

    def options_for(self, model: str) -> dict[str, Any]:
        """The builder options that belong to this recipe."""
        return dict(self.model_options.get(model, {}))


def load(name: str) -> Recipe:
    """The recipe in `training/recipes/<name>.py`; raises InputError for another name."""
    if name not in NAMES:
        raise InputError(f"no recipe {name!r}; there are: {', '.join(NAMES)}")
    recipe: Recipe = importlib.import_module(f"training.recipes.{name}").RECIPE
    return recipe


def default_name(data: str, weights: str | None) -> str:
    """The recipe for a data set and initial weights when the user names none."""
    if weights:
        return "finetune"
    return {"mnist": "digits", "scenes-digits": "scenes_digits"}.get(data, "scratch")
