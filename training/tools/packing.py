"""`kerascnn pack`: what a data set is packed for, and the pack."""

from __future__ import annotations

import pathlib
from typing import Any

from kerascnn.errors import InputError, did_you_mean
from training import datasets
from training.common import framework
from training.datasets import detection_sets, segmentation_sets
from training.datasets.pack import Packed, Work, pack
from training.tools.check.task import guessed

_LABELS, _OBJECTS, _MAPS = TASKS = ("classification", "detection", "segmentation")


def kind_of(source: str, task: str | None) -> str:
    """One of `TASKS`: the one asked for, else that of the data's form; no image is read.

    What has boxes is packed as objects, with their masks where there are outlines.

    Raises:
        InputError: no such task, or nothing that is data of it.
    """
    if task is not None and task not in TASKS:
        hint = did_you_mean(task, TASKS)
        raise InputError(f"--task must be {', '.join(TASKS[:-1])} or {_MAPS}, not {task!r}{hint}")
    kind = task or guessed(source)
    require = {_OBJECTS: detection_sets.require, _MAPS: segmentation_sets.require}
    require.get(kind, datasets.require)(source)
    return kind if kind in TASKS else _LABELS


def packed(
    source: str, folder: pathlib.Path, kind: str, *, split_seed: int, **options: Any
) -> Packed:
    """Write a data set as a pack.

    Args:
        kind: of `kind_of`.
        split_seed: chooses what is held out, where the data does not say.
        **options: of `training.datasets.pack.pack`.

    Raises:
        InputError: as of reading the data, and of `pack`.
    """
    how: type[Work] | None = None
    if kind == _LABELS:
        found: Any = datasets.scan(source, seed=split_seed, to_pack=True)
    else:
        from training.datasets.placed_pack import MapsWork, ObjectsWork

        of_objects = kind == _OBJECTS
        scan: Any = detection_sets.scan_objects if of_objects else segmentation_sets.scan_maps
        how = ObjectsWork if of_objects else MapsWork
        found = scan(source, seed=split_seed, strict=bool(options.get("strict")))
    framework.load()  # behind the reading, which may refuse the data
    return pack(found, folder, split_seed=split_seed, kind=how, **options)
