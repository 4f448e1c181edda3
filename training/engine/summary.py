"""What a person reads of a training: a line an epoch, a warning, the closing words.

All are functions of the history, so that a training that was interrupted says the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from training.engine.config import TrainConfig
from training.engine.history import History, best_epoch, figure, figure_text, judge, standing
from training.engine.task import LOSS, PERCENT

# Validation stands still after so many epochs, and this part of the run, that brought no more than
# `_GAIN` of percent (of a loss: a hundredth) while the loss fell to `_FALL` of what it was.
_EPOCHS = 5
_PART = 5
_GAIN = 0.5
_FALL = 0.8
# Percent at which there is little left to gain.
_ENOUGH = 98.0


def epoch_line(history: History, config: TrainConfig) -> str:
    """The last epoch: "epoch 3/6  val accuracy 71.9% (best 84.3%, epoch 2)  loss 0.412"."""
    row = history[-1]
    parts = [f"epoch {len(history)}/{config.epochs}"]
    name = judge(row, config.monitor)
    if name is not None:
        parts.append(f"{figure_text(name, row)} ({_standing(history, name, config.monitor)})")
    elif "accuracy" in row:
        parts.append(f"training {figure_text('accuracy', row)}")
    parts.append(figure_text("loss", row))
    if len(history) <= config.freeze_epochs:
        parts.append("head alone")
    return "  ".join(parts)


def _standing(history: History, name: str, monitor: str) -> str:
    """How the last epoch stands: "best", or which one is; of equal figures the loss decides."""
    best = best_epoch(history, monitor)
    figure, chosen = history[-1][name], history[best - 1]
    if best < len(history):
        if figure == chosen[name]:
            return f"equals epoch {best}"
        return f"best {figure_text(name, chosen).rpartition(' ')[2]}, epoch {best}"
    equal = [number for number, row in enumerate(history[:-1], 1) if row.get(name) == figure]
    if not equal:
        return "best"
    # Of those that it equals, the one that was the best until now.
    before = max(equal, key=lambda number: standing(history[number - 1], monitor))
    return f"equals epoch {before}, at a lower loss"


def standstill(history: History, config: TrainConfig, *, lag: float = 0.0) -> str | None:
    """A warning at the epoch from which validation has stood still while the loss fell.

    Args:
        lag: what the moving averages of batch norms still hold of their initial values, of 1.

    Returns:
        A line; None, also at every later epoch, so that it is said once.
    """
    if not _stands_still(history, config):
        return None
    if any(_stands_still(history[:n], config) for n in range(1, len(history))):
        return None
    row, count = history[-1], _window(config)
    name = judge(row, config.monitor) or ""
    fell = 1 - row["loss"] / history[-count - 1]["loss"]
    causes = [
        "too few or too similar training images (more of them, a stronger augmentation)",
        "validation images unlike the training ones, or with wrong labels",
    ]
    if lag > 0.05:
        causes.insert(
            0,
            f"batch norms whose statistics are still {lag:.0%} their initial ones "
            "(--option norm_momentum=0.9)",
        )
    return (
        f"warning: no better validation for {count} epochs ({figure_text(name, row)}) while the "
        f"training loss fell by {fell:.0%}; likely causes: {'; '.join(causes)}"
    )


def _window(config: TrainConfig) -> int:
    return max(_EPOCHS, math.ceil(config.epochs / _PART))


def _stands_still(history: History, config: TrainConfig) -> bool:
    """Whether the last epochs gained nothing, judged against all before them."""
    count = _window(config)
    trained = history[config.freeze_epochs :]
    if len(trained) <= count or (name := judge(history[-1], config.monitor)) is None:
        return False
    figures = [row.get(name, math.nan) for row in trained]
    if not all(map(math.isfinite, figures)):
        return False
    before, lately = figures[:-count], figures[-count:]
    column = figure(name)
    if column.unit == PERCENT and column.higher_is_better:
        stands = max(before) < _ENOUGH and max(lately) <= max(before) + _GAIN
    elif column.higher_is_better:
        stands = max(lately) <= 1.01 * max(before)
    else:
        stands = min(lately) >= 0.99 * min(before)
    return stands and trained[-1]["loss"] <= _FALL * trained[-count - 1]["loss"]


def figures(history: History, config: TrainConfig) -> dict[str, Any]:
    """What run.json keeps of the choice of the epoch.

    Returns:
        "best_epoch" and "epochs" that were trained; where validation chose, "chosen_by" (a column
        of history.csv) and "validation", its figure in percent: where the loss chose, the task's
        own metric of that epoch, and "validation_loss".
    """
    best = best_epoch(history, config.monitor)
    found: dict[str, Any] = {"best_epoch": best, "epochs": len(history)}
    if (name := judge(history[-1], config.monitor)) is not None:
        row = history[best - 1]
        metric = (judge(row) or name) if name == LOSS.column else name
        found |= {"chosen_by": name, "validation": row[metric]}
        if name == LOSS.column:
            found["validation_loss"] = row[name]
    return found


def closing(results: Mapping[str, Any]) -> str:
    """Which epoch a run kept, for the closing line: "best epoch 2 of 6 (val accuracy 84.3%)".

    Args:
        results: of run.json; of older versions, which say less.

    Returns:
        Words without a full stop; empty where the run does not say.
    """
    best, epochs = results.get("best_epoch"), results.get("epochs")
    if best is None or epochs is None:
        return f"best epoch {best}" if best is not None else ""
    name = results.get("chosen_by")
    if name is None:
        return f"last of {epochs} epochs" if epochs > 1 else "1 epoch"
    value = results["validation_loss" if name == LOSS.column else "validation"]
    return f"best epoch {best} of {epochs} ({figure_text(name, {name: value})})"
