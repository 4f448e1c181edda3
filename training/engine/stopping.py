"""SIGTERM and Ctrl-C while training: the step is finished and kept, then the program ends."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Stopped(Exception):
    """A training that was asked to stop, and has kept its state.

    Attributes:
        signal: that asked.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number


class StopRequests:
    """While open, remembers a signal instead of dying of it; a second Ctrl-C dies.

    Signals can be caught in a program's main thread alone; elsewhere this does nothing.

    Attributes:
        signal: the first signal that came, or None.
    """

    _CAUGHT = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequests:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in self._CAUGHT}
        return self

    def __exit__(self, *_error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
