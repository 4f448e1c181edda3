"""The registry of tasks: from a name to what the task means for a training and for files.

A task is registered by strings, so that nothing of it is imported before it is asked for. What a
new task adds, and where, is in docs/extending/task.md; `tests/training/test_new_task.py` adds one.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING, Any

from kerascnn.errors import InputError, did_you_mean
from kerascnn.zoo import entry

if TYPE_CHECKING:
    from training.engine.task import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Registered:
    """Where a task is found.

    Attributes:
        training: "package.module:Class" of a `training.engine.task.Task`.
        files: "package.module:name" of what makes an `export.tasks.base.Task` of a `Run`; empty
            where no files are made.
    """

    training: str
    files: str


_REGISTERED: dict[str, Registered] = {}
_OPENED: dict[str, Task] = {}


def register(name: str, *, training: str, files: str = "") -> None:
    """Add a task, or put another one in its place; nothing is imported.

    Args:
        name: as `kerascnn.catalogue.Entry.task` and run.json have it.
        training, files: see `Registered`.
    """
    _REGISTERED[name] = Registered(training=training, files=files)
    _OPENED.pop(name, None)


def unregister(name: str) -> None:
    """Take a task out, as a test does with its own."""
    _REGISTERED.pop(name, None)
    _OPENED.pop(name, None)


def names() -> tuple[str, ...]:
    """All tasks, in the order of their registration."""
    return tuple(_REGISTERED)


def of(name: str) -> Task:
    """The training side of a task; no framework is imported.

    Raises:
        InputError: no such task.
    """
    if name not in _OPENED:
        opened: Task = _load(_registered(name).training)()
        _OPENED[name] = opened
    return _OPENED[name]


def of_model(model: str) -> Task:
    """The task of a model of the zoo; raises InputError for another name."""
    return of(entry(model).task)


def all_tasks() -> tuple[Task, ...]:
    """Every task, opened."""
    return tuple(map(of, names()))


def networks_for(command: str) -> str:
    """Whose networks a command takes, as in "a classifier": see `Task.commands`."""
    return " or ".join(task.network for task in all_tasks() if command in task.commands)


def files_of(name: str) -> Any:
    """What makes the file side of a run: a function or class of one argument, the `Run`.

    Raises:
        InputError: no such task, or one without files.
    """
    where = _registered(name).files
    if not where:
        raise InputError(f"no files are made for {name} yet")
    return _load(where)


def _registered(name: str) -> Registered:
    if name not in _REGISTERED:
        hint = did_you_mean(name, _REGISTERED) or ";"
        raise InputError(f"no task {name!r}{hint} there are: {', '.join(_REGISTERED)}")
    return _REGISTERED[name]


def _load(where: str) -> Any:
    module, _, attribute = where.partition(":")
    return getattr(importlib.import_module(module), attribute)


register(
    "classification",
    training="training.classification.task:ClassificationTask",
    files="export.tasks.classification:Classification",
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
