"""YOLO's text files: a line an object, of "class centre-x centre-y width height" as shares.

    --data FILE.yaml   path (of the data, from the file's folder), train, val, test (each a folder,
                       a .txt list of pictures, or several), names
    --data DIR         DIR/data.yaml, or the folder's only .yaml file
    --data DIR         DIR/classes.txt or obj.names, a class a line, and the pictures in
                       images/train, images/val, images/test, or train/, valid/, test/, or anywhere

The labels of images/val/a.jpg are labels/val/a.txt: the last folder `images` becomes `labels`, and
without one they lie beside the picture. A picture without labels has no object. A line of three and
more points, "class x y x y x y ...", is an outline, and its box the least one around it. Shares are
of the upright picture; up to 0.001 outside of 0 to 1 is rounding, more is refused. A yaml file's
`download` is not looked at.

Source: https://docs.ultralytics.com/datasets/detect/ and /segment/.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import yaml

from kerascnn.errors import InputError
from training.datasets.elsewhere import Use
from training.datasets.notes import Note
from training.datasets.object_table import (
    ALL,
    FOLDERS,
    TEST,
    TRAIN,
    VALIDATION,
    Annotations,
    Table,
    assemble,
    collect,
    tabulate,
    weigh,
)
from training.datasets.objects import ObjectDataset
from training.preprocessing import SUFFIXES, read_size

_YAML = frozenset({".yaml", ".yml"})
_MOST_BYTES = 1 << 20  # of a yaml file
_CLASS_FILES = ("classes.txt", "obj.names")
_KEYS = {TRAIN: "train", VALIDATION: "val", TEST: "test"}
_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Layout:
    """Classes, and the pictures of each split."""

    root: pathlib.Path
    classes: list[str]
    pictures: dict[str, list[pathlib.Path]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Object:
    """A line: the box as top, left, bottom, right; the outline as x, y, x, y ... or empty."""

    label: int
    box: tuple[float, float, float, float]
    outline: list[float]


def recognises(path: pathlib.Path) -> bool:
    """Whether `scan` is what should read it."""
    if path.is_dir():
        return _yaml_file(path) is not None or any((path / n).is_file() for n in _CLASS_FILES)
    return path.suffix.lower() in _YAML


def scan(
    path: pathlib.Path, *, seed: int, strict: bool = False, use: Use = Use.SPLIT
) -> ObjectDataset:
    """Read labels and the pictures' sizes; none is decoded yet.

    Raises:
        InputError: files that cannot be read or are inconsistent; missing pictures.
    """
    described = _yaml_file(path) if path.is_dir() else path
    layout = _described(described) if described else _found(path)
    notes: list[Note] = []
    parts = {part: _table(layout, part, notes) for part in layout.pictures}
    return assemble(
        str(path),
        layout.classes,
        range(len(layout.classes)),
        parts,
        seed=seed,
        use=use,
        notes=notes,
    )


def _yaml_file(folder: pathlib.Path) -> pathlib.Path | None:
    if (folder / "data.yaml").is_file():
        return folder / "data.yaml"
    files = [p for p in folder.iterdir() if p.suffix.lower() in _YAML and p.is_file()]
    return files[0] if len(files) == 1 and b"names" in files[0].read_bytes() else None


def _described(file: pathlib.Path) -> _Layout:
    """What a yaml file says."""
    content = _load(file)
    if "kpt_shape" in content:
        raise InputError(f"{file} describes key points, which are not read; give boxes or outlines")
    root = _text(file, content, "path") if content.get("path") else "."
    roots = [file.parent / root, file.parent]  # the second: moved from where `path` was right
    base = next(folder for folder in roots if folder.is_dir())
    pictures: dict[str, list[pathlib.Path]] = {}
    for part, key in _KEYS.items():
        entries = content.get(key) or []
        for entry in entries if isinstance(entries, list) else [entries]:
            if not isinstance(entry, str):
                raise InputError(f"{file}: {key} is not a folder or a list of folders; correct it")
            pictures.setdefault(part, []).extend(_pictures(file, base, entry))
    if not pictures:
        raise InputError(f"{file} names neither train nor val; add the folders of their pictures")
    return _Layout(root=base, classes=_names(file, content), pictures=pictures)


def _load(file: pathlib.Path) -> dict:
    try:
        text = file.read_bytes()[: _MOST_BYTES + 1].decode("utf-8-sig")
        if len(text) > _MOST_BYTES:
            raise InputError(
                f"{file} has more than {_MOST_BYTES >> 20} MB; it does not describe a data set"
            )
        # Aliases of aliases grow without bound when they are merged.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise InputError(f"{file} has an alias (*name); write out what it stands for")
        content = yaml.safe_load(text)
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); restore it") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{file} is not YAML ({reason}); correct it") from None
    if not isinstance(content, dict):
        raise InputError(f"{file} is not a YAML file with train, val and names; add them")
    return content


def _text(file: pathlib.Path, content: Mapping, key: str) -> str:
    if not isinstance(content[key], str):
        raise InputError(f"{file}: {key} is not text; put it in quotes")
    return content[key]


def _names(file: pathlib.Path, content: Mapping) -> list[str]:
    """Classes, from a list or from a mapping of 0, 1, 2 ..."""
    names: Any = content.get("names")
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise InputError(f"{file}: names are not numbered 0, 1, 2 ...; renumber them")
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise InputError(f"{file} has no names; add the classes as a list")
    count = content.get("nc", len(names))
    if count != len(names):
        raise InputError(f"{file}: nc is not {len(names)}, the number of names; correct nc")
    for i, name in enumerate(names):
        if not isinstance(name, str | int) or isinstance(name, bool):
            raise InputError(f'{file}: the name of class {i} is not text; put it in quotes ("")')
    return _unique(file, [str(name) for name in names])


def _unique(file: pathlib.Path, names: list[str]) -> list[str]:
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise InputError(f"{file}: two classes are called {twice[0]!r}; rename one")
    return names


def _pictures(file: pathlib.Path, base: pathlib.Path, entry: str) -> list[pathlib.Path]:
    """Those in a folder, or in a list of files."""
    # Roboflow writes ../train/images for what lies beside the yaml file.
    tried = [base / entry, base / entry.removeprefix("../")]
    place = next((p for p in tried if p.exists()), None)
    if place is None:
        raise InputError(f"{tried[0]}: no such folder, but {file} names it; correct the path there")
    if place.is_dir():
        return _inside(place)
    lines = [line.strip() for line in place.read_text("utf-8", errors="replace").splitlines()]
    listed = [(place.parent / line, base / line) for line in lines if line]
    return [near if near.is_file() else other for near, other in listed]


def _inside(folder: pathlib.Path) -> list[pathlib.Path]:
    pictures = sorted(
        p
        for p in folder.rglob("*")
        if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and "__MACOSX" not in p.parts
    )
    if not pictures:
        endings = " ".join(sorted(SUFFIXES))
        raise InputError(f"{folder} has no images ({endings}); add some")
    return pictures


def _found(root: pathlib.Path) -> _Layout:
    """What a folder without yaml has."""
    file = next(root / name for name in _CLASS_FILES if (root / name).is_file())
    lines = file.read_text("utf-8-sig", errors="replace").splitlines()
    classes = _unique(file, [line.strip() for line in lines if line.strip()])
    if not classes:
        raise InputError(f"{file} names no class; write one a line")
    folders = {
        part: place
        for part, names in FOLDERS.items()
        for name in names
        for place in (root / "images" / name, root / name)
        if place.is_dir()
    } or {ALL: root}
    return _Layout(
        root=root, classes=classes, pictures={part: _inside(f) for part, f in folders.items()}
    )


def _table(layout: _Layout, part: str, notes: list[Note]) -> Table:
    files = layout.pictures[part]
    weigh(files)  # a missing one is an error by itself, and of all at once
    labels = [_labels_of(file) for file in files]
    lacking = [str(file) for file, place in zip(files, labels, strict=True) if not place.is_file()]
    if files and len(lacking) == len(files):
        raise InputError(f"{labels[0]}: no such file, nor any other with labels; put them there")
    if lacking:
        text = f"{part}: {len(lacking):,} of {len(files):,} pictures have no labels: no object"
        notes.append(Note.of("no-labels", text, lacking))
    objects = [_read(place, len(layout.classes)) if place.is_file() else [] for place in labels]
    sizes = np.array([read_size(file) for file in files], np.int64).reshape(-1, 2)
    names = [
        file.relative_to(layout.root).as_posix() if file.is_relative_to(layout.root) else str(file)
        for file in files
    ]
    source = part if part != ALL else layout.root.name
    return tabulate(source, files, names, sizes, _annotations(objects, sizes))


def _labels_of(picture: pathlib.Path) -> pathlib.Path:
    parts = list(picture.with_suffix(".txt").parts)
    folders = parts[:-1]
    if "images" in folders:
        parts[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return pathlib.Path(*parts)


def _annotations(objects: Sequence[Sequence[_Object]], sizes: np.ndarray) -> Annotations:
    lines = [o for of_picture in objects for o in of_picture]
    pictures = np.repeat(np.arange(len(objects)), [len(of_picture) for of_picture in objects])
    pixels = sizes[pictures]
    outlines = (
        [(np.reshape(o.outline, (-1, 2)) * side[::-1]).ravel().tolist()] if o.outline else None
        for o, side in zip(lines, pixels, strict=True)
    )
    shares = np.array([o.box for o in lines], np.float64).reshape(-1, 4)
    return Annotations(
        pictures=pictures,
        boxes=shares * np.tile(pixels, 2),
        labels=np.array([o.label for o in lines], np.int64),
        crowd=np.zeros(len(lines), bool),
        areas=np.full(len(lines), np.nan),
        ids=np.arange(len(lines)),
        shapes=collect(outlines),
    )


def _read(file: pathlib.Path, classes: int) -> list[_Object]:
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as text ({error}); replace it") from None
    found = []
    for number, line in enumerate(lines, 1):
        if fields := line.split():
            try:
                found.append(_object(fields, classes))
            except ValueError as error:
                raise InputError(f"{file}, line {number}: {error}; correct that line") from None
    return found


def _object(fields: Sequence[str], classes: int) -> _Object:
    """Raises ValueError with what is wrong."""
    if len(fields) != 5 and (len(fields) < 7 or len(fields) % 2 == 0):
        raise ValueError(f"{len(fields)} numbers are neither a box (5) nor an outline (7, 9 ...)")
    try:
        label, *values = map(float, fields)
    except ValueError:
        raise ValueError("not everything is a number") from None
    if label not in range(classes):
        raise ValueError(f"class {fields[0]} does not exist; there are {classes} classes")
    for field, value in zip(fields[1:], values, strict=True):
        if not -_TOLERANCE <= value <= 1 + _TOLERANCE:  # NaN is not
            raise ValueError(f"{field} is not a number from 0 to 1")
    if len(values) == 4:
        x, y, width, height = values
        width, height = max(width, 0.0), max(height, 0.0)
        box = (y - height / 2, x - width / 2, y + height / 2, x + width / 2)
        return _Object(label=int(label), box=box, outline=[])
    xs, ys = values[::2], values[1::2]
    return _Object(label=int(label), box=(min(ys), min(xs), max(ys), max(xs)), outline=values)
