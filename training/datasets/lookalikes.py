"""Folders for other tasks that a classifier is given: its classes would be "images" and "masks"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from kerascnn.errors import InputError
from training.datasets import coco, mask_folder, voc, voc_masks, yolo
from training.datasets.notes import Note

_PICTURES = frozenset({"images", "image", "imgs", "img", "jpegimages", "pictures", "photos"})
_TRUTH = frozenset({
    "masks", "mask", "labels", "label", "annotations", "annotation", "segmentationclass",
    "segmentationobject", "imagesets", "gt", "groundtruth", "ground_truth",
})  # fmt: skip
_SPLIT = re.compile(r"(train|training|val|valid|validation|test|testing|dev)[-_ ]?(\d{4})?")


def of_classes(classes: Sequence[str]) -> list[Note]:
    """A note where the names of classes are those of a data set's parts."""
    names = {name.lower() for name in classes}
    listed = ", ".join(map(repr, classes))
    if names & _PICTURES and names & _TRUTH and names <= _PICTURES | _TRUTH:
        text = (
            f"the classes are {listed}: this looks like a data set of images with their masks or "
            "labels, and each folder is a class to a classifier; train a model for segmentation or "
            "detection instead (kerascnn models --task segmentation)"
        )
        return [Note.of("other-task", text, classes)]
    if all(_SPLIT.fullmatch(name) for name in names):
        text = (
            f"the classes are {listed}: these look like splits, and each folder is a class to a "
            "classifier; name them train, val and test, with a folder for each class in them"
        )
        return [Note.of("splits-as-classes", text, classes)]
    return []


def of_folder(root: Path) -> str:
    """What a folder looks like that is no classifier's, and what to do; "" if like nothing."""
    for reader, form, task in (
        (voc_masks, "Pascal VOC's masks", "segmentation"),
        (mask_folder, "images with masks", "segmentation"),
        (voc, "Pascal VOC", "detection"),
        (coco, "COCO", "detection or segmentation"),
        (yolo, "YOLO", "detection or segmentation"),
    ):
        try:
            found = reader.recognises(root)
        except (InputError, OSError):
            continue
        if found:
            first = task.split()[0]
            return (
                f"it looks like a data set for {task} ({form}): train such a model "
                f"(kerascnn models --task {first})"
            )
    return ""
