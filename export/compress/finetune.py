"""Train a tf_keras model on, as tensorflow-model-optimization wants it, resumably.

Order, augmentation and learning rate are functions of (seed, epoch, step) alone, and a checkpoint
holds every variable of network, wrappers and optimiser: a training that was killed ends with the
weights of an unbroken one.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tf_keras

from export.graph.legacy_keras import BatchNormalization
from export.tasks.fine_tuning import FineTuningData
from kerascnn.errors import InputError
from training.common.progress import Progress, say
from training.engine import checkpoint
from training.engine.config import TrainConfig

# What stands for the run's learning rate where it is SGD's or RMSprop's, which says nothing here.
_ADAM_RATE = 2e-3


def fine_tune(
    model: tf_keras.Model,
    fine_tuning_data: FineTuningData,
    config: TrainConfig,
    folder: pathlib.Path,
    *,
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
    name: str,
) -> None:
    """Train `model` in place, going on from the checkpoint in `folder` if there is one.

    Args:
        model: wrapped as the method needs; from normalised pictures to the network's outputs.
        config: its epochs, batch size, peak learning rate (cosine decay to zero), label smoothing
            and seed hold, and what batch norms normalise by (`TrainConfig.norms`).
        folder: for checkpoints, this training's own.
        callbacks: the method's, called before a checkpoint is written.
        name: for the progress bar.

    Raises:
        InputError: the loss is no longer a number.
    """
    steps = fine_tuning_data.steps(config)
    for layer in model._flatten_layers():
        if isinstance(layer, BatchNormalization):
            layer.keeps_statistics = config.norms != "batches"  # a head has learnt its own
    model = fine_tuning_data.trained_form(model)
    rate = tf_keras.optimizers.schedules.CosineDecay(config.learning_rate, config.epochs * steps)
    optimizer = tf_keras.optimizers.Adam(rate)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer, jit_compile=False, **fine_tuning_data.compiled(config))
    done = _restore(model, folder)
    if done >= config.epochs:
        return
    # Else the first step makes the variables of these, which has it traced a second time.
    model.compiled_loss.build(model.output)
    model.compiled_metrics.build(model.output, model.output)
    with Progress(name, config.epochs * steps, done=done * steps) as progress:
        model.fit(
            fine_tuning_data.stream(config, done),
            epochs=config.epochs,
            initial_epoch=done,
            steps_per_epoch=steps,
            shuffle=False,
            callbacks=[*callbacks, Watch(folder, progress, name, fine_tuning_data.note)],
            verbose=0,
        )


def share_of(
    config: TrainConfig, *, epochs: float, learning_rate: float, tuning: Any = None
) -> TrainConfig:
    """A fine-tuning's configuration out of the run's own: adamw, without warm-up, cosine decay.

    Args:
        epochs, learning_rate: shares of the run's; of `_ADAM_RATE` where that was another
            optimiser's.
        tuning: a `FineTuning`, whose numbers go before.
    """
    rate = config.peak_learning_rate if config.optimizer == "adamw" else _ADAM_RATE
    tuned: dict[str, Any] = {
        "epochs": math.ceil(epochs * config.epochs),
        "learning_rate": learning_rate * rate,
        **dict.fromkeys(("warmup_epochs", "validation_fraction", "ema"), 0.0),
        **dict.fromkeys(("freeze_epochs", "freeze_updates", "reference_batch"), 0),
        **dict.fromkeys(("patience", "min_updates"), 0),
        **{"probe": "no", "first_layer_rate": 1.0},
        "optimizer": "adamw",
        "schedule": "cosine",
        "milestones": (),
        "accumulate": 1,
    }
    if tuning is not None:
        chosen = {"epochs": tuning.epochs, "learning_rate": tuning.learning_rate}
        tuned |= {key: value for key, value in chosen.items() if value is not None}
        tuned |= {"distil_weight": tuning.distil_weight, "temperature": tuning.temperature}
    return dataclasses.replace(config, **tuned)


def _state(model: tf_keras.Model) -> list:
    return [*model.variables, *model.optimizer.variables]


def _restore(model: tf_keras.Model, folder: pathlib.Path) -> int:
    """Load the newest sound checkpoint; the number of epochs that it holds."""
    for path in checkpoint.latest_first(folder):
        try:
            arrays, state = checkpoint.read(path, ("epochs",))
            checkpoint.assign(_state(model), arrays)
        except ValueError as error:
            say(f"{error}; going back to the one before")
            continue
        return int(state["epochs"])
    return 0


class Watch(tf_keras.callbacks.Callback):
    """Shows progress, stops at a loss that is no number, keeps every epoch."""

    def __init__(
        self,
        folder: pathlib.Path,
        progress: Progress,
        name: str,
        note: Callable[[Mapping[str, float]], str],
    ) -> None:
        super().__init__()
        self._folder, self._progress, self._name, self._note = folder, progress, name, note

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        figures = logs or {}
        if not math.isfinite(figures["loss"]):
            raise InputError(
                f"{self._name}: the loss is {figures['loss']} at step {batch + 1} of an epoch; "
                "take a smaller --learning-rate"
            )
        self._progress.step()
        self._progress.note(self._note(figures))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        arrays = [np.asarray(variable) for variable in _state(self.model)]
        checkpoint.save(
            checkpoint.epoch_path(self._folder, epoch + 1), arrays, {"epochs": epoch + 1}
        )
        checkpoint.prune(self._folder)
