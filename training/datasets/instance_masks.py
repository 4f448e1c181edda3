"""Masks of single objects: from the frames of their boxes to images, and as COCO's run lengths.

A detector gives a small square of probabilities, which its box stretches. Pasting is torchvision's
arithmetic (torchvision/models/detection/roi_heads.py, `paste_masks_in_image`), so that equal masks
cover equal pixels: a border of zeros, one cell wide, around the mask; the box grown by as much, its
edges cut to whole pixels, the last ones inside; bilinear values at pixel centres. Only what lies in
the image is worked out.

s cells a side of a mask, d detections, h and w pixels.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as rle

from kerascnn.errors import InputError

# Probabilities above it are the object's, as in Mask R-CNN (arXiv:1703.06870), section 3.1.
THRESHOLD = 0.5
_FAR = 2.0**30  # pixels: outside of any image, and a whole number without overflow


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """What a mask covers of an image, and nothing of what it cannot reach.

    Attributes:
        rows, columns: of the image, inside it.
        covered: (rows, columns) bool.
        size: (h, w) of the image.
    """

    rows: slice
    columns: slice
    covered: np.ndarray
    size: tuple[int, int]

    @functools.cached_property
    def area(self) -> int:
        """Pixels that are covered."""
        return int(np.count_nonzero(self.covered))

    def iou(self, other: Window) -> float:
        """Overlap with another mask of the image; masks that cover nothing are equal."""
        shared = int(np.count_nonzero(self._seen_by(other) & other._seen_by(self)))
        union = self.area + other.area - shared
        return shared / union if union else 1.0

    def _seen_by(self, other: Window) -> np.ndarray:
        """What lies in the other's window too; nothing of windows that are apart."""
        sides = ((self.rows, other.rows), (self.columns, other.columns))
        first = [max(own.start, its.start) for own, its in sides]
        last = [
            max(begin, min(own.stop, its.stop))
            for begin, (own, its) in zip(first, sides, strict=True)
        ]
        rows, columns = (
            slice(begin - own.start, end - own.start)
            for begin, end, (own, _its) in zip(first, last, sides, strict=True)
        )
        return self.covered[rows, columns]

    def whole(self) -> np.ndarray:
        """(h, w) bool."""
        whole = np.zeros(self.size, bool)
        whole[self.rows, self.columns] = self.covered
        return whole

    def run_lengths(self) -> dict[str, Any]:
        """`encode` of the whole image, of which no pixel is looked at beside the window's."""
        height, width = self.size
        # Down the columns, one after another: where the mask begins and where it has ended.
        down = np.pad(self.covered.T, ((0, 0), (1, 1)))
        column, row = np.nonzero(down[:, 1:] != down[:, :-1])
        edges = (column + self.columns.start) * height + row + self.rows.start
        # A run that ends with its column goes on in the next one.
        begins, ends = edges[::2], edges[1::2]
        apart = np.ones(len(begins) + 1, bool)
        apart[1:-1] = begins[1:] != ends[:-1]
        edges = np.stack([begins[apart[:-1]], ends[apart[1:]]], axis=1).ravel()
        whole = height * width
        last = [whole] if not len(edges) or edges[-1] < whole else []
        counts = np.diff(np.concatenate([[0], edges, last]).astype(np.int64))
        encoded: dict[str, Any] = rle.frPyObjects(
            {"size": [height, width], "counts": counts.tolist()}, height, width
        )
        return encoded


def windows(
    masks: np.ndarray, boxes: np.ndarray, size: Sequence[int] | np.ndarray
) -> Iterator[Window]:
    """Yield what each mask covers; arguments as of `paste_all`."""
    whole = (int(size[0]), int(size[1]))
    for mask, box in zip(masks, boxes, strict=True):
        rows, columns, covered = _window(mask, box, whole)
        yield Window(rows=rows, columns=columns, covered=covered, size=whole)


def paste(mask: np.ndarray, box: np.ndarray, size: Sequence[int] | np.ndarray) -> np.ndarray:
    """Which pixels of an image a mask covers.

    Args:
        mask: (s, s) float32 probabilities in the frame of the box.
        box: (4,) top, left, bottom and right as shares of the image; what reaches over the edge
            is cut off.
        size: (h, w) of the image.

    Returns:
        (h, w) bool, all False for a box that is no number.
    """
    return next(windows(mask[None], np.asarray(box)[None], size)).whole()


def paste_all(
    masks: np.ndarray, boxes: np.ndarray, size: Sequence[int] | np.ndarray
) -> list[np.ndarray]:
    """`paste` of each of (d, s, s) masks and (d, 4) boxes."""
    return [paste(mask, box, size) for mask, box in zip(masks, boxes, strict=True)]


def encode(mask: np.ndarray) -> dict[str, Any]:
    """COCO's run lengths of (h, w) bool: "size" (h, w), and "counts" as ASCII bytes."""
    encoded: dict[str, Any] = rle.encode(np.asfortranarray(mask, np.uint8))
    return encoded


def run_lengths(
    masks: np.ndarray, boxes: np.ndarray, size: Sequence[int] | np.ndarray
) -> Iterator[dict[str, Any]]:
    """Yield `encode` of each pasted mask, and never hold more than one of them as pixels.

    Args:
        masks, boxes, size: as of `paste_all`.
    """
    return (window.run_lengths() for window in windows(masks, boxes, size))


def reframed(mask: np.ndarray, box: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """A mask in the frame of another box: bilinear between cells, and 0 where its own box is not.

    The arithmetic is that of Mask.kt of the Android demo and of the page's decode.js.

    Args:
        mask: (s, s) in the frame of `box`.
        box, frame: (4,) of one image.

    Returns:
        (s, s) float32.
    """
    cells, values = len(mask), np.asarray(mask, np.float64)
    box, frame = np.asarray(box, np.float64), np.asarray(frame, np.float64)
    for axis in (0, 1):
        low, high = box[axis], box[axis + 2]
        begin, end = frame[axis], frame[axis + 2]
        middles = begin + (end - begin) * (np.arange(cells) + 0.5) / cells
        places = ((middles - low) / max(high - low, 1e-12) * cells - 0.5).clip(0, cells - 1)
        first = places.astype(np.int64)
        share = (places - first)[:, None]
        second = np.minimum(first + 1, cells - 1)
        mixed = values[first] * (1 - share) + values[second] * share
        inside = (middles >= low) & (middles <= high)
        values = np.where(inside[:, None], mixed, 0.0).T
    return values.astype(np.float32)


def checked(masks: np.ndarray | None, count: int, what: str) -> np.ndarray:
    """Square masks, one a detection; raises InputError for anything else."""
    if masks is None and not count:
        return np.zeros((0, 1, 1), np.float32)
    if masks is None:
        raise InputError(
            f"{what} have no masks; evaluate boxes alone, or a detector that gives masks"
        )
    if masks.ndim != 3 or len(masks) != count or masks.shape[1] != masks.shape[2]:
        raise InputError(
            f"{what}: masks are ({count}, side, side), not {masks.shape}; give one a detection"
        )
    return masks


def _window(
    mask: np.ndarray, box: np.ndarray, size: tuple[int, ...]
) -> tuple[slice, slice, np.ndarray]:
    """Rows and columns of the image that the grown box takes, and which of them are covered."""
    cells = len(mask)
    edges = np.asarray(box, np.float32) * np.tile(np.asarray(size, np.float32), 2)
    if not np.isfinite(edges).all():
        return slice(0, 0), slice(0, 0), np.zeros((0, 0), bool)
    middles, halves = (edges[:2] + edges[2:]) * 0.5, (edges[2:] - edges[:2]) * 0.5
    halves = halves * np.float32((cells + 2) / cells)
    grown = np.clip(np.stack([middles - halves, middles + halves], axis=-1), -_FAR, _FAR)
    (rows, down), (columns, across) = (
        _between(int(first), int(last), side, cells)  # cut towards zero, as C has it
        for (first, last), side in zip(grown, size, strict=True)
    )
    # No product of matrices: its threads would fight for the processor over a few numbers.
    bordered = np.pad(np.asarray(mask, np.float32), ((1, 2), (1, 2)))
    return rows, columns, _mixed(_mixed(bordered, down).T, across).T > THRESHOLD


_Between = tuple[np.ndarray, np.ndarray, np.ndarray]


def _mixed(values: np.ndarray, between: _Between) -> np.ndarray:
    """(p, ...) of (cells + 3, ...): rows between two cells."""
    cell, first, second = between
    return values[cell] * first[:, None] + values[cell + 1] * second[:, None]


def _between(first: int, last: int, side: int, cells: int) -> tuple[slice, _Between]:
    """Which cells each pixel from `first` to `last` lies between, along one side of an image.

    Returns:
        The p pixels inside the image; and of each the cell before it, the border's being 0, and
        how much it and the next one count.
    """
    begin, end = max(first, 0), min(last + 1, side)
    pixels = np.arange(begin, max(begin, end))
    scale = np.float32((cells + 2) / max(last - first + 1, 1))
    places = np.maximum(scale * ((pixels - first).astype(np.float32) + np.float32(0.5)) - 0.5, 0)
    places = places.astype(np.float32)
    before = np.floor(places)
    # A cell counts less the further its centre is away; at the far edge the border counts alone.
    near = (1 - (places - before), 1 - (before + 1 - places))
    cell = np.minimum(before, cells + 1).astype(np.int64)
    return slice(begin, begin + len(pixels)), (cell, *near)
