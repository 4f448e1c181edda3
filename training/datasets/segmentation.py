"""What a data set of images with masks is; readers of formats and generators make it.

A mask has the class of every pixel. Letters in shapes: n images, c classes, h w pixels.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from training.datasets.splits import PlacedSplit, SplitDataset

# No class: what was left undecided, and what is outside of an image. It counts nowhere.
VOID = 255
# So many classes leave room for `VOID` in a byte.
MOST_CLASSES = VOID
# The first class where maps are made of objects: what is no object's.
BACKGROUND = "background"

# (c, 3) uint8 red, green, blue as nested tuples: colours that data was drawn with.
Palette = tuple[tuple[int, int, int], ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationSplit(PlacedSplit[np.ndarray]):
    """Images with masks, (h, w) uint8 classes of their pixels; see `PlacedSplit`.

    A class is `VOID` where there is none. `annotate` raises InputError for a mask that is broken
    or has what no class is.
    """

    def label_map(self, index: int) -> np.ndarray:
        """(h, w) uint8; raises InputError if it is broken."""
        return self.truth(index)

    def both(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The image and its mask; raises InputError if either is broken."""
        return self.picture(index), self.label_map(index)

    def relabelled(self, places: np.ndarray) -> SegmentationSplit:
        """The same, with (c,) other places of the classes."""
        table = np.full(VOID + 1, VOID, np.uint8)
        table[: len(places)] = places
        annotate = functools.partial(_renumbered, self.annotate, table)
        return dataclasses.replace(self, annotate=annotate)


def _renumbered(annotate: Callable[[int], np.ndarray], table: np.ndarray, place: int) -> np.ndarray:
    mask: np.ndarray = table[annotate(place)]
    return mask


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationDataset(SplitDataset[SegmentationSplit]):
    """Images with masks; see `SplitDataset`.

    Attributes:
        palette: the data's own colour of each class, or None.
    """

    palette: Palette | None = None
