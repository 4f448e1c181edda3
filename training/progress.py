"""Progress for people: a bar on a terminal, now and then a line in a log; both on stderr."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 5.0
# Of work that has lines of its own, by `Progress.line`.
_SECONDS_BETWEEN_OTHERS = 30.0


def say(text: str) -> None:
    """Write a line to stderr without tearing a bar that is shown there."""
    tqdm.write(text, file=sys.stderr)


class Progress:
    """Counts steps of long work; use as a context manager.

    Args:
        description: what is being done, shown in front.
        total: number of steps.
        done: steps finished before, by an earlier process.
        lines: whether the work has lines of its own (`line`), so that a log needs few others.
    """

    def __init__(
        self,
        description: str,
        total: int,
        *,
        done: int = 0,
        unit: str = "step",
        lines: bool = False,
    ) -> None:
        self._description, self._total, self._done, self._unit = description, total, done, unit
        self._terminal, self._lines = sys.stderr.isatty(), lines
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
        """Count steps as done."""
        if not self._paced:  # the first step has the tracing in it
            self._paced, self._began = True, time.monotonic()
            self._done_before = self._done + count
        self._done += count
        self._bar.update(count)

    def note(self, text: str) -> None:
        """Show figures behind the bar, or as a line of a log if some seconds have passed."""
        self._bar.set_postfix_str(text, refresh=False)
        # Whoever waits for the first step, and its compilation, is told that it came.
        rare = self._lines and self._noted
        self._noted = True
        wait = _SECONDS_BETWEEN_OTHERS if rare else _SECONDS_BETWEEN_LINES
        late = time.monotonic() - self._spoken > wait
        last = self._done >= self._total and not self._lines
        if not self._terminal and (late or last):
            say(
                f"{self._description}: {self._done}/{self._total} {self._unit}s, {text}"
                f"{self._left()}"
            )
            self._spoken = time.monotonic()

    def line(self, text: str) -> None:
        """Write a line that stays, above the bar or into the log."""
        say(f"{self._description}: {text}{self._left()}")
        self._spoken = time.monotonic()

    def _left(self) -> str:
        """How long the rest will take at the pace of this process."""
        if not 0 < (steps := self._done - self._done_before) < self._total - self._done_before:
            return ""
        seconds = (time.monotonic() - self._began) / steps * (self._total - self._done)
        return f", {tqdm.format_interval(seconds)} left"
