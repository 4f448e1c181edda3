"""Masks of single objects: from the frames of their boxes to pictures, and as COCO's run lengths.

A detector gives a small square of probabilities, which its box stretches. Pasting is torchvision's
arithmetic (torchvision/models/detection/roi_heads.py, `paste_masks_in_image`), so that equal masks
cover equal pixels: a border of zeros, one cell wide, around the mask; the box grown by as much, its
edges cut to whole pixels, the last ones inside; bilinear values at pixel centres. Only what lies in
the picture is worked out.

s cells a side of a mask, d detections, h and w pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as rle

from kerascnn.errors import InputError

# Probabilities above it are the object's, as in Mask R-CNN (arXiv:1703.06870), section 3.1.
THRESHOLD = 0.5
_FAR = 2.0**30  # pixels: outside of any picture, and a whole number without overflow


def paste(mask: np.ndarray, box: np.ndarray, size: Sequence[int] | np.ndarray) -> np.ndarray:
    """Which pixels of a picture a mask covers.

    Args:
        mask: (s, s) float32 probabilities in the frame of the box.
        box: (4,) top, left, bottom and right as shares of the picture; what reaches over the edge
            is cut off.
        size: (h, w) of the picture.

    Returns:
        (h, w) bool, all False for a box that is no number.
    """
    whole = np.zeros((int(size[0]), int(size[1])), bool)
    rows, columns, covered = _window(mask, box, whole.shape)
    whole[rows, columns] = covered
    return whole


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
    # Run lengths go down the columns.
    whole = np.zeros((int(size[0]), int(size[1])), np.uint8, order="F")
    for mask, box in zip(masks, boxes, strict=True):
        rows, columns, covered = _window(mask, box, whole.shape)
        whole[rows, columns] = covered
        yield encode(whole)
        whole[rows, columns] = 0


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
    """Rows and columns of the picture that the grown box takes, and which of them are covered."""
    cells = len(mask)
    edges = np.asarray(box, np.float32) * np.tile(np.asarray(size, np.float32), 2)
    if not np.isfinite(edges).all():
        return slice(0), slice(0), np.zeros((0, 0), bool)
    middles, halves = (edges[:2] + edges[2:]) * 0.5, (edges[2:] - edges[:2]) * 0.5
    halves = halves * np.float32((cells + 2) / cells)
    grown = np.clip(np.stack([middles - halves, middles + halves], axis=-1), -_FAR, _FAR)
    (rows, down), (columns, across) = (
        _weights(int(first), int(last), side, cells)  # cut towards zero, as C has it
        for (first, last), side in zip(grown, size, strict=True)
    )
    values = down @ np.asarray(mask, np.float32) @ across.T
    return rows, columns, values > THRESHOLD


def _weights(first: int, last: int, side: int, cells: int) -> tuple[slice, np.ndarray]:
    """What of each cell is in each pixel from `first` to `last`, along one side of a picture.

    Returns:
        The p pixels inside the picture, and (p, cells) float32. The border has no column: it is 0.
    """
    begin, end = max(first, 0), min(last + 1, side)
    pixels = np.arange(begin, max(begin, end))
    scale = np.float32((cells + 2) / max(last - first + 1, 1))
    places = np.maximum(scale * ((pixels - first).astype(np.float32) + np.float32(0.5)) - 0.5, 0)
    places = places.astype(np.float32)
    # A cell counts less the further its centre is away; at the far edge the border counts alone.
    distance = np.abs(places[:, None] - np.arange(1, cells + 1, dtype=np.float32))
    return slice(begin, begin + len(pixels)), np.maximum(1 - distance, 0)
