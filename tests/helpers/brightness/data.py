"""A folder of images with values.csv: a file's name and a number in each row."""

from __future__ import annotations

import csv
import hashlib
import pathlib

import numpy as np

from kerascnn.errors import InputError
from training.datasets.pictures import read_pixels, read_size
from training.datasets.splits import PlacedSplit, SplitDataset

VALUES = "values.csv"


class BrightnessSplit(PlacedSplit[float]):
    """Images with a number each."""

    def relabelled(self, places: np.ndarray) -> BrightnessSplit:
        """The same: no number is a class."""
        return self


class BrightnessDataset(SplitDataset[BrightnessSplit]):
    """Named splits of images with a number each."""


def truths(split: BrightnessSplit) -> np.ndarray:
    """(n,) numbers of the images."""
    return np.array([split.truth(index) for index in range(len(split))])


def require(spec: str) -> None:
    """Raise InputError for what `scan` finds nothing in."""
    if not (pathlib.Path(spec) / VALUES).is_file():
        raise InputError(f"{spec} has no {VALUES}; give a folder with one")


def scan(
    spec: str, *, seed: int, val_data: str | None = None, reading: int = 0
) -> BrightnessDataset:
    """Hold a quarter of the images out."""
    require(spec)
    folder = pathlib.Path(spec)
    whole = (folder / VALUES).read_text()
    rows = {name: float(value) for name, value in csv.reader(whole.splitlines())}
    names = [str(folder / name) for name in rows]
    values = list(rows.values())
    split = BrightnessSplit(
        names=tuple(names),
        places=np.arange(len(names)),
        sizes=np.array([read_size(name) for name in names], np.int32),
        read=lambda place: read_pixels(names[place]),
        annotate=lambda place: values[place],
    )
    order = np.random.default_rng(seed).permutation(len(names))
    held_out = len(names) // 4
    return BrightnessDataset(
        name=spec,
        classes=("brightness",),
        train=split.take(np.sort(order[held_out:])),
        validation=None,
        held_out=split.take(np.sort(order[:held_out])),
        fingerprint=hashlib.sha256(whole.encode()).hexdigest()[:16],
    )
