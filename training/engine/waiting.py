"""How long steps wait for their batches: the gap between a step and the input pipeline.

On an accelerator a step may end before the next batch is there. What of an epoch's time is spent so
stands in history.csv as `waited`, in percent: near 0, the device is kept busy; much more, and more
processor cores, smaller images or a pack (`kerascnn pack`) are faster.

Under tensorflow the batches come by tf.data, whose threads say when each one is ready; a step has
waited from its begin until then. Elsewhere they come by an iterator, and who asks it waits.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Iterator
from typing import Any

COLUMN = "waited"


class Waiting:
    """Takes the time of steps and of what they wait for.

    Args:
        clock: seconds, of any beginning.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ready: collections.deque[float] = collections.deque()
        self._begun = self._waited = self._epoch = 0.0
        self._known = False

    def begin_epoch(self) -> None:
        """An epoch begins, or what is left of one."""
        self._epoch, self._waited = self._clock(), 0.0

    def begin_step(self) -> None:
        """A step asks for its batch."""
        self._begun = self._clock()

    def end_step(self) -> None:
        """A step is done, and so its batch was ready."""
        if not self._ready:
            return
        self._add(min(self._ready.popleft(), self._clock()) - self._begun)

    def share(self) -> dict[str, float]:
        """{"waited": percent of the epoch's time until now}; empty where nothing was timed."""
        spent = self._clock() - self._epoch
        if not self._known or spent <= 0:
            return {}
        return {COLUMN: 100 * self._waited / spent}

    def note_ready(self) -> None:
        """The next batch is ready, in whichever thread."""
        self._ready.append(self._clock())

    def asked(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The same batches; who asks for one waits for it."""
        while True:
            began = self._clock()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self._add(self._clock() - began)
            yield batch

    def _add(self, seconds: float) -> None:
        self._waited += max(seconds, 0.0)
        self._known = True
