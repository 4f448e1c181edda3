"""Outputs of a detector's file that are of classes which the data have too, found by their names.

A detector that was trained on COCO tells 80 classes apart, and one of ours those of its labels.txt.
Where the data's classes are others, or in another order, the outputs of those that both have are
taken, and the others stay random: fine-tuning for `person` and `forklift` begins with a `person`.

Outputs go by anchor, then by class; of boxes of each class, by class, then by corner.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

# COCO's categories (cocodataset.org): torchvision's detectors have an output per number from 0,
# the background's, to 90, and effdet's from 1.
COCO: Mapping[str, int] = {
    "person": 1, "bicycle": 2, "car": 3, "motorcycle": 4, "airplane": 5, "bus": 6, "train": 7,
    "truck": 8, "boat": 9, "traffic light": 10, "fire hydrant": 11, "stop sign": 13,
    "parking meter": 14, "bench": 15, "bird": 16, "cat": 17, "dog": 18, "horse": 19, "sheep": 20,
    "cow": 21, "elephant": 22, "bear": 23, "zebra": 24, "giraffe": 25, "backpack": 27,
    "umbrella": 28, "handbag": 31, "tie": 32, "suitcase": 33, "frisbee": 34, "skis": 35,
    "snowboard": 36, "sports ball": 37, "kite": 38, "baseball bat": 39, "baseball glove": 40,
    "skateboard": 41, "surfboard": 42, "tennis racket": 43, "bottle": 44, "wine glass": 46,
    "cup": 47, "fork": 48, "knife": 49, "spoon": 50, "bowl": 51, "banana": 52, "apple": 53,
    "sandwich": 54, "orange": 55, "broccoli": 56, "carrot": 57, "hot dog": 58, "pizza": 59,
    "donut": 60, "cake": 61, "chair": 62, "couch": 63, "potted plant": 64, "bed": 65,
    "dining table": 67, "toilet": 70, "tv": 72, "laptop": 73, "mouse": 74, "remote": 75,
    "keyboard": 76, "cell phone": 77, "microwave": 78, "oven": 79, "toaster": 80, "sink": 81,
    "refrigerator": 82, "book": 84, "clock": 85, "vase": 86, "scissors": 87, "teddy bear": 88,
    "hair drier": 89, "toothbrush": 90,
}  # fmt: skip
COCO_OUTPUTS = 90
_MOST_BYTES = 1 << 20  # of a labels.txt


def names_beside(path: pathlib.Path) -> tuple[str, ...] | None:
    """The class names of a run, whose model.keras is given; None where there are none."""
    labels = path.with_name("labels.txt")
    try:
        if labels.stat().st_size > _MOST_BYTES:
            return None
        return tuple(labels.read_text("utf-8").splitlines())
    except (OSError, ValueError):
        return None


def columns(
    names: Sequence[str], own: Sequence[str] | None, outputs: int, *, background: bool
) -> np.ndarray | None:
    """Which of a file's outputs each of ours is.

    Args:
        names: of the data's classes.
        own: of the file's classes; None: COCO's, by their numbers.
        outputs: how many the file has for an anchor.
        background: whether its first one and ours are the background's.

    Returns:
        (c,) int64, of `background` (c + 1,); -1 for a class that the file has not. None where the
        file's outputs are not of these classes, or it has none of the data's.
    """
    first = int(background)
    if own is None:
        if outputs != COCO_OUTPUTS + first:
            return None
        known = {name: number - 1 + first for name, number in COCO.items()}
    else:
        if outputs != len(own) + first:
            return None
        known = {_key(name): place + first for place, name in enumerate(own)}
    found = np.array([known.get(_key(name), -1) for name in names], np.int64)
    if (found < 0).all():
        return None
    return np.concatenate([np.arange(first), found])


def chosen(
    theirs: np.ndarray, ours: np.ndarray, which: np.ndarray, *, outputs: int, inner: int = 1
) -> np.ndarray:
    """Our array, with what is theirs where both have a class.

    Args:
        theirs: (..., anchors * outputs * inner).
        ours: (..., anchors * c * inner), random.
        which: (c,) of `columns`.
        outputs: how many there are for an anchor.
        inner: numbers of an output: 4 of boxes.

    Raises:
        ValueError: theirs is of another shape.
    """
    anchors = theirs.shape[-1] // (outputs * inner)
    if (*theirs.shape[:-1], anchors * len(which) * inner) != ours.shape:
        raise ValueError(f"{theirs.shape} for {ours.shape}")
    split = theirs.reshape(*theirs.shape[:-1], anchors, outputs, inner)
    made = ours.copy().reshape(*ours.shape[:-1], anchors, len(which), inner)
    known = which >= 0
    made[..., known, :] = split[..., which[known], :]
    return made.reshape(ours.shape)


def _key(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())
