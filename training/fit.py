"""The training loop: Keras' own `fit`, with checkpoints that an interrupted run goes on from.

Weights after epoch n are a function of (request, data) alone, whether or not the process was
killed on the way: order, augmentation and dropout derive from the seed and the epoch, and a
checkpoint holds every variable of network and optimiser.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import math
import pathlib
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import atomic, checkpoint
from training.config import TrainConfig
from training.datasets.splits import Split
from training.distillation import DistillationLoss, Teacher, accuracy, with_teacher
from training.fused_norm import with_fused_norms
from training.pipeline import evaluation_stream, steps_per_epoch, train_stream
from training.progress import Progress, say


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
    """What `fit` found.

    Attributes:
        history: one dict an epoch; loss and accuracy are of the (augmented) training pictures.
        best_epoch: number, from 1, of the epoch whose weights the model now has.
        seconds: spent training, earlier processes included.
    """

    history: list[dict[str, float]]
    best_epoch: int
    seconds: float


def fit(
    model: keras.Model,
    *,
    train: Split,
    validation: Split | None,
    source: Preprocessing,
    preprocessing: Preprocessing,
    config: TrainConfig,
    folder: pathlib.Path,
    history_file: pathlib.Path,
    teacher: Teacher | None = None,
) -> Fitted:
    """Train `model` in place, going on from the checkpoints in `folder` if there are any.

    Args:
        train: pictures to learn from, at the geometry of `source`.
        validation: pictures that choose the best epoch; with None the last epoch is kept.
        preprocessing: geometry and normalisation of the network's input.
        folder: a directory for checkpoints, this run's own.
        history_file: a .csv with a row an epoch, written anew after each.
        teacher: its answers are part of the training loss (never of the validation's), by
            `distil_weight` and `temperature`.

    Raises:
        InputError: the loss is no longer a number.
    """
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config.seed)
    twin = with_fused_norms(model)
    loop = _Loop(
        twin, config, steps_per_epoch(train, config), folder, history_file, teacher is not None
    )
    classes = model.output_shape[-1]
    data: dict[str, Any] = {}
    if validation is not None:
        data["validation_data"] = evaluation_stream(
            validation, preprocessing, classes=classes, batch_size=config.batch_size
        )
    epoch = loop.restore()
    for first, last in loop.phases():
        if epoch >= last:
            continue
        loop.begin_phase(first, last, resumed=epoch > first)
        stream = train_stream(
            train,
            source=source,
            preprocessing=preprocessing,
            classes=classes,
            config=dataclasses.replace(config, epochs=last, freeze_epochs=0),
            first_epoch=epoch,
        )
        if teacher is not None:
            stream = with_teacher(stream, teacher.teacher_logits)
        with Progress(model.name, last * loop.steps, done=epoch * loop.steps) as progress:
            twin.fit(
                stream,
                epochs=last,
                initial_epoch=epoch,
                steps_per_epoch=loop.steps,
                shuffle=False,  # the stream is in its order already
                callbacks=[_Watch(loop, progress)],
                verbose=0,
                **data,
            )
        epoch = last
    fitted = loop.finish()
    # All variables: the weights, and how far dropout has drawn.
    checkpoint.assign(model.variables, [np.asarray(v) for v in twin.variables])
    return fitted


class _Loop:
    """Phases, checkpoints and history of one training."""

    def __init__(
        self,
        model: keras.Model,
        config: TrainConfig,
        steps: int,
        folder: pathlib.Path,
        history_file: pathlib.Path,
        taught: bool,
    ) -> None:
        self.model, self.config, self.steps, self.folder = model, config, steps, folder
        self._history_file, self._taught = history_file, taught
        self.history: list[dict[str, float]] = []
        self.seconds = 0.0
        self._saved_optimizer: list[np.ndarray] = []
        self._trainable = [layer.trainable for layer in model.layers]

    def phases(self) -> list[tuple[int, int]]:
        """Epoch ranges with an optimiser each: the frozen one if asked for, and the rest."""
        edges = sorted({0, self.config.freeze_epochs, self.config.epochs})
        return list(itertools.pairwise(edges))

    def begin_phase(self, first: int, last: int, *, resumed: bool) -> None:
        """Compile for the epochs from `first` to `last`."""
        frozen = last <= self.config.freeze_epochs
        for layer, trainable in zip(self.model.layers, self._trainable, strict=True):
            layer.trainable = trainable and (not frozen or layer.name == "logits")
        rate = self._rate(last - first) if not frozen else self.config.freeze_learning_rate
        optimizer = self._optimizer(rate)
        self.model.compile(
            optimizer=optimizer,
            loss=self._loss(),
            metrics=[accuracy if self._taught else "accuracy"],
            # XLA makes depthwise networks five times slower on a CPU, and all faster on a GPU.
            jit_compile=bool(tf.config.list_physical_devices("GPU")),
        )
        optimizer.build(self.model.trainable_variables)
        if resumed:
            checkpoint.assign(optimizer.variables, self._saved_optimizer)

    def restore(self) -> int:
        """Load the newest sound checkpoint; the number of epochs that it holds."""
        for path in checkpoint.latest_first(self.folder):
            try:
                arrays, state = checkpoint.read(path)
                count = len(self.model.variables)
                checkpoint.assign(self.model.variables, arrays[:count])
            except ValueError as error:
                say(f"{error}; going back to the one before")
                continue
            self._saved_optimizer = arrays[count:]
            self.history, self.seconds = state["history"], state["seconds"]
            _write_history(self._history_file, self.history)
            say(f"{self.model.name}: going on after epoch {len(self.history)}")
            return len(self.history)
        return 0

    def end_epoch(self, figures: dict[str, float], seconds: float) -> None:
        """Keep the epoch: its figures, its weights, and the best weights so far."""
        self.seconds += seconds
        self.history.append(figures)
        variables = [*self.model.variables, *self.model.optimizer.variables]
        state = {"history": self.history, "seconds": self.seconds}
        if "val_accuracy" in figures and self._best_epoch() == len(self.history):
            checkpoint.save(self.folder / "best.npz", self.model.variables, state)
        path = checkpoint.epoch_path(self.folder, len(self.history))
        checkpoint.save(path, variables, state)
        checkpoint.prune(self.folder)
        _write_history(self._history_file, self.history)

    def finish(self) -> Fitted:
        """Give the model its best weights."""
        best = self._best_epoch()
        if best != len(self.history):
            try:
                arrays, _state = checkpoint.read(self.folder / "best.npz")
                checkpoint.assign(self.model.variables, arrays)
            except ValueError as error:
                raise InputError(f"{error}; delete {self.folder} and train again") from error
        return Fitted(history=self.history, best_epoch=best, seconds=self.seconds)

    def _best_epoch(self) -> int:
        if "val_accuracy" not in self.history[-1]:
            return len(self.history)
        scores = [(epoch["val_accuracy"], -epoch["val_loss"]) for epoch in self.history]
        return 1 + scores.index(max(scores))

    def _rate(self, epochs: int) -> keras.optimizers.schedules.LearningRateSchedule:
        total = epochs * self.steps
        warmup = min(round(self.config.warmup_epochs * self.steps), total - 1)
        peak = self.config.learning_rate
        return keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=peak / 25 if warmup else peak,
            decay_steps=total - warmup,
            warmup_target=peak if warmup else None,
            warmup_steps=warmup,
        )

    def _loss(self) -> keras.losses.Loss:
        config = self.config
        if self._taught:
            return DistillationLoss(
                weight=config.distil_weight,
                temperature=config.temperature,
                label_smoothing=config.label_smoothing,
            )
        return keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=config.label_smoothing
        )

    def _optimizer(self, rate: Any) -> keras.optimizers.Optimizer:
        decay = self.config.weight_decay or None
        if self.config.optimizer == "sgd":
            optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=decay)
        else:
            optimizer = keras.optimizers.AdamW(rate, weight_decay=decay)
        if decay:
            optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        return optimizer


class _Watch(keras.callbacks.Callback):
    """Shows progress, stops at a loss that is no number, keeps every epoch."""

    def __init__(self, loop: _Loop, progress: Progress) -> None:
        super().__init__()
        self._loop, self._progress = loop, progress
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._began = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        loss = float((logs or {})["loss"])
        if not math.isfinite(loss):
            rate = self._learning_rate()
            raise InputError(
                f"the loss is {loss} in epoch {len(self._loop.history) + 1}, step {batch + 1}, at "
                f"learning rate {rate:.2g}; take a smaller --learning-rate"
            )
        self._progress.step()
        self._progress.note(f"loss {loss:.3f}, accuracy {float((logs or {})['accuracy']):.1%}")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        seconds = time.monotonic() - self._began
        figures = {"epoch": epoch + 1.0, "learning_rate": self._learning_rate()}
        figures |= {name: float(value) for name, value in sorted((logs or {}).items())}
        self._loop.end_epoch(figures, seconds)

    def _learning_rate(self) -> float:
        return float(tf.convert_to_tensor(self.model.optimizer.learning_rate))


def _write_history(path: pathlib.Path, history: list[dict[str, float]]) -> None:
    """One row an epoch."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(history[-1]), lineterminator="\n")
    writer.writeheader()
    for epoch in history:
        writer.writerow({k: f"{v:.6g}" for k, v in epoch.items()})
    atomic.write_text(path, text.getvalue())
