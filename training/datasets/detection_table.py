"""Annotations of many images as arrays sorted by image; what the readers of formats share.

A million annotations are a few arrays here, and become `Objects` an image at a time. Boxes are
clipped to their images. Those that have no area then are dropped; pycocotools would keep them as
objects that no detection finds. Either is counted in a note.

| parts                 | train       | validation       | held out          |
|-----------------------|-------------|------------------|-------------------|
| train, val, test      | train       | val              | test              |
| train and one other   | train       | set aside by fit | the other         |
| one without a name    | four fifths | set aside by fit | a fifth, by seed  |
"""

from __future__ import annotations

import array
import dataclasses
import functools
import itertools
import os
from collections.abc import Collection, Iterable, Mapping, Sequence, Sized
from typing import TypeVar

import numpy as np
from pycocotools import mask as rle

from kerascnn.errors import InputError
from training.datasets.detection import DetectionDataset, DetectionSplit, Objects
from training.datasets.elsewhere import Use, doubled, unused
from training.datasets.notes import Note
from training.datasets.pictures import read_pixels
from training.datasets.splits import HELD_OUT_FRACTION, VALIDATION_NAMES, digest, refuse_odd_names

TRAIN, VALIDATION, TEST, ALL = "train", "validation", "test", "all"
FOLDERS = {TRAIN: ("train",), VALIDATION: VALIDATION_NAMES, TEST: ("test",)}

# Polygons in pixels, x, y, x, y ...; or COCO's compressed run lengths; or a box alone.
Outline = Sequence[Sequence[float]] | bytes | None

_Part = TypeVar("_Part", bound=Sized)
_ODD_NUMBER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: it mixes bits
_ROUNDING = 0.01  # pixels; less is what writing a number with two digits does


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Shapes:
    """The outlines of k annotations.

    Attributes:
        points: (v,) float64 pixels, x, y, x, y ... of all polygons.
        parts: (p + 1,) int64, where in `points` each polygon begins.
        polygons: (k + 1,) int64, where in `parts` each annotation's polygons begin.
        runs: COCO's compressed run lengths of those annotations that have them instead.
    """

    points: np.ndarray
    parts: np.ndarray
    polygons: np.ndarray
    runs: Mapping[int, bytes]

    def has(self) -> np.ndarray:
        """(k,) bool, which annotations have an outline."""
        found = np.diff(self.polygons) > 0
        found[list(self.runs)] = True
        return found

    def encoded(self, row: int, height: int, width: int) -> dict | None:
        """An annotation's mask as pycocotools' run lengths; None if it is a box alone."""
        if row in self.runs:
            return {"size": [height, width], "counts": self.runs[row]}
        first, last = self.polygons[row : row + 2]
        if first == last:
            return None
        bounds = self.parts[first : last + 1]
        parts = [self.points[a:b] for a, b in itertools.pairwise(bounds)]
        return rle.merge(rle.frPyObjects(parts, height, width))

    def to_bytes(self) -> bytes:
        """Everything, for a fingerprint."""
        arrays = (self.points, self.parts, self.polygons, np.array(sorted(self.runs), np.int64))
        runs = b"\0".join(self.runs[row] for row in sorted(self.runs))
        return b"".join([*(values.tobytes() for values in arrays), runs])


def collect(outlines: Iterable[Outline]) -> Shapes | None:
    """Keep k outlines; None if there are none but boxes.

    A polygon of fewer than three points has no area and is left out.
    """
    points, ends, counts = array.array("d"), array.array("q", [0]), array.array("q", [0])
    runs: dict[int, bytes] = {}
    for row, outline in enumerate(outlines):
        if isinstance(outline, bytes):
            runs[row] = outline
        else:
            for part in outline or ():
                if len(part) >= 6:
                    points.extend(part)
                    ends.append(len(points))
        counts.append(len(ends) - 1)
    if not points and not runs:
        return None
    return Shapes(
        points=np.frombuffer(points, np.float64) if points else np.zeros(0),
        parts=np.frombuffer(ends, np.int64),
        polygons=np.frombuffer(counts, np.int64),
        runs=runs,
    )


def refuse_other_size(name: str, found: Sequence[int], wanted: Sequence[int], what: str) -> None:
    """Raise InputError for an image that is not as large as what was annotated.

    Args:
        found: height and width of the image, upright.
        wanted: those of `what` ("annotations are").
    """
    if tuple(found) == tuple(wanted):
        return
    sides = f"{wanted[1]} x {wanted[0]} pixels, upright it has {found[1]} x {found[0]}"
    remedy = "bring the annotated image back, or annotate this one"
    if tuple(found) == tuple(wanted)[::-1]:
        remedy = (
            "if it was annotated lying as it is stored, remove its EXIF orientation "
            "(exiftool -Orientation= FILE)"
        )
    raise InputError(f"{name}: its {what} for {sides}; {remedy}")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Annotations:
    """What a format says of k objects, in any order.

    Attributes:
        pictures: (k,) int64, which image each is in.
        boxes: (k, 4) float64 top, left, bottom, right in pixels; finite, bottom >= top.
        labels: (k,) int64.
        crowd: (k,) bool.
        areas: (k,) float64 pixels, NaN where they are to be measured.
        ids: (k,) int64.
        shapes: outlines, if there are any.
    """

    pictures: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    ids: np.ndarray
    shapes: Shapes | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Images and their annotations, sorted by image.

    Attributes:
        files: n image files.
        sizes: (n, 2) int32 heights and widths, upright.
        starts: (n + 1,) int64, where each image's annotations begin.
        rows: (k,) int64, each annotation's place in `shapes`.
        boxes, labels, crowd, areas, ids: (k, ...) as in `Objects`; an area of NaN is the mask's.
        shapes: outlines, if there are any.
        fingerprint: of names, sizes and annotations.
        notes: what was clipped and dropped.
    """

    files: tuple[str, ...]
    sizes: np.ndarray
    starts: np.ndarray
    rows: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    ids: np.ndarray
    shapes: Shapes | None
    fingerprint: str
    notes: tuple[Note, ...]

    def __len__(self) -> int:
        return len(self.files)

    def split(self, places: np.ndarray) -> DetectionSplit:
        """Some of the images."""
        return DetectionSplit(
            names=tuple(self.files[place] for place in places),
            places=places.astype(np.int64),
            sizes=self.sizes[places],
            read=self.read,
            annotate=self.annotate,
            count_at=self.count_at,
        )

    def count_at(self, places: np.ndarray) -> np.ndarray:
        """(n, 2) int64 of n images: how many objects, crowds included, and how many crowds."""
        crowds = np.concatenate([[0], np.cumsum(self.crowd)])
        first, last = self.starts[places], self.starts[places + 1]
        return np.stack([last - first, crowds[last] - crowds[first]], axis=1).astype(np.int64)

    def count(self, places: np.ndarray, classes: int) -> np.ndarray:
        """(classes,) int64, how many objects some of the images have, crowds left out."""
        chosen = np.zeros(len(self.files), bool)
        chosen[places] = True
        chosen = np.repeat(chosen, np.diff(self.starts)) & ~self.crowd
        return np.bincount(self.labels[chosen], minlength=classes)

    def read(self, place: int) -> np.ndarray:
        """(height, width, 3) uint8, upright.

        Raises:
            InputError: it is broken, or of another size than its annotations are for.
        """
        name = self.files[place]
        pixels = read_pixels(name)
        refuse_other_size(name, pixels.shape[:2], self.sizes[place].tolist(), "annotations are")
        return pixels

    def annotate(self, place: int) -> Objects:
        """The objects of an image; one without an outline among others has its box as mask."""
        rows = np.arange(self.starts[place], self.starts[place + 1])
        areas = self.areas[rows]
        for i in np.flatnonzero(np.isnan(areas)):
            areas[i] = rle.area(self._encoded(place, rows[i]))
        masks = None
        if self.shapes is not None:
            masks = tuple(functools.partial(self._mask, place, row) for row in rows)
        return Objects(
            boxes=self.boxes[rows],
            labels=self.labels[rows],
            crowd=self.crowd[rows],
            areas=areas,
            ids=self.ids[rows],
            masks=masks,
        )

    def _encoded(self, place: int, row: int) -> dict:
        height, width = self.sizes[place].tolist()
        encoded = self.shapes and self.shapes.encoded(int(self.rows[row]), height, width)
        if encoded:
            return encoded
        top, left, bottom, right = self.boxes[row] * np.array([height, width, height, width])
        box = np.array([[left, top, right - left, bottom - top]])
        return rle.frPyObjects(box, height, width)[0]

    def _mask(self, place: int, row: int) -> np.ndarray:
        return rle.decode(self._encoded(place, row)).astype(bool)


def tabulate(
    source: str,
    files: Sequence[str | os.PathLike[str]],
    names: Sequence[str],
    sizes: np.ndarray,
    weights: np.ndarray,
    annotations: Annotations,
) -> Table:
    """Clip boxes to their images, drop what is empty then, and sort by image.

    Args:
        source: what notes call it.
        files: n images.
        names: theirs as the annotations have them, for the fingerprint.
        sizes: (n, 2) heights and widths.
        weights: (n,) int64 bytes of the files, likewise.
    """
    sides = np.tile(sizes, 2)[annotations.pictures].astype(np.float64)
    clipped = np.clip(annotations.boxes, 0, sides)
    shares = (clipped / sides).astype(np.float32)
    kept = (shares[:, 2] > shares[:, 0]) & (shares[:, 3] > shares[:, 1])
    moved = kept & (np.abs(clipped - annotations.boxes) > _ROUNDING).any(axis=1)
    rows = np.flatnonzero(kept)
    rows = rows[np.argsort(annotations.pictures[rows], kind="stable")]
    starts = np.searchsorted(annotations.pictures[rows], np.arange(len(files) + 1))
    columns = {
        "sizes": sizes.astype(np.int32),
        "starts": starts,
        "rows": rows,
        "boxes": shares[rows],
        "labels": annotations.labels[rows].astype(np.int32),
        "crowd": annotations.crowd[rows],
        "areas": _areas(annotations, clipped)[rows].astype(np.float32),
        "ids": annotations.ids[rows],
    }
    shapes = annotations.shapes
    boxed = np.zeros(len(kept), bool) if shapes is None else kept & ~shapes.has()
    parts = ["\0".join(names).encode("utf-8", "surrogatepass"), weights.astype(np.int64).tobytes()]
    parts += [values.tobytes() for values in columns.values()]
    return Table(
        files=tuple(map(str, files)),
        shapes=shapes,
        fingerprint=digest([*parts, shapes.to_bytes() if shapes else b""]),
        notes=(
            *_changes(source, names, annotations.pictures, moved, ~kept, boxed),
            *_repeated(source, names, annotations),
        ),
        **columns,
    )


def _repeated(source: str, names: Sequence[str], annotations: Annotations) -> list[Note]:
    """A note of objects that are there twice: they count twice, in training and in evaluation."""
    every = [annotations.pictures, annotations.labels, *annotations.boxes.T]
    rows = _perhaps_repeated(every)
    columns = [column[rows] for column in every]
    order = np.lexsort(columns)
    same = np.ones(max(len(order) - 1, 0), bool)
    for column in columns:
        same &= np.diff(column[order]) == 0
    pictures = columns[0][order[1:][same]]
    text = (
        f"{source}: {len(pictures):,} of {len(every[0]):,} boxes repeat another one of their class "
        "in the same image"
    )
    names_of = [names[picture] for picture in sorted(pictures.tolist())]
    return [Note.of("repeated-boxes", text, names_of)] if names_of else []


def _perhaps_repeated(columns: Sequence[np.ndarray]) -> np.ndarray:
    """(n,) rows of int64 and float64 columns whose mixed bits another row has too.

    Few rows are left of a million, of which all columns are compared then.
    """
    mixed = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        bits = (column + 0.0 if column.dtype == np.float64 else column.astype(np.int64)).view("u8")
        mixed = (mixed ^ bits) * _ODD_NUMBER  # -0.0 was made 0.0
        mixed ^= mixed >> np.uint64(31)
    order = np.argsort(mixed)
    ordered = mixed[order]
    twice = np.zeros(len(order), bool)
    twice[1:] = ordered[1:] == ordered[:-1]
    twice[:-1] |= twice[1:]
    return np.sort(order[twice])


def _areas(annotations: Annotations, boxes: np.ndarray) -> np.ndarray:
    """(k,) float64: those that were given, else of the box where there is no mask to measure."""
    unknown = np.isnan(annotations.areas)
    if annotations.shapes is not None:
        unknown &= ~annotations.shapes.has()
    measured = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return np.where(unknown, measured, annotations.areas)


def _changes(
    source: str,
    names: Sequence[str],
    pictures: np.ndarray,
    clipped: np.ndarray,
    dropped: np.ndarray,
    boxed: np.ndarray,
) -> tuple[Note, ...]:
    """Notes of k annotations in these images; the last three are (k,) bool."""
    said = (
        ("clipped-boxes", clipped, "boxes were clipped to their images"),
        (
            "empty-boxes",
            dropped,
            "boxes without an area inside their images were dropped, in training and in evaluation",
        ),
        ("no-outlines", boxed, "objects have no outline: their masks are their boxes"),
    )
    return tuple(
        Note.of(
            kind,
            f"{source}: {which.sum():,} of {len(which):,} {text}",
            [names[picture] for picture in pictures[which].tolist()],
        )
        for kind, which, text in said
        if which.any()
    )


def assemble(
    name: str,
    classes: Sequence[str],
    category_ids: Sequence[int],
    parts: Mapping[str, Table],
    *,
    seed: int,
    use: Use = Use.SPLIT,
    notes: Sequence[Note] = (),
) -> DetectionDataset:
    """A data set of tables named TRAIN, VALIDATION and TEST, or of one named ALL.

    Args:
        seed: splits the latter by images.
        use: what the images are for.
        notes: what there is to say beside the tables' own.

    Raises:
        InputError: a split is missing or has no object, or a class's name is no line.
    """
    refuse_odd_names(name, classes)
    shares = divided(name, parts, seed, use)
    objects = {s: table.count(places, len(classes)) for s, (table, places) in shares.items()}
    asked = {TRAIN: "learn from", TEST: "measure on"}
    asked.pop({Use.LEARN: TEST, Use.MEASURE: TRAIN}.get(use, ""), None)
    for split, why in asked.items():
        if not objects[split].any():
            of = "training" if split == TRAIN else "held-out"
            raise InputError(f"{name}: no {of} image has an object to {why}; annotate some")
    splits = {split: table.split(places) for split, (table, places) in shares.items()}
    tables = parts.values()
    unseen = [c for c, count in zip(classes, objects[TRAIN], strict=True) if not count]
    said = [*notes, *(note for table in tables for note in table.notes)]
    said += _unseen(unseen) if use is not Use.MEASURE else []
    said += doubled(splits[TRAIN].names, splits[TEST].names)
    said += unused({part: parts[part].files for part in left_out(parts, use)}, use)
    identity = [places.tobytes() for _table, places in shares.values()]
    identity += [table.fingerprint.encode() for table in tables]
    return DetectionDataset(
        name=name,
        classes=tuple(classes),
        category_ids=tuple(category_ids),
        train=splits[TRAIN],
        validation=splits.get(VALIDATION),
        held_out=splits[TEST],
        fingerprint=digest([*identity, "\0".join(classes).encode()]),
        notes=tuple(said),
    )


def _unseen(classes: Sequence[str]) -> list[Note]:
    if not classes:
        return []
    some = ", ".join(classes[:5]) + (" ..." if len(classes) > 5 else "")
    text = f"{len(classes):,} classes have no training object: {some}"
    return [Note.of("unseen-classes", text, classes)]


def will_do(parts: Collection[str], use: Use) -> bool:
    """Whether a data set that has no other parts than these is one."""
    if use is Use.MEASURE:
        return bool(parts)
    if ALL in parts or TRAIN not in parts:
        return ALL in parts
    return use is Use.LEARN or len(parts) > 1


def left_out(parts: Iterable[str], use: Use) -> list[str]:
    """Those of the parts of a data set that have no part in what it is for."""
    if use is Use.SPLIT:
        return []
    if use is Use.LEARN:
        return [TEST] if {VALIDATION, TEST} <= set(parts) else []
    there = list(parts)
    return [part for part in there if part != measured_part(there)]


def measured_part(parts: Collection[str]) -> str:
    """The part that is held out where nothing is learnt from."""
    return next(part for part in (TEST, VALIDATION, ALL, TRAIN) if part in parts)


def divided(
    name: str, parts: Mapping[str, _Part], seed: int, use: Use = Use.SPLIT
) -> dict[str, tuple[_Part, np.ndarray]]:
    """What TRAIN, VALIDATION (if it is given) and TEST, which is held out, are taken from.

    Args:
        parts: of data set `name`, named as those or ALL; each has its length.
        seed: holds a fifth of ALL out.
        use: what the images are for; TEST has no image where all are learnt from, and TRAIN
            none where all are held out.

    Returns:
        The part of each, and (n,) places in it.

    Raises:
        InputError: a split is missing, or there is too little to split.
    """
    whole = {key: (part, np.arange(len(part))) for key, part in parts.items()}
    nothing = np.arange(0)
    if use is Use.MEASURE:
        measured = measured_part(whole)
        return {TRAIN: (parts[measured], nothing), TEST: whole[measured]}
    if use is Use.LEARN:
        learnt = TRAIN if TRAIN in whole else ALL
        if learnt not in whole:
            raise InputError(f"{name} has no training split; add it")
        found = {TRAIN: whole[learnt], TEST: (parts[learnt], nothing)}
        if chooses := next((key for key in (VALIDATION, TEST) if key in whole), None):
            found[VALIDATION] = whole[chooses]
        return found
    if ALL in whole:
        part, places = whole[ALL]
        if len(places) < 2:
            raise InputError(f"{name} has fewer than two images; add some: a fifth is held out")
        order = np.random.default_rng(seed).permutation(places)
        count = max(1, round(HELD_OUT_FRACTION * len(places)))
        return {TRAIN: (part, np.sort(order[count:])), TEST: (part, np.sort(order[:count]))}
    if TRAIN not in whole or len(whole) < 2:
        lacking = "validation or test" if TRAIN in whole else "training"
        there = " and ".join(whole)
        raise InputError(f"{name} has a split {there} but no {lacking} one; add it")
    if TEST not in whole:
        whole[TEST] = whole.pop(VALIDATION)
    return whole
