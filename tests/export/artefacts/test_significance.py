"""Intervals by hand, against a resampling of pictures, and against what they claim to hold."""

from __future__ import annotations

import numpy as np
import pytest

from export.artefacts.significance import (
    drop_interval,
    pack,
    unpack,
)


def answers(lost: int, gained: int, both: int, neither: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(n,) bool each: the float network's and the file's, by how many pictures of each kind."""
    kinds = [(True, False), (False, True), (True, True), (False, False)]
    pairs = np.repeat(np.array(kinds), [lost, gained, both, neither], axis=0)
    return pairs[:, 0], pairs[:, 1]


def resampled(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Drops in points, by drawing pictures one by one."""
    rng = np.random.default_rng(1)
    n = len(before)
    drops = []
    for _ in range(10_000):
        drawn = rng.integers(n, size=n)
        drops.append(100 * (before[drawn].sum() - after[drawn].sum()) / n)
    return np.array(drops)


def test_answers_are_packed_first_picture_highest():
    assert pack(np.array([True, False, True])) == "oA=="  # 1010 0000
    assert unpack("oA==", 3).tolist() == [True, False, True]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 1000])
def test_packed_answers_come_back(count: int):
    right = np.random.default_rng(count).random(count) < 0.9
    back = unpack(pack(right), count)
    assert back.dtype == bool
    np.testing.assert_array_equal(back, right)


@pytest.mark.parametrize("text", ["oA==", "oAAA", "no base64!", "oA"])
def test_what_is_not_so_many_answers_is_refused(text: str):
    with pytest.raises(ValueError):  # noqa: PT011
        unpack(text, 9)


def test_without_a_differing_picture_the_interval_is_a_point():
    assert drop_interval(*answers(0, 0, 90, 10)) == (0.0, 0.0)
    assert drop_interval(*answers(100, 0, 0)) == (100.0, 100.0)
    assert drop_interval(*answers(0, 5, 0)) == (-100.0, -100.0)


def test_two_pictures_worked_by_hand():
    """One of two is lost: drops of 0, 50 and 100 points have chances of 1/4, 1/2 and 1/4."""
    before, after = answers(1, 0, 1)
    assert drop_interval(before, after) == (0.0, 100.0)
    assert drop_interval(before, after, level=0.4) == (50.0, 50.0)
    assert drop_interval(after, before, level=0.6) == (-100.0, 0.0)


@pytest.mark.parametrize(("lost", "gained"), [(12, 3), (4, 4), (1, 0), (60, 20)])
def test_interval_is_that_of_resampled_pictures(lost: int, gained: int):
    before, after = answers(lost, gained, 400, 100 - lost)
    low, high = drop_interval(before, after)
    picture = 100 / len(before)
    np.testing.assert_allclose(
        [low, high], np.quantile(resampled(before, after), [0.025, 0.975]), atol=picture + 1e-9
    )


def test_interval_is_that_of_the_normal_law_where_many_pictures_differ():
    """The variance of a paired difference: (b + c - (b - c)^2 / n) / n^2."""
    b, c, n = 900, 700, 20_000
    before, after = answers(b, c, n - b - c)
    half = 1.96 * 100 * np.sqrt(b + c - (b - c) ** 2 / n) / n
    np.testing.assert_allclose(drop_interval(before, after), [1 - half, 1 + half], atol=0.02)


def test_equal_answers_give_equal_intervals():
    before, after = answers(12, 3, 400)
    order = np.random.default_rng(0).permutation(len(before))
    assert drop_interval(before, after) == drop_interval(before[order], after[order])
    assert drop_interval(before, after, seed=1) == drop_interval(before, after, seed=1)


@pytest.mark.parametrize(
    ("lost", "gained", "least", "most"),
    [
        (0.02, 0.01, 0.93, 0.98),
        (0.004, 0.004, 0.93, 0.99),  # eight pictures that differ
        (0.001, 0.0, 0.55, 0.70),  # one or none: too narrow, as the module's docstring warns
    ],
)
def test_the_interval_holds_the_true_drop_as_often_as_it_claims(
    lost: float, gained: float, least: float, most: float
):
    rng = np.random.default_rng(2)
    held = 0
    for counts in rng.multinomial(1000, [lost, gained, 1 - lost - gained], size=600):
        low, high = drop_interval(*answers(*counts), resamples=1000)
        held += low <= 100 * (lost - gained) <= high
    assert least < held / 600 < most


@pytest.mark.parametrize("shapes", [((3,), (4,)), ((0,), (0,)), ((2, 2), (2, 2))])
def test_answers_that_are_no_pairs_are_refused(shapes):
    with pytest.raises(ValueError, match="pairs of answers"):
        drop_interval(*(np.ones(shape, bool) for shape in shapes))
