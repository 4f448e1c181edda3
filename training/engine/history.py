"""A training's history: one dict of figures an epoch, and the file that keeps it."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from training import tasks
from training.common import atomic
from training.engine.task import LOSS, PERCENT, Figure

# "epoch" (from 1), "learning_rate" of its last step, "loss" and the task's own figures; where
# images choose the epoch, the judge of a task's metric among them, and "val_images" where these
# are not all of them (`training.engine.watching`). Metrics are in percent.
History = list[dict[str, float]]
# What a checkpoint notes of its history's metrics; older ones do not, and hold shares of 1.
UNIT = "percent"


def figure(column: str) -> Figure:
    """What a column of a history is; one that no task knows has no unit."""
    return next((one for one in _figures() if one.column == column), Figure(column=column, unit=""))


def _figures() -> Iterator[Figure]:
    """Every figure of every task."""
    yield LOSS
    for task in tasks.all_tasks():
        yield from task.figures


def judge(row: Mapping[str, float], monitor: str = "auto") -> str | None:
    """The figure that chooses the epoch, or None where the last one is kept.

    Args:
        row: of a history.
        monitor: of `TrainConfig`.
    """
    if monitor == "auto":
        judges = (task.metric.judge.column for task in tasks.all_tasks())
    else:
        judges = (one.column for one in _figures() if one.monitor == monitor)
    return next((name for name in judges if name in row), None)


def best_epoch(history: Sequence[Mapping[str, float]], monitor: str = "auto") -> int:
    """Number, from 1, of the epoch with the best validation; the last one without any.

    The better figure wins, of equal ones the lower loss (of the training images, where
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
    rank = math.nan if name is None else figure(name).rank(row[name])
    return _known(rank), _known(-loss)


def _known(rank: float) -> float:
    return rank if math.isfinite(rank) else -math.inf


def in_percent(row: Mapping[str, float]) -> dict[str, float]:
    """A row of figures that are shares of 1 where percentages are meant, as a history has it."""
    return {
        name: 100 * value if figure(name).unit == PERCENT else value for name, value in row.items()
    }


def figure_text(name: str, row: Mapping[str, float]) -> str:
    """A figure for a person: "val accuracy 71.9%"; losses have no unit."""
    return figure(name).text(row[name])


def write_history(path: pathlib.Path, history: History) -> None:
    """Write history.csv: one row an epoch, metrics in percent."""
    head = list(history[-1])
    rows = ([f"{epoch.get(key, math.nan):.6g}" for key in head] for epoch in history)
    atomic.write_csv(path, head, rows)
