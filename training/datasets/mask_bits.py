"""Masks of many objects as bits: an eighth of a byte a pixel, and nothing lost.

A batch of 8 images of 800x800 with 93 objects has 476 MB of masks as bytes, 60 MB as bits. Rows are
filled up to whole bytes, the leftmost pixel in the highest bit, as `numpy.packbits` has it.

h w pixels of a mask, b = ceil(w / 8) bytes of a row.
"""

from __future__ import annotations

import numpy as np

BITS = 8  # pixels of a byte


def row_bytes(width: int) -> int:
    """b of w pixels."""
    return -(-width // BITS)


def packed(masks: np.ndarray) -> np.ndarray:
    """(..., h, b) uint8 of (..., h, w) masks, True or 1 on the object."""
    return np.packbits(masks, axis=-1)


def unpacked(bits: np.ndarray, width: int) -> np.ndarray:
    """(..., h, w) uint8 0 or 1, what `packed` was given."""
    return np.unpackbits(bits, axis=-1, count=width)
