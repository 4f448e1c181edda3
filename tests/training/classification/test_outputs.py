"""What is kept of many logits, and that figures do not depend on how they come."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import pytest

from kerascnn.errors import InputError
from training.classification import outputs
from training.classification.evaluate import Evaluation

RNG = np.random.default_rng(3)
LABELS = RNG.integers(0, 7, 50)
LOGITS = (RNG.normal(0, 3, (50, 7)) + 4 * np.eye(7)[LABELS]).astype(np.float32)


def in_blocks(size: int) -> Iterator[np.ndarray]:
    return (LOGITS[i : i + size] for i in range(0, len(LOGITS), size))


def figures(found: Evaluation) -> dict[str, float]:
    names = ("accuracy", "top5", "calibration_error", "loss", "balanced_accuracy")
    return {name: getattr(found, name) for name in names}


@pytest.mark.parametrize("keep", [4, 900, 1 << 20])
@pytest.mark.parametrize("size", [1, 16, 50])
def test_figures_are_the_same_however_the_logits_come_and_are_kept(
    size: int, keep: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Evaluation.of(LOGITS, LABELS)
    monkeypatch.setattr(outputs, "AT_ONCE", 21)
    found = Evaluation.of_blocks(in_blocks(size), LABELS, keep_bytes=keep)
    assert figures(found) == figures(whole)
    np.testing.assert_array_equal(found.predictions, LOGITS.argmax(axis=-1))
    np.testing.assert_array_equal(found.confidence, whole.confidence)
    np.testing.assert_array_equal(found.per_class, whole.per_class)
    kept = found.outputs
    np.testing.assert_array_equal(kept.logits, LOGITS[kept.compared])
    np.testing.assert_array_equal(kept.largest, LOGITS.max(axis=-1))
    assert kept.logits.nbytes <= max(keep, 7 * 4)
    assert {4: [0], 900: [0, 2, 4]}.get(keep, [0, 1, 2]) == kept.compared[:3].tolist()
    assert (len(kept), kept.classes) == (50, 7)


def test_differences_of_all_logits_and_of_some() -> None:
    changed = LOGITS.copy()
    changed[2, 0] -= 0.5 + (changed[2].argmax() == 0) * 100
    whole, other = (Evaluation.of(x, LABELS).outputs for x in (LOGITS, changed))
    assert whole.difference(other) == np.abs(LOGITS - changed).max()
    assert whole.spread == np.ptp(LOGITS, axis=0).max()
    assert whole.coverage == ""
    # Of every second image all logits are kept, of the others the largest one is.
    some = Evaluation.of(LOGITS, LABELS, keep_bytes=700).outputs
    assert some.coverage == " (25 of 50 images in all logits)"
    lower = LOGITS.copy()
    lower[3] -= 2
    assert some.difference(Evaluation.of(lower, LABELS, keep_bytes=700).outputs) == 2
    with pytest.raises(ValueError, match="other images"):
        some.difference(whole)


def test_logits_that_are_no_numbers_differ_by_none() -> None:
    broken = LOGITS.copy()
    broken[4, 1] = math.nan
    whole, other = (Evaluation.of(x, LABELS).outputs for x in (LOGITS, broken))
    assert np.flatnonzero(~other.finite).tolist() == [4]
    assert math.isnan(other.difference(whole))


def test_answers_come_back_from_a_file() -> None:
    found = Evaluation.of(LOGITS, LABELS, keep_bytes=700)
    again = Evaluation.from_arrays(found.arrays(), LABELS)
    assert figures(again) == figures(found)
    assert type(again.accuracy) is float
    for field in dataclasses.fields(found.outputs):
        one, two = (getattr(e.outputs, field.name) for e in (found, again))
        np.testing.assert_array_equal(one, two)
        assert one.dtype == two.dtype
    # Earlier versions kept the logits.
    assert figures(Evaluation.from_arrays({"logits": LOGITS}, LABELS)) == figures(found)
    with pytest.raises(KeyError):
        Evaluation.from_arrays({"accuracy": np.array(1.0)}, LABELS)


@pytest.mark.parametrize("count", [49, 51])
def test_blocks_must_be_as_many_as_the_labels(count: int) -> None:
    rows = np.resize(LOGITS, (count, 7))
    with pytest.raises(InputError, match="do not fit labels"):
        Evaluation.of_blocks([rows[:20], rows[20:]], LABELS)
