"""COCO's JSON: images, annotations and categories in one file a split.

    --data FILE.json    one file; its images lie beside it or in a folder near by (see `_FOLDERS`)
    --data DIR          DIR/annotations/instances_train*.json, instances_val*.json, instances_test*
    --data DIR          DIR/train/_annotations.coco.json, DIR/valid/..., DIR/test/... (Roboflow)
    --data DIR          DIR or DIR/annotations with a single .json file

    --data DIR          DIR or DIR/annotations with train.json, val.json, test.json

Boxes are x, y, width and height in pixels of the upright image, from 0. An annotation without a
box, or with an impossible one, takes that of its outline; without width and height an image is
asked for them. An annotation that is otherwise broken (numbers that are none, references to
nothing, an outline far outside) is left out, as is an image that is missing, up to the limit of
`faults`. Categories that contradict each other are refused. Two things differ from pycocotools. An
annotation id that comes twice makes it lose one object and count another twice; since nothing
refers to these ids, all are numbered anew here. A box that has no area in its image is dropped.

Source: https://cocodataset.org/#format-data and pycocotools 2.0.11.
"""

from __future__ import annotations

import array
import collections
import contextlib
import dataclasses
import functools
import json
import math
import pathlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from pycocotools import mask as rle

from kerascnn.errors import InputError
from training.datasets.coco_file import CocoFile, keeping
from training.datasets.detection import DetectionDataset
from training.datasets.detection_table import (
    ALL,
    FOLDERS,
    TEST,
    TRAIN,
    VALIDATION,
    Annotations,
    Outline,
    Shapes,
    assemble,
    collect,
    measured_part,
    tabulate,
)
from training.datasets.elsewhere import Use
from training.datasets.faults import Faults, present
from training.datasets.notes import Note
from training.datasets.spelling import class_key

_ROBOFLOW = "_annotations.coco.json"
_Value = TypeVar("_Value")
_PREFIXES = {TRAIN: "train", VALIDATION: "val", TEST: "test"}
_REQUIRED = object()
_TRIANGLE = 6  # numbers of the smallest polygon
_NO_CROWD = (None, 0, "0", "")  # of iscrowd
# In place of an image's place: its file is missing; its id is that of two.
_GONE, _NOWHERE = -1, -2
_PROBED = 20  # images that are looked for to tell their folder
# Names that pathlib writes in another way, or as another place.
_ODD_PATH = re.compile(r"^$|^/|//|/$|(^|/)\.(/|$)")


def recognises(path: pathlib.Path) -> bool:
    """Whether `scan` is what should read it."""
    return bool(_files(path)) if path.is_dir() else path.suffix.lower() == ".json"


def scan(
    path: pathlib.Path, *, seed: int, strict: bool = False, use: Use = Use.SPLIT
) -> DetectionDataset:
    """Read annotations and find the images; none is decoded yet.

    Raises:
        InputError: files that cannot be read or are inconsistent; missing images.
    """
    found = {part: _kept(file, strict) for part, file in _files(path).items()}
    notes = [note for file in found.values() for note in file.notes]
    categories = _categories(found, notes)
    ids = np.array(sorted(categories), np.int64)
    parts = {}
    for part, file in found.items():
        labels = np.searchsorted(ids, file.annotations.labels)
        annotations = dataclasses.replace(file.annotations, labels=labels)
        source = part if part != ALL else file.path.name
        parts[part] = tabulate(
            source, file.files, file.names, file.sizes, file.weights, annotations
        )
    return assemble(
        str(path),
        [categories[i] for i in ids.tolist()],
        ids.tolist(),
        parts,
        seed=seed,
        use=use,
        notes=notes,
    )


def measured_file(path: pathlib.Path) -> pathlib.Path:
    """The annotations that a measurement needs: of COCO as it comes, instances_val2017.json alone.

    Its archive of annotations has those of all splits, whose images need not be there.

    Raises:
        InputError: two files of one split.
    """
    files = _files(path)
    return files[measured_part(files)] if files else path


def _files(path: pathlib.Path) -> dict[str, pathlib.Path]:
    """The annotation file of each split; ALL for one that is to be split."""
    if not path.is_dir():
        return {ALL: path}
    found: dict[str, pathlib.Path] = {}
    for part, prefix in _PREFIXES.items():
        files = sorted((path / "annotations").glob(f"instances_{prefix}*.json"))
        files += [
            file
            for name in FOLDERS[part]
            for folder in (path / "annotations", path)
            if (file := folder / f"{name}.json").is_file()
        ]
        files += [path / n / _ROBOFLOW for n in FOLDERS[part] if (path / n / _ROBOFLOW).is_file()]
        if len(files) > 1:
            raise InputError(f"{files[0]} and {files[1]} are of one split; remove one")
        if files:
            found[part] = files[0]
    if found:
        return found
    for folder in (path / "annotations", path):
        files = sorted(folder.glob("*.json"))
        if len(files) == 1:
            return {ALL: files[0]}
    return {}


def _categories(found: dict[str, CocoFile], said: list[Note]) -> dict[int, str]:
    """Names by id, which the training file defines; a note of one that is left out."""
    first = next(iter(found.values()))
    for other in found.values():
        for number, name in other.categories.items():
            if class_key(first.categories.get(number, "")) != class_key(name):
                raise InputError(
                    f"{other.path} has category {number} {name!r}, which {first.path} has not; "
                    "give both the same categories"
                )
    categories = dict(first.categories)
    used = [np.any(file.annotations.labels == first.group) for file in found.values()]
    if first.group is not None and not any(used):
        del categories[first.group]
        text = f"category {first.group} is the group of all others and no object's: left out"
        name = first.categories[first.group]
        said.append(Note.of("group-category", text, [name], finding=False))
    if twice := _twice(categories.values()):
        raise InputError(f"{first.path}: two categories are called {twice}; rename one")
    return categories


def _kept(path: pathlib.Path, strict: bool) -> CocoFile:
    read = functools.partial(_read, path, strict)
    return keeping(path, read, functools.partial(image_files, path), strict=strict)


def _read(path: pathlib.Path, strict: bool) -> CocoFile:
    images, records, categories = _load(path)
    numbers = _column(path, "category", categories, "id", _whole)
    named = _column(path, "category", categories, "name", _text)
    if twice := _twice(numbers):
        raise InputError(f"{path}: two categories have the id {twice}; renumber one")
    names, places, sizes, notes = _images(path, images, strict)
    files = image_files(path, names)
    there = present(path.name, files, sizes, strict=strict)
    moved = {old: new for new, old in enumerate(there.places.tolist())} | {_NOWHERE: _NOWHERE}
    places = {number: moved.get(place, _GONE) for number, place in places.items()}
    annotations, more = _annotations(path, records, places, there.sizes, numbers, strict)
    return CocoFile(
        path=path,
        listed=names,
        present=there.places,
        files=[files[place] for place in there.places],
        sizes=there.sizes,
        weights=there.weights,
        categories=dict(zip(numbers, named, strict=True)),
        group=_group(categories),
        annotations=annotations,
        notes=[*notes, *there.notes, *more],
    )


def _images(
    path: pathlib.Path, images: list[dict], strict: bool
) -> tuple[list[str], dict[float | str, int], np.ndarray, list[Note]]:
    """Names of n files, the place among them of each image id, (n, 2) sizes or 0, and notes.

    An id that stands for two files is no image's: its place is `_NOWHERE`.
    """
    faults = Faults("broken-images", "images have no file, or no id of their own", strict=strict)
    names: dict[str, int] = {}
    places: dict[float | str, int] = {}
    sizes: list[tuple[int, int]] = []
    again: list[str] = []
    for at, image in enumerate(images):
        called = f"{path}: {_called('image', at, image)}"
        try:
            name = _field(image, "file_name", _text).replace("\\", "/")
            number = _field(image, "id", _key)
        except ValueError as error:
            faults.add(f"{called} {error}", "correct or remove it")
            continue
        place = names.setdefault(name, len(names))
        if place == len(sizes):
            sizes.append((_side(image.get("height")), _side(image.get("width"))))
        else:
            again.append(name)
        if places.setdefault(number, place) != place:
            places[number] = _NOWHERE
            faults.add(f"{called} has the id of another image", "renumber one")
    notes = faults.settle(path.name, len(images))
    if unknown := [name for name, size in zip(names, sizes, strict=True) if not all(size)]:
        text = f"{path.name}: {len(unknown):,} images have no width and height: read from them"
        notes.append(Note.of("unsized-images", text, unknown, finding=False))
    if again:
        text = f"{path.name}: {len(again):,} images are listed again: their annotations were joined"
        notes.append(Note.of("repeated-images", text, again))
    return list(names), places, np.array(sizes, np.int64).reshape(-1, 2), notes


def _load(path: pathlib.Path) -> list[list[dict]]:
    """Its images, annotations and categories."""
    try:
        content = json.loads(path.read_text("utf-8-sig"), object_hook=_compact)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"{path} cannot be read as JSON ({reason}); replace it") from None
    keys = ("images", "annotations", "categories")
    lists: list = [content.get(key) if isinstance(content, dict) else None for key in keys]
    for key, records in zip(keys, lists, strict=True):
        if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
            raise InputError(f"{path} has no list of {key}; give a COCO file of annotated boxes")
        if not records and key != "annotations":
            raise InputError(f"{path} lists no {key}; add them")
    return lists


def _compact(record: dict) -> dict:
    """Polygons as arrays while the file is still read: lists of floats take four times the room."""
    outline = record.get("segmentation")
    if isinstance(outline, list):
        with contextlib.suppress(TypeError, OverflowError):
            record["segmentation"] = [array.array("d", part) for part in outline]
    return record


def _annotations(
    path: pathlib.Path,
    records: list[dict],
    places: Mapping[float | str, int],
    sizes: np.ndarray,
    categories: Sequence[int],
    strict: bool,
) -> tuple[Annotations, list[Note]]:
    """Those that are sound and whose images are there, and notes of the others."""
    taken = _Annotations(path, places, sizes, categories, strict)
    for at, record in enumerate(records):
        taken.take(at, record)
    shapes = taken.near_shapes(records)
    ids, notes = _ids(path, [records[at] for at in taken.rows])
    annotations = Annotations(
        pictures=np.array(taken.pictures, np.int64),
        boxes=np.array(taken.boxes, np.float64).reshape(-1, 4),
        labels=np.array(taken.labels, np.int64),
        crowd=np.array(taken.crowd, bool),
        areas=np.array(taken.areas, np.float64),
        ids=ids,
        shapes=shapes,
    )
    return annotations, [*notes, *taken.notes(len(records))]


class _Annotations:
    """The sound ones of a file as columns, and what is wrong with the others.

    Attributes:
        rows: the place of each in the file's list; the other columns are as long.
        boxes: top, left, bottom, right, top ... in pixels.
    """

    def __init__(
        self,
        path: pathlib.Path,
        places: Mapping[float | str, int],
        sizes: np.ndarray,
        categories: Sequence[int],
        strict: bool,
    ) -> None:
        self._path, self._places, self._strict = path, places, strict
        self._sizes: list[list[int]] = sizes.tolist()
        self._categories = frozenset(categories)
        self._faults = Faults("broken-annotations", "annotations are broken", strict=strict)
        self._of_outline: list[str] = []  # what those are called that took its box
        self._wrong_areas: list[str] = []
        self._thin: list[str] = []
        self._outlines: list[Outline] = []
        self.rows, self.pictures, self.labels = (array.array("q") for _ in range(3))
        self.boxes, self.areas = array.array("d"), array.array("d")
        self.crowd = bytearray()

    def take(self, at: int, record: dict) -> None:
        """Add one, unless it is broken or its image is not there."""
        try:
            place = self._place(record)
            if place in (_GONE, _NOWHERE):
                return
            label = _field(record, "category_id", _whole)
            if label not in self._categories:
                raise ValueError(f"has the category_id {label}, which is not in the file")
            height, width = self._sizes[place]
            outline = _outline(record, height, width)
            box = self._box(at, record, outline, height, width)
        except ValueError as error:
            self._faults.add(
                f"{self._path}: {_called('annotation', at, record)} {error}", "correct or remove it"
            )
            return
        self.rows.append(at)
        self.pictures.append(place)
        self.labels.append(label)
        self.boxes.extend(box)
        self.areas.append(self._area(at, record))
        self.crowd.append(record.get("iscrowd") not in _NO_CROWD)
        self._outlines.append(outline)
        if isinstance(outline, list):
            called = _called("annotation", at, record)
            self._thin += [called for part in outline if len(part) < _TRIANGLE]

    def near_shapes(self, records: Sequence[dict]) -> Shapes | None:
        """The outlines, without annotations whose polygons lie far outside of their images.

        A polygon's edge costs memory by its length, in and out of the image.
        """
        shapes = collect(self._outlines)
        if shapes is None or not len(shapes.points):
            return shapes
        sides = np.array(self._sizes, np.int64).max(axis=1)[np.array(self.pictures)]
        owners = np.repeat(np.arange(len(self.rows)), np.diff(shapes.polygons))
        lows = np.minimum.reduceat(shapes.points, shapes.parts[:-1])
        highs = np.maximum.reduceat(shapes.points, shapes.parts[:-1])
        near = (lows >= -sides[owners]) & (highs <= 2 * sides[owners])  # False for NaN
        if near.all():
            return shapes
        far = frozenset(owners[~near].tolist())
        for row in sorted(far):
            called = _called("annotation", self.rows[row], records[self.rows[row]])
            self._faults.add(
                f"{self._path}: {called} has a polygon far outside its image",
                "correct or remove it",
            )
        self._drop(far)
        return collect(self._outlines)

    def notes(self, total: int) -> list[Note]:
        """Of `total` annotations.

        Raises:
            InputError: too many are broken.
        """
        name = self._path.name
        said = (
            (
                *("boxes-of-outlines", self._of_outline),
                "annotations have no box, or an impossible one: that of their outline is taken",
            ),
            (
                *("measured-areas", self._wrong_areas),
                "annotations have an impossible area: it was measured",
            ),
            (
                *("thin-polygons", self._thin),
                "polygons of fewer than three points were left out",
            ),
        )
        notes = self._faults.settle(name, total)
        for kind, names, text in said:
            if names:
                notes.append(Note.of(kind, f"{name}: {len(names):,} {text}", names))
        return notes

    def _place(self, record: dict) -> int:
        number = _field(record, "image_id", _key)
        place = self._places.get(number)
        if place is None:
            raise ValueError(f"has the image_id {number!r:.60}, which is not in the file")
        return place

    def _box(
        self, at: int, record: dict, outline: Outline, height: int, width: int
    ) -> tuple[float, float, float, float]:
        try:
            return _field(record, "bbox", _box)
        except ValueError:
            found = _box_of(outline, height, width)
            if found is None or (self._strict and record.get("bbox") is not None):
                raise
            self._of_outline.append(_called("annotation", at, record))
            return found

    def _area(self, at: int, record: dict) -> float:
        """NaN where it is to be measured."""
        try:
            return _field(record, "area", _area, None)
        except ValueError as error:
            called = _called("annotation", at, record)
            if self._strict:
                raise InputError(f"{self._path}: {called} {error}; correct or remove it") from None
            self._wrong_areas.append(called)
            return math.nan

    def _drop(self, rows: Collection[int]) -> None:
        kept = [row for row in range(len(self.rows)) if row not in rows]
        boxes = [self.boxes[4 * row + i] for row in kept for i in range(4)]
        self.boxes = array.array("d", boxes)
        self.areas = array.array("d", [self.areas[row] for row in kept])
        self.pictures = array.array("q", [self.pictures[row] for row in kept])
        self.labels = array.array("q", [self.labels[row] for row in kept])
        self.crowd = bytearray(self.crowd[row] for row in kept)
        self._outlines = [self._outlines[row] for row in kept]
        self.rows = array.array("q", [self.rows[row] for row in kept])


def _outline(record: dict, height: int, width: int) -> Outline:
    """Raises ValueError, with what is wrong."""
    outline = record.get("segmentation")
    try:
        if isinstance(outline, dict):
            return _runs(outline, height, width)
        if not outline:
            if outline in (None, [], ""):
                return None
            raise TypeError
        if not all(isinstance(part, array.array) for part in outline):
            raise ValueError("is not a list of polygons")
        if any(len(part) % 2 for part in outline):
            raise ValueError("has a polygon with an odd number of coordinates")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = str(error) if type(error) is ValueError else "is neither polygons nor runs"
        raise ValueError(f"has a segmentation that {reason}") from None
    return outline


def _box_of(outline: Outline, height: int, width: int) -> tuple[float, float, float, float] | None:
    """Top, left, bottom and right of an outline; None if there is none."""
    if isinstance(outline, bytes):
        left, top, across, down = rle.toBbox({"size": [height, width], "counts": outline}).tolist()
        return (top, left, top + down, left + across) if across and down else None
    points = [value for part in outline or () if len(part) >= _TRIANGLE for value in part]
    if not points or not all(map(math.isfinite, points)):
        return None
    xs, ys = points[::2], points[1::2]
    return min(ys), min(xs), max(ys), max(xs)


def _ids(path: pathlib.Path, records: list[dict]) -> tuple[np.ndarray, list[Note]]:
    """(k,) int64, and a note where they are not the file's."""
    given = {record.get("id") for record in records if isinstance(record.get("id"), int)}
    if len(given) == len(records):
        return np.array(_column(path, "annotation", records, "id", _whole), np.int64), []
    lost = len(records) - len(given)
    text = (
        f"{path.name}: {lost:,} annotation ids are not numbers, or occur twice; all were renumbered"
    )
    note = Note(kind="renumbered-ids", text=text, count=lost, finding=False)
    return np.arange(1, len(records) + 1), [note]


def _runs(outline: dict, height: int, width: int) -> bytes:
    """COCO's compressed run lengths; pycocotools reads past the end of what it does not check."""
    if list(outline["size"]) != [height, width]:
        raise ValueError(f"is {outline['size']} in size and its image [{height}, {width}]")
    counts = outline["counts"]
    if isinstance(counts, list):
        total = sum(counts) if min(counts, default=0) >= 0 else -1
        if total == height * width:
            return rle.frPyObjects([outline], height, width)[0]["counts"]
    else:
        encoded = str(counts).encode("ascii")
        total = total_of_runs(encoded)
        if total == height * width:
            return encoded
    raise ValueError(f"has runs of {total} pixels in all, not {height} x {width}")


def total_of_runs(encoded: bytes) -> int:
    """The sum of compressed runs; -1 if one is negative.

    A run is written in groups of five bits, low ones first; bit 32 says that more come, and bit 16
    of the last is the sign. From the fourth on it is the difference from the run two before it.
    Source: rleFrString in pycocotools' maskApi.c.
    """
    groups = np.frombuffer(encoded, np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(groups & 32 == 0)
    if not len(groups) or not len(last) or last[-1] != len(groups) - 1 or groups.min() < 0:
        return -1
    lengths = np.diff(last, prepend=-1)
    if lengths.max() > 7 or groups.max() > 63:  # more than 32 bits
        return -1
    steps = np.arange(len(groups)) - np.repeat(last - lengths + 1, lengths)
    values = np.add.reduceat((groups & 31) << 5 * steps, last - lengths + 1)
    values -= np.where(groups[last] & 16, 1 << 5 * lengths, 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return int(values.sum()) if values.min() >= 0 else -1


def image_files(path: pathlib.Path, names: Sequence[str]) -> list[str]:
    """Where the images lie: in the folder near the file that has most of the first ones."""
    split = path.stem.removeprefix("instances_")
    near, above = path.parent, path.parent.parent
    folders = [near / split, near / "images", near, above / split, above / "images" / split]
    folders += [above / "images", near / "data", above]
    probes = names[:: max(1, len(names) // _PROBED)][:_PROBED]
    folder = max(folders, key=lambda f: sum((f / name).is_file() for name in probes))
    if not any((folder / name).is_file() for name in probes):
        places = ", ".join(dict.fromkeys(map(str, folders)))
        raise InputError(f"{path}: no image such as {names[0]} is in any of {places}")
    front = str(folder / "_")[:-1]
    # A path of pathlib's own for each of 100,000 names takes a second.
    return [str(folder / name) if _ODD_PATH.search(name) else f"{front}{name}" for name in names]


def _group(categories: list[dict]) -> int | None:
    """Roboflow puts the project's name before the classes, as a category that all belong to."""
    first, *others = categories
    belong = others and all(other.get("supercategory") == first["name"] for other in others)
    return _whole(first["id"]) if belong and first.get("supercategory") == "none" else None


def _column(
    path: pathlib.Path,
    kind: str,
    records: list[dict],
    key: str,
    convert: Callable[[Any], _Value],
) -> list[_Value]:
    """One field of all records; InputError names the first that has none or a wrong one."""
    values = []
    for at, record in enumerate(records):
        try:
            values.append(_field(record, key, convert))
        except ValueError as error:
            raise InputError(
                f"{path}: {_called(kind, at, record)} {error}; correct or remove it"
            ) from None
    return values


def _field(
    record: dict, key: str, convert: Callable[[Any], _Value], default: Any = _REQUIRED
) -> _Value:
    """Raises ValueError with what is wrong."""
    value = record.get(key, default)
    try:
        return convert(value)
    except (TypeError, ValueError, OverflowError):
        has = f"has no {key}" if value is _REQUIRED else f"has the {key} {value!r:.60}"
        raise ValueError(has) from None


def _called(kind: str, at: int, record: dict) -> str:
    """A record of a list."""
    known = f"{kind} {record.get('id')!r:.60}"
    return known if "id" in record else f"{kind} number {at + 1} of the list"


def _twice(values: Iterable) -> str:
    """What comes more than once, to show; empty if nothing does."""
    twice = [repr(value) for value, n in collections.Counter(values).items() if n > 1]
    return ", ".join(twice[:5]) + (" ..." if len(twice) > 5 else "")


def _whole(value: Any) -> int:
    number = int(value)
    if number != value or not -(2**63) <= number < 2**63:
        raise ValueError
    return number


def _key(value: Any) -> float | str:
    if not isinstance(value, int | float | str):
        raise TypeError
    return value


def _text(value: Any) -> str:
    """A line."""
    if not isinstance(value, str) or len(value.splitlines()) != 1:
        raise TypeError
    return value


def _side(value: Any) -> int:
    """0 where the image is to be asked."""
    try:
        return int(value) if 1 <= _whole(value) < 2**31 else 0
    except (TypeError, ValueError, OverflowError):
        return 0


def _box(value: Any) -> tuple[float, float, float, float]:
    """Top, left, bottom, right of COCO's x, y, width, height."""
    if not isinstance(value, list):
        raise TypeError
    left, top, width, height = map(float, value)
    if not (width >= 0 and height >= 0 and math.isfinite(left + top + width + height)):
        raise ValueError
    return top, left, top + height, left + width


def _area(value: Any) -> float:
    """NaN where there is none."""
    if value is None:
        return math.nan
    if not 0 <= float(value) < math.inf:
        raise ValueError
    return float(value)
