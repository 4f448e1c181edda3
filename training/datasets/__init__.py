"""Labelled pictures, embedded or from folders, packs and tensorflow-datasets, behind one shape.

`scan(spec, seed=...)` finds the pictures and their labels; `decode.decode_dataset` reads them at a
network's geometry.
"""

from __future__ import annotations

import pathlib

from kerascnn.errors import InputError
from training.datasets import folder, mnist, pack, scenes_digits, tfds
from training.datasets.splits import Dataset
from training.reading import NOW

__all__ = ["EMBEDDED", "Dataset", "canonical", "require", "scan"]

EMBEDDED = {"mnist": mnist.scan, "scenes-digits": scenes_digits.scan}


def scan(spec: str, *, seed: int, to_pack: bool = False, reading: int = NOW) -> Dataset:
    """Find a data set.

    Args:
        spec: the name of an embedded set ("mnist", "scenes-digits"), a folder with one sub-folder
            a class, the folder of a pack, or "tfds:NAME[:VERSION][@DATA_DIR]".
        seed: chooses the split where the data has none of its own.
        to_pack: it is read once and not trained on, so that it may be of any size.
        reading: the rules to read folders by, see `training.reading`.

    Raises:
        InputError: no such set or folder, an empty class, fewer than two classes.
    """
    require(spec)
    if spec in EMBEDDED:
        return EMBEDDED[spec]()
    if spec.startswith(tfds.PREFIX):
        return tfds.scan(spec, seed=seed, most_bytes=None if to_pack else tfds.MOST_BYTES)
    path = pathlib.Path(spec)
    return pack.scan(path) if pack.is_pack(path) else folder.scan(path, seed=seed, reading=reading)


def require(spec: str) -> None:
    """Raise InputError for what `scan` finds nothing in; no folder is read."""
    if spec in EMBEDDED or spec.startswith(tfds.PREFIX) or pathlib.Path(spec).is_dir():
        return
    there = ", ".join((*EMBEDDED, "tfds:NAME"))
    raise InputError(f"{spec}: no such folder, and no other data set (there are: {there})")


def canonical(spec: str) -> str:
    """What means the same from any working directory: a name, or an absolute path."""
    if spec in EMBEDDED:
        return spec
    return (
        tfds.canonical(spec) if spec.startswith(tfds.PREFIX) else str(pathlib.Path(spec).resolve())
    )
