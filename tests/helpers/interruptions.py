"""Trainings that are stopped by a signal or broken off, and their weights."""

from __future__ import annotations

import os
import signal

import keras
import numpy as np
import pytest

from training.engine import checkpoint, loop


def assert_same_weights(one: keras.Model, two: keras.Model) -> None:
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


class Stop(Exception):
    pass


def break_off_after(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the save of the next epoch fail, as a kill in the middle of it would."""
    save = checkpoint.save

    def failing(path, variables, state) -> None:
        if len(state["history"]) > epochs:
            raise Stop
        save(path, variables, state)

    monkeypatch.setattr(checkpoint, "save", failing)


def stop_at_step(step: int, monkeypatch: pytest.MonkeyPatch, number: int = signal.SIGTERM) -> None:
    """Send ourselves a signal in the given step of a training, of those to come."""
    steps = iter(range(1, 1000))
    shown, unheeded = loop.Progress.step, signal.getsignal(number)

    def signalling(self, count: int = 1) -> None:
        shown(self, count)
        # Elsewhere, as while masks are read, the signal would end the tests.
        if signal.getsignal(number) is not unheeded and next(steps) == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(loop.Progress, "step", signalling)
