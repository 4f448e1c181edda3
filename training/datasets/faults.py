"""What is broken in a data set: left out and counted one by one, up to a limit.

One bad line of a hundred thousand must not end a training. Where more than a tenth is bad, a file
was cut short, or is read in a way that it was not meant, and the set is refused. What is left out
is named in a note; with `--strict` the first of it is an error.
"""

from __future__ import annotations

import dataclasses
import os
import stat
from collections.abc import Sequence

import numpy as np

from kerascnn.errors import InputError
from training.common.parallel import in_order
from training.common.progress import Progress
from training.datasets.notes import Note
from training.datasets.pictures import read_size

# Of the things of one kind in one split, so many may be broken: whatever is more.
MOST_SHARE = 0.1
HANDFUL = 5


class Faults:
    """Things of one kind that are left out of a split.

    Args:
        kind: of the note, such as "broken-annotations".
        things: what they are, such as "annotations are broken".
        strict: the first one is an error.
    """

    def __init__(self, kind: str, things: str, *, strict: bool) -> None:
        self._kind, self._things, self._strict = kind, things, strict
        self._reasons: list[str] = []
        self._remedy = ""

    def __len__(self) -> int:
        return len(self._reasons)

    def add(self, reason: str, remedy: str) -> None:
        """Leave one out.

        Args:
            reason: which one, and what is wrong, such as "a.txt, line 3: no number".
            remedy: what a user is to do about it.

        Raises:
            InputError: none may be left out.
        """
        if self._strict:
            raise InputError(f"{reason}; {remedy}")
        self._remedy = self._remedy or remedy
        self._reasons.append(reason)

    def settle(self, source: str, total: int) -> list[Note]:
        """A note of them, if there are any.

        Args:
            source: the file or the split.
            total: how many there are, sound ones and these.

        Raises:
            InputError: all of them are broken, or more than `MOST_SHARE` and than `HANDFUL`.
        """
        count = len(self._reasons)
        if not count:
            return []
        share = f"{source}: {count:,} of {total:,} {self._things}"
        if count == total or count > max(HANDFUL, MOST_SHARE * total):
            raise InputError(
                f"{share}, which is more than may be left out ({MOST_SHARE:.0%}); "
                f"{self._reasons[0]}; {self._remedy}"
            )
        text = f"{share} and were left out: {self._reasons[0]}" + (" ..." if count > 1 else "")
        return [Note.of(self._kind, text, self._reasons)]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Present:
    """Which of n image files are there, and what they are like.

    Attributes:
        places: (m,) int64, those that are there, in order.
        sizes: (m, 2) int64 heights and widths, upright.
        weights: (m,) int64 bytes.
        notes: of the others.
    """

    places: np.ndarray
    sizes: np.ndarray
    weights: np.ndarray
    notes: list[Note]


def present(
    source: str,
    files: Sequence[str | os.PathLike[str]],
    sizes: np.ndarray | None = None,
    *,
    strict: bool,
) -> Present:
    """Look for image files, and into those whose size is not known.

    Args:
        source: what notes call them.
        files: n of them.
        sizes: (n, 2) heights and widths, 0 where they are to be read; None: all of them.

    Raises:
        InputError: one is missing or unreadable and `strict`, or too many are.
    """
    known = np.zeros((len(files), 2), np.int64) if sizes is None else np.array(sizes, np.int64)
    weights = weigh(files)
    missing = Faults("missing-images", "images are missing", strict=strict)
    for place in np.flatnonzero(weights < 0).tolist():
        missing.add(
            f"{files[place]}: no such image", "restore it, or remove its annotations or its line"
        )
    broken = Faults("unreadable-images", "images cannot be read", strict=strict)
    unknown = np.flatnonzero((weights >= 0) & (known == 0).any(axis=1))

    def look(index: int) -> tuple[int, int] | str:
        try:
            return read_size(files[unknown[index]])
        except InputError as error:
            return str(error)

    with Progress("reading sizes", len(unknown), unit="image") as progress:
        for at, found in zip(unknown.tolist(), in_order(look, len(unknown)), strict=True):
            progress.step()
            if isinstance(found, str):
                reason, _, remedy = found.partition("; ")
                broken.add(reason, remedy or "replace it")
                weights[at] = -1
            else:
                known[at] = found
    places = np.flatnonzero(weights >= 0)
    notes = missing.settle(source, len(files)) + broken.settle(source, len(files))
    return Present(
        places=places, sizes=known[places].reshape(-1, 2), weights=weights[places], notes=notes
    )


def weigh(files: Sequence[str | os.PathLike[str]]) -> np.ndarray:
    """(n,) int64 bytes of files; -1 where there is none."""
    weights = np.full(len(files), -1, np.int64)
    for place, file in enumerate(files):
        try:
            found = os.stat(file)  # noqa: PTH116 - of a million files
        except (OSError, ValueError):  # ValueError: a name with a null byte
            continue
        if stat.S_ISREG(found.st_mode):
            weights[place] = found.st_size
    return weights
