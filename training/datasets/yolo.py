"""YOLO's text files: a line an object, of "class centre-x centre-y width height" as shares.

    --data FILE.yaml   path (of the data, from the file's folder), train, val, test (each a folder,
                       a .txt list of images, or several), names
    --data DIR         DIR/data.yaml, or the folder's only .yaml file
    --data DIR         DIR/classes.txt or obj.names, a class a line, and the images in
                       images/train, images/val, images/test, or train/, valid/, test/, or anywhere

The labels of images/val/a.jpg are labels/val/a.txt: the last folder `images` becomes `labels`, and
where there are none they lie beside the image. An image without labels has no object. A line of
three and more points, "class x y x y x y ...", is an outline, and its box the least one around it.
A line that comes twice is one object.

Shares are of the upright image. What is up to 0.05 outside of 0 to 1, as tools that move boxes
write it, is clipped; with --strict 0.001, which is rounding. A line that is otherwise broken is
left out, as is an image that is missing, up to the limit of `faults`. A split other than train
that is not there, or has no labels at all, is left out if another one can be measured on. Numbers
of `names` are those of the labels; names from 1 on are taken from 0 on where the labels are. `nc`
without `names` is classes "0", "1" ... A yaml file's `download` is not looked at.

Source: https://docs.ultralytics.com/datasets/detect/ and /segment/.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import yaml

from kerascnn.errors import InputError
from training.common.parallel import in_order
from training.common.progress import Progress
from training.common.reading import BEFORE, NOW
from training.datasets.detection import DetectionDataset
from training.datasets.detection_table import (
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
    will_do,
)
from training.datasets.elsewhere import Use
from training.datasets.faults import Faults, present
from training.datasets.notes import Note
from training.datasets.paths import Listings
from training.datasets.pictures import SUFFIXES

_YAML = frozenset({".yaml", ".yml"})
_MOST_BYTES = 1 << 20  # of a yaml file
_CLASS_FILES = ("classes.txt", "obj.names")
_KEYS = {TRAIN: "train", VALIDATION: "val", TEST: "test"}
# Outside of 0 to 1: what is rounding, and what is still a coordinate.
_ROUNDING, _CLIPPED = 1e-3, 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Layout:
    """What there is.

    Attributes:
        file: that describes it.
        root: of names of images.
        classes: in order of their numbers.
        numbers: of the labels, in the same order.
        pictures: of each split.
        absent: messages of splits that are described and not there.
        notes: what else there is to say.
    """

    file: pathlib.Path
    root: pathlib.Path
    classes: list[str]
    numbers: list[int]
    pictures: dict[str, list[pathlib.Path]]
    absent: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: list[Note] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Object:
    """A line: the box as top, left, bottom, right; the outline as x, y, x, y ... or empty."""

    label: int
    box: tuple[float, float, float, float]
    outline: tuple[float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Labels:
    """What a file of labels says.

    Attributes:
        lines: those that are sound.
        wrong: what is wrong with the others.
    """

    lines: Sequence[_Object]
    wrong: Sequence[str] = ()


def recognises(path: pathlib.Path) -> bool:
    """Whether `scan` is what should read it."""
    if path.is_dir():
        return _yaml_file(path) is not None or any((path / n).is_file() for n in _CLASS_FILES)
    return path.suffix.lower() in _YAML


def scan(
    path: pathlib.Path,
    *,
    seed: int,
    strict: bool = False,
    use: Use = Use.SPLIT,
    reading: int = NOW,
) -> DetectionDataset:
    """Read labels and the images' sizes; none is decoded yet.

    Raises:
        InputError: files that contradict each other; too much that is broken or missing.
    """
    described = _yaml_file(path) if path.is_dir() else path
    layout = _described(described, strict, reading) if described else _found(path, reading)
    notes = layout.notes
    places = {
        part: [_labels_of(file, reading) for file in files]
        for part, files in layout.pictures.items()
    }
    _leave_out(layout, places, use)
    numbers = _numbers(layout, places)
    parts = {part: _table(layout, part, places[part], numbers, strict, reading) for part in places}
    classes = range(len(layout.classes))
    return assemble(str(path), layout.classes, classes, parts, seed=seed, use=use, notes=notes)


def _leave_out(layout: _Layout, places: dict[str, list[pathlib.Path]], use: Use) -> None:
    """Take the splits away that are not there or have no labels, if the others will do.

    Raises:
        InputError: they do not.
    """
    lacking = dict(layout.absent)
    for part, labels in places.items():
        if not any(place.is_file() for place in labels):
            lacking[part] = f"{labels[0]}: no such file, nor any other with labels; put them there"
    for part in lacking:
        places.pop(part, None)
    if lacking and not will_do(places, use):
        raise InputError(next(iter(lacking.values())))
    for part, why in lacking.items():
        reason, _, _remedy = why.partition("; ")
        text = f"the {part} split was left out: {reason}"
        layout.notes.append(Note.of("absent-split", text, [part], finding=False))


def _yaml_file(folder: pathlib.Path) -> pathlib.Path | None:
    if (folder / "data.yaml").is_file():
        return folder / "data.yaml"
    files = [p for p in folder.iterdir() if p.suffix.lower() in _YAML and p.is_file()]
    if len(files) != 1:
        return None
    content = files[0].read_bytes()
    return files[0] if b"names" in content or b"nc:" in content else None


def _described(file: pathlib.Path, strict: bool, reading: int) -> _Layout:
    """What a yaml file says."""
    content = _load(file)
    if "kpt_shape" in content:
        raise InputError(f"{file} describes key points, which are not read; give boxes or outlines")
    root = _text(file, content, "path").replace("\\", "/") if content.get("path") else "."
    roots = [file.parent / root, file.parent]  # the second: moved from where `path` was right
    base = next(folder for folder in roots if folder.is_dir())
    classes, numbers, notes = _classes(file, content, strict)
    pictures: dict[str, list[pathlib.Path]] = {}
    absent: dict[str, str] = {}
    listings = Listings(SUFFIXES, reading)
    for part, key in _KEYS.items():
        entries = content.get(key) or []
        for entry in entries if isinstance(entries, list) else [entries]:
            if not isinstance(entry, str):
                raise InputError(f"{file}: {key} is not a folder or a list of folders; correct it")
            try:
                found = _images(file, base, entry.replace("\\", "/"), listings)
            except InputError as error:
                absent[part] = str(error)
                continue
            pictures.setdefault(part, []).extend(found)
    for part in absent:  # of several folders, all must be there
        pictures.pop(part, None)
    if not pictures and not absent:
        raise InputError(f"{file} names neither train nor val; add the folders of their images")
    return _Layout(
        file=file,
        root=base,
        classes=classes,
        numbers=numbers,
        pictures={part: _once(part, files, notes) for part, files in pictures.items()},
        absent=absent,
        notes=[*notes, *listings.notes()],
    )


def _once(part: str, files: list[pathlib.Path], notes: list[Note]) -> list[pathlib.Path]:
    """Each of a list's images once."""
    again = [file for file, count in collections.Counter(files).items() if count > 1]
    if again:
        text = f"{part}: {len(again):,} images are listed more than once: each was taken once"
        notes.append(Note.of("repeated-images", text, map(str, again)))
    return list(dict.fromkeys(files))


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


def _classes(
    file: pathlib.Path, content: Mapping, strict: bool
) -> tuple[list[str], list[int], list[Note]]:
    """Classes, their numbers, and notes; from a list, a mapping of numbers, or `nc` alone."""
    names: Any = content.get("names")
    count: Any = content.get("nc")
    if not names and isinstance(count, int) and not isinstance(count, bool) and count > 0:
        called = [str(number) for number in range(count)]
        text = f'{file.name} has nc and no names: classes are called "0" to "{count - 1}"'
        return called, list(range(count)), [Note.of("unnamed-classes", text, called)]
    if isinstance(names, dict):
        names = {_number(file, key): name for key, name in names.items()}
        numbers = sorted(names)
        names = [names[number] for number in numbers]
    elif isinstance(names, list):
        numbers = list(range(len(names)))
    if not isinstance(names, list) or not names:
        raise InputError(f"{file} has no names; add the classes as a list")
    notes = []
    if count is not None and count != len(names):
        text = f"{file.name}: nc is {count!r:.20}, and there are {len(names)} names: these count"
        if strict:
            raise InputError(f"{file}: nc is not {len(names)}, the number of names; correct nc")
        notes.append(Note(kind="class-count", text=text, count=1))
    for i, name in enumerate(names):
        if not isinstance(name, str | int) or isinstance(name, bool):
            raise InputError(f'{file}: the name of class {i} is not text; put it in quotes ("")')
    return _unique(file, [str(name) for name in names]), numbers, notes


def _number(file: pathlib.Path, key: Any) -> int:
    """Of a class; some tools write it in quotes."""
    number = int(key) if isinstance(key, str) and key.isdecimal() else key
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise InputError(f"{file}: names are not numbered 0, 1, 2 ...; renumber them")
    return number


def _numbers(layout: _Layout, places: Mapping[str, Sequence[pathlib.Path]]) -> list[int]:
    """The labels' numbers of the classes: their names' own, or from 0 on if those begin at 1."""
    numbers = layout.numbers
    if numbers == list(range(len(numbers))):
        return numbers
    named = f"{layout.file.name}: names are numbered {', '.join(map(str, numbers[:3]))} ..."
    used = _used(places) if numbers == list(range(1, 1 + len(numbers))) else set()
    if "0" in used and str(numbers[-1]) not in used:
        text, numbers = f"{named}, and labels from 0 on", list(range(len(numbers)))
    else:
        text = f"{named}, and so are the labels"
    names = layout.classes
    layout.notes.append(Note.of("numbered-classes", text, names, finding=False))
    return numbers


def _used(places: Mapping[str, Sequence[pathlib.Path]]) -> set[str]:
    """The first words of all lines of all labels."""
    used: set[str] = set()
    for files in places.values():
        for file in files:
            with contextlib.suppress(OSError):
                lines = file.read_text("utf-8-sig", errors="replace").splitlines()
                used |= {words[0] for line in lines if (words := line.split(maxsplit=1))}
    return used


def _unique(file: pathlib.Path, names: list[str]) -> list[str]:
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise InputError(f"{file}: two classes are called {twice[0]!r}; rename one")
    return names


def _images(
    file: pathlib.Path, base: pathlib.Path, entry: str, listings: Listings
) -> list[pathlib.Path]:
    """Those in a folder, or in a list of files.

    Raises:
        InputError: there is none.
    """
    # Roboflow writes ../train/images for what lies beside the yaml file.
    tried = [base / entry, base / entry.removeprefix("../")]
    place = next((p for p in tried if p.exists()), None)
    if place is None:
        raise InputError(f"{tried[0]}: no such folder, but {file} names it; correct the path there")
    if place.is_dir():
        return _inside(place, listings)
    lines = [
        line.strip().replace("\\", "/")
        for line in place.read_text("utf-8", errors="replace").splitlines()
    ]
    listed = [(place.parent / line, base / line) for line in lines if line]
    if not listed:
        raise InputError(f"{place} lists no images; add some")
    return [near if near.is_file() else other for near, other in listed]


def _inside(folder: pathlib.Path, listings: Listings) -> list[pathlib.Path]:
    """The images below a folder; raises InputError if there is none."""
    found = listings.of(folder)
    if not found:
        endings = " ".join(sorted(SUFFIXES))
        raise InputError(f"{folder} has no images ({endings}); add some")
    return found


def _found(root: pathlib.Path, reading: int) -> _Layout:
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
    pictures: dict[str, list[pathlib.Path]] = {}
    absent: dict[str, str] = {}
    listings = Listings(SUFFIXES, reading)
    for part, folder in folders.items():
        try:
            pictures[part] = _inside(folder, listings)
        except InputError as error:
            absent[part] = str(error)
    return _Layout(
        file=file,
        root=root,
        classes=classes,
        numbers=list(range(len(classes))),
        pictures=pictures,
        absent=absent,
        notes=listings.notes(),
    )


def _table(
    layout: _Layout,
    part: str,
    labels: Sequence[pathlib.Path],
    numbers: Sequence[int],
    strict: bool,
    reading: int,
) -> Table:
    notes = layout.notes
    files = layout.pictures[part]
    notes += _of_places(part, files, labels)
    there = present(part, files, strict=strict)
    notes += there.notes
    files = [files[i] for i in there.places]
    read = _read_all(part, [labels[i] for i in there.places], numbers, notes, strict)
    if reading != BEFORE:
        notes += _repeated(part, files, read)
    kept = [i for i, found in enumerate(read) if found is not None]
    files = [files[i] for i in kept]
    sizes = there.sizes[kept].reshape(-1, 2)
    objects = [
        found.lines if reading == BEFORE else list(dict.fromkeys(found.lines))
        for found in read
        if found is not None
    ]
    names = [
        file.relative_to(layout.root).as_posix() if file.is_relative_to(layout.root) else str(file)
        for file in files
    ]
    source = part if part != ALL else layout.root.name
    annotations = _annotations(objects, sizes)
    return tabulate(source, files, names, sizes, there.weights[kept], annotations)


def _labels_of(picture: pathlib.Path, reading: int) -> pathlib.Path:
    """In `labels` where the image is in `images`, else beside it."""
    beside = picture.with_suffix(".txt")
    parts = list(beside.parts)
    folders = parts[:-1]
    if "images" not in folders:
        return beside
    parts[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    there = pathlib.Path(*parts)
    if reading != BEFORE and not there.is_file() and beside.is_file():
        return beside
    return there


def _of_places(
    part: str, files: Sequence[pathlib.Path], labels: Sequence[pathlib.Path]
) -> list[Note]:
    """Notes of images without labels, with those of another one, and with labels elsewhere."""
    pairs = list(zip(files, labels, strict=True))
    lacking = [str(file) for file, place in pairs if not place.is_file()]
    counts = collections.Counter(labels)
    shared = [str(file) for file, place in pairs if counts[place] > 1 and place.is_file()]
    beside = [str(file) for file, place in pairs if file.parent == place.parent]
    total = f"of {len(files):,} images"
    notes = []
    if lacking:
        text = f"{part}: {len(lacking):,} {total} have no labels: no object"
        notes.append(Note.of("no-labels", text, lacking))
    if shared:
        text = f"{part}: {len(shared):,} {total} have the labels of another one of their name: both"
        notes.append(Note.of("shared-labels", f"{text} have its objects ({shared[0]} ...)", shared))
    if 0 < len(beside) < len(files) - len(lacking):
        text = f"{part}: {len(beside):,} {total} have labels beside them, others in labels/"
        notes.append(Note.of("labels-in-two-places", text, beside, finding=False))
    return notes


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


def _read_all(
    part: str,
    files: Sequence[pathlib.Path],
    numbers: Sequence[int],
    notes: list[Note],
    strict: bool,
) -> list[_Labels | None]:
    """What files of labels say; None where one cannot be read, and its image is left out."""
    classes = {number: place for place, number in enumerate(numbers)}
    lines = Faults("broken-annotations", "lines of labels are broken", strict=strict)
    unreadable = Faults("unreadable-labels", "files of labels cannot be read", strict=strict)
    total = 0
    found: list[_Labels | None] = []
    outside = _ROUNDING if strict else _CLIPPED
    with Progress("reading labels", len(files), unit="file") as progress:
        for read in in_order(lambda i: _read(files[i], classes, outside), len(files)):
            progress.step()
            if isinstance(read, str):
                unreadable.add(read, "replace it")
                found.append(None)
                continue
            for reason in read.wrong:
                lines.add(reason, "correct that line")
            total += len(read.lines) + len(read.wrong)
            found.append(read)
    notes += lines.settle(part, total)
    notes += unreadable.settle(part, len(files))
    return found


def _repeated(
    part: str, files: Sequence[pathlib.Path], read: Sequence[_Labels | None]
) -> list[Note]:
    """A note of lines that are in their file before."""
    again = [
        str(file)
        for file, labels in zip(files, read, strict=True)
        for _line in range(len(labels.lines) - len(set(labels.lines)) if labels else 0)
    ]
    text = f"{part}: {len(again):,} lines of labels repeat another one of their file: left out"
    return [Note.of("repeated-lines", text, again)] if again else []


def _read(file: pathlib.Path, classes: Mapping[int, int], outside: float) -> _Labels | str:
    """What a file of labels says, or why it cannot be read; one that is not there is empty."""
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        return _Labels(lines=())
    except (OSError, UnicodeDecodeError) as error:
        return f"{file} cannot be read as text ({error})"
    found, wrong = [], []
    for number, line in enumerate(lines, 1):
        if fields := line.split():
            try:
                found.append(_object(fields, classes, outside))
            except ValueError as error:
                wrong.append(f"{file}, line {number}: {error}")
    return _Labels(lines=found, wrong=wrong)


def _object(fields: Sequence[str], classes: Mapping[int, int], outside: float) -> _Object:
    """Raises ValueError with what is wrong."""
    if len(fields) != 5 and (len(fields) < 7 or len(fields) % 2 == 0):
        raise ValueError(f"{len(fields)} numbers are neither a box (5) nor an outline (7, 9 ...)")
    try:
        number, *values = map(float, fields)
    except ValueError:
        raise ValueError("not everything is a number") from None
    if number not in classes:  # a float equals the integer of its value
        raise ValueError(f"class {fields[0]} does not exist; there are {len(classes)} classes")
    label = classes[int(number)]
    for field, value in zip(fields[1:], values, strict=True):
        if not -outside <= value <= 1 + outside:  # NaN is not
            raise ValueError(f"{field} is not a number from 0 to 1")
    if len(values) == 4:
        x, y, width, height = values
        width, height = max(width, 0.0), max(height, 0.0)
        box = (y - height / 2, x - width / 2, y + height / 2, x + width / 2)
        return _Object(label=label, box=box, outline=())
    xs, ys = values[::2], values[1::2]
    return _Object(label=label, box=(min(ys), min(xs), max(ys), max(xs)), outline=tuple(values))
