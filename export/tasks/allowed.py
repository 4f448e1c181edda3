"""Which files a run of each task can have; asked before a framework is loaded."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from export.artefacts.kinds import base as kinds
from export.artefacts.variants import Settings, Variant, parse_variant
from export.tasks import calibration_set
from kerascnn.errors import InputError
from training import tasks

if TYPE_CHECKING:
    from training.engine.run import Run


def require_command(run: Run, command: str) -> None:
    """Raise InputError for a run whose task a command has no measure for."""
    task = tasks.of(run.task)
    if command not in task.commands:
        raise InputError(
            f"{run.folder} holds {task.network}, and kerascnn {command} takes "
            f"{tasks.networks_for(command)}"
        )


def require_files(run: Run) -> None:
    """Raise InputError for a run without exported files."""
    if not any(run.artefacts.glob("*.tflite")) and not any(run.artefacts.glob("*.onnx")):
        raise InputError(
            f"{run.folder} has no exported files; make them: kerascnn compress {run.folder}"
        )


def require_same_data(runs: Sequence[Run]) -> None:
    """Raise InputError for runs whose figures are of different images, or of different kinds."""
    first = runs[0]
    for other in runs[1:]:
        keys = ("name", "fingerprint")
        one, two = ([run.info["dataset"][k] for k in keys] for run in (first, other))
        if one != two:
            raise InputError(
                f"{first.folder} and {other.folder} were measured on different images "
                f"({one[0]} and {two[0]}); compare runs of one data set and split"
            )
        metric, another = (run.info["results"]["metric"] for run in (first, other))
        if metric != another:
            raise InputError(
                f"{first.folder} is measured by {metric} and {other.folder} by {another}; compare "
                "runs of one metric"
            )


def require_file(run: Run, name: str) -> pathlib.Path:
    """The .tflite file of a variant; raises InputError where there is none, or no such variant."""
    path = run.artefacts / f"{parse_variant(name).name}.tflite"
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; make it: kerascnn compress {run.folder} --variants {name}"
        )
    return path


def require_calibration(run: Run, settings: Settings) -> None:
    """Raise InputError for a place to calibrate on where there are no images; none is read."""
    if settings.calibration:
        calibration_set.require(settings.calibration, run.task)


def check(run: Run, made: Variant) -> None:
    """Raise InputError for a variant that the networks of a run's task cannot have."""
    kinds.of(run.task).check(made, run.info)
