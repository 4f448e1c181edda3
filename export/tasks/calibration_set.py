"""Images of the user's own choice that files are calibrated on: their truth is not asked for."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from kerascnn.errors import InputError
from training import tasks
from training.common import once
from training.common.progress import say
from training.common.wording import counted
from training.datasets import unlabelled
from training.datasets.decode import Broken
from training.datasets.same_bytes import shared
from training.datasets.splits import SplitLike


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CalibrationSet:
    """Where calibration images are from.

    Attributes:
        name: without the folders above it, which are nobody's business.
        fingerprint: of all its images.
        split: as the readers of a task give them, or `unlabelled.all_of` does.
        labelled: whether it is the former.
    """

    name: str
    fingerprint: str
    split: Any
    labelled: bool

    def without(self, splits: Iterable[SplitLike]) -> CalibrationSet:
        """The same without the images of other splits, under whatever names they lie here.

        Raises:
            InputError: then there are none left.
        """
        own = self.split.contents()
        doubled = np.zeros(len(own), bool)
        for split in splits:
            doubled |= shared(own, split.contents()).same
        if not (count := int(doubled.sum())):
            return self
        held_out = (
            f"{counted(count, 'image')} of {self.name} {'is' if count == 1 else 'are'} held out"
        )
        if doubled.all():
            raise InputError(f"{held_out} by the run: give others to calibrate on")
        say(f"{held_out} by the run, and not calibrated on")
        return dataclasses.replace(self, split=self.split.take(np.flatnonzero(~doubled)))


def read(data: str, task: str) -> CalibrationSet:
    """Find a set of images, none of which is decoded.

    Args:
        data: what a training of the task takes, of which the training split, or all of it, is
            used; or a folder of images in any order, all of which are.
        task: of the run.

    Raises:
        InputError: neither.
    """
    found: CalibrationSet = once.call(_read, data, task)
    return found


def _read(data: str, task: str) -> CalibrationSet:
    path = pathlib.Path(data)
    name = path.name if path.exists() else data
    try:
        dataset = tasks.of(task).learnt(data)
    except InputError:
        if not path.is_dir():
            raise
        split, fingerprint = unlabelled.all_of(path)
        return CalibrationSet(name=name, fingerprint=fingerprint, split=split, labelled=False)
    return CalibrationSet(
        name=name, fingerprint=dataset.fingerprint, split=dataset.train, labelled=True
    )


def require(data: str, task: str) -> None:
    """Raise InputError for a place where there are no images; no framework is needed.

    Args:
        data, task: as of `read`.
    """
    if not pathlib.Path(data).is_dir():
        tasks.of(task).require(data)


def require_some(count: int, broken: list[Broken]) -> None:
    """Raise InputError where not one of the images could be read."""
    if not count and broken:
        raise InputError(f"no image can be calibrated on; for one: {broken[0].reason}")
