"""Whole numbers for a .json file: base64 of deflated bytes, read back with care."""

from __future__ import annotations

import base64
import zlib

import numpy as np


def integers(values: np.ndarray) -> str:
    """Whole numbers from 0 to 2^32 - 1, of any shape."""
    # Lowest bytes first, then the next: so that small numbers deflate well.
    planes = np.ascontiguousarray(values.ravel(), "<u4").view(np.uint8).reshape(-1, 4).T
    return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode("ascii")


def integers_of(text: str, count: int) -> np.ndarray:
    """(count,) int64, what `integers` was given.

    Raises:
        ValueError: not so many numbers.
        binascii.Error, zlib.error: other text.
    """
    # A small text can inflate to gigabytes: no more than is due.
    whole = base64.b64decode(text, validate=True)
    data = zlib.decompressobj().decompress(whole, 4 * count + 1)
    if len(data) != 4 * count:
        raise ValueError(f"{len(data)} bytes or more where {4 * count} are due")
    planes = np.frombuffer(data, np.uint8).reshape(4, count)
    return np.ascontiguousarray(planes.T).view("<u4").ravel().astype(np.int64)
