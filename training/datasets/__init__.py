"""Labelled pictures, embedded or from folders, behind one shape.

`scan(spec, seed=...)` finds the pictures and their labels; `decode.decode_dataset` reads them at a
network's geometry.
"""

from __future__ import annotations

import pathlib

from kerascnn.errors import InputError
from training.datasets import folder, mnist, scenes_digits
from training.datasets.splits import Dataset

__all__ = ["Dataset", "canonical", "scan"]

_EMBEDDED = {"mnist": mnist.scan, "scenes-digits": scenes_digits.scan}


def scan(spec: str, *, seed: int) -> Dataset:
    """Find a data set.

    Args:
        spec: the name of an embedded set ("mnist", "scenes-digits"), or a folder with one
            sub-folder a class.
        seed: chooses the split where the folder has none of its own.

    Raises:
        InputError: no such set or folder, an empty class, fewer than two classes.
    """
    if spec in _EMBEDDED:
        return _EMBEDDED[spec]()
    path = pathlib.Path(spec)
    if not path.is_dir():
        embedded = ", ".join(_EMBEDDED)
        raise InputError(f"{spec}: no such folder, and no embedded data set (there is: {embedded})")
    return folder.scan(path, seed=seed)


def canonical(spec: str) -> str:
    """The name of an embedded set, or a folder's absolute path."""
    return spec if spec in _EMBEDDED else str(pathlib.Path(spec).resolve())
