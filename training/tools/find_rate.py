"""Which learning rate: what a range test's curve says (arXiv:1506.01186), and its image.

The test trains for some hundred steps while the rate rises exponentially, as fastai has it
(Smith lets it rise linearly), until the loss is four times its best. A good rate lies where the
loss falls fast, and well below the one at which it is lowest, since from there on it diverges.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kerascnn.errors import InputError
from training.common.drawing import (
    BLUE,
    CARD,
    GREEN,
    INK,
    MUTED,
    VERMILION,
    drawing,
    legend_row,
    log_axis,
    save,
    title_above,
)

_FEWEST = 20  # steps
_DIVERGED = 4  # times the best loss
_KERNEL = 1 / 30  # standard deviation of the smoothing kernel, a share of the planned steps
_LEVEL = 10  # steps at the beginning, whose mean loss is where a curve comes from
# A loss has fallen that fell by so much of itself, and by so many standard errors.
_FALL, _NOISE = 0.02, 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suggestion:
    """What a curve says.

    Attributes:
        steepest: the rate at which the loss falls fastest for its logarithm.
        minimum_over_ten: a tenth of the rate at which the loss is lowest.
        rate: the smaller of the two, which is to be taken: a rate too small costs time, one too
            large the training.
        bounded: whether the loss rose again; if not, higher rates may be better.
    """

    steepest: float
    minimum_over_ten: float
    rate: float
    bounded: bool


def rates(lowest: float, highest: float, steps: int) -> np.ndarray:
    """The rate of each step, rising exponentially.

    Returns:
        (steps,) float64, both ends included.

    Raises:
        InputError: rates that do not rise from above zero, or fewer than 20 steps.
    """
    if not 0 < lowest < highest < math.inf:
        raise InputError(
            f"learning rates must rise from above 0, not from {lowest:g} to {highest:g}"
        )
    if steps < _FEWEST:
        raise InputError(f"{steps} steps are too few for a curve; take {_FEWEST} or more")
    return np.geomspace(lowest, highest, steps)


def smoothed(losses: Sequence[float] | np.ndarray, beta: float = 0.98) -> np.ndarray:
    """Exponential moving average of the losses so far, without bias to its start at zero.

    Args:
        losses: (n,) loss of each step.
        beta: share that the past keeps in each step.

    Returns:
        (n,) float64; NaN from the first loss on that is no number.
    """
    averages = np.full(len(losses), math.nan)
    total = 0.0
    for step, loss in enumerate(np.asarray(losses, np.float64).tolist()):
        if not math.isfinite(loss):
            break
        total = beta * total + (1 - beta) * loss
        averages[step] = total / (1 - beta ** (step + 1))
    return averages


def usable(losses: Sequence[float] | np.ndarray) -> int:
    """How many steps there are before the loss diverged; the test may stop when it is not all.

    That is before the first loss that is no number, and before the smoothed loss is four times
    as high as its best so far.
    """
    averages = smoothed(losses)
    best = np.fmin.accumulate(averages)
    # Not `>`: a NaN must end it too.
    diverged = ~(averages <= _DIVERGED * best)
    return int(diverged.argmax()) if diverged.any() else len(averages)


def suggest(rates: np.ndarray, losses: Sequence[float] | np.ndarray) -> Suggestion:
    """Read a rate off a curve.

    The steps before divergence are smoothed by a centred kernel, which unlike a running average
    moves no feature to higher rates, and searched up to the lowest loss.

    Args:
        rates: (steps,) as planned, rising exponentially.
        losses: (n,) loss of the first n steps, n <= steps.

    Raises:
        InputError: fewer than 20 steps before divergence, or a loss that does not fall.
    """
    curve = _curve(rates, losses)
    lowest = int(curve.argmin())
    start = curve[: lowest // 2 + 1].mean()
    if start - curve[lowest] < max(_FALL * abs(start), _noise(rates, losses, curve[: lowest + 1])):
        raise InputError(
            f"the loss does not fall between learning rates {rates[0]:.2g} and "
            f"{rates[len(curve) - 1]:.2g}; search lower, higher, or with more steps"
        )
    slopes = np.gradient(curve, np.log10(rates[: len(curve)]))
    steepest = float(rates[slopes[: lowest + 1].argmin()])
    tenth = float(rates[lowest]) / 10
    rose = curve[lowest:].max() - curve[lowest] > 0.1 * (start - curve[lowest])
    return Suggestion(
        steepest=steepest,
        minimum_over_ten=tenth,
        rate=min(steepest, tenth),
        bounded=bool(rose or len(curve) < len(losses)),
    )


def write_plot(
    rates: np.ndarray,
    losses: Sequence[float] | np.ndarray,
    suggestion: Suggestion,
    path: pathlib.Path,
) -> None:
    """Draw losses by learning rate, as they were and smoothed, with what `suggest` read.

    Raises:
        InputError: as `suggest`.
    """
    with drawing():
        save(draw_search(rates, losses, suggestion), path)


def draw_search(
    rates: np.ndarray, losses: Sequence[float] | np.ndarray, suggestion: Suggestion
) -> Figure:
    """The drawing of `write_plot`."""
    curve = _curve(rates, losses)
    figure = Figure(figsize=(8.4, 5.2))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    figure.subplots_adjust(left=0.085, right=0.965, top=0.805, bottom=0.115)
    heading = f"suggested learning rate {suggestion.rate:.2g}"
    figure.text(0.02, 0.945, heading, fontsize=13, weight="bold", va="center")
    title_above(axes, "loss of a step")
    axes.set_xlabel("learning rate", labelpad=6)
    count = len(losses)
    dots: dict[str, Any] = {"marker": "o", "markersize": 2.6, "linestyle": "none", "alpha": 0.55}
    axes.plot(rates[:count], losses, **dots, color=MUTED, label="measured")
    axes.plot(rates[: len(curve)], curve, color=BLUE, linewidth=2, label="smoothed")
    # A diverging end must not squash what is read.
    low, high = float(curve.min()), float(curve[: curve.argmin() + 1].max())
    room = max(high - low, 1e-3)
    axes.set_ylim(low - 0.25 * room, high + 0.35 * room)
    log_axis(axes.xaxis, (float(rates[0]), float(rates[-1])))
    axes.grid(True)
    _mark(axes, suggestion, rates[: len(curve)], curve)
    if not suggestion.bounded:
        remark = "the loss still fell at the highest rate: search higher"
        axes.set_title(remark, loc="right", fontsize=10.5, color=VERMILION, pad=7)
    legend_row(figure, axes, 0.885)
    return figure


def _mark(axes: Any, suggestion: Suggestion, rates: np.ndarray, curve: np.ndarray) -> None:
    for name, rate, colour in (
        ("steepest", suggestion.steepest, VERMILION),
        ("a tenth of the lowest", suggestion.minimum_over_ten, GREEN),
    ):
        value = float(np.interp(math.log(rate), np.log(rates), curve))
        axes.plot(
            *([rate], [value]),
            linestyle="none",
            marker="o",
            markersize=9,
            color=colour,
            markeredgecolor=CARD,
            label=f"{name}: {rate:.2g}",
            zorder=3,
        )
        if rate == suggestion.rate:
            axes.axvline(rate, color=INK, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)


def _curve(rates: np.ndarray, losses: Sequence[float] | np.ndarray) -> np.ndarray:
    """(m,) smoothed losses of the steps before divergence, by a centred Gaussian kernel."""
    losses = np.asarray(losses, np.float64)
    if len(losses) > len(rates):
        raise InputError(f"{len(losses)} losses do not fit {len(rates)} rates; give one a step")
    count = usable(losses)
    if count < _FEWEST:
        reason = "diverged" if count < len(losses) else "ended"
        raise InputError(
            f"the search {reason} after {count} steps, at learning rate "
            f"{rates[max(count - 1, 0)]:.2g}; {_FEWEST} are needed, begin lower or take more"
        )
    steps = np.arange(count)
    weights = np.exp(-0.5 * ((steps[:, None] - steps) / _spread(rates)) ** 2)
    # One wild loss must not lift its whole surroundings, the lowest ones among them.
    tamed = np.minimum(losses[:count], 2 * losses[:_LEVEL].mean())
    return weights @ tamed / weights.sum(axis=1)


def _noise(rates: np.ndarray, losses: Sequence[float] | np.ndarray, curve: np.ndarray) -> float:
    """What noise alone makes of the beginning of a smoothed curve, hardly ever more."""
    # By the median, since one wild loss is no noise; 1.48 makes a standard deviation of it.
    deviation = 1.48 * float(np.median(np.abs(np.asarray(losses[: len(curve)]) - curve)))
    # The kernel averages some 3.5 spreads of steps.
    return _NOISE * deviation / math.sqrt(3.5 * _spread(rates))


def _spread(rates: np.ndarray) -> float:
    """Standard deviation of the smoothing kernel, in steps."""
    return max(1.0, _KERNEL * len(rates))
