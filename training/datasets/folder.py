"""A folder of pictures: one sub-folder a class, with or without train/, val/ and test/ above.

| the folder has        | train      | validation          | held out            |
|-----------------------|------------|---------------------|---------------------|
| train/ val/ test/     | train/     | val/                | test/               |
| train/ and one other  | train/     | set aside by `fit`  | the other           |
| class folders alone   | four fifths| set aside by `fit`  | a stratified fifth  |
"""

from __future__ import annotations

import collections
import pathlib

import numpy as np

from kerascnn.errors import InputError
from training.datasets.splits import Dataset, Split, digest, stratified
from training.preprocessing import SUFFIXES

HELD_OUT_FRACTION = 0.2
VALIDATION_NAMES = ("val", "validation", "valid")


def scan(root: pathlib.Path, *, seed: int) -> Dataset:
    """Find pictures and labels; nothing is decoded yet.

    Raises:
        InputError: fewer than two classes, an empty class, or splits with different classes.
    """
    train_folder = root / "train"
    if train_folder.is_dir():
        return _with_splits(root, train_folder)
    classes = _class_names(root)
    ignored: collections.Counter[str] = collections.Counter()
    everything = _read(root, classes, ignored)
    train, held_out = stratified(everything.labels, classes, fraction=HELD_OUT_FRACTION, seed=seed)
    return _dataset(root, classes, everything.take(train), None, everything.take(held_out), ignored)


def _with_splits(root: pathlib.Path, train_folder: pathlib.Path) -> Dataset:
    validation = next((root / n for n in VALIDATION_NAMES if (root / n).is_dir()), None)
    test = root / "test" if (root / "test").is_dir() else None
    if validation is None and test is None:
        raise InputError(f"{root} has train/ but neither val/ nor test/; add one, or drop train/")
    classes = _class_names(train_folder)
    for other in filter(None, (validation, test)):
        if difference := set(_class_names(other)) ^ set(classes):
            names = ", ".join(sorted(difference))
            raise InputError(f"{other} and {train_folder} have different classes: {names}")
    ignored: collections.Counter[str] = collections.Counter()
    train = _read(train_folder, classes, ignored)
    chooses = _read(validation, classes, ignored) if validation and test else None
    held_out = _read(test or validation, classes, ignored)  # type: ignore[arg-type]
    return _dataset(root, classes, train, chooses, held_out, ignored)


def _class_names(folder: pathlib.Path) -> tuple[str, ...]:
    names = tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and not _hidden(p)))
    if len(names) < 2:
        found = f"only {names[0]!r}" if names else "none"
        raise InputError(
            f"{folder} needs at least two class folders, and has {found}; "
            "put the images of each class into a folder of its own"
        )
    return names


def _read(
    folder: pathlib.Path, classes: tuple[str, ...], ignored: collections.Counter[str]
) -> Split:
    names: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        files = [p for p in (folder / name).rglob("*") if p.is_file() and not _hidden(p)]
        pictures = sorted(str(p) for p in files if p.suffix.lower() in SUFFIXES)
        if not pictures:
            endings = " ".join(sorted(SUFFIXES))
            raise InputError(
                f"{folder / name} has no images ({endings}); add some or remove the folder"
            )
        names += pictures
        labels += [label] * len(pictures)
        others = (p.suffix.lower() or p.name for p in files)
        ignored.update(ending for ending in others if ending not in SUFFIXES)
    return Split(labels=np.array(labels, np.int32), names=tuple(names))


def _hidden(path: pathlib.Path) -> bool:
    """Files of desktops and archivers, macOS' `._cat.jpg` beside cat.jpg among them."""
    return path.name.startswith(".") or "__MACOSX" in path.parts


def _dataset(root, classes, train, validation, held_out, ignored) -> Dataset:
    parts = []
    for split in filter(None, (train, validation, held_out)):
        for name, label in zip(split.names, split.labels, strict=True):
            path = pathlib.Path(name)
            parts.append(
                f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0{label}".encode()
            )
    return Dataset(
        name=str(root),
        classes=classes,
        train=train,
        validation=validation,
        held_out=held_out,
        resize="crop",
        fingerprint=digest(parts),
        ignored=ignored,
    )
