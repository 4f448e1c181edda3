"""Whole numbers and flags for a .json file: base64 of deflated bytes, read back with care."""

from __future__ import annotations

import base64
import zlib

import numpy as np


def integers(values: np.ndarray) -> str:
    """Whole numbers from 0 to 2^32 - 1, of any shape."""
    # Lowest bytes first, then the next: so that small numbers deflate well.
    return _deflated(np.ascontiguousarray(values.ravel(), "<u4").view(np.uint8).reshape(-1, 4).T)


def integers_of(text: str, count: int) -> np.ndarray:
    """(count,) int64, what `integers` was given.

    Raises:
        ValueError: not so many numbers.
        binascii.Error, zlib.error: other text.
    """
    planes = _inflated(text, 4 * count).reshape(4, count)
    return np.ascontiguousarray(planes.T).view("<u4").ravel().astype(np.int64)


def flags(values: np.ndarray) -> str:
    """Booleans, of any shape."""
    return _deflated(np.packbits(values))


def flags_of(text: str, count: int) -> np.ndarray:
    """(count,) bool, what `flags` was given.

    Raises:
        ValueError: not so many flags.
        binascii.Error, zlib.error: other text.
    """
    return np.unpackbits(_inflated(text, -(-count // 8)), count=count).astype(bool)


def _deflated(data: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(data.tobytes(), 9)).decode("ascii")


def _inflated(text: str, count: int) -> np.ndarray:
    # A small text can inflate to gigabytes: no more than is due.
    data = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), count + 1)
    if len(data) != count:
        raise ValueError(f"{len(data)} bytes or more where {count} are due")
    return np.frombuffer(data, np.uint8)
