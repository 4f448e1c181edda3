"""The learning-rate search reads the right rate off curves whose answer is known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kerascnn.errors import InputError
from training.tools.find_rate import (
    draw_search,
    rates,
    smoothed,
    suggest,
    usable,
    write_plot,
)


def descent(at: np.ndarray, *, steepest: float, diverges: float) -> np.ndarray:
    """Falls from 2.3 to 0.5 around one rate and rises from another on."""
    fall = 1 / (1 + np.exp(np.log10(at / steepest) / 0.2))
    return 0.5 + 1.8 * fall + (at / diverges) ** 4


def test_rates_rise_exponentially() -> None:
    found = rates(1e-5, 1e-1, 41)
    assert (found[0], found[-1]) == (1e-5, 1e-1)
    assert found[10] == pytest.approx(1e-4)
    np.testing.assert_allclose(found[1:] / found[:-1], 10**0.1)


@pytest.mark.parametrize("ends", [(0, 1), (-1e-3, 1), (1e-2, 1e-2), (1, 1e-3), (1e-3, math.inf)])
def test_rates_that_do_not_rise_are_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="rise from above 0"):
        rates(*ends, 100)


def test_smoothing_by_hand() -> None:
    # 0.1 * 4 / 0.1; then (0.9 * 0.4 + 0.1 * 2) / 0.19; then (0.9 * 0.56 + 0.1 * 1) / 0.271.
    np.testing.assert_allclose(smoothed([4, 2, 1], beta=0.9), [4, 0.56 / 0.19, 0.604 / 0.271])
    np.testing.assert_allclose(smoothed([3.0] * 50), 3.0)


def test_smoothing_ends_at_a_loss_that_is_no_number() -> None:
    for bad in (math.nan, math.inf):
        assert np.isnan(smoothed([1, 1, bad, 1])).tolist() == [False, False, True, True]


def test_divergence_is_four_times_the_best_smoothed_loss() -> None:
    assert usable([1.0] * 30) == 30
    assert usable([1.0] * 30 + [math.nan, 1.0]) == 30
    assert usable([math.nan]) == usable([]) == 0
    # After 30 ones: the average of x and them weighs x by 0.02 / (1 - 0.98^31) = 0.0430.
    weight = 0.02 / (1 - 0.98**31)
    just_four = (4 - (1 - weight)) / weight
    assert usable([1.0] * 30 + [just_four - 0.01]) == 31
    assert usable([1.0] * 30 + [just_four + 0.01]) == 30


@pytest.mark.parametrize("steps", [60, 100, 400])
@pytest.mark.parametrize("truth", [1e-4, 3e-2])
def test_steepest_descent_is_found(steps: int, truth: float) -> None:
    at = rates(1e-7, 10, steps)
    found = suggest(at, descent(at, steepest=truth, diverges=100 * truth))
    assert abs(math.log10(found.steepest / truth)) < 0.15
    assert found.bounded


def test_rate_of_the_lowest_loss_over_ten() -> None:
    at = rates(1e-6, 1, 301)
    losses = 1 + (np.log10(at) + 2) ** 2 / 20  # lowest at 1e-2
    found = suggest(at, losses)
    assert found.minimum_over_ten == pytest.approx(1e-3, rel=0.01)
    # A parabola is steepest at its end, up to what smoothing does there.
    assert found.steepest < 1e-5
    assert found.rate == found.steepest


def test_smaller_of_the_two_is_suggested() -> None:
    at = rates(1e-6, 10, 201)
    far = suggest(at, descent(at, steepest=1e-3, diverges=1))
    assert far.rate == far.steepest < far.minimum_over_ten
    near = suggest(at, descent(at, steepest=1e-2, diverges=0.05))
    assert near.rate == near.minimum_over_ten < near.steepest


def test_noise_moves_the_answer_little() -> None:
    at = rates(1e-7, 10, 200)
    truth = descent(at, steepest=1e-2, diverges=1)
    for seed in range(5):
        noise = np.random.default_rng(seed).normal(1, 0.1, len(at))
        found = suggest(at, truth * noise)
        assert abs(math.log10(found.rate / 1e-2)) < 0.5, seed


def test_early_end_and_losses_that_are_no_numbers_change_nothing() -> None:
    at = rates(1e-7, 10, 100)
    losses = descent(at, steepest=1e-3, diverges=0.3)
    end = usable(losses)
    assert end < 100
    whole, cut = suggest(at, losses), suggest(at, losses[: end + 1])
    losses[end:] = math.nan
    assert whole == cut == suggest(at, losses)


def test_one_wild_loss_does_not_hide_the_minimum() -> None:
    at = rates(1e-7, 10, 100)
    losses = descent(at, steepest=1e-3, diverges=3)
    calm = suggest(at, losses)
    losses[65] = 40  # amid the lowest
    wild = suggest(at, losses)
    assert wild.steepest == calm.steepest
    assert abs(math.log10(wild.minimum_over_ten / calm.minimum_over_ten)) < 0.6


def test_loss_that_still_falls_at_the_end_is_told() -> None:
    at = rates(1e-6, 1e-2, 100)
    found = suggest(at, descent(at, steepest=3e-3, diverges=1e3))
    assert not found.bounded
    assert found.minimum_over_ten == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([], "ended after 0 steps"),
        ([2.0] * 19, "ended after 19 steps"),
        ([math.nan] * 100, "diverged after 0 steps"),
        ([2.0] * 10 + [1e9] * 90, "diverged after 10 steps"),
        ([2.0] * 100, "does not fall"),
        (list(np.linspace(1, 3, 100)), "does not fall"),
        ([2.0] * 101, "101 losses do not fit 100 rates"),
    ],
)
def test_curves_that_say_nothing_are_refused(losses: list[float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        suggest(rates(1e-6, 1, 100), losses)


def test_noise_alone_is_no_fall() -> None:
    at = rates(1e-6, 1, 100)
    for seed in range(10):
        losses = 2.3 * np.random.default_rng(seed).normal(1, 0.1, len(at))
        with pytest.raises(InputError, match="does not fall"):
            suggest(at, losses)


def test_too_few_steps_are_refused_beforehand() -> None:
    with pytest.raises(InputError, match="19 steps are too few"):
        rates(1e-6, 1, 19)


def test_plot_shows_the_suggestion(tmp_path: Path) -> None:
    at = rates(1e-7, 10, 100)
    losses = descent(at, steepest=1e-3, diverges=0.3)
    losses[90:] = math.nan
    found = suggest(at, losses)
    (axes,) = draw_search(at, losses, found).axes
    lines = {str(line.get_label()).split(":")[0]: line for line in axes.get_lines()}
    assert axes.get_xscale() == "log"
    assert lines["steepest"].get_xdata() == [found.steepest]
    assert lines["a tenth of the lowest"].get_xdata() == [found.minimum_over_ten]
    assert len(lines["smoothed"].get_xdata()) == usable(losses)
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    write_plot(at, losses, found, one)
    write_plot(at, losses, found, other)
    assert one.read_bytes() == other.read_bytes()
    with Image.open(one) as opened:
        assert opened.size == (1680, 1040)


def test_plot_of_a_search_that_ended_too_low_says_so() -> None:
    at = rates(1e-6, 1e-2, 100)
    losses = descent(at, steepest=3e-3, diverges=1e3)
    (axes,) = draw_search(at, losses, suggest(at, losses)).axes
    assert "search higher" in axes.get_title(loc="right")
