"""Images of 16 bits a channel, whose values may use fewer: to 8 bits.

Cameras and scanners of 10 and 12 bits write their values into the low bits of 16-bit PNG files;
as a share of 65,535 the brightest would be 16 of 255. How many bits are used is found, image by
image and the same way wherever one is read, by

1. the file's sBIT chunk (PNG 1.2, 4.2.6: the significant bits), if no value is above them,
2. else the largest value: up to 255 it is 8 bits, up to 1,023 10, up to 4,095 12, and else 16.

Colours are looked at together (`deep_png`). So a dark image of a 12-bit camera without a value
above 1,023 is taken for one of 10 bits, and is lit up; an sBIT chunk prevents it, as a chunk of 16
does for dark images of 16 bits.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

DEPTHS = (8, 10, 12, 16)
_PNG = b"\x89PNG\r\n\x1a\n"


def to_eight_bits(picture: Image.Image, data: bytes) -> Image.Image:
    """A decoded image, with 8 bits a pixel in place of 16.

    Args:
        data: of the file.
    """
    if not picture.mode.startswith("I"):
        return picture
    values = np.asarray(picture)
    if picture.mode == "I":  # 32 bits with a sign
        values = np.clip(values, 0, 65535).astype(np.uint16)
    return Image.fromarray(eight_bits(values, bits_used(int(values.max()), significant_bits(data))))


def eight_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """uint8 of values of so many bits: the nearest of 256 shares."""
    top = (1 << bits) - 1  # odd, so that none is in the middle of two shares
    return ((np.arange(top + 1) * 510 + top) // (2 * top)).astype(np.uint8)[values]


def bits_used(largest: int, significant: int | None = None) -> int:
    """Of how many bits the values of a 16-bit image are.

    Args:
        largest: of its values.
        significant: what its sBIT chunk says, if it has one.
    """
    if significant is not None and largest < 1 << significant:
        return significant
    return next(depth for depth in DEPTHS if largest < 1 << depth)


def significant_bits(data: bytes) -> int | None:
    """What a 16-bit PNG's sBIT chunk says of its first channel; None where it says nothing."""
    at = len(_PNG)
    while data.startswith(_PNG) and at + 9 <= len(data):
        kind, length = data[at + 4 : at + 8], int.from_bytes(data[at : at + 4], "big")
        if kind == b"sBIT":
            return data[at + 8] if length and 1 < data[at + 8] <= 16 else None
        if kind in (b"IDAT", b"IEND"):
            return None
        at += 12 + length
    return None
