"""What a data set of pictures with boxed objects is; readers of formats and generators make it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np

from kerascnn.errors import InputError
from training.datasets.notes import Note

Mask = Callable[[], np.ndarray]


def is_scenes(spec: str) -> bool:
    """Whether a data set's name means the embedded `scenes`, well-formed or not."""
    return re.fullmatch("scenes([:@].*)?", spec) is not None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Objects:
    """The objects of one picture.

    Attributes:
        boxes: (m, 4) float32 top, left, bottom and right as shares of the upright picture.
        labels: (m,) int32, indices into the data set's classes.
        crowd: (m,) bool; a crowd's box stands for many objects, and is neither to be found nor a
            mistake to find.
        areas: (m,) float32 pixels of the picture as it lies: of the mask where there is one, else
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


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DetectionSplit:
    """Pictures with objects, read or made when they are asked for.

    Attributes:
        names: n names to show a person: paths, or "scenes[17]".
        places: (n,) int64, what `read` and `annotate` are asked for.
        sizes: (n, 2) int32 heights and widths of the upright pictures.
        read: gives the (height, width, 3) uint8 pixels at a place, red first, upright; raises
            InputError for a picture that is broken.
        annotate: gives the objects at a place.
        count_at: gives (n, 2) int64 of n places, how many objects and crowds there are; None where
            only `annotate` knows.
    """

    names: tuple[str, ...]
    places: np.ndarray
    sizes: np.ndarray
    read: Callable[[int], np.ndarray]
    annotate: Callable[[int], Objects]
    count_at: Callable[[np.ndarray], np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.places)

    def picture(self, index: int) -> np.ndarray:
        """(height, width, 3) uint8; raises InputError if it is broken."""
        return self.read(int(self.places[index]))

    def objects(self, index: int) -> Objects:
        """What is in it."""
        return self.annotate(int(self.places[index]))

    def counts(self) -> np.ndarray:
        """(n, 2) int64 of each picture: how many objects, crowds included, and how many crowds."""
        if self.count_at is not None:
            return self.count_at(self.places)
        found = map(self.objects, range(len(self)))
        rows = [(len(objects), int(np.count_nonzero(objects.crowd))) for objects in found]
        return np.array(rows, np.int64).reshape(-1, 2)

    def take(self, indices: Sequence[int] | np.ndarray) -> DetectionSplit:
        """The pictures at `indices`, in that order."""
        indices = np.asarray(indices, np.int64)
        return dataclasses.replace(
            self,
            names=tuple(self.names[i] for i in indices),
            places=self.places[indices],
            sizes=self.sizes[indices],
        )


def require_masks(*splits: DetectionSplit | None) -> None:
    """Raise InputError for a split whose objects have boxes alone."""
    for split in splits:
        if split is not None and len(split) and split.objects(0).masks is None:
            raise InputError(
                f"{split.names[0]}: objects have boxes alone, and no masks; give data with "
                "outlines (COCO, YOLO, scenes), or train a network that has no masks"
            )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DetectionDataset:
    """Named splits of pictures with objects.

    Attributes:
        name: as asked for.
        classes: names in index order.
        category_ids: the data's own number of each class.
        train: pictures to learn from.
        validation: pictures that choose the best epoch, or None.
        held_out: pictures that every reported figure is measured on.
        fingerprint: of names, sizes and annotations, or of what generates them.
        notes: what was clipped, dropped or set aside, counted.
        generated: pictures are made, not read, so that none can be broken.
    """

    name: str
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    train: DetectionSplit
    validation: DetectionSplit | None
    held_out: DetectionSplit
    fingerprint: str
    notes: tuple[Note, ...] = ()
    generated: bool = False

    def each(self, change: Callable[[DetectionSplit], DetectionSplit]) -> DetectionDataset:
        """The same with every split changed."""
        return dataclasses.replace(
            self,
            train=change(self.train),
            validation=None if self.validation is None else change(self.validation),
            held_out=change(self.held_out),
        )
