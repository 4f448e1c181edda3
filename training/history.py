"""A training's history: one dict of figures an epoch, and the file that keeps it."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping, Sequence

from training import atomic

# "epoch" (from 1), "learning_rate" of its last step, "loss", "accuracy"; where pictures choose the
# epoch, "val_loss" and "val_accuracy".
History = list[dict[str, float]]


def best_epoch(history: Sequence[Mapping[str, float]]) -> int:
    """Number, from 1, of the epoch with the best validation; the last one without any.

    The higher accuracy is better, of equal ones the lower loss, of these the earlier epoch.
    """
    if "val_accuracy" not in history[-1]:
        return len(history)
    # A loss that is no number is worse than any.
    scores = [
        (epoch["val_accuracy"], -v if math.isfinite(v := epoch["val_loss"]) else -math.inf)
        for epoch in history
    ]
    return 1 + scores.index(max(scores))


def write_history(path: pathlib.Path, history: History) -> None:
    """Write history.csv: one row an epoch."""
    head = list(history[-1])
    atomic.write_csv(path, head, ([f"{epoch[key]:.6g}" for key in head] for epoch in history))
