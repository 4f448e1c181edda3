"""The curves of a training as an image: loss, accuracy and learning rate by epoch."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from kerascnn.errors import InputError
from training import tasks
from training.common.drawing import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    VERMILION,
    drawing,
    legend_row,
    log_axis,
    save,
    shorten,
    title_above,
)
from training.engine.history import best_epoch, judge
from training.engine.history import figure as figure_of
from training.engine.task import LOSS, LOSSES, Look, Task

_DOTTED = 40  # epochs, up to which each has a dot
_TITLE = 62  # letters
_LOWEST_SHARE = 1e-4  # of the highest learning rate; what lies below is drawn at it


def write_curves(
    history: list[dict[str, float]],
    path: pathlib.Path,
    *,
    title: str,
    monitor: str = "auto",
    task: Task | None = None,
) -> None:
    """Draw a training; the epoch whose weights are kept is marked where validation chose it.

    Args:
        history: a row per epoch with epoch, learning_rate, loss, and the columns of the task.
        path: of the .png.
        title: in one line; a long one is cut.
        monitor: of the training's configuration.
        task: of the training; None: by the columns.

    Raises:
        InputError: the history has no epoch.
    """
    if not history:
        raise InputError(f"{path}: there is no epoch to draw; train for at least one")
    with drawing(names=[title]):
        save(draw_curves(history, title, monitor, task), path)


def draw_curves(
    history: Sequence[dict[str, float]],
    title: str,
    monitor: str = "auto",
    task: Task | None = None,
) -> Figure:
    """The drawing of `write_curves`: axes for loss, the task's figure (%), and learning rate."""
    figure = Figure(figsize=(8.4, 8.8))
    FigureCanvasAgg(figure)
    losses, scores, rates = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": [3, 3, 1.5]}
    )
    figure.subplots_adjust(left=0.085, right=0.975, top=0.885, bottom=0.065, hspace=0.2)
    figure.text(0.02, 0.97, shorten(title, _TITLE), fontsize=13, weight="bold", va="center")
    epochs = _column(history, "epoch")
    curves = (task or _task_of(history)).curves
    for axes, lines, text in (
        (losses, curves.losses, "loss"),
        (scores, curves.scores, curves.title),
    ):
        title_above(axes, text)
        for line in lines:
            values = _column(history, line.column)
            if np.isfinite(values).any() and line.monitor in ("", monitor):
                _line(axes, epochs, values, label=line.label, **_LOOKS[line.look])
    _draw_rates(rates, epochs, _column(history, "learning_rate"))
    for axes in (losses, scores, rates):
        axes.grid(True)
    _mark_best(history, monitor, losses, scores, rates)
    _epoch_axis(rates, epochs)
    legend_row(figure, losses, 0.936)
    if _labels(scores) - _labels(losses):
        scores.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, borderaxespad=0.2
        )
    return figure


def _labels(axes: Any) -> set[str]:
    return set(axes.get_legend_handles_labels()[1])


_LOOKS: Mapping[Look, Mapping[str, Any]] = {
    Look.TRAINING: {"color": BLUE, "linestyle": (0, (4, 1.3))},
    Look.VALIDATION: {"color": VERMILION},
    Look.SECOND: {"color": VERMILION, "linestyle": (0, (1, 1))},
    Look.PART: {"color": GREEN, "linestyle": (0, (1, 1))},
    Look.SECOND_PART: {"color": MUTED, "linestyle": (0, (4, 1.3, 1, 1.3))},
}


def _task_of(history: Sequence[Mapping[str, float]]) -> Task:
    """The task whose columns a history has, the last one where it has those of none."""
    there = set().union(*history) - {line.column for line in LOSSES}
    every = tasks.all_tasks()
    known = (task for task in every if there & _columns(task))
    return next(known, every[-1])


def _columns(task: Task) -> set[str]:
    return {line.column for line in (*task.curves.losses, *task.curves.scores)}


def _column(history: Sequence[dict[str, float]], name: str) -> np.ndarray:
    """(epochs,), NaN where an epoch has no finite figure."""
    values = np.array([row.get(name, math.nan) for row in history], np.float64)
    return np.where(np.isfinite(values), values, math.nan)


def _line(axes: Any, epochs: np.ndarray, values: np.ndarray, **look: Any) -> None:
    dots = {"marker": "o", "markersize": 3.5} if len(epochs) <= _DOTTED else {}
    axes.plot(epochs, values, linewidth=1.6, clip_on=False, **dots, **look)


def _draw_rates(axes: Any, epochs: np.ndarray, rates: np.ndarray) -> None:
    """Every epoch has its point: rates below the axis lie on its lower edge."""
    title_above(axes, "learning rate")
    low, high = _rate_limits(rates)
    _line(axes, epochs, np.maximum(rates, low), color=GREEN)
    log_axis(axes.yaxis, (low, high))


def _rate_limits(rates: np.ndarray) -> tuple[float, float]:
    """A cosine ends at zero, or near it, which must not squash the rest."""
    positive = rates[rates > 0]
    if not len(positive):
        return 1e-4, 1e-2
    high = float(positive.max())
    low = max(float(positive.min()), high * _LOWEST_SHARE)
    # At least half a decade, and room above and below.
    pad = max(0.06 * math.log10(high / low) + 0.02, (0.5 - math.log10(high / low)) / 2)
    return low / 10**pad, high * 10**pad


def _epoch_axis(axes: Any, epochs: np.ndarray) -> None:
    first, last = float(epochs[0]), float(epochs[-1])
    pad = max(0.015 * (last - first), 0.5 if first == last else 0.0)
    axes.set_xlim(first - pad, last + pad)
    axes.set_xlabel("epoch", labelpad=6)
    few = MaxNLocator(12, integer=True, steps=[1, 2, 5, 10])
    axes.xaxis.set_major_locator(FixedLocator([first]) if first == last else few)


def _mark_best(
    history: Sequence[dict[str, float]], monitor: str, losses: Any, scores: Any, rates: Any
) -> None:
    name = judge(history[-1], monitor)
    if name is None:
        return
    row = history[best_epoch(history, monitor) - 1]
    for axes in (losses, scores, rates):
        axes.axvline(row["epoch"], color=INK, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    ring = {"marker": "o", "markersize": 10, "markeredgewidth": 1.4, "linestyle": "none"}
    score = math.nan if name == LOSS.column else row[name]
    for axes, value in ((losses, row.get("val_loss", math.nan)), (scores, score)):
        if math.isfinite(value):
            axes.plot(
                [row["epoch"]], [value], **ring, color=INK, markerfacecolor="none", clip_on=False
            )
    judged = figure_of(name)
    text = f"{judged.mark} {row[name]:.4g}{judged.unit}".strip()
    losses.annotate(
        f"best: epoch {row['epoch']:g}, {text} on validation images",
        *((1, 1), (0, 7)),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        fontsize=10.5,
    )
