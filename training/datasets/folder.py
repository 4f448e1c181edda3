"""A folder of images: one sub-folder a class, with or without train/, val/ and test/ above.

| the folder has        | train      | validation          | held out            |
|-----------------------|------------|---------------------|---------------------|
| train/ val/ test/     | train/     | val/                | test/               |
| train/ and one other  | train/     | set aside by `fit`  | the other           |
| class folders alone   | four fifths| set aside by `fit`  | a stratified fifth  |

With a held-out folder that lies elsewhere:

| the folder has        | train      | validation          | held out            |
|-----------------------|------------|---------------------|---------------------|
| train/ val/ test/     | train/     | val/                | class folders there |
| train/ and one other  | train/     | the other           | class folders there |
| train/ alone          | train/     | set aside by `fit`  | class folders there |
| class folders alone   | all of it  | set aside by `fit`  | class folders there |

Of one there that has splits of its own, test/ is held out, else val/, else train/.

A class is a folder name in Unicode's NFC: macOS and some archivers take accents apart, and the same
name would be two. Classes are in natural order: 1, 2, 10.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from kerascnn.errors import InputError
from training.common.progress import Progress
from training.common.reading import BEFORE, NOW
from training.datasets import lookalikes
from training.datasets.notes import Note
from training.datasets.paths import Listing, is_hidden, listing, natural_key, notes_of, suffix_of
from training.datasets.pictures import SUFFIXES
from training.datasets.spelling import class_key
from training.datasets.splits import (
    HELD_OUT_FRACTION,
    VALIDATION_NAMES,
    Dataset,
    Split,
    refuse_odd_names,
    stratified,
)

_EXACT = {"train": ("train",), "validation": VALIDATION_NAMES, "test": ("test",)}
_LOOSE = _EXACT | {"train": ("train", "training"), "test": ("test", "testing")}

_NUMBERS = {1: "one", 2: "two"}

# Class by class, the folders that have its images: one, or one for each spelling.
_Classes = Mapping[str, Sequence[pathlib.Path]]


def scan(
    root: pathlib.Path,
    *,
    seed: int,
    val_root: pathlib.Path | None = None,
    reading: int = NOW,
    sparse: bool = False,
) -> Dataset:
    """Find images and labels; nothing is decoded yet.

    Args:
        seed: holds a fifth out where there are class folders alone.
        val_root: a folder of class folders that is held out instead.
        reading: the rules to read by, see `training.common.reading`.
        sparse: there may be one class, and classes of one image, as in `splits.stratified`.

    Raises:
        InputError: fewer than two classes, an empty class, splits with different classes, or
            `val_root` has a class that `root` has not.
    """
    try:
        return _Scan(root, val_root, reading, sparse=sparse).run(seed)
    except _LayoutError as error:
        if hint := lookalikes.of_folder(root):
            raise InputError(f"{error}; {hint}") from None
        raise
    except OSError as error:
        raise InputError(
            f"{error.filename or root} cannot be read ({error.strerror}); restore it"
        ) from error


def measured(root: pathlib.Path, *, reading: int = NOW) -> Dataset:
    """Images that are all held out: those of test/, else val/, else train/, else all of them.

    Raises:
        InputError: as of `scan`; but there may be one class, and one image of it.
    """
    try:
        return _Scan(root, None, reading).measured()
    except OSError as error:
        raise InputError(
            f"{error.filename or root} cannot be read ({error.strerror}); restore it"
        ) from error


class _LayoutError(InputError):
    """The folder is not laid out for a classifier; for another task it may be."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """One split: its images, and what each is called in the fingerprint."""

    split: Split
    keys: Sequence[str]


class _Scan:
    """One look at a folder."""

    def __init__(
        self,
        root: pathlib.Path,
        val_root: pathlib.Path | None,
        reading: int,
        *,
        sparse: bool = False,
    ) -> None:
        self._root, self._val_root, self._reading = root, val_root, reading
        self._sparse = sparse
        self._listings: list[Listing] = []
        self._ignored: collections.Counter[str] = collections.Counter()
        self._notes: list[Note] = []

    def run(self, seed: int) -> Dataset:
        """The data set."""
        folders = self._split_folders(self._root)
        if "train" not in folders:
            return self._of_classes(seed)
        train, validation, test = map(folders.get, ("train", "validation", "test"))
        assert train is not None
        held_out = self._val_root or test or validation
        if held_out is None:
            raise _LayoutError(
                f"{self._root} has {train.name}/ but neither val/ nor test/; add one, or drop "
                f"{train.name}/"
            )
        classes = self._classes(train)
        chooses = validation if held_out is not validation else None
        if self._val_root is not None:
            chooses = validation or test
        for other in filter(None, (validation, test)):
            self._refuse_different(classes, train, other)
        self._note_unread(folders.values(), test if self._val_root and validation else None)
        return self._dataset(
            classes,
            self._read(classes),
            None if chooses is None else self._read(self._classes(chooses, classes)),
            self._held_out(classes) if self._val_root else self._read(
                self._classes(held_out, classes)
            ),
        )  # fmt: skip

    def measured(self) -> Dataset:
        """The data set, with nothing to learn from."""
        splits = self._split_folders(self._root)
        order = (splits.get(part) for part in ("test", "validation", "train"))
        classes = self._classes(next(filter(None, order), self._root), least=1)
        part = self._read(classes)
        return self._dataset(classes, _take(part, np.empty(0, np.int64)), None, part)

    def _of_classes(self, seed: int) -> Dataset:
        classes = self._classes(self._root)
        everything = self._read(classes)
        if self._val_root:
            return self._dataset(classes, everything, None, self._held_out(classes))
        kept, aside = stratified(
            everything.split.labels,
            tuple(classes),
            fraction=HELD_OUT_FRACTION,
            seed=seed,
            sparse=self._sparse,
        )
        return self._dataset(classes, _take(everything, kept), None, _take(everything, aside))

    def _split_folders(self, root: pathlib.Path) -> dict[str, pathlib.Path]:
        """The folders of train, validation and test that there are."""
        if self._reading == BEFORE:
            children = {name: root / name for names in _EXACT.values() for name in names}
            return _chosen(_EXACT, {n: path for n, path in children.items() if path.is_dir()})
        there = self._folders(root)
        exact = _chosen(_EXACT, {path.name: path for path in there})
        loose = _chosen(_LOOSE, {path.name.lower(): path for path in there})
        if "train" not in exact and len(loose) > 1:
            return loose  # Train/ and Test/; of Train/ alone it may be a class
        # Beside car/ and bus/, a train/ with images and no folders in it is a class.
        alone = exact.get("train") if len(exact) == 1 < len(there) else None
        return {} if alone and not self._folders(alone) and _images_in(alone) else exact

    def _folders(self, folder: pathlib.Path) -> list[pathlib.Path]:
        """Those in a folder that are no hidden ones; not the one that is held out."""
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
        if self._reading == BEFORE:
            in_archive = "__MACOSX" in folder.parts
            hidden = {n for n in names if n.startswith(".") or n == "__MACOSX" or in_archive}
        else:
            hidden = set(filter(is_hidden, names))
        found = [folder / name for name in names if name not in hidden]
        if self._val_root is not None:
            elsewhere = self._val_root.resolve()
            found = [path for path in found if path.resolve() != elsewhere]
        return found

    def _classes(
        self, folder: pathlib.Path, wanted: Iterable[str] | None = None, *, least: int | None = None
    ) -> dict[str, list[pathlib.Path]]:
        """The class folders in a folder, by class, in the order of the classes or of `wanted`."""
        found: dict[str, list[pathlib.Path]] = {}
        for path in sorted(self._folders(folder)):
            name = path.name
            if self._reading != BEFORE:
                name = class_key(name)
            found.setdefault(name, []).append(path)
        if wanted is not None:
            return {name: found[name] for name in wanted if name in found}
        least = least or (1 if self._sparse else 2)
        if len(found) < least:
            there = f"only {next(iter(found))!r}" if found else "none"
            noun = "folder" if least == 1 else "folders"
            raise _LayoutError(
                f"{folder} needs at least {_NUMBERS[least]} class {noun}, and has {there}; "
                "put the images of each class into a folder of its own"
            )
        refuse_odd_names(str(folder), tuple(found))
        order = sorted(found) if self._reading == BEFORE else sorted(found, key=natural_key)
        return {name: found[name] for name in order}

    def _refuse_different(
        self, classes: _Classes, train: pathlib.Path, other: pathlib.Path
    ) -> None:
        if difference := set(self._classes(other)) ^ set(classes):
            names = ", ".join(sorted(difference, key=natural_key))
            raise _LayoutError(f"{other} and {train} have different classes: {names}")

    def _held_out(self, classes: _Classes) -> _Part:
        """The images that lie elsewhere."""
        assert self._val_root is not None
        root = self._val_root
        if root.resolve() == self._root.resolve():
            raise InputError(f"{root} cannot be learnt from and be held out; name another folder")
        splits = self._split_folders(root)
        if set(self._folders(root)) <= set(splits.values()):
            root = next((splits[p] for p in ("test", "validation", "train") if p in splits), root)
        there = self._classes(root)
        if new := set(there) - set(classes):
            names = ", ".join(sorted(new, key=natural_key))
            raise InputError(
                f"{root} has classes that {self._root} has not: {names}; rename or remove them"
            )
        if missing := [name for name in classes if name not in there]:
            text = f"{len(missing):,} classes have no held-out image: {_some(missing)}"
            self._notes.append(Note.of("classes-not-held-out", text, missing))
        return self._read({name: there.get(name, []) for name in classes}, root=root)

    def _read(self, classes: _Classes, *, root: pathlib.Path | None = None) -> _Part:
        """The images of class folders, class by class, each folder's in the order of the text.

        Args:
            root: what keys begin below; they begin with `//` if it is another than the data's own.
        """
        names: list[str] = []
        labels: list[np.ndarray] = []
        sizes: list[np.ndarray] = []
        with Progress("listing images", len(classes), unit="folder", lines=True) as progress:
            for label, folders in enumerate(classes.values()):
                count = len(names)
                for folder in folders:
                    found = self._list(folder)
                    names += found.files
                    sizes.append(found.sizes)
                if folders and len(names) == count:
                    endings = " ".join(sorted(SUFFIXES))
                    raise _LayoutError(
                        f"{folders[0]} has no images ({endings}); add some or remove the folder"
                    )
                labels.append(np.full(len(names) - count, label, np.int32))
                progress.step()
                if label + 1 < len(classes):
                    progress.note(f"{len(names):,} images")
        split = Split(
            labels=np.concatenate([np.zeros(0, np.int32), *labels]),
            names=tuple(names),
            file_sizes=np.concatenate([np.zeros(0, np.int64), *sizes]),
        )
        below, front = (self._root, "") if root is None else (root, "//")
        start = len(os.path.join(below, ""))  # noqa: PTH118 - the separator is wanted
        keys = [front + name[start:].replace(os.sep, "/") for name in names]
        return _Part(split=split, keys=keys)

    def _list(self, folder: pathlib.Path) -> Listing:
        """The images of a class folder; what else lies there is counted."""
        if self._reading == BEFORE:
            paths = [p for p in folder.rglob("*") if p.is_file() and not _hidden_before(p)]
            names = sorted(str(p) for p in paths if p.suffix.lower() in SUFFIXES)
            sizes = [pathlib.Path(name).stat().st_size for name in names]
            self._ignore(p.name for p in paths if p.suffix.lower() not in SUFFIXES)
            return Listing(files=tuple(names), sizes=np.array(sizes, np.int64))
        found = listing(folder, SUFFIXES, sizes=True)
        self._listings.append(found)
        self._ignore(found.others)
        return found

    def _ignore(self, names: Iterable[str]) -> None:
        self._ignored.update(suffix_of(name) or name for name in names)

    def _note_unread(self, read: Iterable[pathlib.Path], left_out: pathlib.Path | None) -> None:
        """Say which folders beside train/ are not read."""
        others = sorted(path.name for path in set(self._folders(self._root)) - set(read))
        if others:
            text = f"{len(others):,} folders beside the splits are not read: {_some(others)}"
            self._notes.append(Note.of("unread-folders", text, others, finding=False))
        if left_out is not None:
            text = f"{left_out} is not used: other images are held out"
            note = Note(kind="unused-split", text=text, count=1, finding=False)
            self._notes.append(note)

    def _dataset(
        self, classes: _Classes, train: _Part, validation: _Part | None, held_out: _Part
    ) -> Dataset:
        parts = [part for part in (train, validation, held_out) if part is not None]
        return Dataset(
            name=str(self._root),
            classes=tuple(classes),
            train=train.split,
            validation=None if validation is None else validation.split,
            held_out=held_out.split,
            resize="crop",
            fingerprint=_fingerprint(parts),
            ignored=self._ignored,
            notes=(
                *lookalikes.of_classes(tuple(classes)),
                *self._beside(classes),
                *notes_of(self._listings),
                *self._notes,
            ),
        )

    def _beside(self, classes: _Classes) -> list[Note]:
        """Notes of images beside class folders, and of classes that are spelt in two ways."""
        if self._reading == BEFORE:
            return []
        found = []
        if doubled := [name for name, folders in classes.items() if len(folders) > 1]:
            text = (
                f"{len(doubled):,} classes have two folders, whose names differ in how accents are "
                f"stored: {_some(doubled)}"
            )
            found.append(Note.of("classes-spelt-twice", text, doubled, finding=False))
        above = sorted({folder.parent for folders in classes.values() for folder in folders})
        beside = [str(path) for folder in above for path in _images_in(folder)]
        if beside:
            text = (
                f"{len(beside):,} images lie beside the class folders, in none of them: left out, "
                f"such as {beside[0]}"
            )
            found.append(Note.of("images-of-no-class", text, beside))
        return found


def _chosen(
    wanted: Mapping[str, Sequence[str]], there: Mapping[str, pathlib.Path]
) -> dict[str, pathlib.Path]:
    """Of each part, the folder with the first of its names."""
    found = {part: [there[n] for n in names if n in there] for part, names in wanted.items()}
    return {part: paths[0] for part, paths in found.items() if paths}


def _take(part: _Part, places: np.ndarray) -> _Part:
    return _Part(split=part.split.take(places), keys=[part.keys[i] for i in places])


def _images_in(folder: pathlib.Path) -> list[pathlib.Path]:
    """The images that lie in a folder itself."""
    with os.scandir(folder) as entries:
        names = sorted(
            entry.name
            for entry in entries
            if suffix_of(entry.name) in SUFFIXES and not is_hidden(entry.name) and entry.is_file()
        )
    return [folder / name for name in names]


def _hidden_before(path: pathlib.Path) -> bool:
    return path.name.startswith(".") or "__MACOSX" in path.parts


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")


def _fingerprint(parts: Iterable[_Part]) -> str:
    """`splits.digest` of each image's path, size and label, without a list of them."""
    total = hashlib.sha256()
    for part in parts:
        sizes, labels = part.split.file_sizes, part.split.labels
        assert sizes is not None
        for key, size, label in zip(part.keys, sizes.tolist(), labels.tolist(), strict=True):
            text = f"{key}\0{size}\0{label}".encode("utf-8", "surrogateescape")
            total.update(len(text).to_bytes(8, "little") + text)
    return total.hexdigest()[:16]
