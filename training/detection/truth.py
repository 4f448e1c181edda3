"""The objects of many images as COCO's metric asks for them: arrays, and masks as run lengths.

n images, m objects of them all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kerascnn.errors import InputError
from training.datasets import instance_masks
from training.datasets.detection import DetectionSplit, Objects


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """What is to be found in the images of a split.

    Attributes:
        names: n, for messages.
        sizes: (n, 2) int32 heights and widths.
        classes: names in index order.
        starts: (n + 1,) int64, where each image's objects begin.
        boxes: (m, 4) float64 left, top, width and height in pixels.
        labels: (m,) int32.
        areas: (m,) float64 pixels.
        crowd: (m,) bool.
        runs: m masks as COCO's run lengths; None where boxes are compared.
    """

    names: tuple[str, ...]
    sizes: np.ndarray
    classes: tuple[str, ...]
    starts: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    runs: tuple[dict[str, Any], ...] | None = None

    @classmethod
    def of(cls, split: DetectionSplit, classes: Sequence[str], kind: str = "bbox") -> Truth:
        """The objects of a split, whose images are not read.

        Args:
            kind: "bbox", or "segm" for masks.

        Raises:
            InputError: another kind, no images, a label that is no class; for "segm", objects
                without masks, or masks of another size than their image.
        """
        if kind not in ("bbox", "segm"):
            raise InputError(f"kind must be 'bbox' or 'segm', not {kind!r}")
        if not len(split):
            raise InputError("there are no images to evaluate; give at least one")
        runs: list[dict[str, Any]] = []
        rows: list[tuple[np.ndarray, ...]] = []
        for index, name in enumerate(split.names):
            objects, size = split.objects(index), split.sizes[index]
            check_labels(objects.labels, len(classes), f"{name}: objects")
            boxes = pixels(objects.boxes, size)
            rows.append((boxes, objects.labels, objects.areas, objects.crowd))
            if kind == "segm":
                runs += _runs(objects, size, name)
        boxes, labels, areas, crowd = map(np.concatenate, zip(*rows, strict=True))
        return cls(
            names=split.names,
            sizes=split.sizes,
            classes=tuple(classes),
            starts=np.cumsum([0, *(len(row[1]) for row in rows)]),
            boxes=boxes,
            labels=labels.astype(np.int32),
            areas=areas.astype(np.float64),
            crowd=crowd.astype(bool),
            runs=tuple(runs) if kind == "segm" else None,
        )

    @property
    def kind(self) -> str:
        """What overlaps are of: "bbox" or "segm"."""
        return "bbox" if self.runs is None else "segm"

    def __len__(self) -> int:
        return len(self.names)


def check_labels(labels: np.ndarray, classes: int, what: str) -> None:
    """Raise InputError for labels that are no classes."""
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise InputError(
            f"{what} have labels from {labels.min()} to {labels.max()} and there are {classes} "
            "classes; evaluate with the classes that the network was trained for"
        )


def pixels(boxes: np.ndarray, size: Sequence[int] | np.ndarray) -> np.ndarray:
    """(d, 4) shares as COCO's left, top, width and height; a box turned inside out is empty.

    Returns:
        (d, 4) float64.
    """
    top, left, bottom, right = (np.asarray(boxes, np.float64) * np.tile(size, 2)).T
    return np.stack([left, top, np.maximum(right - left, 0), np.maximum(bottom - top, 0)], axis=-1)


def _runs(objects: Objects, size: np.ndarray, name: str) -> list[dict[str, Any]]:
    if objects.masks is None and len(objects):
        raise InputError(
            f"{name}: its objects have no masks; evaluate boxes, or give data with outlines"
        )
    runs = []
    for draw in objects.masks or ():
        mask = draw()
        if mask.shape != tuple(size):
            raise InputError(
                f"{name}: a mask of {mask.shape} pixels on an image of {tuple(map(int, size))}; "
                "bring the annotations that belong to it"
            )
        runs.append(instance_masks.encode(mask))
    return runs
