"""Progress for people: a bar on a terminal, now and then a line in a log; both on stderr.

A program that shows progress in a way of its own takes it as `Event`s (`reported_to`); then nothing
is written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import threading
import time
from collections.abc import Callable, Iterator

# Between the lines of a log, at least: of work that has figures to tell (`Progress.note`), of work
# that has lines of its own (`Progress.line`) beside them, and of work that only counts.
SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_OTHERS = 30.0
SECONDS_OF_SILENCE = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """How far work is, or a line of text about it.

    Attributes:
        text: what is being done, as "train"; or the line.
        done, total: steps that are done, and all of them; None of a line, and where nobody knows.
        unit: of the steps, as "step" or "file"; empty of a line.
        note: figures of the moment, as "loss 0.41".
    """

    text: str
    done: int | None = None
    total: int | None = None
    unit: str = ""
    note: str = ""


Listener = Callable[[Event], None]
# One for the process: work has threads, and what they say is said to it too.
_listener: Listener | None = None


@contextlib.contextmanager
def reported_to(listener: Listener) -> Iterator[None]:
    """While open, progress goes to `listener`, and nothing is written."""
    global _listener  # noqa: PLW0603
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


def say(text: str) -> None:
    """Write a line to stderr without tearing a bar that is shown there."""
    if _listener is None:
        from tqdm import tqdm  # late: most commands that answer at once show no bar

        tqdm.write(text, file=sys.stderr)
    else:
        _listener(Event(text=text))


@contextlib.contextmanager
def busy(description: str) -> Iterator[None]:
    """While open, tell now and then that work goes on whose steps cannot be counted."""
    from tqdm import tqdm

    ended, began = threading.Event(), time.monotonic()

    def tell() -> None:
        while not ended.wait(SECONDS_OF_SILENCE):
            say(f"{description}: {tqdm.format_interval(time.monotonic() - began)} so far")

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()


class Progress:
    """Counts steps of long work; use as a context manager.

    Args:
        description: what is being done, shown in front.
        total: number of steps; None: nobody knows yet.
        done: steps finished before, by an earlier process.
        lines: whether the work has lines of its own (`line`), so that a log needs few others.
    """

    def __init__(
        self,
        description: str,
        total: int | None,
        *,
        done: int = 0,
        unit: str = "step",
        lines: bool = False,
    ) -> None:
        self._description, self._total, self._done, self._unit = description, total, done, unit
        # Who listens draws a bar, if any.
        self._terminal, self._lines = sys.stderr.isatty() and _listener is None, lines
        from tqdm import tqdm

        self._bar = tqdm(
            total=total, initial=done, desc=description, unit=unit, disable=not self._terminal,
            leave=False, dynamic_ncols=True,
        )  # fmt: skip
        self._began = self._spoken = time.monotonic()
        self._done_before, self._paced, self._noted = done, False, False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.close()

    def step(self, count: int = 1) -> None:
        """Count steps as done; after some silence a log gets a line."""
        if not self._paced:  # the first step has the tracing in it
            self._paced, self._began = True, time.monotonic()
            self._done_before = self._done + count
        self._done += count
        if self._notified(""):
            return
        self._bar.update(count)
        silent = _SECONDS_BETWEEN_OTHERS if self._lines else SECONDS_OF_SILENCE
        if not self._terminal and self._is_late(silent):
            self._speak("")

    def note(self, text: str) -> None:
        """Show figures behind the bar, or as a line of a log if some seconds have passed."""
        if self._notified(text):
            return
        self._bar.set_postfix_str(text, refresh=False)
        # Whoever waits for the first step, and its compilation, sees that it came.
        rare = self._lines and self._noted
        self._noted = True
        late = self._is_late(_SECONDS_BETWEEN_OTHERS if rare else SECONDS_BETWEEN_LINES)
        last = self._total is not None and self._done >= self._total and not self._lines
        if not self._terminal and (late or last):
            self._speak(f", {text}")

    def line(self, text: str) -> None:
        """Write a line that stays, above the bar or into the log."""
        say(f"{self._description}: {text}{self._left()}")
        self._spoken = time.monotonic()

    def _notified(self, note: str) -> bool:
        """Whether there is a listener, which gets an event."""
        if _listener is None:
            return False
        _listener(
            Event(
                text=self._description,
                done=self._done,
                total=self._total,
                unit=self._unit,
                note=note,
            )
        )
        return True

    def _is_late(self, seconds: float) -> bool:
        return time.monotonic() - self._spoken > seconds

    def _speak(self, text: str) -> None:
        """A line of a log: how far the work is, and `text` behind that."""
        of = "" if self._total is None else f"/{self._total}"
        say(f"{self._description}: {self._done}{of} {self._unit}s{text}{self._left()}")
        self._spoken = time.monotonic()

    def _left(self) -> str:
        """How long the rest will take at the pace of this process."""
        if self._total is None:
            return ""
        if not 0 < (steps := self._done - self._done_before) < self._total - self._done_before:
            return ""
        seconds = (time.monotonic() - self._began) / steps * (self._total - self._done)
        return f", {self._bar.format_interval(seconds)} left"
