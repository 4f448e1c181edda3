"""`kerascnn find-lr`: train for some steps while the learning rate rises, and see where it helps.

Source: Smith, "Cyclical Learning Rates for Training Neural Networks" (arXiv:1506.01186),
section 3.3. What the curve says is read by `training.tools.find_rate`.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib

import keras

from training import tasks
from training.common.progress import Progress
from training.engine.loop import repeatable
from training.engine.request import TrainRequest
from training.tools.find_rate import (
    Suggestion,
    rates,
    suggest,
    usable,
    write_plot,
)

_LOWEST, _HIGHEST = 1e-6, 10.0


def range_test(asked: TrainRequest, plot: pathlib.Path, *, steps: int) -> Suggestion:
    """Raise the rate from 1e-6 to 10 over `steps` steps of the request's own training.

    Args:
        plot: a .png to write.

    Raises:
        InputError: bad data, or a curve that says nothing.
    """
    repeatable(asked.config.seed)
    work = tasks.of_request(asked).open(asked, None).trial()
    # The rate is the thing looked for: no warm-up, decay or average of its own.
    config = dataclasses.replace(
        asked.config, schedule="constant", milestones=(), ema=0.0, accumulate=1, reference_batch=0
    )
    work.compile(config, _LOWEST)
    tried = rates(_LOWEST, _HIGHEST, steps)
    with Progress(f"{work.network.name} learning rate", steps) as progress:
        rise = _Rise(tried.tolist(), progress)
        work.training_model.fit(
            work.input_pipeline(0, math.ceil(steps / work.steps), 0),
            epochs=1,
            steps_per_epoch=steps,
            shuffle=False,
            callbacks=[rise],
            verbose=0,
        )
    found = suggest(tried, rise.losses)
    write_plot(tried, rise.losses, found, plot)
    return found


class _Rise(keras.callbacks.Callback):
    """Sets each step's rate, and keeps its loss."""

    def __init__(self, tried: list[float], progress: Progress) -> None:
        super().__init__()
        self._tried, self._progress = tried, progress
        self._sum = 0.0
        self.losses: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.model.optimizer.learning_rate.assign(self._tried[batch])

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        total = float((logs or {})["loss"]) * (batch + 1)  # Keras gives the mean so far
        self.losses.append(total - self._sum)
        self._sum = total
        self._progress.step()
        self._progress.note(f"rate {self._tried[batch]:.2g}, loss {self.losses[-1]:.3f}")
        if usable(self.losses) < len(self.losses):  # higher rates have no more to say
            self.model.stop_training = True
