"""The training loop of every task: Keras' own `fit`, with checkpoints that a training goes on from.

Weights after any step are a function of (request, data) alone, whether or not the process was
killed on the way: what chance decides derives from seed, epoch and step
    (`training.engine.epoch_schedule`), and a
checkpoint holds every variable of network and optimiser, the metrics of a begun epoch too.
What is trained, on what and by which loss is a `TrainingTask`; each task has its own.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import itertools
import math
import pathlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerascnn.errors import InputError
from training.common import atomic
from training.common.progress import Progress, say
from training.datasets.broken import BrokenPictures
from training.engine import (
    checkpoint,
    hardware,
    optimizers,
    schedules,
    summary,
)
from training.engine.config import TrainConfig
from training.engine.devices import Placement
from training.engine.foldable_norms import even_gains
from training.engine.history import (
    UNIT,
    History,
    best_epoch,
    in_percent,
    judge,
    write_history,
)
from training.engine.stopping import Stopped, StopRequests
from training.engine.waiting import Waiting

# A long epoch's state is kept this often.
SECONDS_BETWEEN_CHECKPOINTS = 600.0
_NAMED = 4  # images of a bad batch, in a message


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a training found.

    Attributes:
        history: one dict an epoch; loss and metrics are of the (augmented) training images.
        best_epoch: number, from 1, of the epoch whose weights the model now has.
        seconds: spent training, earlier processes included.
    """

    history: History
    best_epoch: int
    seconds: float


class TrainingTask(abc.ABC):
    """What is trained, on what and by which loss; the loop does the rest.

    Attributes:
        training_model: a model around `network`, whose `fit` takes what `input_pipeline` gives.
        network: what is trained; its variables are what a checkpoint keeps.
        config: how to train.
        steps: batches in an epoch.
        broken: images that could not be read, as the batches meet them.
        head: beginnings of the names of the layers that learn while the rest is frozen.
        unkept: metrics that are for validation alone: of the training images, mixed labels tell
            nothing of them, and a resumed epoch's count is partial.
    """

    training_model: keras.Model
    network: keras.Model
    config: TrainConfig
    steps: int
    broken: BrokenPictures
    head: tuple[str, ...]
    unkept: frozenset[str] = frozenset()

    @abc.abstractmethod
    def compile(self, config: TrainConfig, rate: Any) -> list[keras.Variable]:
        """Give the training model its optimiser, loss and metrics; the metrics' variables."""

    @abc.abstractmethod
    def input_pipeline(self, first_epoch: int, last_epoch: int, first_step: int) -> Any:
        """Batches from a step of an epoch up to `last_epoch`, for `fit`."""

    @abc.abstractmethod
    def names(self, epoch: int, step: int) -> list[str]:
        """The images of one batch, for a message."""

    @abc.abstractmethod
    def note(self, logs: dict[str, float]) -> str:
        """What is shown of a step's figures."""

    def can_solve_head(self) -> bool:
        """Whether the head can be solved for, where `TrainConfig.probe` asks for it."""
        return False

    def solve_head(
        self, folder: pathlib.Path, is_over: Callable[[], bool]
    ) -> dict[str, float] | None:
        """Make the head the best one behind the rest as it is.

        Args:
            folder: takes what an interrupted one goes on from.
            is_over: whether to end before that; what is there is kept.

        Returns:
            The figures of an epoch, shares of 1 where percentages are meant; None where `is_over`
            ended it.
        """
        raise NotImplementedError

    def validation(self) -> Any:
        """What `fit` is given as `validation_data`; None for none."""
        return None

    def validate(self) -> dict[str, float]:
        """Figures of the network as it is, behind those of an epoch, in percent; on every host."""
        return {}


def train(
    work: TrainingTask,
    *,
    folder: pathlib.Path,
    history_file: pathlib.Path,
    placement: Placement,
    after_epoch: Callable[[History], None] | None = None,
) -> Fitted:
    """Train to the end, going on from the checkpoints in `folder` if there are any.

    Args:
        folder: a directory for checkpoints, this run's own; all hosts see the same one.
        history_file: a .csv with a row an epoch, written anew after each.
        after_epoch: is given the history after each epoch, and when a training goes on.

    Raises:
        InputError: the loss is no longer a number, or an image cannot be read for which none can
            stand in (see `training.datasets.broken`).
        Stopped: a signal asked to stop; the same call goes on from there.
    """
    loop = _Loop(work, folder, history_file, placement, after_epoch)
    try:
        with StopRequests() as requests, placement.scope():
            loop.run(work.validation(), requests)
    except Exception as error:
        # A stream tells what a thread of its failed of in words, and a traceback, of its own.
        refusal = work.broken.refusal
        if refusal is None or isinstance(error, InputError | Stopped):
            raise
        raise refusal from None
    return loop.finish()


def repeatable(seed: int, *, deterministic: bool = True) -> None:
    """Make what follows a function of the seed, before anything is drawn.

    Args:
        deterministic: to the last bit, which makes some operations slower on a GPU.
    """
    if deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)


def without_averages_in_place(optimizer: keras.Optimizer) -> keras.Optimizer:
    """The same optimiser, changed in place: it leaves the weights alone at the end of a `fit`.

    Keras would put the averages in the weights' place at the end of every `fit`, and an epoch that
    goes on has one of its own.
    """
    optimizer.finalize_variable_values = lambda _variables: None
    return optimizer


class _Loop:
    """Phases, checkpoints and history of one training."""

    def __init__(
        self,
        work: TrainingTask,
        folder: pathlib.Path,
        history_file: pathlib.Path,
        placement: Placement,
        after_epoch: Callable[[History], None] | None,
    ) -> None:
        self.work, self.training_model, self.folder = work, work.training_model, folder
        self.placement, self._after_epoch = placement, after_epoch
        self.config, self.steps = work.config, work.steps
        self._history_file = history_file
        self.history: History = []
        self.first_step = 0  # of the epoch that comes next
        self.seconds = 0.0
        self.rate: Any = None  # of the phase: a number, or a schedule of its steps
        self.first_epoch = 0  # of the phase
        self.averages = False  # whether weights are averaged in this phase
        self.waiting = Waiting()
        self.metrics: list[keras.Variable] = []
        self.saved_metrics: list[float] = []
        self._saved_optimizer: list[np.ndarray] = []
        self._trainable = [layer.trainable for layer in work.network.layers]

    def run(self, validation: Any, requests: StopRequests) -> None:
        """Train to the end from wherever the last checkpoint is."""
        self._restore()
        if self._is_to_solve():
            self._solve_head(requests)
        total = self.config.epochs * self.steps
        done = len(self.history) * self.steps + self.first_step
        with Progress(self.work.network.name, total, done=done, lines=True) as progress:
            for first, last in self._phases():
                if len(self.history) >= last or self.is_over():
                    continue
                begun = len(self.history) > first or self.first_step > 0
                self._begin_phase(first, last, resumed=begun)
                if self.first_step:  # the rest of a begun epoch
                    self._fit(len(self.history) + 1, validation, requests, progress)
                if len(self.history) < last and not self.is_over():
                    self._fit(last, validation, requests, progress)

    def _fit(self, last: int, validation: Any, requests: StopRequests, progress: Progress) -> None:
        epoch, step = len(self.history), self.first_step
        averages = [_Averages()] if self.averages else []
        self.waiting = Waiting()
        batches = self.work.input_pipeline(epoch, last, step)
        self.training_model.fit(
            hardware.prefetched(batches, hardware.chosen(self.config), self.waiting),
            epochs=last,
            initial_epoch=epoch,
            steps_per_epoch=self.steps - step,
            shuffle=False,  # it is in its order already
            validation_data=validation,
            callbacks=[*averages, _Watch(self, progress, requests)],
            verbose=0,
        )

    def _is_to_solve(self) -> bool:
        """Whether the first epoch is a probe that is still to come."""
        config = self.config
        asked = config.probe == "yes" and config.freeze_epochs > 0
        if not asked or self.history or self.first_step:
            return False
        if not self.work.can_solve_head():
            say("too many classes or hosts for a probe: the head learns by steps")
            return False
        return True

    def _solve_head(self, requests: StopRequests) -> None:
        """The first epoch: the head is solved for, nothing else moves."""
        began = time.monotonic()
        found = self.work.solve_head(self.folder, lambda: requests.signal is not None)
        if found is None:
            kept = "stopped while features were gathered, which are kept; the same command goes on"
            raise Stopped(kept, requests.signal or signal.SIGTERM)
        self.end_epoch(
            {"epoch": 1.0, "learning_rate": 0.0, **in_percent(found)}, time.monotonic() - began
        )
        if self.placement.is_chief:
            say(summary.epoch_line(self.history, self.config))
        if requests.signal is not None:
            raise Stopped(
                "stopped after epoch 1, which is kept; the same command goes on", requests.signal
            )

    def _phases(self) -> list[tuple[int, int]]:
        """Epoch ranges with an optimiser each: the frozen one if asked for, and the rest."""
        edges = sorted({0, self.config.freeze_epochs, self.config.epochs})
        return list(itertools.pairwise(edges))

    def _begin_phase(self, first: int, last: int, *, resumed: bool) -> None:
        """Compile for the epochs from `first` to `last`."""
        frozen = last <= self.config.freeze_epochs
        stored = self.config.norms != "batches"
        follow = self.work.head if self.config.norms == "backbone" else ()
        if stored and not (frozen or resumed):
            even_gains(self.work.network, but=follow)
        shares = optimizers.layer_shares(self.work.network, self.config.first_layer_rate)
        for layer, trainable in zip(self.work.network.layers, self._trainable, strict=True):
            of_head = layer.name.startswith(self.work.head)
            learns = of_head or (not frozen and shares.get(layer.name, 1.0) > 0)
            _set_trainable(layer, trainable and learns)
            if stored and not layer.name.startswith(follow):
                _keep_statistics(layer)
            elif trainable and not layer.trainable:
                _follow_batches(layer)
        config = self.config
        if frozen:
            rate: Any = config.freeze_learning_rate
            config = dataclasses.replace(config, ema=0.0)
        elif config.schedule == "plateau":
            rate = config.peak_learning_rate
        else:
            rate = schedules.schedule(config, self.steps, last - first)
        self.rate, self.first_epoch, self.averages = rate, first, config.ema > 0
        self.metrics = self.work.compile(config, rate)
        if resumed:
            self._assign_saved(self.training_model.optimizer.variables, self._saved_optimizer)

    def _assign_saved(self, variables: Sequence, arrays: Sequence) -> None:
        """Put back what lies in a checkpoint beside the network's own variables."""
        try:
            checkpoint.assign(variables, arrays)
        except ValueError as error:
            raise InputError(
                f"{self.folder} holds the state of another training ({error}); delete the folder "
                "to begin this one anew, or repeat the command that made it"
            ) from error

    def _restore(self) -> None:
        """Load the newest sound checkpoint."""
        variables = self.work.network.variables
        for path in checkpoint.latest_first(self.folder):
            try:
                arrays, state = checkpoint.read(path)
                checkpoint.assign(variables, arrays[: len(variables)])
            except ValueError as error:
                say(f"{error}; going back to the one before")
                continue
            self._saved_optimizer = arrays[len(variables) :]
            self.history, self.seconds = _history(state), state["seconds"]
            self.first_step = state.get("step", 0)
            self.saved_metrics = state.get("metrics", [])
            self._tell()
            where = f"step {self.first_step} of epoch {len(self.history) + 1}"
            where = where if self.first_step else f"epoch {len(self.history)}"
            say(f"{self.work.network.name}: continuing after {where}")
            return

    def end_epoch(self, figures: dict[str, float], seconds: float) -> None:
        """Keep the epoch: its figures, its weights, and the best weights so far."""
        self.seconds += seconds
        self.first_step, self.saved_metrics = 0, []
        self.history.append(figures)
        if not self.placement.is_chief:
            return
        state = {"history": self.history, "unit": UNIT, "seconds": self.seconds}
        chosen = judge(figures, self.config.monitor) or self.averages
        if chosen and self._best(self.history) == len(self.history):
            checkpoint.save(self.folder / "best.npz", self._averaged(), state)
        self._save(checkpoint.epoch_path(self.folder, len(self.history)), state)
        self._tell()

    def keep_step(self, step: int, seconds: float) -> None:
        """Keep the state behind `step` steps of the epoch; on every host."""
        # To read a metric is to add it up over the hosts: all of them do.
        metrics = [float(np.asarray(v)) for v in self.metrics]
        if not self.placement.is_chief:
            return
        state = {
            "history": self.history,
            "unit": UNIT,
            "seconds": self.seconds + seconds,
            "step": step,
            "metrics": metrics,
        }
        self._save(checkpoint.epoch_path(self.folder, len(self.history), step), state)

    def _save(self, path: pathlib.Path, state: dict[str, Any]) -> None:
        # Behind a probe there is no optimiser yet.
        optimizer = getattr(self.training_model, "optimizer", None)
        own = [] if optimizer is None else optimizer.variables
        variables = [*self.work.network.variables, *own]
        checkpoint.save(path, variables, state)
        checkpoint.prune(self.folder)

    def _tell(self) -> None:
        if self.history and self.placement.is_chief:
            write_history(self._history_file, self.history)
            if self._after_epoch:
                self._after_epoch(self.history)

    def is_over(self) -> bool:
        """Whether the history says that more epochs are of no use."""
        config, history = self.config, self.history
        if len(history) <= config.freeze_epochs:
            return False
        trained = history[config.freeze_epochs :]
        if config.patience and len(trained) - self._best(trained) >= config.patience:
            return True
        return config.schedule == "plateau" and schedules.plateau_is_over(config, trained)

    def plateau_rate(self) -> float | None:
        """The next epoch's learning rate, where the history decides it."""
        frozen = len(self.history) < self.config.freeze_epochs
        if frozen or self.config.schedule != "plateau":
            return None
        trained = self.history[self.config.freeze_epochs :]
        return self.config.peak_learning_rate * schedules.plateau_factor(self.config, trained)

    def finish(self) -> Fitted:
        """Give the network its best weights; every layer is as trainable as before."""
        for layer, trainable in zip(self.work.network.layers, self._trainable, strict=True):
            _set_trainable(layer, trainable)
        best = self._best(self.history)
        averaged = self.config.ema > 0 and len(self.history) > self.config.freeze_epochs
        if best != len(self.history) or averaged:
            self.placement.barrier()  # the chief may be writing it
            try:
                arrays, _state = checkpoint.read(self.folder / "best.npz")
                checkpoint.assign(self.work.network.variables, arrays)
            except ValueError as error:
                raise InputError(f"{error}; delete {self.folder} and train again") from error
        return Fitted(history=self.history, best_epoch=best, seconds=self.seconds)

    def lag(self) -> float:
        """What the slowest batch norm that learns still holds of its initial statistics, of 1."""
        updates = (len(self.history) - self.first_epoch) * self.steps
        norms = [
            layer.momentum
            for layer in self.work.network.layers
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        ]
        return float(max(norms, default=0.0) ** updates)

    def _best(self, history: History) -> int:
        return best_epoch(history, self.config.monitor)

    def _averaged(self) -> list:
        """The network's variables, averages in place of weights where they are kept."""
        variables = list(self.work.network.variables)
        if not self.averages:
            return variables
        trained = {id(v): i for i, v in enumerate(self.training_model.trainable_variables)}
        averages = optimizers.averages(self.training_model.optimizer)
        return [averages[trained[id(v)]] if id(v) in trained else v for v in variables]


def _set_trainable(layer: keras.Layer, trainable: bool) -> None:
    """As `layer.trainable`, which leaves out variables that were frozen by themselves."""
    layer.trainable = trainable
    if trainable and isinstance(layer, keras.layers.BatchNormalization):
        for variable in _scale_and_shift(layer):
            variable.trainable = True


def _scale_and_shift(layer: keras.layers.BatchNormalization) -> list[keras.Variable]:
    return [variable for variable in (layer.gamma, layer.beta) if variable is not None]


def _follow_batches(layer: keras.Layer) -> None:
    """Let a frozen batch norm normalise by its batches and follow them, as it will when it learns.

    Keras has a layer that is not trainable normalise by its stored statistics. A head that learnt
    behind these meets other features when the rest is unfrozen, and loses what it learnt.
    """
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.trainable = True
        for variable in _scale_and_shift(layer):
            variable.trainable = False


def _keep_statistics(layer: keras.Layer) -> None:
    """Let a batch norm normalise by what it has stored, whether or not its scale and shift learn.

    Keras has a layer that is not trainable do so, and has none of its variables learn.
    """
    if isinstance(layer, keras.layers.BatchNormalization):
        learns = layer.trainable
        layer.trainable = False
        for variable in _scale_and_shift(layer):
            variable.trainable = learns


def _history(state: Mapping[str, Any]) -> History:
    """Of a checkpoint; those of older versions have shares of 1 where percentages are meant."""
    history: History = state["history"]
    return history if state.get("unit") == UNIT else [in_percent(row) for row in history]


class _Averages(keras.callbacks.Callback):
    """Validates the moving averages of the weights."""

    def __init__(self) -> None:
        super().__init__()
        self._block = contextlib.ExitStack()

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        self._block.enter_context(_averaged(self.model))

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        self._block.close()


@contextlib.contextmanager
def _averaged(model: keras.Model) -> Iterator[None]:
    """In here the weights are their moving averages."""
    weights = [np.asarray(v) for v in model.trainable_variables]
    averages = [np.asarray(v) for v in optimizers.averages(model.optimizer)]
    checkpoint.assign(model.trainable_variables, averages)
    try:
        yield
    finally:
        checkpoint.assign(model.trainable_variables, weights)


class _Watch(keras.callbacks.Callback):
    """Shows progress, stops at a loss that is no number, keeps epochs and long ones' middles."""

    def __init__(self, loop: _Loop, progress: Progress, requests: StopRequests) -> None:
        super().__init__()
        self._loop, self._progress, self._requests = loop, progress, requests
        self._first_step = loop.first_step
        self._began = self._kept = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._began = self._kept = time.monotonic()
        self._loop.waiting.begin_epoch()
        if self._loop.saved_metrics:
            saved = [np.asarray(value) for value in self._loop.saved_metrics]
            self._loop._assign_saved(self._loop.metrics, saved)
        if (rate := self._loop.plateau_rate()) is not None:
            self.model.optimizer.learning_rate.assign(rate)

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._loop.waiting.begin_step()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        step = self._first_step + batch + 1
        loss = float((logs or {})["loss"])  # a device is waited for
        self._loop.waiting.end_step()
        if not math.isfinite(loss):
            raise InputError(self._bad(loss, step))
        self._progress.step()
        self._progress.note(self._loop.work.note(logs or {}))
        if step == self._loop.steps:
            return  # the epoch's end keeps it
        now = time.monotonic()
        due = now - self._kept > SECONDS_BETWEEN_CHECKPOINTS
        # One exchange between hosts a step: why one of them wants to keep it is asked afterwards.
        if not self._loop.placement.agree(due or self._requests.signal is not None):
            return
        self.model  # noqa: B018 - under jax this brings the variables up to date
        self._loop.keep_step(step, now - self._began)
        self._kept = now
        if self._asked_to_stop():
            self._stop(f"step {step} of epoch {len(self._loop.history) + 1}")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        figures = {"epoch": epoch + 1.0, "learning_rate": self._rate_of(self._loop.steps)}
        waited = self._loop.waiting.share()
        unkept = self._loop.work.unkept
        logs = {name: value for name, value in (logs or {}).items() if name not in unkept}
        figures |= in_percent({name: float(value) for name, value in sorted(logs.items())})
        with _averaged(self.model) if self._loop.averages else contextlib.nullcontext():
            figures |= self._loop.work.validate()
        figures |= waited
        self._loop.end_epoch(figures, time.monotonic() - self._began)
        self._first_step = 0
        self._speak()
        if self._asked_to_stop():
            self._stop(f"epoch {epoch + 1}")
        if self._loop.is_over():
            self.model.stop_training = True

    def _speak(self) -> None:
        loop = self._loop
        if not loop.placement.is_chief:
            return
        self._progress.line(summary.epoch_line(loop.history, loop.config))
        if warning := summary.standstill(loop.history, loop.config, lag=loop.lag()):
            say(warning)

    def _asked_to_stop(self) -> bool:
        # All hosts stop at the same step: one alone would leave the others waiting for it.
        return self._loop.placement.agree(self._requests.signal is not None)

    def _stop(self, where: str) -> None:
        number = self._requests.signal or signal.SIGTERM
        raise Stopped(f"stopped after {where}, which is kept; the same command goes on", number)

    def _bad(self, loss: float, step: int) -> str:
        names = self._loop.work.names(len(self._loop.history), step - 1)
        listed = self._loop.folder.parent / "bad_batch.txt"
        if self._loop.placement.is_chief:
            atomic.write_text(listed, "".join(f"{name}\n" for name in names))
        few = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
        return (
            f"the loss is {loss} in epoch {len(self._loop.history) + 1}, step {step}, at learning "
            f"rate {self._rate_of(step):.2g}, on {few} (all in {listed}); "
            "take a smaller --learning-rate, or set clip_norm"
        )

    def _rate_of(self, step: int) -> float:
        """Learning rate of a step of this epoch, from 1; the optimiser has the next one's."""
        rate = self._loop.rate
        if not callable(rate):
            return float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        epochs = len(self._loop.history) - self._loop.first_epoch
        return float(keras.ops.convert_to_numpy(rate(epochs * self._loop.steps + step - 1)))
