"""A held-out set that lies elsewhere (`--val-data`): one set is learnt from, another measured.

| of        | is taken                                                                           |
|-----------|------------------------------------------------------------------------------------|
| data      | its training split, or all of it; its validation split (else test) chooses         |
| val_data  | its test split, else its validation split, else all of it                          |

Classes are those of the first one, in its order; the second one's are found by their names.
"""

from __future__ import annotations

import dataclasses
import enum
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from kerascnn.errors import InputError
from training.datasets.notes import Note
from training.datasets.spelling import class_key
from training.datasets.splits import SplitDataset, digest


class Use(enum.Enum):
    """What the images of a data set are for."""

    SPLIT = "split"  # some are learnt from and some held out
    LEARN = "learn"  # none is held out
    MEASURE = "measure"  # none is learnt from


# What splits are called in names of files and folders.
_TRAIN, _HELD_OUT = "train", ("val", "valid", "validation", "test")

_AnyDataset = TypeVar("_AnyDataset", bound=SplitDataset[Any])


def joined(learnt: _AnyDataset, measured: _AnyDataset) -> _AnyDataset:
    """The images to learn from of one data set, with the held-out ones of another.

    Args:
        learnt: as `Use.LEARN` gives it.
        measured: as `Use.MEASURE` gives it.

    Raises:
        InputError: the second one has a class that the first one has not.
    """
    split = measured.held_out.relabelled(np.array(_places(learnt, measured), np.int32))
    notes = (*learnt.notes, *_prefixed(measured), *doubled(learnt.train.names, split.names))
    return dataclasses.replace(
        learnt,
        held_out=split,
        fingerprint=digest([learnt.fingerprint.encode(), measured.fingerprint.encode()]),
        notes=notes,
        generated=learnt.generated and measured.generated,
    )


def doubled(train: Sequence[str], held_out: Sequence[str]) -> list[Note]:
    """A note of images that are in both."""
    both = sorted(set(train) & set(held_out))
    if not both:
        return []
    text = f"{len(both):,} held-out images are training images too: figures will flatter"
    return [Note.of("held-out-in-training", text, both)]


def beside(spec: str) -> list[Note]:
    """A note of a held-out set that lies beside what was given as training data alone.

    Args:
        spec: a file or folder; of "train.json" val.json is looked for, of "DIR/train" DIR/val.
    """
    path = pathlib.Path(spec).absolute()
    # The file's or the folder's own name, or that of the folder it is in.
    if _TRAIN in path.stem:
        named = [path.with_name(path.name.replace(_TRAIN, name)) for name in _HELD_OUT]
        whole = path.parent.parent if path.parent.name == "annotations" else path.parent
    elif path.parent.name == _TRAIN:
        named = [path.parent.parent / name / path.name for name in _HELD_OUT]
        whole = path.parent.parent
    else:
        return []
    if (found := next((other for other in named if other.exists()), None)) is None:
        return []
    text = (
        f"{found} beside it is not used, and images to measure on are held out of {path.name}; to "
        f"measure on it give --val-data {found}, or the folder: --data {whole}"
    )
    return [Note.of("unused-beside", text, [str(found)])]


def with_beside(dataset: _AnyDataset, spec: str) -> _AnyDataset:
    """The same with that note, if there is one."""
    more = beside(spec)
    return dataclasses.replace(dataset, notes=(*dataset.notes, *more)) if more else dataset


def unused(splits: Mapping[str, Sequence[str]], use: Use) -> list[Note]:
    """Notes of splits that are neither learnt from nor measured on.

    Args:
        splits: names of the images of each.
    """
    why = "--val-data is measured on" if use is Use.LEARN else "another split is measured on"
    return [
        Note.of(
            "unused-split",
            f"the {len(names):,} images of its {split} split are not used: {why}",
            names,
            finding=False,
        )
        for split, names in splits.items()
    ]


def _places(learnt: _AnyDataset, measured: _AnyDataset) -> list[int]:
    """Of each class of the second one, its place among those of the first."""
    known = {class_key(name): place for place, name in enumerate(learnt.classes)}
    if strange := [name for name in measured.classes if class_key(name) not in known]:
        some = ", ".join(strange[:5]) + (" ..." if len(strange) > 5 else "")
        raise InputError(
            f"{measured.name} has classes that {learnt.name} has not: {some}; "
            "take them out, or correct their names"
        )
    return [known[class_key(name)] for name in measured.classes]


def _prefixed(measured: _AnyDataset) -> list[Note]:
    """Its notes, which say where they are from."""
    return [
        dataclasses.replace(note, text=f"{measured.name}: {note.text}") for note in measured.notes
    ]
