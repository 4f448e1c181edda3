"""Turns of files that are timed, and when two are equally fast. No test here looks at a clock."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from export.runtime import benchmark
from export.runtime.benchmark import interleaved, tied


def test_every_round_has_a_median_and_all_have_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by 1 ms at each look, and two that count their calls."""
    nanoseconds = itertools.count(step=1_000_000)
    monkeypatch.setattr(benchmark.time, "perf_counter_ns", lambda: next(nanoseconds))
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: next(nanoseconds) / 1e9)
    calls: dict[str, int] = {"a": 0, "b": 0}

    def call(name: str) -> Any:
        def one() -> None:
            calls[name] += 1

        return one

    rounds = []
    found = interleaved(
        {name: call(name) for name in calls}, rounds=4, after_round=lambda: rounds.append(1)
    )
    assert len(rounds) == 4
    for latency in found.values():
        assert latency.rounds_ms == (1.0,) * 4
        assert (latency.median_ms, latency.p95_ms) == (1.0, 1.0)
        assert (latency.low_ms, latency.high_ms) == (1.0, 1.0)
    assert calls["a"] == calls["b"] > 4


def test_the_interval_of_a_median_holds_it_and_is_the_same_again() -> None:
    turns = np.random.default_rng(0).normal(2.0, 0.2, (20, 5))
    one, again = (benchmark.summary(turns.tolist()) for _ in range(2))
    assert one == again
    assert one.low_ms is not None
    assert one.high_ms is not None
    assert one.low_ms < np.median(one.rounds_ms) < one.high_ms
    assert 0.02 < one.high_ms - one.low_ms < 0.2


def test_ties_by_hand() -> None:
    assert tied(1.05, 1.0)
    assert not tied(1.06, 1.0)
    assert not tied(1.06, 1.0, [1.06] * 20, [1.0] * 20)
    # Faster in some rounds and slower in others.
    assert tied(1.06, 1.0, [1.06, 0.9, 1.2] * 7, [1.0, 1.1, 0.95] * 7)
    # Rounds of two measurements do not pair.
    assert not tied(1.06, 1.0, [1.06, 0.9, 1.2] * 7, [1.0])
