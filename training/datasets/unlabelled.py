"""A folder of images of which nothing is known: to calibrate on, and to compare answers on."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from kerascnn.errors import InputError
from training.datasets.detection import NO_OBJECTS, DetectionDataset, DetectionSplit
from training.datasets.notes import Note
from training.datasets.paths import listing, notes_of, suffix_of
from training.datasets.pictures import SUFFIXES, read_pixels, read_size
from training.datasets.segmentation import VOID, SegmentationDataset, SegmentationSplit
from training.datasets.splits import Dataset, PlacedSplit, Split, digest

UNKNOWN = -1  # the label of an image that has none
# Of few images half are held out, of many a fifth, and never fewer than so many of them.
_FRACTION, _FEW = 0.2, 200
_LEAST = 2
# Of files that may say what is in the images beside them.
_ANNOTATIONS = frozenset({".json", ".xml", ".txt", ".csv", ".tsv", ".yaml", ".yml", ".parquet"})


def looks_so(root: pathlib.Path) -> bool:
    """Whether a folder has images of its own, and no folders of classes."""
    found = listing(root, SUFFIXES)
    below = len(str(root).rstrip("/")) + 1
    return bool(found.files) and not any("/" in name[below:] for name in found.files)


def nothing_else(root: pathlib.Path) -> bool:
    """Whether a folder has images of its own, and nothing that may say what is in them."""
    suffixes = {suffix_of(name) for name in listing(root, SUFFIXES).others}
    return looks_so(root) and not suffixes & _ANNOTATIONS


def scan(spec: str, *, seed: int, val_data: str | None = None, reading: int = 0) -> Dataset:
    """All images below a folder; none is decoded, and all labels are `UNKNOWN`.

    Args:
        seed: chooses those that are held out.
        val_data: another folder, whose images are held out instead.
        reading: of other readers.

    Raises:
        InputError: no such folder, or fewer than two images.
    """
    train, held_out, notes = _set_aside(spec, seed, val_data)
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


def scan_objects(
    spec: str, *, seed: int, val_data: str | None = None, reading: int = 0
) -> DetectionDataset:
    """`scan` for detectors: nothing is known to be in any image."""
    common, splits = _scan_placed(spec, seed, val_data)
    train, held_out = (
        DetectionSplit(**fields, annotate=lambda _place: NO_OBJECTS) for fields in splits
    )
    return DetectionDataset(**common, train=train, held_out=held_out, category_ids=())


def scan_maps(
    spec: str, *, seed: int, val_data: str | None = None, reading: int = 0
) -> SegmentationDataset:
    """`scan` for segmentation networks: the class of no pixel is known."""
    common, splits = _scan_placed(spec, seed, val_data)
    train, held_out = (
        SegmentationSplit(**fields, annotate=void_of(fields["sizes"])) for fields in splits
    )
    return SegmentationDataset(**common, train=train, held_out=held_out)


def _scan_placed(
    spec: str, seed: int, val_data: str | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Fields of a data set whose images have places, and of its two splits, less their truth."""
    train, held_out, notes = _set_aside(spec, seed, val_data)
    common = {
        "name": spec,
        "classes": (),
        "validation": None,
        "fingerprint": _fingerprint((train, held_out), spec),
        "notes": tuple(notes),
    }
    return common, [placed_files(split.names) for split in (train, held_out)]


def _set_aside(spec: str, seed: int, val_data: str | None) -> tuple[Split, Split, list[Note]]:
    """The images of `scan`: to calibrate with, and held out."""
    train, notes = _images(pathlib.Path(spec))
    if val_data is not None:
        held_out, more = _images(pathlib.Path(val_data))
        return train, held_out, [*notes, *more]
    if len(train) < _LEAST:
        raise InputError(
            f"{spec} has {len(train)} image; one is measured on and others are calibrated with: "
            "add some"
        )
    count = max(round(_FRACTION * len(train)), min(len(train) // 2, _FEW))
    order = np.random.default_rng(seed).permutation(len(train))
    return train.take(np.sort(order[count:])), train.take(np.sort(order[:count])), notes


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


def placed_files(names: tuple[str, ...]) -> dict[str, Any]:
    """Fields of a `PlacedSplit` of image files; those that cannot be read are met later."""
    sizes = []
    for name in names:
        try:
            sizes.append(read_size(name))
        except InputError:
            sizes.append((1, 1))
    return {
        "names": names,
        "places": np.arange(len(names)),
        "sizes": np.array(sizes, np.int32).reshape(-1, 2),
        "read": lambda place: read_pixels(names[place], names[place]),
    }


def void_of(sizes: np.ndarray) -> Any:
    """`annotate` of maps that say nothing: (height, width) uint8 `VOID` of an image's size."""
    return lambda place: np.full(tuple(sizes[place]), VOID, np.uint8)


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
