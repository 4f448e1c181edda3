"""What a data set of pictures with label maps is; readers of formats and generators make it.

A label map has the class of every pixel. Letters in shapes: n pictures, c classes, h w pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from training.datasets.notes import Note

# No class: what was left undecided, and what is outside of a picture. It counts nowhere.
VOID = 255
# So many classes leave room for `VOID` in a byte.
MOST_CLASSES = VOID
# The first class where maps are made of objects: what is no object's.
BACKGROUND = "background"

# (c, 3) uint8 red, green, blue as nested tuples: colours that data was drawn with.
Palette = tuple[tuple[int, int, int], ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationSplit:
    """Pictures with label maps, read or made when they are asked for.

    Attributes:
        names: n names to show a person: paths, or "scenes[17]".
        places: (n,) int64, what `read` and `annotate` are asked for.
        sizes: (n, 2) int32 heights and widths of the upright pictures.
        read: gives the (h, w, 3) uint8 pixels at a place, red first, upright; raises InputError for
            a picture that is broken.
        annotate: gives the (h, w) uint8 classes of the same pixels, `VOID` where there is none;
            raises InputError for a mask that is broken or has what no class is.
    """

    names: tuple[str, ...]
    places: np.ndarray
    sizes: np.ndarray
    read: Callable[[int], np.ndarray]
    annotate: Callable[[int], np.ndarray]

    def __len__(self) -> int:
        return len(self.places)

    def picture(self, index: int) -> np.ndarray:
        """(h, w, 3) uint8; raises InputError if it is broken."""
        return self.read(int(self.places[index]))

    def label_map(self, index: int) -> np.ndarray:
        """(h, w) uint8; raises InputError if it is broken."""
        return self.annotate(int(self.places[index]))

    def both(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The picture and its label map; raises InputError if either is broken."""
        return self.picture(index), self.label_map(index)

    def take(self, indices: Sequence[int] | np.ndarray) -> SegmentationSplit:
        """The pictures at `indices`, in that order."""
        indices = np.asarray(indices, np.int64)
        return dataclasses.replace(
            self,
            names=tuple(self.names[i] for i in indices),
            places=self.places[indices],
            sizes=self.sizes[indices],
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationDataset:
    """Named splits of pictures with label maps.

    Attributes:
        name: as asked for.
        classes: c names in index order.
        train: pictures to learn from.
        validation: pictures that choose the best epoch, or None.
        held_out: pictures that every reported figure is measured on.
        fingerprint: of names, sizes and masks, or of what generates them.
        notes: what was converted, left out or set aside, counted.
        generated: pictures are made, not read, so that none can be broken.
        palette: the data's own colour of each class, or None.
    """

    name: str
    classes: tuple[str, ...]
    train: SegmentationSplit
    validation: SegmentationSplit | None
    held_out: SegmentationSplit
    fingerprint: str
    notes: tuple[Note, ...] = ()
    generated: bool = False
    palette: Palette | None = None

    def each(self, change: Callable[[SegmentationSplit], SegmentationSplit]) -> SegmentationDataset:
        """The same with every split changed."""
        return dataclasses.replace(
            self,
            train=change(self.train),
            validation=None if self.validation is None else change(self.validation),
            held_out=change(self.held_out),
        )
