"""The registry of tasks: from a name to what the task means for a training and for files.

A task is registered by strings, so that nothing of it is imported before it is asked for. What a
new task adds, and where, is in docs/extending/task.md; `tests/training/test_new_task.py` adds one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kerascnn.errors import InputError, did_you_mean
from kerascnn.zoo import entry
from training.common.registry import Registry, loaded

if TYPE_CHECKING:
    from training.engine.request import TrainRequest
    from training.engine.task import Task


_TASKS: Registry[Task] = Registry()
_FILES: dict[str, str] = {}


def register(name: str, *, training: str, files: str = "") -> None:
    """Add a task, or put another one in its place; nothing is imported.

    Args:
        name: as `kerascnn.catalogue.Entry.task` and run.json have it.
        training: "package.module:Class" of a `training.engine.task.Task`.
        files: "package.module:name" of what makes an `export.tasks.base.Task` of a `Run`; empty
            where no files are made.
    """
    _TASKS.register(name, training)
    _FILES[name] = files


def unregister(name: str) -> None:
    """Take a task out, as a test does with its own."""
    _TASKS.unregister(name)
    _FILES.pop(name, None)


def names() -> tuple[str, ...]:
    """All tasks, in the order of their registration."""
    return _TASKS.names()


def of(name: str) -> Task:
    """The training side of a task; no framework is imported.

    Raises:
        InputError: no such task.
    """
    _require(name)
    return _TASKS.of(name)


def of_model(model: str) -> Task:
    """The task of a model of the zoo; raises InputError for another name."""
    return of(entry(model).task)


def of_request(asked: TrainRequest) -> Task:
    """The task of a request: the one that it names, else that of its model."""
    return of(asked.task) if asked.task else of_model(asked.model)


def for_data(model: str, data: str, name: str | None = None) -> Task:
    """The task that a model of the zoo is to be trained for.

    Args:
        data: which may be of a form that only one of the tasks of such networks has.
        name: the task that was asked for, or None.

    Raises:
        InputError: no such model or task, or networks of another kind.
    """
    own = of_model(model)
    if name is not None:
        asked = of(name)
        if own.name not in (asked.name, asked.networks):
            raise InputError(f"{model} is for {own.name}, not for {name}; leave out --task")
        return asked
    others = (task for task in all_tasks() if task.networks == own.name)
    return next((task for task in others if task.claims(data)), own)


def all_tasks() -> tuple[Task, ...]:
    """Every task, opened."""
    return tuple(map(of, names()))


def networks_for(command: str) -> str:
    """Whose networks a command takes, as in "a classifier or a detector": see `Task.commands`."""
    return " or ".join(task.network for task in all_tasks() if command in task.commands)


def files_of(name: str) -> Any:
    """What makes the file side of a run: a function or class of one argument, the `Run`.

    Raises:
        InputError: no such task, or one without files.
    """
    _require(name)
    if not _FILES[name]:
        raise InputError(f"no files are made for {name} yet")
    return loaded(_FILES[name])


def _require(name: str) -> None:
    if name not in _TASKS:
        hint = did_you_mean(name, names()) or ";"
        raise InputError(f"no task {name!r}{hint} there are: {', '.join(names())}")


register(
    "classification",
    training="training.classification.task:ClassificationTask",
    files="export.tasks.classification:Classification",
)
register(
    "multilabel",
    training="training.multilabel.task:MultilabelTask",
    files="export.tasks.multilabel:Multilabel",
)
register(
    "detection",
    training="training.detection.task:DetectionTask",
    files="export.tasks.detection:of",
)
register(
    "segmentation",
    training="training.segmentation.task:SegmentationTask",
    files="export.tasks.segmentation:Segmentation",
)
