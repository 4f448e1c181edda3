"""Images with masks: embedded, as mask images, or painted from annotated objects."""

from __future__ import annotations

import pathlib
from typing import Any

from training.common.reading import NOW
from training.datasets import (
    coco,
    map_pack,
    mask_folder,
    object_pack,
    scenes,
    voc,
    voc_masks,
    yolo,
)
from training.datasets.class_files import ClassFile
from training.datasets.detection import is_scenes
from training.datasets.elsewhere import Use, joined, with_beside
from training.datasets.forms import Forms
from training.datasets.masks_of_objects import of_objects
from training.datasets.segmentation import SegmentationDataset

_MASKS = (voc_masks, mask_folder)
_FORMS = Forms(
    readers=(map_pack, object_pack, *_MASKS, yolo, voc, coco),
    wanted="is not a data set of label maps; give a folder with images/ and masks/ (a PNG for "
    "each image), with JPEGImages/ and SegmentationClass/ (Pascal VOC), or objects with "
    "outlines (COCO, YOLO)",
)


def scan_maps(
    spec: str,
    *,
    seed: int,
    strict: bool = False,
    val_data: str | None = None,
    reading: int = NOW,
) -> SegmentationDataset:
    """Find a data set of masks.

    Args:
        spec: "scenes" (see that module), a folder of images and of masks (`mask_folder`) or in the
            layout of Pascal VOC (`voc_masks`); or objects with outlines, as a COCO .json, a YOLO
            .yaml, or a folder in their layout (`masks_of_objects`); or a pack (`placed_pack`).
        seed: splits the images where the data has no splits of its own.
        strict: what is broken is an error; else it is left out, and a note counts it.
        val_data: another one, whose images are held out instead (see `elsewhere`). Where no file
            there names the classes of masks, those of `spec` are meant.
        reading: the rules to read by, see `training.common.reading`.

    Raises:
        InputError: there is none, or it is inconsistent.
    """
    if val_data is None:
        return with_beside(_scan(spec, seed, strict, Use.SPLIT, reading), spec)
    learnt = _scan(spec, seed, strict, Use.LEARN, reading)
    named = None
    if not is_scenes(spec) and (reader := _FORMS.reader(spec)) in _MASKS:
        named = reader.classes_of(pathlib.Path(spec))
    return joined(learnt, _scan(val_data, seed, strict, Use.MEASURE, reading, named))


def measured(spec: str) -> SegmentationDataset:
    """A data set that nothing is learnt from: its test split, else its validation split, else all.

    Args:
        spec: as of `scan_maps`.

    Raises:
        InputError: as of `scan_maps`.
    """
    return _scan(_FORMS.of_measured(spec), 0, False, Use.MEASURE, NOW)


def learnt(spec: str) -> SegmentationDataset:
    """A data set that nothing is measured on: `train` has its training split, or all of it.

    Args:
        spec: as of `scan_maps`.

    Raises:
        InputError: as of `scan_maps`.
    """
    return _scan(spec, 0, False, Use.LEARN, NOW)


def _scan(
    spec: str, seed: int, strict: bool, use: Use, reading: int, named: ClassFile | None = None
) -> SegmentationDataset:
    if is_scenes(spec):
        return scenes.scan_maps(spec)
    reader, path = _FORMS.reader(spec), pathlib.Path(spec)
    how: dict[str, Any] = {"seed": seed, "strict": strict, "use": use}
    if reader is mask_folder:
        return mask_folder.scan(path, **how, reading=reading, named=named)
    if reader is yolo:
        return of_objects(yolo.scan(path, **how, reading=reading))
    found = reader.scan(path, **how)
    return found if reader in (*_MASKS, map_pack) else of_objects(found)


def require(spec: str) -> None:
    """Raise InputError for what `scan_maps` finds nothing in; no mask is read."""
    _FORMS.require(spec)
