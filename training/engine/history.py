"""A training's history: one dict of figures an epoch, and the file that keeps it."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping, Sequence

from training.common import atomic

# "epoch" (from 1), "learning_rate" of its last step, "loss" and the task's own figures; where
# pictures choose the epoch, one of `JUDGES` among them, and "val_images" where these are not all
# of them (`training.engine.watching`). Metrics are in percent.
History = list[dict[str, float]]
# What chooses the epoch where the configuration's `monitor` is "auto": the higher the better.
JUDGES = ("val_accuracy", "val_ap", "val_miou")
# What other words of `monitor` mean.
MONITORS = {
    "accuracy": "val_accuracy",
    "balanced_accuracy": "val_balanced_accuracy",
    "loss": "val_loss",
}
# Columns that are percentages.
METRICS = (
    *("accuracy", "val_accuracy", "val_balanced_accuracy"),
    *("val_ap", "val_ap50", "val_miou", "val_dice"),
)
# What a checkpoint says of its history's metrics; older ones say nothing and hold shares of 1.
UNIT = "percent"
# How a person is told what a judge is.
_NAMES = {
    "val_accuracy": "val accuracy",
    "val_balanced_accuracy": "val balanced accuracy",
    "val_loss": "val loss",
    "val_ap": "val AP",
    "val_miou": "val mIoU",
}


def judge(row: Mapping[str, float], monitor: str = "auto") -> str | None:
    """The figure that chooses the epoch, or None where the last one is kept.

    Args:
        row: of a history.
        monitor: of `TrainConfig`.
    """
    names = JUDGES if monitor == "auto" else (MONITORS[monitor],)
    return next((name for name in names if name in row), None)


def best_epoch(history: Sequence[Mapping[str, float]], monitor: str = "auto") -> int:
    """Number, from 1, of the epoch with the best validation; the last one without any.

    The better figure wins, of equal ones the lower loss (of the training pictures, where
    validation has none), of these the earlier epoch. One that is no number is worse than any.
    """
    if judge(history[-1], monitor) is None:
        return len(history)
    scores = [standing(epoch, monitor) for epoch in history]
    return 1 + scores.index(max(scores))


def standing(row: Mapping[str, float], monitor: str = "auto") -> tuple[float, float]:
    """What sorts epochs that were judged: the better the higher."""
    loss = row.get("val_loss", row.get("loss", math.nan))
    name = judge(row, monitor)
    figure = math.nan if name is None else row[name]
    return _known(-figure if name == "val_loss" else figure), _known(-loss)


def _known(figure: float) -> float:
    return figure if math.isfinite(figure) else -math.inf


def in_percent(row: Mapping[str, float]) -> dict[str, float]:
    """A row of `METRICS` that are shares of 1, as a history has it."""
    return {name: 100 * value if name in METRICS else value for name, value in row.items()}


def told(name: str, row: Mapping[str, float]) -> str:
    """A figure for a person: "val accuracy 71.9%"; losses have no unit."""
    text = f"{row[name]:.1f}%" if name in METRICS else f"{row[name]:.3f}"
    return f"{_NAMES.get(name, name)} {text}"


def write_history(path: pathlib.Path, history: History) -> None:
    """Write history.csv: one row an epoch, metrics in percent."""
    head = list(history[-1])
    rows = ([f"{epoch.get(key, math.nan):.6g}" for key in head] for epoch in history)
    atomic.write_csv(path, head, rows)
