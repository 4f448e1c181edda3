"""Images with boxed objects, embedded or in the form of COCO, Pascal VOC or YOLO."""

from __future__ import annotations

import pathlib
from types import ModuleType

from kerascnn.errors import InputError
from training.common.reading import NOW
from training.datasets import coco, scenes, voc, yolo
from training.datasets.detection import DetectionDataset, is_scenes
from training.datasets.elsewhere import Use, joined, with_beside

_FORMATS = (yolo, voc, coco)


def scan_objects(
    spec: str,
    *,
    seed: int,
    strict: bool = False,
    val_data: str | None = None,
    reading: int = NOW,
) -> DetectionDataset:
    """Find a data set of objects.

    Args:
        spec: "scenes" (see that module), a COCO .json, a YOLO .yaml, or a folder in the layout of
            COCO, Pascal VOC or YOLO (see theirs).
        seed: splits the images where the data has no splits of its own.
        strict: what is broken is an error; else it is left out, and a note counts it.
        val_data: another one, whose images are held out instead (see `elsewhere`).
        reading: the rules to read by, see `training.common.reading`.

    Raises:
        InputError: there is none, or it is inconsistent.
    """
    if val_data is None:
        return with_beside(_scan(spec, seed, strict, Use.SPLIT, reading), spec)
    learnt = _scan(spec, seed, strict, Use.LEARN, reading)
    return joined(learnt, _scan(val_data, seed, strict, Use.MEASURE, reading))


def measured(spec: str) -> DetectionDataset:
    """A data set that nothing is learnt from: its test split, else its validation split, else all.

    Args:
        spec: as of `scan_objects`.

    Raises:
        InputError: as of `scan_objects`.
    """
    if not is_scenes(spec) and _reader(spec) is coco:
        spec = str(coco.measured_file(pathlib.Path(spec)))
    return _scan(spec, 0, False, Use.MEASURE, NOW)


def _scan(spec: str, seed: int, strict: bool, use: Use, reading: int) -> DetectionDataset:
    if is_scenes(spec):
        return scenes.scan(spec)
    path, reader = pathlib.Path(spec), _reader(spec)
    if reader is yolo:
        return yolo.scan(path, seed=seed, strict=strict, use=use, reading=reading)
    found: DetectionDataset = reader.scan(path, seed=seed, strict=strict, use=use)
    return found


def require(spec: str) -> None:
    """Raise InputError for what `scan_objects` finds nothing in; no annotation is read."""
    if not is_scenes(spec):
        _reader(spec)


def _reader(spec: str) -> ModuleType:
    path = pathlib.Path(spec)
    if not path.exists():
        raise InputError(f"{spec}: no such file or folder, nor a data set (there is: scenes)")
    for reader in _FORMATS:
        if reader.recognises(path):
            return reader
    raise InputError(
        f"{spec} is not a data set of objects; give a COCO .json file, or a folder with "
        "annotations/instances_train*.json, train/_annotations.coco.json (COCO), "
        "Annotations/*.xml, .xml beside images (Pascal VOC), data.yaml or classes.txt (YOLO)"
    )
