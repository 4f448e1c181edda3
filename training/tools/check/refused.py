"""What can still be said of data that a reader refuses as a whole: of its image files.

Whose they are, nobody knows then: which masks are and which images, what is of which class. So
each file is looked at by itself, and none is compared with another one.
"""

from __future__ import annotations

import collections
import dataclasses
import pathlib

import numpy as np

from kerascnn.errors import InputError
from training.common.wording import counted
from training.datasets.paths import Listing, listing, notes_of, suffix_of
from training.datasets.pictures import SUFFIXES
from training.datasets.splits import Split
from training.datasets.unlabelled import UNKNOWN
from training.engine.request import TrainRequest
from training.tools.check import census as census_of
from training.tools.check import files
from training.tools.check.census import Census
from training.tools.check.findings import Finding, finding, in_order


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Refused:
    """Data that no training could read.

    Attributes:
        asked: the training that it was looked at for.
        census: of the image files in its folder; None of what is no folder, or has none.
        findings: why it is refused, then what is wrong with single files.
    """

    asked: TrainRequest
    census: Census | None
    findings: tuple[Finding, ...]


def look(asked: TrainRequest, error: InputError) -> Refused:
    """Look at the image files of a folder, if it is one.

    Args:
        asked: a training of this data.
        error: why its reader refuses it.
    """
    found = [finding("refused", str(error), 1)]
    root = pathlib.Path(asked.data)
    census = None
    if root.is_dir():
        try:
            there = listing(root, SUFFIXES)
        except OSError:
            there = None  # which is what the reader says
        if there is not None:
            census = _census(there)
            found += in_order([*files.of_files(census), *files.unread(_unread(there))])
            found += [
                finding(note.kind, note.text, note.count, note.examples)
                for note in notes_of([there])
                if note.finding
            ]
    return Refused(asked=asked, census=census, findings=tuple(found))


def verdict(refused: Refused) -> str:
    """The first line of a page."""
    if len(refused.findings) == 1:
        return "no training can read it"
    more = counted(len(refused.findings) - 1, "more finding")
    return f"no training can read it; {more} in its image files"


def of_images(refused: Refused) -> str:
    """ "120 image files below it, 3 of which cannot be read"."""
    if refused.census is None:
        return "its images were not looked for: it is not a folder"
    broken = len(refused.census.broken)
    text = f"{counted(len(refused.census.rows), 'image file')} below it"
    return f"{text}, {broken:,} of which cannot be read" if broken else text


def _census(there: Listing) -> Census:
    count = len(there.files)
    split = Split(labels=np.full(count, UNKNOWN, np.int32), names=there.files)
    return census_of.take({"image": split})


def _unread(there: Listing) -> dict[str, int]:
    """How many images of formats that are not read there are, by their ending."""
    endings = collections.Counter(suffix_of(name) for name in there.others)
    return {one: count for one, count in endings.items() if one in files.OTHERS}
