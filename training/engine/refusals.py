"""What a request for a training can be refused for before a framework is loaded."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Mapping
from typing import Any

from kerascnn import weights as weight_files
from kerascnn.errors import InputError
from kerascnn.zoo import entry
from training import tasks
from training.common.reading import DEEPEST
from training.datasets.paths import refuse_within
from training.engine import options
from training.engine.request import TrainRequest, request
from training.engine.resume import begun
from training.engine.run import Run, read_info
from training.engine.task import Task


def checked(
    model: str, *, folder: pathlib.Path | None = None, command: str | None = None, **asked: Any
) -> TrainRequest:
    """The request, with its options, its data's place and its weights looked at.

    Args:
        model, **asked: as of `training.engine.request.request`.
        folder: of the run that is to be trained or gone on with.
        command: of kerascnn, which not every task has (`Task.commands`); None: all have it.

    Raises:
        InputError: anything that is wrong and needs neither a network nor an image to be found.
    """
    found = request(model, **asked)
    row = entry(model)
    own = tasks.of_request(found)
    if command is not None:
        require_command(own, command, model)
    if asked.get("detector_options") and not own.decoded:
        raise InputError(f"--detector is for detectors, and {model} is not a detector")
    options.check(model, found.model_options, found.detector_options)
    if found.weights is not None:
        weight_files.require(
            model, found.weights, backbone=row.backbone, options=found.model_options
        )
        _refuse_weights(found.weights, model, own)
    if found.teacher is not None:
        own.check_teacher(model, Run.open(found.teacher))
    new = folder is not None and begun(found, folder) is None
    for flag, data in (("--data", asked["data"]), ("--val-data", asked.get("val_data"))):
        if data is None:
            continue
        own.require(data)
        if folder is not None and new:
            refuse_within(folder, data, own.canonical(data), flag=flag)
    return found


def require_command(task: Task, command: str, what: str) -> None:
    """Raise InputError for a task that a command of kerascnn has no part for.

    Args:
        what: was given, a model or data.
    """
    if command not in task.commands:
        raise InputError(
            f"{what} is for {task.network}, and kerascnn {command} takes "
            f"{tasks.networks_for(command)}"
        )


def _refuse_weights(weights: str, model: str, task: Task) -> None:
    """Refuse a run, or a file of one, as initial weights of a network that it lends none to."""
    path = pathlib.Path(weights).absolute()
    if not path.exists():
        return
    near = [path, *path.parents][: DEEPEST + 1]
    folder = next((one for one in near if (one / "run.json").is_file()), None)
    info: Mapping[str, Any] = {}
    with contextlib.suppress(InputError):  # a damaged one says nothing of its weights
        info = (folder and read_info(folder)) or {}
    if info.get("task") in tasks.names():
        task.refuse_foreign_weights(weights, tasks.of(info["task"]), model)
