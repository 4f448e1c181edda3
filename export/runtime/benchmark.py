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
# Medians nearer than this are equal, however calm the machine was: two runs differ by as much.
LEAST_SPREAD = 0.05
_RESAMPLES = 2000
_LEVEL = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds for one picture.

    Attributes:
        rounds_ms: the median of each round.
        low_ms, high_ms: 95% interval of the median of the rounds; None without rounds.
    """

    median_ms: float
    p95_ms: float
    rounds_ms: tuple[float, ...] = ()
    low_ms: float | None = None
    high_ms: float | None = None


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
    samples: dict[str, list[list[float]]] = {name: [] for name in calls}
    turns = {name: _calls_a_turn(call) for name, call in calls.items()}
    order: Sequence[str] = list(calls)
    for _ in range(rounds):
        for name in order:
            call = calls[name]
            call()
            times = []
            for _ in range(turns[name]):
                began = time.perf_counter_ns()
                call()
                times.append((time.perf_counter_ns() - began) / 1e6)
            samples[name].append(times)
        order = order[::-1]
        after_round()
    return {name: summary(turn) for name, turn in samples.items()}


def tied(
    slower_ms: float,
    faster_ms: float,
    slower_rounds: Sequence[float] = (),
    faster_rounds: Sequence[float] = (),
) -> bool:
    """Whether two latencies are equal as far as was measured.

    They are where the medians differ by less than `LEAST_SPREAD`, or where the 95% interval of
    their ratio holds 1. The interval is the percentile bootstrap over rounds, drawn in pairs: in a
    round both ran after one another, so that a slow moment hits both.

    Args:
        slower_ms, faster_ms: medians.
        slower_rounds, faster_rounds: medians of the same rounds; without them, or where they are
            not of the same rounds, the medians alone speak.
    """
    if slower_ms <= (1 + LEAST_SPREAD) * faster_ms:
        return True
    if len(slower_rounds) != len(faster_rounds) or not len(slower_rounds):
        return False
    slow, fast = (_resampled_medians(rounds) for rounds in (slower_rounds, faster_rounds))
    return float(np.quantile(slow / fast, (1 - _LEVEL) / 2, method="lower")) <= 1


def _resampled_medians(rounds: Sequence[float]) -> np.ndarray:
    """(r,) medians of rounds drawn anew; of as many rounds, the same ones are drawn."""
    rng = np.random.default_rng(0)
    places = rng.integers(0, len(rounds), (_RESAMPLES, len(rounds)))
    medians: np.ndarray = np.median(np.asarray(rounds, np.float64)[places], axis=1)
    return medians


def _calls_a_turn(call: Callable[[], Any]) -> int:
    call()
    began = time.perf_counter()
    call()
    seconds = time.perf_counter() - began
    return max(1, min(_MOST_CALLS_A_TURN, int(_SECONDS_A_TURN / max(seconds, 1e-9))))


def summary(turns: Sequence[Sequence[float]]) -> Latency:
    median, p95 = np.percentile(np.concatenate([np.empty(0), *map(np.asarray, turns)]), [50, 95])
    rounds = tuple(float(np.median(times)) for times in turns)
    tail = 50 * (1 - _LEVEL)
    low, high = np.percentile(_resampled_medians(rounds), [tail, 100 - tail])
    return Latency(
        median_ms=float(median),
        p95_ms=float(p95),
        rounds_ms=rounds,
        low_ms=float(low),
        high_ms=float(high),
    )
