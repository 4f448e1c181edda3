"""One `fit` for every task: what is trained is opened, trained by the loop, and given back."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import keras
import numpy as np

from training.engine import checkpoint, hardware, loop
from training.engine.config import TrainConfig
from training.engine.devices import SINGLE, Placement
from training.engine.history import History
from training.engine.loop import Fitted, TrainingTask


def fit(
    model: keras.Model,
    open_task: Callable[[], TrainingTask],
    *,
    config: TrainConfig,
    folder: pathlib.Path,
    history_file: pathlib.Path,
    placement: Placement = SINGLE,
    after_epoch: Callable[[History], None] | None = None,
) -> Fitted:
    """Train `model` in place, going on from the checkpoints in `folder` if there are any.

    Args:
        open_task: makes what is trained; called where all that is random follows from the seed,
            in the scope of the devices. Its network is the model, or a twin of it
            (`Placement.twin`) whose variables are given back.
        config: of the run; gives its seed, and what it takes of the hardware.
        folder: a directory for checkpoints, this run's own; all hosts see the same one.
        history_file: a .csv with a row per epoch, written anew after each.
        placement: the devices and hosts to train on.
        after_epoch: is given the history after each epoch, and when a training goes on.

    Raises:
        InputError: devices that the task does not train on, or the loss is no longer a number.
        Stopped: a signal asked to stop; the same call goes on from there.
    """
    loop.repeatable(config.seed, deterministic=hardware.chosen(config).deterministic)
    with placement.scope():
        task = open_task()
    fitted = loop.train(
        task,
        folder=folder,
        history_file=history_file,
        placement=placement,
        after_epoch=after_epoch,
    )
    if task.network is not model:
        # All variables: the weights, and how far dropout has drawn.
        checkpoint.assign(model.variables, [np.asarray(v) for v in task.network.variables])
    return fitted
