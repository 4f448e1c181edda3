"""When a file of a classifier of several labels is its network's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from export.artefacts.variants import parse_variant
from export.runtime.verify import NO, NOT_VERIFIED, YES, Verdict, of_labels

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (50, 6)).astype(np.float32)


def verdict(
    name: str, answers: np.ndarray, reference: np.ndarray = LOGITS, **given: Any
) -> Verdict:
    how = {"whom": "Keras", "drop": 0.0, "interval": lambda: (0.0, 0.0), **given}
    return of_labels(parse_variant(name), answers, reference, reference, **how)


def test_a_float_file_has_the_same_logits() -> None:
    assert verdict("float32", LOGITS + 5e-4).verified == YES
    found = verdict("float32", LOGITS + 2e-3)
    assert (found.verified, found.max_logit_diff) == (NO, pytest.approx(2e-3, rel=1e-2))
    constant = np.repeat(LOGITS[:1], 50, axis=0)
    assert verdict("float32", constant, constant).verified == NOT_VERIFIED


def test_a_quantised_file_gives_the_same_labels() -> None:
    there = np.argwhere(LOGITS >= 0)
    for lost, wanted in ((0.04, YES), (0.12, NO)):
        changed = LOGITS.copy()
        count = int(lost * len(there))
        changed[tuple(there[:count].T)] = -1
        found = verdict("int8", changed)
        # Of 2 n - k labels of both, 2 (n - k) are the same.
        n = len(there)
        assert found.agreement == pytest.approx(100 * 2 * (n - count) / (2 * n - count))
        assert found.verified == wanted, found.rule


def test_where_there_is_nothing_to_compare() -> None:
    found = verdict("int8", -np.abs(LOGITS), -np.abs(LOGITS))
    assert (found.verified, found.agreement) == (NOT_VERIFIED, 100.0)
    broken = LOGITS.copy()
    broken[3, 2] = np.nan
    assert verdict("int8", broken).rule == "some logits are not numbers"


def test_a_figure_that_falls_too_far_is_no_agreement() -> None:
    found = verdict("int8", LOGITS, drop=9.0, interval=lambda: (7.0, 11.0))
    assert found.verified == NO
    assert "but mAP is 9.0 points lower" in found.rule
