"""A folder of images of which nothing is known: to calibrate on, and to compare answers on."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from kerascnn.errors import InputError
from training.datasets.notes import Note
from training.datasets.paths import listing, notes_of, suffix_of
from training.datasets.pictures import SUFFIXES, read_pixels
from training.datasets.splits import Dataset, PlacedSplit, Split, digest

UNKNOWN = -1  # the label of an image that has none
# Of few images half are held out, of many a fifth, and never fewer than so many of them.
_FRACTION, _FEW = 0.2, 200
_LEAST = 2


def looks_so(root: pathlib.Path) -> bool:
    """Whether a folder has images of its own, and no folders of classes."""
    found = listing(root, SUFFIXES)
    below = len(str(root).rstrip("/")) + 1
    return bool(found.files) and not any("/" in name[below:] for name in found.files)


def scan(spec: str, *, seed: int, val_data: str | None = None, reading: int = 0) -> Dataset:
    """All images below a folder; none is decoded, and all labels are `UNKNOWN`.

    Args:
        seed: chooses those that are held out.
        val_data: another folder, whose images are held out instead.
        reading: of other readers.

    Raises:
        InputError: no such folder, or fewer than two images.
    """
    train, notes = _images(pathlib.Path(spec))
    if val_data is None:
        if len(train) < _LEAST:
            raise InputError(
                f"{spec} has {len(train)} image; one is measured on and others are calibrated "
                "with: add some"
            )
        count = max(round(_FRACTION * len(train)), min(len(train) // 2, _FEW))
        order = np.random.default_rng(seed).permutation(len(train))
        held_out = train.take(np.sort(order[:count]))
        train = train.take(np.sort(order[count:]))
    else:
        held_out, more = _images(pathlib.Path(val_data))
        notes = [*notes, *more]
    return Dataset(
        name=spec,
        classes=(),
        train=train,
        validation=None,
        held_out=held_out,
        resize="crop",
        fingerprint=_fingerprint((train, held_out), spec),
        notes=tuple(notes),
    )


def all_of(root: pathlib.Path) -> tuple[Split, str]:
    """All images below a folder, none decoded, and their fingerprint.

    Raises:
        InputError: no such folder, or one without images.
    """
    found, _notes = _images(root)
    return found, _fingerprint((found,), str(root))


def placed(split: Split) -> PlacedSplit[None]:
    """The images of `all_of` as tasks whose truth has places take them; there is none to be had.

    Their sizes are not looked for.
    """
    return PlacedSplit(
        names=split.names,
        places=np.arange(len(split)),
        sizes=np.zeros((len(split), 2), np.int32),
        read=lambda place: read_pixels(split.names[place], split.names[place]),
        annotate=lambda _place: None,
    )


def _fingerprint(splits: Sequence[Split], root: str) -> str:
    keys = [f"{name}\0{size}" for split in splits for name, size in _named(split, root)]
    return digest([key.encode("utf-8", "surrogateescape") for key in keys])


def _images(root: pathlib.Path) -> tuple[Split, list[Note]]:
    if not root.is_dir():
        raise InputError(f"{root}: no such folder of images")
    try:
        found = listing(root, SUFFIXES, sizes=True)
    except OSError as error:
        raise InputError(f"{root} cannot be read ({error.strerror}); restore it") from error
    if not found.files:
        others = sorted({suffix_of(name) for name in found.others} - {""})
        there = f"; it has files of {', '.join(others[:5])}" if others else ""
        raise InputError(f"{root} has no images ({' '.join(sorted(SUFFIXES))}){there}")
    labels = np.full(len(found.files), UNKNOWN, np.int32)
    return Split(labels=labels, names=found.files, file_sizes=found.sizes), notes_of([found])


def _named(split: Split, root: str) -> list[tuple[str, int]]:
    """Path below the root and size of each image; the same wherever the folder lies."""
    assert split.file_sizes is not None
    names = [
        pathlib.Path(name).relative_to(root).as_posix()
        if pathlib.Path(name).is_relative_to(root)
        else pathlib.Path(name).name
        for name in split.names
    ]
    return list(zip(names, split.file_sizes.tolist(), strict=True))
