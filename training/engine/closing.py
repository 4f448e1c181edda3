"""The line that a training ends with: what the network is worth, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from training import tasks
from training.common.wording import counted
from training.engine import summary
from training.engine.task import Task


def closing_line(info: Mapping[str, Any]) -> str:
    """A finished run's figures in words.

    Args:
        info: the contents of its run.json; those of earlier versions say less.
    """
    held_out = info.get("dataset", {}).get("held_out")
    images = "the held-out images" if held_out is None else counted(held_out, "held-out image")
    return "; ".join([*_task(info).closing(info["results"], images), *_epoch(info)])


def below_floor(info: Mapping[str, Any]) -> str | None:
    """Why a finished run is of no use yet, with likely causes; None where it finds something.

    Args:
        info: the contents of its run.json.
    """
    return _task(info).below_floor(info)


def _task(info: Mapping[str, Any]) -> Task:
    """Of a run; the first version had one task, and did not name it."""
    return tasks.of(info.get("task", "classification"))


def listed(results: Mapping[str, Any], images: str, others: Mapping[str, str]) -> list[str]:
    """The metric and figures beside it, for `Task.closing`: "AP 31.0%, AP50 50.0% on 9 images".

    Args:
        others: keys of `results` by what they are called; those that are not there are left out.
    """
    metric = results["metric"]
    figures = ", ".join(
        f"{name} {results[key]:.1f}%"
        for name, key in {metric: "held_out", **others}.items()
        if results.get(key) is not None and not math.isnan(results[key])
    )
    return [f"{figures or f'no {metric}'} on {images}"]


def _epoch(info: Mapping[str, Any]) -> list[str]:
    """Which epoch's weights these are, where validation images chose it."""
    best = info["results"].get("best_epoch")
    epochs = info["results"].get("epochs") or (
        info.get("request", {}).get("config", {}).get("epochs")
    )
    if not (best and epochs and info.get("dataset", {}).get("validation")):
        return []
    if "chosen_by" in info["results"]:
        return [summary.closing(info["results"])]
    return [f"best epoch {best} of {epochs}"]
