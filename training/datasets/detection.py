"""What a data set of images with boxed objects is; readers of formats and generators make it."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable

import numpy as np

from kerascnn.errors import InputError
from training.datasets.splits import PlacedSplit, SplitDataset

Mask = Callable[[], np.ndarray]


def is_scenes(spec: str) -> bool:
    """Whether a data set's name means the embedded `scenes`, well-formed or not."""
    return re.fullmatch("scenes([:@].*)?", spec) is not None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Objects:
    """The objects of one image.

    Attributes:
        boxes: (m, 4) float32 top, left, bottom and right as shares of the upright image.
        labels: (m,) int32, indices into the data set's classes.
        crowd: (m,) bool; a crowd's box stands for many objects, and is neither to be found nor a
            mistake to find.
        areas: (m,) float32 pixels of the image as it lies: of the mask where there is one, else
            of the box. They sort objects into small, medium and large.
        ids: (m,) int64, the annotations' own numbers.
        masks: m functions that give (height, width) bool, or None where objects have boxes alone.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    ids: np.ndarray
    masks: tuple[Mask, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)


# Of an image in which nothing is known to be.
NO_OBJECTS = Objects(
    boxes=np.empty((0, 4), np.float32),
    labels=np.empty(0, np.int32),
    crowd=np.empty(0, bool),
    areas=np.empty(0, np.float32),
    ids=np.empty(0, np.int64),
    masks=(),
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DetectionSplit(PlacedSplit[Objects]):
    """Images with objects; see `PlacedSplit`.

    Attributes:
        count_at: gives (n, 2) int64 of n places, how many objects and crowds there are; None where
            only `annotate` knows.
    """

    count_at: Callable[[np.ndarray], np.ndarray] | None = None

    def objects(self, index: int) -> Objects:
        """What is in it."""
        return self.truth(index)

    def counts(self) -> np.ndarray:
        """(n, 2) int64 of each image: how many objects, crowds included, and how many crowds."""
        if self.count_at is not None:
            return self.count_at(self.places)
        found = map(self.objects, range(len(self)))
        rows = [(len(objects), int(np.count_nonzero(objects.crowd))) for objects in found]
        return np.array(rows, np.int64).reshape(-1, 2)

    def relabelled(self, places: np.ndarray) -> DetectionSplit:
        """The same, with (c,) other places of the classes."""
        annotate = functools.partial(_relabelled, self.annotate, places)
        return dataclasses.replace(self, annotate=annotate)


def _relabelled(annotate: Callable[[int], Objects], places: np.ndarray, place: int) -> Objects:
    objects = annotate(place)
    return dataclasses.replace(objects, labels=places[objects.labels])


def require_masks(*splits: DetectionSplit | None) -> None:
    """Raise InputError for a split whose objects have boxes alone."""
    for split in splits:
        if split is not None and len(split) and split.objects(0).masks is None:
            raise InputError(
                f"{split.names[0]}: objects have boxes alone, and no masks; give data with "
                "outlines (COCO, YOLO, scenes), or train a network that has no masks"
            )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DetectionDataset(SplitDataset[DetectionSplit]):
    """Images with objects; see `SplitDataset`.

    Attributes:
        category_ids: the data's own number of each class.
    """

    category_ids: tuple[int, ...]
