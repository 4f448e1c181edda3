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

NAMES = ("digits", "finetune", "scratch")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training configuration and, per model, builder options that belong to it."""

    config: TrainConfig
    model_options: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


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
    return "digits" if data == "mnist" else "scratch"
