"""What a data set is for, by its form, where nobody says it."""

from __future__ import annotations

import pathlib
from typing import Any

from kerascnn.errors import InputError
from training import tasks
from training.datasets import EMBEDDED
from training.engine.refusals import checked
from training.engine.request import TrainRequest
from training.engine.task import Form


def request(
    data: str, *, task: str | None = None, model: str | None = None, **asked: Any
) -> tuple[TrainRequest, bool]:
    """What a data set is to be looked at for; no image is read.

    Args:
        data: as of a training.
        task, model: as in `model_for`.
        **asked: as of `training.engine.refusals.checked`.

    Returns:
        The request, and whether the task was guessed.

    Raises:
        InputError: as of a training.
    """
    chosen, guessed = model_for(data, task, model)
    return checked(chosen, data=data, task=task, **asked), guessed


def model_for(data: str, task: str | None, model: str | None) -> tuple[str, bool]:
    """The model that a data set is checked for.

    Args:
        task: of the zoo's, or None.
        model: of the zoo's, or None.

    Returns:
        Its name, and whether the task was guessed.

    Raises:
        InputError: no such task or model, a model of another task, or no such data.
    """
    names = tasks.names()
    if task is not None and task not in names:
        raise InputError(f"--task must be {', '.join(names[:-1])} or {names[-1]}, not {task!r}")
    if model is not None:
        tasks.for_data(model, data, task)
        return model, False
    return tasks.of(task or guessed(data)).model, task is None


def guessed(data: str) -> str:
    """The task of the data's form; what has boxes is for detection, outlines or not.

    Raises:
        InputError: there is no such data.
    """
    forms = {task.name: task.form(data) for task in tasks.all_tasks()}
    surest = max(forms, key=forms.__getitem__)
    if forms[surest] > Form.NONE:
        return surest
    path = pathlib.Path(data)
    if not path.exists():
        known = ", ".join((*EMBEDDED, "scenes", "tfds:NAME"))
        raise InputError(
            f"{data}: no such file or folder, and no other data set (there are: {known})"
        )
    raise InputError(
        f"{data} is not a data set; give a folder, a COCO .json or a YOLO .yaml (what each task "
        "takes: kerascnn train --help)"
    )
