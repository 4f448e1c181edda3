"""Pictures with label maps: embedded, as mask pictures, or painted from annotated objects."""

from __future__ import annotations

import pathlib
from types import ModuleType

from kerascnn.errors import InputError
from training.datasets import coco, map_folder, scenes, voc, voc_maps, yolo
from training.datasets.label_maps import MapDataset
from training.datasets.object_maps import of_objects
from training.datasets.objects import is_scenes

_MASKS = (voc_maps, map_folder)
_OBJECTS = (yolo, voc, coco)


def scan_maps(spec: str, *, seed: int) -> MapDataset:
    """Find a data set of label maps.

    Args:
        spec: "scenes" (see that module), a folder of pictures and of masks (`map_folder`) or in the
            layout of Pascal VOC (`voc_maps`); or objects with outlines, as a COCO .json, a YOLO
            .yaml, or a folder in their layout (`object_maps`).
        seed: splits the pictures where the data has no splits of its own.

    Raises:
        InputError: there is none, or it is inconsistent.
    """
    if is_scenes(spec):
        return scenes.scan_maps(spec)
    reader, path = _reader(spec), pathlib.Path(spec)
    if reader in _MASKS:
        maps: MapDataset = reader.scan(path, seed=seed)
        return maps
    return of_objects(reader.scan(path, seed=seed))


def require(spec: str) -> None:
    """Raise InputError for what `scan_maps` finds nothing in; no mask is read."""
    if not is_scenes(spec):
        _reader(spec)


def _reader(spec: str) -> ModuleType:
    path = pathlib.Path(spec)
    if not path.exists():
        raise InputError(f"{spec}: no such file or folder, nor a data set (there is: scenes)")
    for reader in (*_MASKS, *_OBJECTS):
        if reader.recognises(path):
            return reader
    raise InputError(
        f"{spec} is not a data set of label maps; give a folder with images/ and masks/ (a PNG for "
        "each picture), with JPEGImages/ and SegmentationClass/ (Pascal VOC), or objects with "
        "outlines (COCO, YOLO)"
    )
