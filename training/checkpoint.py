"""What an interrupted training goes on from: one .npz an epoch, whole or absent.

A long epoch has some in its middle, too: epoch-00007.0000120.npz is 120 steps behind epoch 7.
"""

from __future__ import annotations

import json
import math
import pathlib
import zipfile
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

from kerascnn import told
from training import atomic

_KEPT = 2
_STATE: told.Shape = {
    "history": told.items(told.values(told.real)),
    "seconds": told.number,
    "step": told.whole,
    "metrics": told.items(told.real),
}


def save(path: pathlib.Path, variables: Sequence, state: dict[str, Any]) -> None:
    """Write variables in order and a JSON-able state."""
    arrays: dict[str, Any] = {f"v{i}": np.asarray(v) for i, v in enumerate(variables)}
    with atomic.replacing(path) as temporary:
        np.savez(temporary, state=np.array(json.dumps(state)), **arrays)


def read(path: pathlib.Path) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Arrays in order, and the state; raises ValueError for a damaged file."""
    try:
        _check_entries(path)
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = [archive[f"v{i}"] for i in range(len(archive.files) - 1)]
            state: dict[str, Any] = json.loads(str(archive["state"]))
        told.check(state, _STATE)
        _ = state["history"], state["seconds"]
    except Exception as error:  # NumPy and zipfile end in any, NotImplementedError too
        raise ValueError(f"{path} is damaged: {type(error).__name__} {error}") from error
    return arrays, state


def _check_entries(path: pathlib.Path) -> None:
    """Raise ValueError for a file whose arrays would be larger than the file."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("it is compressed")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("its arrays overlap")
        for entry in entries:
            with archive.open(entry) as stream:
                _check_size(stream, entry.file_size)


def _check_size(stream: IO[bytes], size: int) -> None:
    """Raise ValueError for an array of another size than its bytes; NumPy makes room at once."""
    version = np.lib.format.read_magic(stream)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in read:
        raise ValueError(f"an array of version {version}")
    shape, _order, dtype = read[version](stream)
    if math.prod(shape) * dtype.itemsize != size - stream.tell():
        raise ValueError(f"an array of {shape} in {size} bytes")


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
