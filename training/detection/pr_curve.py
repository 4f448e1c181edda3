"""Precision against recall of a detector as an image, and its figures by class as a table."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kerascnn.errors import InputError
from training.common import atomic
from training.common.drawing import (
    CLASS_COLOURS,
    INK,
    MUTED,
    drawing,
    save,
    shorten,
    title_above,
)
from training.detection.metrics import DetectionEvaluation

_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
_NAMED = len(_DASHES) * len(CLASS_COLOURS)  # classes, up to which each has a look of its own
_LETTERS = 20  # of a name


def write_pr_curve(
    evaluation: DetectionEvaluation, path: pathlib.Path, classes: Sequence[str]
) -> None:
    """Draw precision against recall at IoU 0.5: a thin line a class, their mean in bold.

    Args:
        evaluation: on whatever split.
        path: of the .png.
        classes: names in index order; above 21 the lines are grey and go without names.

    Raises:
        InputError: the evaluation has another number of classes than names.
    """
    _check(evaluation, classes)
    with drawing(names=classes):
        save(draw_pr_curve(evaluation, classes), path)


def write_per_class(
    evaluation: DetectionEvaluation,
    classes: Sequence[str],
    path: pathlib.Path,
    *,
    boxes: DetectionEvaluation | None = None,
) -> None:
    """Write AP, AP50 and counts as a .csv: one row a class; empty where there are no objects.

    Args:
        boxes: of the boxes where `evaluation` is of masks, in columns behind.

    Raises:
        InputError: as `write_pr_curve`.
    """
    _check(evaluation, classes)
    columns = {
        "class": classes,
        "ap": map(_cell, evaluation.per_class),
        "ap50": map(_cell, evaluation.per_class50),
        "objects": evaluation.objects.tolist(),
        "detections": evaluation.detections.tolist(),
    }
    if boxes is not None:
        _check(boxes, classes)
        columns["box_ap"] = map(_cell, boxes.per_class)
        columns["box_ap50"] = map(_cell, boxes.per_class50)
    atomic.write_csv(path, list(columns), list(zip(*columns.values(), strict=True)))


def draw_pr_curve(evaluation: DetectionEvaluation, classes: Sequence[str]) -> Figure:
    """The drawing of `write_pr_curve`; its only axes hold the lines."""
    figure = Figure(figsize=(8.4, 6.2))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    figure.subplots_adjust(left=0.085, right=0.7, top=0.925, bottom=0.095)
    present = np.flatnonzero(evaluation.objects).tolist()
    few = len(present) <= _NAMED
    overlap = "mask IoU" if evaluation.kind == "segm" else "IoU"
    for label in present:
        look = _look(label) if few else {"color": MUTED, "alpha": 0.3}
        name = f"{shorten(classes[label], _LETTERS)}  {evaluation.per_class50[label]:.1f}"
        # matplotlib leaves "_" out of a legend.
        text = name if few else "each class" if label == present[0] else "_"
        _line(axes, evaluation.precision[label], linewidth=1.1, label=text, **look)
    if len(present):
        text = f"mean of {len(present)}  {evaluation.ap50:.1f}"
        _line(axes, evaluation.mean_precision, linewidth=3, label=text, color=INK)
        entries, texts = axes.get_legend_handles_labels()
        figure.legend(
            *(entries[-1:] + entries[:-1], texts[-1:] + texts[:-1]),  # the mean first
            loc="upper left",
            bbox_to_anchor=(0.71, 0.93),
            frameon=False,
            title=f"class, AP at {overlap} 0.5 (%)",
            alignment="left",
            fontsize=10,
            title_fontsize=10,
        )
    axes.set(xlim=(0, 100), ylim=(0, 101), xlabel="recall (%)")
    axes.grid(True)
    title_above(axes, f"precision (%) at {overlap} 0.5")
    return figure


def _check(evaluation: DetectionEvaluation, classes: Sequence[str]) -> None:
    if len(evaluation.objects) != len(classes):
        raise InputError(
            f"an evaluation of {len(evaluation.objects)} classes does not fit {len(classes)} class "
            "names; give one name a class"
        )


def _look(label: int) -> dict[str, Any]:
    turn, place = divmod(label, len(CLASS_COLOURS))
    return {"color": CLASS_COLOURS[place], "linestyle": _DASHES[turn % len(_DASHES)]}


def _line(axes: Any, precision: np.ndarray, **look: Any) -> None:
    """(101,) shares; the line falls to zero where recall ends, and ends there too."""
    shown = np.where(np.cumsum(precision == 0) <= 1, 100 * precision, math.nan)
    axes.plot(np.arange(len(shown)), shown, drawstyle="steps-pre", clip_on=False, **look)


def _cell(percent: float) -> str | None:
    return f"{percent:.4f}" if math.isfinite(percent) else None
