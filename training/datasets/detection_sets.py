"""Images with boxed objects, embedded or in the form of COCO, Pascal VOC or YOLO."""

from __future__ import annotations

import pathlib

from training.common.reading import NOW
from training.datasets import coco, object_pack, scenes, voc, yolo
from training.datasets.detection import DetectionDataset, is_scenes
from training.datasets.elsewhere import Use, joined, with_beside
from training.datasets.forms import Forms

_FORMS = Forms(
    readers=(object_pack, yolo, voc, coco),
    wanted="is not a data set of objects; give a COCO .json file, or a folder with "
    "annotations/instances_train*.json, train/_annotations.coco.json (COCO), "
    "Annotations/*.xml, .xml beside images (Pascal VOC), data.yaml or classes.txt (YOLO), or a "
    "pack of objects",
)


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
            COCO, Pascal VOC or YOLO (see theirs), or a pack of one (`placed_pack`).
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
    return _scan(_FORMS.of_measured(spec), 0, False, Use.MEASURE, NOW)


def learnt(spec: str) -> DetectionDataset:
    """A data set that nothing is measured on: `train` has its training split, or all of it.

    Args:
        spec: as of `scan_objects`.

    Raises:
        InputError: as of `scan_objects`.
    """
    return _scan(spec, 0, False, Use.LEARN, NOW)


def _scan(spec: str, seed: int, strict: bool, use: Use, reading: int) -> DetectionDataset:
    if is_scenes(spec):
        return scenes.scan(spec)
    path, reader = pathlib.Path(spec), _FORMS.reader(spec)
    if reader is yolo:
        return yolo.scan(path, seed=seed, strict=strict, use=use, reading=reading)
    found: DetectionDataset = reader.scan(path, seed=seed, strict=strict, use=use)
    return found


def require(spec: str) -> None:
    """Raise InputError for what `scan_objects` finds nothing in; no annotation is read."""
    _FORMS.require(spec)
