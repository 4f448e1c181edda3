"""A training's history: one dict of figures an epoch, and the file that keeps it."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping, Sequence

from training import atomic

# "epoch" (from 1), "learning_rate" of its last step, "loss" and the task's own figures; where
# pictures choose the epoch, one of `JUDGES` among them.
History = list[dict[str, float]]
# What chooses the epoch: the higher the better.
JUDGES = ("val_accuracy", "val_ap", "val_miou")


def judge(row: Mapping[str, float]) -> str | None:
    """The figure that chooses the epoch, or None where the last one is kept."""
    return next((name for name in JUDGES if name in row), None)


def best_epoch(history: Sequence[Mapping[str, float]]) -> int:
    """Number, from 1, of the epoch with the best validation; the last one without any.

    The higher figure is better, of equal ones the lower loss (of the training pictures, where
    validation has none), of these the earlier epoch. One that is no number is worse than any.
    """
    if judge(history[-1]) is None:
        return len(history)
    scores = [standing(epoch) for epoch in history]
    return 1 + scores.index(max(scores))


def standing(row: Mapping[str, float]) -> tuple[float, float]:
    """What sorts epochs that were judged: the better the higher."""
    loss = row.get("val_loss", row.get("loss", math.nan))
    return _known(row[judge(row) or JUDGES[0]]), _known(-loss)


def _known(figure: float) -> float:
    return figure if math.isfinite(figure) else -math.inf


def write_history(path: pathlib.Path, history: History) -> None:
    """Write history.csv: one row an epoch."""
    head = list(history[-1])
    atomic.write_csv(path, head, ([f"{epoch[key]:.6g}" for key in head] for epoch in history))
