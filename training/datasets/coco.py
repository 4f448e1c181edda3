"""COCO's JSON: pictures, annotations and categories in one file a split.

    --data FILE.json    one file; its pictures lie beside it or in a folder near by (see `_FOLDERS`)
    --data DIR          DIR/annotations/instances_train*.json, instances_val*.json, instances_test*
    --data DIR          DIR/train/_annotations.coco.json, DIR/valid/..., DIR/test/... (Roboflow)
    --data DIR          DIR or DIR/annotations with a single .json file

Boxes are x, y, width and height in pixels of the upright picture, from 0. What is broken is
refused: numbers that are none, references to nothing, categories or pictures named twice. Two
things differ from pycocotools. An annotation id that comes twice makes it lose one object and count
another twice; since nothing refers to these ids, all are numbered anew here. A box that has no area
in its picture is dropped.

Source: https://cocodataset.org/#format-data and pycocotools 2.0.11.
"""

from __future__ import annotations

import array
import collections
import contextlib
import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as rle

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
    Outline,
    Shapes,
    assemble,
    collect,
    tabulate,
)
from training.datasets.objects import ObjectDataset

_ROBOFLOW = "_annotations.coco.json"
_PREFIXES = {TRAIN: "train", VALIDATION: "val", TEST: "test"}
_REQUIRED = object()
_PROBED = 20  # pictures that are looked for to tell their folder


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _File:
    """What a file says; its annotations' labels are still the file's own category ids.

    Attributes:
        files: n pictures.
        names: as the file has them.
        sizes: (n, 2) int64 heights and widths.
        categories: names by id.
        group: id of a category that is but the name of all the others, or None.
    """

    path: pathlib.Path
    files: list[pathlib.Path]
    names: list[str]
    sizes: np.ndarray
    categories: dict[int, str]
    group: int | None
    annotations: Annotations
    notes: list[Note]


def recognises(path: pathlib.Path) -> bool:
    """Whether `scan` is what should read it."""
    return bool(_files(path)) if path.is_dir() else path.suffix.lower() == ".json"


def scan(
    path: pathlib.Path, *, seed: int, strict: bool = False, use: Use = Use.SPLIT
) -> ObjectDataset:
    """Read annotations and find the pictures; none is decoded yet.

    Raises:
        InputError: files that cannot be read or are inconsistent; missing pictures.
    """
    found = {part: _read(file) for part, file in _files(path).items()}
    categories = _categories(found)
    ids = np.array(sorted(categories), np.int64)
    parts = {}
    for part, file in found.items():
        labels = np.searchsorted(ids, file.annotations.labels)
        annotations = dataclasses.replace(file.annotations, labels=labels)
        source = part if part != ALL else file.path.name
        parts[part] = tabulate(source, file.files, file.names, file.sizes, annotations)
    return assemble(
        str(path),
        [categories[i] for i in ids.tolist()],
        ids.tolist(),
        parts,
        seed=seed,
        use=use,
        notes=[note for file in found.values() for note in file.notes],
    )


def _files(path: pathlib.Path) -> dict[str, pathlib.Path]:
    """The annotation file of each split; ALL for one that is to be split."""
    if not path.is_dir():
        return {ALL: path}
    found: dict[str, pathlib.Path] = {}
    for part, prefix in _PREFIXES.items():
        files = sorted((path / "annotations").glob(f"instances_{prefix}*.json"))
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


def _categories(found: dict[str, _File]) -> dict[int, str]:
    """Names by id, which the training file defines."""
    first = next(iter(found.values()))
    for other in found.values():
        for number, name in other.categories.items():
            if first.categories.get(number) != name:
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
        first.notes.append(Note.of("group-category", text, [name], finding=False))
    if twice := _twice(categories.values()):
        raise InputError(f"{first.path}: two categories are called {twice}; rename one")
    return categories


def _read(path: pathlib.Path) -> _File:
    images, records, categories = _load(path)
    numbers = _column(path, "category", categories, "id", _whole)
    named = _column(path, "category", categories, "name", _text)
    if twice := _twice(numbers):
        raise InputError(f"{path}: two categories have the id {twice}; renumber one")
    names = [name.replace("\\", "/") for name in _column(path, "image", images, "file_name", _text)]
    if twice := _twice(names):
        raise InputError(f"{path}: two images are the file {twice}; put their annotations together")
    image_ids = _column(path, "image", images, "id", _key)
    if twice := _twice(image_ids):
        raise InputError(f"{path}: two images have the id {twice}; renumber one")
    sides = [_column(path, "image", images, key, _side) for key in ("height", "width")]
    sizes = np.array(sides, np.int64).T
    places = {number: place for place, number in enumerate(image_ids)}
    annotations, notes = _annotations(path, records, places, sizes, numbers)
    return _File(
        path=path,
        files=_pictures(path, names),
        names=names,
        sizes=sizes,
        categories=dict(zip(numbers, named, strict=True)),
        group=_group(categories),
        annotations=annotations,
        notes=notes,
    )


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
    places: dict[float | str, int],
    sizes: np.ndarray,
    categories: list[int],
) -> tuple[Annotations, list[Note]]:
    kind = "annotation"
    pictures = [places.get(i, -1) for i in _column(path, kind, records, "image_id", _key)]
    labels = _column(path, kind, records, "category_id", _whole)
    known = np.isin(labels, categories)
    for key, lost in (("image_id", np.array(pictures) < 0), ("category_id", ~known)):
        if lost.any():
            record = records[int(np.argmax(lost))]
            raise InputError(
                f"{path}: {_called(kind, records, record)} has the {key} {record[key]!r}, which is "
                f"not in the file ({lost.sum():,} such); remove it"
            )
    boxes = np.array(_column(path, kind, records, "bbox", _box), np.float64).reshape(-1, 4)
    ids, notes = _ids(path, records)
    shapes = collect(_outlines(path, records, sizes[pictures], notes))
    if shapes is not None:
        _refuse_far(path, records, shapes, sizes[pictures].max(axis=1))
    annotations = Annotations(
        pictures=np.array(pictures, np.int64),
        boxes=boxes,
        labels=np.array(labels, np.int64),
        crowd=np.array([bool(record.get("iscrowd")) for record in records], bool),
        areas=np.array(_column(path, kind, records, "area", _area, None), np.float64),
        ids=ids,
        shapes=shapes,
    )
    return annotations, notes


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


def _outlines(
    path: pathlib.Path, records: list[dict], sizes: np.ndarray, notes: list[Note]
) -> Iterator[Outline]:
    thin: list[str] = []
    for record, (height, width) in zip(records, sizes.tolist(), strict=True):
        outline = record.get("segmentation")
        try:
            if isinstance(outline, dict):
                yield _runs(outline, height, width)
                continue
            if outline and not all(isinstance(part, array.array) for part in outline):
                raise ValueError("is not a list of polygons")
            if any(len(part) % 2 for part in outline or ()):
                raise ValueError("has a polygon with an odd number of coordinates")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            reason = str(error) if type(error) is ValueError else "is neither polygons nor runs"
            called = _called("annotation", records, record)
            raise InputError(
                f"{path}: {called}: its segmentation {reason}; correct or remove it"
            ) from None
        for part in outline or ():
            if len(part) < 6:
                thin.append(_called("annotation", records, record))
        yield outline
    if thin:
        text = f"{path.name}: {len(thin):,} polygons of fewer than three points were left out"
        notes.append(Note.of("thin-polygons", text, thin))


def _runs(outline: dict, height: int, width: int) -> bytes:
    """COCO's compressed run lengths; pycocotools reads past the end of what it does not check."""
    if list(outline["size"]) != [height, width]:
        raise ValueError(f"is {outline['size']} in size and its picture [{height}, {width}]")
    counts = outline["counts"]
    if isinstance(counts, list):
        total = sum(counts) if min(counts, default=0) >= 0 else -1
        if total == height * width:
            return rle.frPyObjects([outline], height, width)[0]["counts"]
    else:
        encoded = str(counts).encode("ascii")
        total = _total(encoded)
        if total == height * width:
            return encoded
    raise ValueError(f"has runs of {total} pixels in all, not {height} x {width}")


def _total(encoded: bytes) -> int:
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


def _refuse_far(path: pathlib.Path, records: list[dict], shapes: Shapes, sides: np.ndarray) -> None:
    """A polygon's edge costs memory by its length, in and out of the picture."""
    if not len(shapes.points):
        return
    owners = np.repeat(np.arange(len(records)), np.diff(shapes.polygons))
    lows = np.minimum.reduceat(shapes.points, shapes.parts[:-1])
    highs = np.maximum.reduceat(shapes.points, shapes.parts[:-1])
    near = (lows >= -sides[owners]) & (highs <= 2 * sides[owners])  # False for NaN
    if not near.all():
        called = _called("annotation", records, records[int(owners[np.argmin(near)])])
        raise InputError(
            f"{path}: {called} has a polygon far outside its image; correct or remove it"
        )


def _pictures(path: pathlib.Path, names: Sequence[str]) -> list[pathlib.Path]:
    """Where the pictures lie: in the folder near the file that has most of the first ones."""
    split = path.stem.removeprefix("instances_")
    near, above = path.parent, path.parent.parent
    folders = [near / split, near / "images", near, above / split, above / "images" / split]
    folders += [above / "images", near / "data", above]
    probes = names[:_PROBED]
    folder = max(folders, key=lambda f: sum((f / name).is_file() for name in probes))
    if not any((folder / name).is_file() for name in probes):
        places = ", ".join(dict.fromkeys(map(str, folders)))
        raise InputError(f"{path}: no image such as {names[0]} is in any of {places}")
    return [folder / name for name in names]


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
    convert: Callable[[Any], Any],
    default: Any = _REQUIRED,
) -> list:
    """One field of all records; InputError names the first that has none or a wrong one."""
    values = []
    for record in records:
        value = record.get(key, default)
        try:
            values.append(convert(value))
        except (TypeError, ValueError, OverflowError):
            called = _called(kind, records, record)
            has = f"has no {key}" if value is _REQUIRED else f"has the {key} {value!r:.60}"
            raise InputError(f"{path}: {called} {has}; correct or remove it") from None
    return values


def _called(kind: str, records: list[dict], record: dict) -> str:
    if "id" in record:
        return f"{kind} {record['id']!r:.60}"
    number = next(i for i, other in enumerate(records) if other is record)
    return f"{kind} number {number + 1} of the list"


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
    if not 1 <= _whole(value) < 2**31:
        raise ValueError
    return int(value)


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
