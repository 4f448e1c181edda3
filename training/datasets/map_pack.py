"""A pack of label maps as a form of data: see `placed_pack`."""

from __future__ import annotations

import pathlib

from training.datasets import placed_pack
from training.datasets.elsewhere import Use
from training.datasets.segmentation import SegmentationDataset

TASK = placed_pack.MapsWork.task


def recognises(path: pathlib.Path) -> bool:
    """Whether a path is a pack of label maps."""
    return placed_pack.holds(path, placed_pack.MapsWork)


def scan(
    path: pathlib.Path, *, seed: int, strict: bool = False, use: Use = Use.SPLIT
) -> SegmentationDataset:
    """See `placed_pack.scan_maps`; its splits are its own, and nothing in it is broken."""
    return placed_pack.scan_maps(path, use)
