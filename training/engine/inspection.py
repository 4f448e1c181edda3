"""What `kerascnn check` finds of a task's data: how much of each class, and images to look at.

Letters in shapes: c classes, s splits, k objects.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

# Images of the training split that are shown.
SAMPLES = 12
# An image: its split's place and its own.
Place = tuple[int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LevelObjects:
    """The objects of a map of a detector.

    Attributes:
        cell: (height, width) pixels of its cells at the network's input.
        objects: how many there are.
        smallest, largest: of their sides (the root of the area) in pixels; 0 where there is none.
    """

    cell: tuple[float, float]
    objects: int
    smallest: float
    largest: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reach:
    """How a detector's anchors or points lie to the objects.

    Attributes:
        unreached: objects that no anchor overlaps with enough to match, or that no point is in.
        iou: from which on an anchor matches; None: there are points.
        fitting: whether `--detector anchors=auto` may help.
        levels: of anchors, the objects whose best anchor is of each map; of points, those that a
            point of each map is in, which may be several maps'.
    """

    unreached: int
    iou: float | None
    fitting: bool
    levels: tuple[LevelObjects, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Counts:
    """What there is of each class.

    Attributes:
        unit: "image", "object" or "pixel": what is counted.
        remedy: of classes that have far fewer of these than others.
        classes: c names.
        splits: s names, the training split first and the held-out one last.
        of: (s, c) int64.
        images: (s, c) int64 images that hold a class.
        empty: (s,) int64 images that hold no object, or nothing but background.
        sides: (k, 2) float32 height and width of each object at the network's input, in pixels.
        boxes: (k, 4) float32 of the same, as shares of the network's input.
        reach: of the network's anchors or points; None where it finds objects by none.
        most: objects in one image, at most.
        smallest: by split, (images,) float32 the shortest side of an image's objects at the
            network's input, in pixels; infinite where it has none.
        cell: pixels of a cell of the network's finest grid: of what is narrower, less than one
            tells.
        repeated: places of images with a box twice; `repeats` counts the boxes.
        broken: images whose masks cannot be read, and why.
    """

    unit: str
    remedy: str
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    of: np.ndarray
    images: np.ndarray
    empty: np.ndarray
    sides: np.ndarray | None = None
    boxes: np.ndarray | None = None
    reach: Reach | None = None
    most: int = 0
    smallest: tuple[np.ndarray, ...] = ()
    cell: int = 0
    repeated: tuple[Place, ...] = ()
    repeats: int = 0
    broken: tuple[tuple[Place, str], ...] = ()

    @property
    def tiny(self) -> list[Place]:
        """Images with an object that is narrower than `cell`."""
        return [
            (number, int(index))
            for number, sides in enumerate(self.smallest)
            for index in np.flatnonzero(sides < self.cell)
        ]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """An image of the training split.

    Attributes:
        name: of the image.
        label: its class, or what it holds.
        seen: (height, width, 3) uint8, as an evaluation sees it.
        augmented: (height, width, 3) uint8, as one epoch of training does.
    """

    name: str
    label: str
    seen: np.ndarray
    augmented: np.ndarray


def chosen(readable: Sequence[int] | np.ndarray, seed: int) -> np.ndarray:
    """Places of some images, in order; `readable` are those that can be read."""
    rng = np.random.default_rng(seed)
    return np.sort(rng.permutation(np.asarray(readable))[:SAMPLES])
