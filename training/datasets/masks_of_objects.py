"""Masks painted from annotated objects: of COCO, YOLO, or whatever has masks.

What is no object's is the background, class 0. Where objects overlap, the smaller one is seen: they
are painted in order of area, the largest first. A crowd stands for many objects of which nobody
said where each is, and counts nowhere (`VOID`) unless another object lies on it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from kerascnn.errors import InputError
from training.datasets.detection import DetectionDataset, DetectionSplit, Objects
from training.datasets.segmentation import (
    BACKGROUND,
    MOST_CLASSES,
    VOID,
    SegmentationDataset,
    SegmentationSplit,
)
from training.datasets.splits import digest


def of_objects(dataset: DetectionDataset) -> SegmentationDataset:
    """The same images with masks.

    A class that is called "background" already is the same as what is no object's.

    Raises:
        InputError: objects have boxes alone, or more classes than a mask can have.
    """
    names = [name for name in dataset.classes if name != BACKGROUND]
    classes = (BACKGROUND, *names)
    if len(classes) > MOST_CLASSES:
        raise InputError(
            f"{dataset.name} has {len(names)} classes; a label map has at most {MOST_CLASSES - 1} "
            "beside the background: leave some out"
        )
    labels = np.array([classes.index(name) for name in dataset.classes], np.uint8)

    def painted(split: DetectionSplit) -> SegmentationSplit:
        if len(split) and split.objects(0).masks is None:
            raise InputError(
                f"{dataset.name}: objects have boxes alone, and no outlines to paint label maps "
                "from; give outlines, or masks (images/ and masks/)"
            )
        sizes = np.zeros((1 + split.places.max(initial=0), 2), np.int32)
        sizes[split.places] = split.sizes
        return SegmentationSplit(
            names=split.names,
            places=split.places,
            sizes=split.sizes,
            read=split.read,
            annotate=functools.partial(_label_map, split.annotate, sizes, labels),
            encoded=split.encoded,
        )

    return SegmentationDataset(
        name=dataset.name,
        classes=classes,
        train=painted(dataset.train),
        validation=None if dataset.validation is None else painted(dataset.validation),
        held_out=painted(dataset.held_out),
        fingerprint=digest([dataset.fingerprint.encode(), b"label maps"]),
        notes=dataset.notes,
        generated=dataset.generated,
    )


def _label_map(
    annotate: Callable[[int], Objects], sizes: np.ndarray, labels: np.ndarray, place: int
) -> np.ndarray:
    """(h, w) uint8 of the image at a place."""
    objects = annotate(place)
    assert objects.masks is not None
    return paint(objects, labels, (int(sizes[place, 0]), int(sizes[place, 1])))


def paint(objects: Objects, labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """One map of all objects' masks.

    Args:
        objects: with masks.
        labels: (c,) uint8, what each of their classes is in the map.
        size: (h, w) of the masks.

    Returns:
        (h, w) uint8; 0 where there is no object.
    """
    label_map = np.zeros(size, np.uint8)
    for row in np.lexsort((-objects.areas, ~objects.crowd)):
        value = VOID if objects.crowd[row] else labels[objects.labels[row]]
        label_map[objects.masks[row]()] = value  # type: ignore[index]
    return label_map
