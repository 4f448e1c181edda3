"""Latency of files, interleaved: in every round each one runs, so that a slow moment hits all."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

ROUNDS = 20
_SECONDS_A_TURN = 0.01
_MOST_CALLS_A_TURN = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds for one picture."""

    median_ms: float
    p95_ms: float


def interleaved(
    calls: Mapping[str, Callable[[], Any]],
    *,
    rounds: int = ROUNDS,
    after_round: Callable[[], None] = lambda: None,
) -> dict[str, Latency]:
    """Time calls against each other.

    Each round gives every call a turn of about 10 ms after one call to warm up; the order is
    turned round in every second one.

    Args:
        calls: what to time, by name.
        rounds: turns for each.
        after_round: called between rounds, for progress.
    """
    samples: dict[str, list[float]] = {name: [] for name in calls}
    turns = {name: _calls_a_turn(call) for name, call in calls.items()}
    order: Sequence[str] = list(calls)
    for _ in range(rounds):
        for name in order:
            call = calls[name]
            call()
            for _ in range(turns[name]):
                began = time.perf_counter_ns()
                call()
                samples[name].append((time.perf_counter_ns() - began) / 1e6)
        order = order[::-1]
        after_round()
    return {name: _summary(times) for name, times in samples.items()}


def _calls_a_turn(call: Callable[[], Any]) -> int:
    call()
    began = time.perf_counter()
    call()
    seconds = time.perf_counter() - began
    return max(1, min(_MOST_CALLS_A_TURN, int(_SECONDS_A_TURN / max(seconds, 1e-9))))


def _summary(times: list[float]) -> Latency:
    median, p95 = np.percentile(times, [50, 95])
    return Latency(median_ms=float(median), p95_ms=float(p95))
