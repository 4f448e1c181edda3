"""From a table's labels to classes: names, or numbers that a file of names explains."""

from __future__ import annotations

import csv
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from kerascnn.errors import InputError
from training.common.wording import counted
from training.datasets.notes import Note
from training.datasets.paths import natural_key
from training.datasets.spelling import class_key
from training.datasets.table_columns import is_number

# Files of names beside a table whose labels are numbers, in the order in which they are looked for.
NAMES = ("classes.txt", "labels.txt", "class_names.txt", "names.txt", "classes.csv")
_MOST_BYTES = 1 << 22


class Labelled(Protocol):
    """A row, for messages."""

    @property
    def place(self) -> str: ...

    @property
    def key(self) -> str: ...

    @property
    def labels(self) -> tuple[str, ...]: ...


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Named:
    """Classes, and which of them n labels are.

    Attributes:
        classes: in natural order, or in that of the numbers.
        indices: (n,) int64.
        notes: of where names are from.
    """

    classes: tuple[str, ...]
    indices: np.ndarray
    notes: tuple[Note, ...] = ()


def one_each(source: object, rows: Sequence[Labelled]) -> list[str]:
    """The label of each row.

    Raises:
        InputError: a row has several.
    """
    many = [row for row in rows if len(row.labels) > 1]
    if many:
        first = many[0]
        raise InputError(
            f"{source}: {len(many):,} of {len(rows):,} images have several labels, such as "
            f"{first.key} with {' and '.join(first.labels[:3])} ({first.place}); a classifier "
            "gives each image one: leave one in each row"
        )
    return [row.labels[0] for row in rows]


def named(place: pathlib.Path, labels: Sequence[str], *, order: Sequence[str] = ()) -> Named:
    """The classes of n labels.

    Args:
        place: a table, or the folder with it, where a file of names may lie too.
        order: all names, where they are known; then labels are none but these.

    Raises:
        InputError: that file is damaged, or lacks a number.
    """
    words = set(labels)
    if order or not all(map(is_number, words)):
        classes = [name for name in order if name in words] or sorted(words, key=natural_key)
        places = {name: at for at, name in enumerate(classes)}
        return Named(classes=tuple(classes), indices=_places(places, labels))
    numbers = {word: int(word.partition(".")[0]) for word in words}
    used = sorted(set(numbers.values()))
    names = {number: str(number) for number in used}
    notes: tuple[Note, ...] = ()
    folder = place if place.is_dir() else place.parent
    files = (folder / name for name in NAMES)
    file = next((one for one in files if one.is_file() and one.name != place.name), None)
    if file is not None and (listed := _names(file)):
        names, notes = _explained(file, listed, used)
    classes = [names[number] for number in used]
    at = {number: place for place, number in enumerate(used)}
    places = {word: at[number] for word, number in numbers.items()}
    return Named(classes=tuple(classes), indices=_places(places, labels), notes=notes)


def _places(places: dict[str, int], labels: Sequence[str]) -> np.ndarray:
    return np.fromiter((places[label] for label in labels), np.int64, len(labels))


def _explained(
    file: pathlib.Path, listed: dict[int, str], used: Sequence[int]
) -> tuple[dict[int, str], tuple[Note, ...]]:
    """Names by number, and a note; the file's numbers may begin at 0 where the labels' do at 1."""
    if used[-1] == len(listed) and used[0] > 0 and min(listed) == 0:
        listed = {number + 1: name for number, name in listed.items()}
    if lacking := [number for number in used if number not in listed]:
        raise InputError(
            f"{file} names {counted(len(listed), 'class', 'classes')}, and none for label "
            f"{lacking[0]}; add it, or move the file away"
        )
    text = f"labels are numbers: their names are from {file.name}"
    if unused := [name for number, name in sorted(listed.items()) if number not in used]:
        text += f", of which {counted(len(unused), 'class', 'classes')} have no image"
    return listed, (Note.of("class-names", text, unused, finding=False),)


def _names(file: pathlib.Path) -> dict[int, str]:
    """Names by number, a name a line or number and name in columns; empty if it is another table.

    Raises:
        InputError: a name is there twice, or it is no text.
    """
    try:
        if file.stat().st_size > _MOST_BYTES:
            return {}
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as text ({error}); replace it") from None
    lines = [line.strip() for line in lines if line.strip()]
    if file.suffix.lower() == ".csv":
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines)]
        pairs = [_pair(row) for row in rows]
        if not all(pairs[1:]):
            return {}
        names = dict(filter(None, pairs))
    else:
        names = dict(enumerate(lines))
    names = {number: class_key(name) for number, name in names.items()}
    seen: set[str] = set()
    for name in names.values():
        if name in seen:
            raise InputError(f"{file}: two classes are called {name!r:.60}; change one")
        seen.add(name)
    return names


def _pair(row: Sequence[str]) -> tuple[int, str] | None:
    """A number and a name, in either order."""
    if len(row) != 2:
        return None
    first, second = row
    if first.isdecimal():
        return int(first), second
    return (int(second), first) if second.isdecimal() else None
