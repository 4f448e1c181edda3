"""A pack of objects as a form of data: see `placed_pack`."""

from __future__ import annotations

import pathlib

from training.datasets import placed_pack
from training.datasets.detection import DetectionDataset
from training.datasets.elsewhere import Use

TASK = placed_pack.ObjectsWork.task


def recognises(path: pathlib.Path) -> bool:
    """Whether a path is a pack of objects."""
    return placed_pack.holds(path, placed_pack.ObjectsWork)


def scan(
    path: pathlib.Path, *, seed: int, strict: bool = False, use: Use = Use.SPLIT
) -> DetectionDataset:
    """See `placed_pack.scan_objects`; its splits are its own, and nothing in it is broken."""
    return placed_pack.scan_objects(path, use)
