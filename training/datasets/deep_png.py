"""Colour PNGs of 16 bits a channel whose values lie in the low bits, which Pillow does not read.

Of 16 bits Pillow keeps the higher 8: values of 10 or 12 bits become 15 at most. Only such files,
and black ones, are read here; it takes about half a second a megapixel.
"""

from __future__ import annotations

import zlib

import numpy as np
from PIL import Image

from training.datasets.bit_depth import bits_used, eight_bits, significant_bits
from training.datasets.decode_memory import is_large

_FRONT = 8
_CHANNELS = {2: 3, 4: 2, 6: 4}  # by colour type (PNG 1.2, 4.1.1)
_DARK = 15  # of 255: the largest high byte of 12 bits
_LAYOUTS = {2: "LA", 3: "RGB", 4: "RGBA"}


def with_low_bits(picture: Image.Image, data: bytes) -> Image.Image:
    """A decoded image; where it is a PNG of 16 bits a channel and dark, at its own brightness.

    Args:
        data: of the file.

    Raises:
        ValueError: such a file, which is interlaced, large, or cut short.
    """
    channels = _deep_channels(data)
    if channels is None or picture.mode not in _LAYOUTS.values():
        return picture
    colours = picture.split()[: 1 if channels == 2 else 3]
    if any(any(band.histogram()[_DARK + 1 :]) for band in colours):
        return picture
    if data[28] or is_large(picture):
        raise ValueError("dark, 16 bits a channel, and interlaced or large: save it with 8 bits")
    values = _values(data, picture.height, picture.width, channels)
    count = channels - (channels % 2 == 0)  # less the transparency
    bits = bits_used(int(values[..., :count].max()), significant_bits(data))
    low = eight_bits(values[..., :count], bits)
    opaque = eight_bits(values[..., count:], 16)
    return Image.fromarray(np.concatenate([low, opaque], axis=-1), _LAYOUTS[channels])


def _deep_channels(data: bytes) -> int | None:
    """Channels of a colour PNG with 16 bits for each, or None."""
    if data[:_FRONT] != b"\x89PNG\r\n\x1a\n" or len(data) < 33 or data[24] != 16:
        return None
    return _CHANNELS.get(data[25])


def _values(data: bytes, height: int, width: int, channels: int) -> np.ndarray:
    """(height, width, channels) uint16."""
    wanted = height * (1 + width * channels * 2)
    reader, stream, at = zlib.decompressobj(), bytearray(), _FRONT
    while at + 8 <= len(data) and len(stream) < wanted:
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IDAT":
            part = data[at + 8 : at + 8 + length]
            stream += reader.decompress(part, wanted - len(stream))
        at += 12 + length
    if len(stream) < wanted:
        raise ValueError("its pixels are cut short")
    rows = np.frombuffer(stream, np.uint8).reshape(height, -1)
    filters, filtered = rows[:, 0], rows[:, 1:].reshape(height, width, channels * 2)
    if filters.max() > 4:
        raise ValueError("an unknown filter")
    return _unfiltered(filters, filtered).reshape(height, width, channels, 2) @ np.array(
        [256, 1], np.uint16
    )


def _unfiltered(filters: np.ndarray, filtered: np.ndarray) -> np.ndarray:
    """(height, width, bytes) uint16 of bytes, from those of a PNG's rows (PNG 1.2, chapter 6).

    A pixel needs those to the left, above, and above to the left: all pixels of an anti-diagonal
    are computed at once.
    """
    height, width, count = filtered.shape
    found = np.zeros((height + 1, width + 1, count), np.int16)
    for diagonal in range(height + width - 1):
        y = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        x = diagonal - y
        left, above, corner = found[y + 1, x], found[y, x + 1], found[y, x]
        guess = left + above - corner
        far = [np.abs(guess - near) for near in (left, above, corner)]
        paeth = np.where(
            (far[0] <= far[1]) & (far[0] <= far[2]), left, np.where(far[1] <= far[2], above, corner)
        )
        kinds = (0 * left, left, above, (left + above) // 2, paeth)
        predicted = np.choose(filters[y][:, None], kinds)
        found[y + 1, x + 1] = (filtered[y, x] + predicted) & 255
    return found[1:, 1:].astype(np.uint16)
