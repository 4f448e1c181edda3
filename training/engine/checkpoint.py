"""What an interrupted training goes on from: one .npz an epoch, whole or absent.

A long epoch has some in its middle, too: epoch-00007.0000120.npz is 120 steps behind epoch 7.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from kerascnn import outside_json
from training.common import atomic
from training.common.arrays import read_npz

_KEPT = 2
_STATE: outside_json.Shape = {
    "history": outside_json.items(outside_json.values(outside_json.real)),
    "seconds": outside_json.number,
    "epochs": outside_json.whole,
    "step": outside_json.whole,
    "metrics": outside_json.items(outside_json.real),
}


def save(path: pathlib.Path, variables: Sequence, state: dict[str, Any]) -> None:
    """Write variables in order and a JSON-able state."""
    arrays: dict[str, Any] = {f"v{i}": np.asarray(v) for i, v in enumerate(variables)}
    with atomic.replacing(path) as temporary:
        np.savez(temporary, state=np.array(json.dumps(state)), **arrays)


def read(
    path: pathlib.Path, needed: Sequence[str] = ("history", "seconds")
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Arrays in order, and the state; raises ValueError for a damaged file.

    Args:
        needed: fields that the state must have.
    """
    try:
        found = read_npz(path)
        state: dict[str, Any] = json.loads(str(found.pop("state")))
        outside_json.check(state, _STATE)
        _ = [state[name] for name in needed]
        arrays = [found[f"v{i}"] for i in range(len(found))]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return arrays, state


def assign(variables: Sequence, arrays: Sequence[np.ndarray]) -> None:
    """Put arrays back into variables; raises ValueError if their shapes differ."""
    if [tuple(v.shape) for v in variables] != [a.shape for a in arrays]:
        raise ValueError("the checkpoint belongs to another network")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def epoch_path(folder: pathlib.Path, epoch: int, step: int = 0) -> pathlib.Path:
    """Where the state after `epoch` epochs, and `step` steps of the next one, lies."""
    return folder / (f"epoch-{epoch:05d}.{step:07d}.npz" if step else f"epoch-{epoch:05d}.npz")


def latest_first(folder: pathlib.Path) -> list[pathlib.Path]:
    """Checkpoints, the newest one first."""
    return sorted(folder.glob("epoch-*.npz"), key=_position, reverse=True)


def prune(folder: pathlib.Path) -> None:
    """Remove all but the newest; one more is kept in case the newest is damaged."""
    for old in latest_first(folder)[_KEPT:]:
        old.unlink()


def _position(path: pathlib.Path) -> tuple[int, int]:
    """(epoch, step) of a checkpoint's name."""
    epoch, _, step = path.stem.removeprefix("epoch-").partition(".")
    return int(epoch), int(step or 0)
