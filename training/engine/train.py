"""`kerascnn train`: from a request to a run folder, whatever the task."""

from __future__ import annotations

import datetime
import pathlib
import shutil
import time
from collections.abc import Callable
from typing import Any, Protocol

import keras

from kerascnn.complexity import count_macs, count_parameters
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import tasks
from training.common import atomic
from training.common.progress import say
from training.engine import hardware
from training.engine.curves import write_curves
from training.engine.devices import SINGLE, Placement
from training.engine.first_look import first_look
from training.engine.history import History
from training.engine.loop import Fitted, TrainingTask
from training.engine.network import in_single_precision
from training.engine.request import TrainRequest
from training.engine.resume import as_begun, begun
from training.engine.run import (
    Run,
    machine,
    versions,
    write_info,
)
from training.engine.summary import figures
from training.engine.tensorboard_log import TensorBoardLog

_SECONDS_BETWEEN_DRAWINGS = 10.0


class Training(Protocol):
    """A request with its data found and its network built, ready to be trained.

    Attributes:
        name, fingerprint: of the data.
        dataset: with the held-out images; the others are what they are after `fit`.
        classes: of the data, in the order of the logits.
        preprocessing: of the network.
        model: what is trained, in place.
    """

    name: str
    dataset: Any
    classes: tuple[str, ...]
    fingerprint: str
    preprocessing: Preprocessing
    model: keras.Model

    def look(self, folder: pathlib.Path, placement: Placement = SINGLE) -> None:
        """Find out which images can be read, and set those aside that choose; `fit` does so."""

    def facts(self) -> dict[str, Any]:
        """What run.json notes of this task beyond what every run has."""

    def fit(
        self, folder: pathlib.Path, placement: Placement, after_epoch: Callable[[History], None]
    ) -> Fitted:
        """Train, going on with what is in `folder`."""

    def trial(self, *, cached: bool = True) -> TrainingTask:
        """What `fit` would train, without validation: for a look at how it trains."""

    def counts(self) -> dict[str, Any]:
        """How many images there were for what, and which were broken; after `results`."""

    def results(self, folder: pathlib.Path, saved: keras.Model) -> dict[str, Any]:
        """Figures on the held-out images, and files that show them; after `fit`.

        Args:
            saved: the network of model.keras: the trained one, or its twin in single precision.
        """


def train(
    asked: TrainRequest,
    folder: pathlib.Path,
    placement: Placement = SINGLE,
    *,
    dataset: Any = None,
) -> Run:
    """Train into `folder`, going on with an interrupted run of the same request.

    Args:
        placement: the devices and hosts to train on; hosts other than the first write nothing.
        dataset: what `first_look` gave for this request; None: it is asked now.

    Raises:
        InputError: bad data, an impossible model, a folder that holds another run, a teacher that
            cannot teach this, or weights or a teacher that know the images to be held out.
        OSError: the folder cannot be written.
        Stopped: a signal asked to stop; what was trained is kept.
    """
    info = begun(asked, folder)
    if info and info.get("complete"):
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # killed just before that
        say(f"{folder} is complete")
        return Run.open(folder)
    asked = as_begun(asked, info) if info else asked
    if dataset is None:
        dataset = first_look(asked, folder, warn=say if placement.is_chief else _unsaid)
    training = tasks.of_request(asked).open(asked, dataset)
    used = hardware.seen()
    choices = hardware.choose(used, asked.config)
    if placement.is_chief:
        say(hardware.device_line(used, choices))
        if warning := hardware.unused_gpus(used):
            say(f"warning: {warning}")
    if info is None:
        info = first_info(asked, training)
        info["hardware"] = choices.to_dict()
        info["devices"] = placement.replicas
        if placement.is_chief:
            write_info(folder, info)  # also finds out now whether the folder can be written
    elif info.get("teacher") != training.facts().get("teacher"):
        raise InputError(
            f"{asked.teacher} has changed since {folder} was begun; delete {folder} to train again"
        )
    return _run(asked, training, folder, dict(info), placement)


def _unsaid(_text: str) -> None:
    """Another host says it."""


def _run(
    asked: TrainRequest,
    training: Training,
    folder: pathlib.Path,
    info: dict[str, Any],
    placement: Placement,
) -> Run:
    pictures = _Pictures(folder, asked)
    fitted = training.fit(folder, placement, pictures.after_epoch)
    if not placement.is_chief:
        placement.barrier()  # whoever looks into the folder next finds a whole run
        return Run(folder, info)
    pictures.draw(fitted.history)
    plain = in_single_precision(
        asked, training.preprocessing, training.model, classes=len(training.classes)
    )
    with atomic.replacing(folder / "model.keras") as temporary:
        plain.save(temporary)
    atomic.write_text(folder / "labels.txt", "".join(f"{c}\n" for c in training.classes))
    info["results"] = training.results(folder, plain)
    info["dataset"] |= training.counts()  # held-out images that are broken are known now
    info["results"] |= figures(fitted.history, asked.config)
    info["results"] |= {"seconds": round(fitted.seconds, 1)}
    info["complete"] = True
    write_info(folder, info)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    placement.barrier()
    return Run(folder, info)


class _Pictures:
    """What people look at while a run trains: the curves, and TensorBoard's log."""

    def __init__(self, folder: pathlib.Path, asked: TrainRequest) -> None:
        self._folder, self._asked = folder, asked
        self._log: TensorBoardLog | None = None
        self._drawn = time.monotonic()

    def after_epoch(self, history: History) -> None:
        """Log the epoch; draw the curves if the last drawing, or the start, is some seconds old."""
        if self._log is None:
            self._log = TensorBoardLog(self._folder / "tensorboard", history)
        else:
            self._log.epoch(history[-1])
        # A drawing takes as long as an epoch of few small images.
        if time.monotonic() - self._drawn > _SECONDS_BETWEEN_DRAWINGS:
            self.draw(history)

    def draw(self, history: History) -> None:
        """Draw the curves anew."""
        path = self._folder / "curves.png"
        model, monitor = self._asked.model, self._asked.config.monitor
        task = tasks.of_request(self._asked)
        write_curves(history, path, title=model, monitor=monitor, task=task)
        self._drawn = time.monotonic()


def first_info(asked: TrainRequest, training: Training) -> dict[str, Any]:
    """The run.json of a run of which nothing is known yet but its request, data and network."""
    return {
        "request": asked.to_dict(),
        "task": tasks.of_request(asked).name,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "machine": machine(),
        "preprocessing": training.preprocessing.to_dict(),
        "labels": list(training.classes),
        "dataset": {"name": training.name, "fingerprint": training.fingerprint},
        "parameters": count_parameters(training.model),
        "macs": count_macs(training.model),
        "complete": False,
        **training.facts(),
    }
