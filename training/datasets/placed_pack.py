"""Packs of images with boxes, object masks or label maps (`kerascnn pack`); see `pack`.

An image's truth lies behind it in its record, and the index says where. Other programs find it in
the fields of TensorFlow's object detection and DeepLab (models/research: object_detection/utils/
dataset_util.py, deeplab/datasets/build_data.py), but labels begin at 0.

    kerascnn/objects    boxes (m, 4) float32, labels, crowd, areas and ids; masks as COCO's runs
    image/segmentation/class/encoded    a PNG of the label map, 255 where no class is
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
from pycocotools import mask as rle

from kerascnn import outside_json
from kerascnn.errors import InputError
from training.datasets.coco import total_of_runs
from training.datasets.decode import Broken
from training.datasets.detection import DetectionDataset, DetectionSplit, Objects
from training.datasets.detection_table import refuse_other_size
from training.datasets.elsewhere import Use, unused
from training.datasets.instance_masks import encode
from training.datasets.pack import Entry, Work, is_pack, png, read_index, read_info, task_of
from training.datasets.pictures import check_picture, read_pixels, read_stored
from training.datasets.records import Reader
from training.datasets.segmentation import (
    MOST_CLASSES,
    VOID,
    SegmentationDataset,
    SegmentationSplit,
)
from training.datasets.splits import SplitDataset

_HEADER = struct.Struct("<ii")  # how many objects, and whether they have masks
# Of each object: its fields and their types.
_FIELDS = (("boxes", "<f4", 4), ("labels", "<i4", 1), ("crowd", "u1", 1), ("areas", "<f4", 1))
_IDS = ("ids", "<i8", 1)
_LEAST = sum(np.dtype(kind).itemsize * count for _name, kind, count in (*_FIELDS, _IDS))
_OBJECTS, _MAP = "kerascnn/objects", "image/segmentation/class/encoded"
_AGAIN = "pack its source again"

_Dataset = TypeVar("_Dataset", bound=SplitDataset[Any])
_is_palette = outside_json.items(outside_json.items(outside_json.byte, least=3, most=3))


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


@dataclasses.dataclass(frozen=True, kw_only=True)
class _PlacedWork(Work):
    """Of images whose truth is made when it is asked for: a `SplitDataset`."""

    columns: ClassVar[tuple[str, ...]] = (*Work.columns, "truth_offset", "truth_length")

    def __post_init__(self) -> None:
        if self.max_side is not None:
            raise InputError(
                "--max-side scales labelled images alone: boxes, masks and label maps belong to "
                "the pixels that were annotated; leave it out"
            )

    def truth_columns(self, split: Any, positions: np.ndarray) -> dict[str, np.ndarray]:
        return {}

    def refuse_lost(self, split: Any, positions: np.ndarray, reasons: list[str]) -> None:
        if len(split) and not len(positions):
            raise InputError(
                f"{self.dataset.name}: no image of a split can be read: {reasons[0]}; restore them"
            )

    def prepare(self, split: Any, position: int) -> Entry | Broken:
        name = split.names[position]
        try:
            data = self._encoded(split, position)
            checked = check_picture(data, name)
            refuse_other_size(name, checked.size, split.sizes[position].tolist(), "annotations are")
            truth, counts = self.truth(split, position)
        except InputError as error:
            return Broken(name=name, reason=str(error))
        return Entry(position=position, data=data, checked=checked, truth=truth, counts=counts)

    def truth(self, split: Any, position: int) -> tuple[bytes, tuple[int, ...]]:
        """What is written of an image's truth, and what the index says of it."""
        raise NotImplementedError

    def row(self, entry: Entry, at: int, record: bytes) -> list[int]:
        truth = [at + record.index(entry.truth), len(entry.truth)]
        return [*super().row(entry, at, record), *truth, *entry.counts]

    def name(self, name: str) -> str:
        """Relative to the folder that has all images."""
        return os.path.relpath(name, self._root) if self._root else name

    @functools.cached_property
    def _root(self) -> str:
        names = [name for split in self.dataset.splits for name in split.names]
        if self.dataset.generated or not all(map(os.path.isabs, names)):
            return str(pathlib.Path(self.dataset.name)) if self._in_folder(names) else ""
        return os.path.commonpath([os.path.dirname(name) for name in names])  # noqa: PTH120

    def _in_folder(self, names: Sequence[str]) -> bool:
        root = str(pathlib.Path(self.dataset.name)) + os.sep
        return not self.dataset.generated and all(name.startswith(root) for name in names)

    def _encoded(self, split: Any, position: int) -> bytes:
        if self.dataset.generated:
            return png(split.picture(position))
        if split.encoded is not None:
            found: bytes = split.stored(position)
            return found
        try:
            return pathlib.Path(split.names[position]).read_bytes()
        except OSError as error:
            name, reason = split.names[position], error.strerror or type(error).__name__
            raise InputError(f"{name} cannot be read ({reason}); restore it") from error


class ObjectsWork(_PlacedWork):
    """Of a `DetectionDataset`."""

    task: ClassVar[str] = "detection"
    shape: ClassVar[Mapping[str, Any]] = {"category_ids": outside_json.items(_is_integer)}
    columns: ClassVar[tuple[str, ...]] = (*_PlacedWork.columns, "objects", "crowds")

    def description(self) -> dict[str, Any]:
        return {"category_ids": list(self.dataset.category_ids)}

    def truth(self, split: Any, position: int) -> tuple[bytes, tuple[int, ...]]:
        objects = split.objects(position)
        return written(objects), (len(objects), int(np.count_nonzero(objects.crowd)))

    def truth_features(self, split: Any, entry: Entry) -> dict[str, list[Any]]:
        objects = split.objects(entry.position)
        sides = ("ymin", "xmin", "ymax", "xmax")
        boxes = {
            f"image/object/bbox/{side}": objects.boxes[:, i].astype(float).tolist()
            for i, side in enumerate(sides)
        }
        labels = objects.labels.tolist()
        return {
            **boxes,
            "image/object/class/label": labels,
            "image/object/class/text": [self.dataset.classes[i].encode() for i in labels],
            "image/object/is_crowd": objects.crowd.astype(int).tolist(),
            "image/object/area": objects.areas.astype(float).tolist(),
            _OBJECTS: [entry.truth],
        }


class MapsWork(_PlacedWork):
    """Of a `SegmentationDataset`."""

    task: ClassVar[str] = "segmentation"
    shape: ClassVar[Mapping[str, Any]] = {
        "palette": lambda found: found is None or _is_palette(found),
    }

    def description(self) -> dict[str, Any]:
        return {"palette": self.dataset.palette}

    def truth(self, split: Any, position: int) -> tuple[bytes, tuple[int, ...]]:
        return png(split.label_map(position)[..., None]), ()

    def truth_features(self, split: Any, entry: Entry) -> dict[str, list[Any]]:
        return {_MAP: [entry.truth], "image/segmentation/class/format": [b"png"]}


def written(objects: Objects) -> bytes:
    """Objects as bytes; `objects_of` gives them back."""
    parts = [_HEADER.pack(len(objects), objects.masks is not None)]
    for name, kind, _count in (*_FIELDS, _IDS):
        parts.append(np.ascontiguousarray(getattr(objects, name), kind).tobytes())
    if objects.masks is not None:
        runs = [encode(mask())["counts"] for mask in objects.masks]
        parts += [np.array([len(one) for one in runs], "<i4").tobytes(), *runs]
    return b"".join(parts)


def objects_of(data: bytes, size: tuple[int, int], classes: int) -> Objects:
    """What `written` was given.

    Args:
        size: (height, width) of the image.
        classes: how many there are.

    Raises:
        ValueError: it is not what `written` makes.
    """
    try:
        count, masked = _HEADER.unpack_from(data)
        if not 0 <= count <= len(data) // _LEAST:
            raise ValueError(f"{count} objects in {len(data)} bytes")
        at, fields = _HEADER.size, {}
        for name, kind, width in (*_FIELDS, _IDS):
            fields[name] = np.frombuffer(data, kind, count * width, at)
            at += fields[name].nbytes
        masks, end = _masks(data, at, count, size) if masked else (None, at)
    except struct.error as error:
        raise ValueError(str(error)) from None
    boxes = fields["boxes"].reshape(-1, 4)
    fine = ((boxes >= 0) & (boxes <= 1)).all() and (boxes[:, 2:] > boxes[:, :2]).all()
    labels, areas = fields["labels"], fields["areas"]
    fine = fine and ((labels >= 0) & (labels < classes)).all() and (fields["crowd"] <= 1).all()
    if not fine or not (np.isfinite(areas) & (areas >= 0)).all() or end != len(data):
        raise ValueError("objects that cannot be")
    return Objects(
        boxes=boxes.astype(np.float32),
        labels=labels.astype(np.int32),
        crowd=fields["crowd"].astype(bool),
        areas=areas.astype(np.float32),
        ids=fields["ids"].astype(np.int64),
        masks=masks,
    )


def _masks(
    data: bytes, at: int, count: int, size: tuple[int, int]
) -> tuple[tuple[Callable[[], np.ndarray], ...], int]:
    """Masks of objects, and where they end."""
    lengths = np.frombuffer(data, "<i4", count, at)
    ends = at + lengths.nbytes + np.cumsum(lengths.astype(np.int64))
    if (lengths < 0).any():
        raise ValueError("masks of less than no bytes")
    runs = [data[end - length : end] for end, length in zip(ends, lengths, strict=True)]
    # pycocotools reads past the end of what it does not check.
    if any(total_of_runs(one) != size[0] * size[1] for one in runs):
        raise ValueError("masks of another size than their image")
    masks = tuple(functools.partial(_mask, one, size) for one in runs)
    return masks, int(ends[-1]) if count else at


def _mask(runs: bytes, size: tuple[int, int]) -> np.ndarray:
    mask: np.ndarray = rle.decode({"size": list(size), "counts": runs}).astype(bool)
    return mask


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Placed:
    """Images of a split of a pack, and their truth, by place.

    Attributes:
        folder: of the pack.
        names: n of them.
        sizes: (n, 2) heights and widths.
        images, truths: give bytes.
        classes: how many there are.
    """

    folder: pathlib.Path
    names: tuple[str, ...]
    sizes: np.ndarray
    images: Reader
    truths: Reader
    classes: int

    def columns(self) -> dict[str, Any]:
        """What splits of all kinds have."""
        return {
            "names": self.names,
            "places": np.arange(len(self.names)),
            "sizes": self.sizes,
            "read": self.read,
            "encoded": self.images,
        }

    def read(self, place: int) -> np.ndarray:
        """(height, width, 3) uint8, upright; raises InputError."""
        name = self._name(place)
        pixels = read_pixels(self._bytes(self.images, place), name)
        refuse_other_size(name, pixels.shape[:2], self.sizes[place].tolist(), "annotations are")
        return pixels

    def objects(self, place: int) -> Objects:
        """What is in an image; raises InputError."""
        height, width = self.sizes[place].tolist()
        try:
            return objects_of(self._bytes(self.truths, place), (height, width), self.classes)
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{self._name(place)} is damaged ({error}); {_AGAIN}") from error

    def label_map(self, place: int) -> np.ndarray:
        """(h, w) uint8; raises InputError."""
        name = self._name(place)
        image, _form = read_stored(self._bytes(self.truths, place), name)
        found = np.array(image)
        if found.dtype != np.uint8 or found.shape != tuple(self.sizes[place].tolist()):
            raise InputError(f"{name}: its label map is damaged; {_AGAIN}")
        if (strange := (found >= self.classes) & (found != VOID)).any():
            value = int(found[strange][0])
            raise InputError(f"{name}: its label map has class {value}, which is none; {_AGAIN}")
        return found

    def _name(self, place: int) -> str:
        return f"{self.folder}: {self.names[place]}"

    def _bytes(self, reader: Reader, place: int) -> bytes:
        try:
            return reader(place)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InputError(f"{error.filename} cannot be read ({reason}); restore it") from error


def _opened(folder: pathlib.Path, kind: type[Work]) -> tuple[dict[str, Any], dict[str, Any]]:
    """pack.json, and of each split the images and the index's columns."""
    info = read_info(folder, kind.task, kind.shape)
    index, names = read_index(folder, info, kind.columns)
    splits, start = {}, 0
    for name, described in info["splits"].items():
        stop = start + described["pictures"]
        rows = {key: index[key][start:stop] for key in ("shard", *kind.columns)}
        files = tuple(folder / shard["file"] for shard in described["shards"])
        placed = _Placed(
            folder=folder,
            names=names[start:stop],
            sizes=np.stack([rows["height"], rows["width"]], axis=-1).astype(np.int32),
            images=Reader(files, rows["shard"], rows["offset"], rows["length"]),
            truths=Reader(files, rows["shard"], rows["truth_offset"], rows["truth_length"]),
            classes=len(info["classes"]),
        )
        splits[name] = placed, rows
        start = stop
    return info, splits


def scan_objects(folder: pathlib.Path, use: Use = Use.SPLIT) -> DetectionDataset:
    """Open a pack of objects; no image is read yet.

    Raises:
        InputError: it is of another task, or damaged.
    """
    info, opened = _opened(folder, ObjectsWork)
    if len(info["category_ids"]) != len(info["classes"]):
        raise InputError(f"{folder} has other category_ids than classes; {_AGAIN}")

    def split(name: str) -> DetectionSplit:
        placed, rows = opened[name]
        counts = np.stack([rows["objects"], rows["crowds"]], axis=1).astype(np.int64)
        # More than bytes have room for would ask for memory that is not there.
        if (counts[:, 0] * _LEAST > rows["truth_length"]).any() or (
            counts[:, 1] > counts[:, 0]
        ).any():
            raise InputError(f"{folder} has more objects than its files; {_AGAIN}")
        return DetectionSplit(
            annotate=placed.objects, count_at=counts.__getitem__, **placed.columns()
        )

    whole = DetectionDataset(
        category_ids=tuple(info["category_ids"]), **_parts(folder, info, opened, split)
    )
    return _used(whole, use)


def scan_maps(folder: pathlib.Path, use: Use = Use.SPLIT) -> SegmentationDataset:
    """Open a pack of label maps; no image is read yet.

    Raises:
        InputError: it is of another task, or damaged.
    """
    info, opened = _opened(folder, MapsWork)
    if len(info["classes"]) > MOST_CLASSES:
        raise InputError(f"{folder} has more classes than a label map can have; {_AGAIN}")
    palette = info["palette"]
    if palette is not None and len(palette) != len(info["classes"]):
        raise InputError(f"{folder} has another palette than classes; {_AGAIN}")

    def split(name: str) -> SegmentationSplit:
        placed, _rows = opened[name]
        return SegmentationSplit(annotate=placed.label_map, **placed.columns())

    whole = SegmentationDataset(
        palette=None if palette is None else tuple(map(tuple, palette)),
        **_parts(folder, info, opened, split),
    )
    return _used(whole, use)


def _parts(
    folder: pathlib.Path,
    info: Mapping[str, Any],
    opened: Mapping[str, Any],
    split: Callable[[str], Any],
) -> dict[str, Any]:
    """What data sets of all kinds have."""
    return {
        "name": str(folder),
        "classes": tuple(info["classes"]),
        "train": split("train"),
        "validation": split("validation") if "validation" in opened else None,
        "held_out": split("test"),
        "fingerprint": info["fingerprint"],
    }


def _used(dataset: _Dataset, use: Use) -> _Dataset:
    """With what its images are for."""
    nothing = dataset.held_out.take([])
    if use is Use.MEASURE:
        return dataclasses.replace(dataset, train=nothing, validation=None)
    if use is Use.SPLIT:
        return dataset
    test = dataset.held_out
    unseen = {"test": test.names} if dataset.validation else {}
    notes = (*dataset.notes, *unused(unseen, use))
    return dataclasses.replace(
        dataset,
        validation=dataset.validation or test,
        held_out=nothing,
        notes=notes,
    )


def holds(path: pathlib.Path, kind: type[Work]) -> bool:
    """Whether a path is a pack of that kind; raises InputError for one that is not finished."""
    return path.is_dir() and is_pack(path) and task_of(path) == kind.task
