"""Large images: how they are opened, and the memory that decoding them may take.

Phones take images of 200 megapixels. JPEGs are decoded at a half, a quarter or an eighth of their
sides, which is still more than any network takes; other formats as they are, within a limit that
all threads share. Pillow's own limit is a number of pixels, beyond which it prints a warning and
then refuses, whatever the format; so images are opened without it, and looked at here.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import IO, Any

from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

# Naming the formats keeps Pillow's rarer parsers away from untrusted bytes.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
JPEGS = ("JPEG", "MPO")  # the latter has more images behind the first
# Images of more pixels are decoded at reduced size, or one after the other.
LARGE_PIXELS = 1 << 26
# What images that take more than `_FREE_BYTES` each may take at once, in all of a process.
MOST_BYTES = 2 * 10**9
_FREE_BYTES = 4 * LARGE_PIXELS

_PLUGINS: tuple[tuple[Any, Any], ...] = (
    (JpegImagePlugin.jpeg_factory, JpegImagePlugin._accept),
    (PngImagePlugin.PngImageFile, PngImagePlugin._accept),
    (WebPImagePlugin.WebPImageFile, WebPImagePlugin._accept),
    (BmpImagePlugin.BmpImageFile, BmpImagePlugin._accept),
)  # in the order of FORMATS
_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}  # bytes a pixel; others: 4
# WebP's decoder has two canvases of its own, and hands out a copy of the second.
_WEBP_CANVASES = 12
_COEFFICIENT = 2  # bytes; a progressive JPEG's are all kept, whatever size it is decoded at


class TooLargeError(ValueError):
    """Decoding would take more memory than is given."""


def open_image(file: IO[bytes]) -> Image.Image:
    """As `PIL.Image.open` with `FORMATS`, without its limit of pixels; nothing is decoded.

    Raises:
        PIL.UnidentifiedImageError: another format, or a broken front.
        OSError, ValueError, SyntaxError, struct.error: a broken file.
    """
    front = file.read(16)
    for factory, accepts in _PLUGINS:
        if accepts(front) is True:
            file.seek(0)
            try:
                opened: Image.Image = factory(file, "")
            except (SyntaxError, IndexError, TypeError) as error:
                raise Image.UnidentifiedImageError(f"a broken front: {error}") from error
            return opened
    raise Image.UnidentifiedImageError("another format")


def is_large(opened: Image.Image) -> bool:
    """Whether it is decoded at reduced size, or not beside others of its kind."""
    return opened.width * opened.height > LARGE_PIXELS


def reduction(opened: Image.Image) -> int:
    """By what the sides of a large image are divided: 1, 2, 4 or 8 for a JPEG."""
    factor = 1
    while opened.width * opened.height > LARGE_PIXELS * factor**2:
        factor *= 2
    return min(factor, 8) if opened.format in JPEGS else factor


def refuse_too_large(opened: Image.Image, encoded: int, *, divisor: int = 1, more: int = 0) -> int:
    """What decoding takes, in bytes.

    Args:
        opened: not decoded, nor asked for a draft yet.
        encoded: bytes of the file.
        divisor: of the sides, see `reduction`.
        more: bytes a pixel for what is made of the pixels next, beside them.

    Raises:
        TooLargeError: it is more than there is for all.
    """
    pixels = opened.width * opened.height
    cost = encoded + pixels // divisor**2 * (_STORED.get(opened.mode, 4) + more)
    if opened.format == "WEBP":
        cost += _WEBP_CANVASES * pixels
    if opened.format in JPEGS and opened.info.get("progressive"):
        cost += _COEFFICIENT * _coefficients(opened)
    if cost > MOST_BYTES:
        raise TooLargeError(
            f"has {opened.width:,} x {opened.height:,} pixels, which take "
            f"{cost / 1e9:,.1f} GB to decode; at most {MOST_BYTES / 1e9:.1f} GB are taken: make it "
            "smaller, or save it as an ordinary JPEG"
        )
    return cost


def _coefficients(jpeg: Any) -> int:
    sampled = [(across, down) for _id, across, down, *_table in jpeg.layer]
    most = max(across for across, _down in sampled) * max(down for _across, down in sampled)
    return jpeg.width * jpeg.height * sum(across * down for across, down in sampled) // most


class _Shared:
    """Bytes that threads take and give back; who does not fit waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = 0

    @contextlib.contextmanager
    def taken(self, cost: int) -> Iterator[None]:
        if cost <= _FREE_BYTES:
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + cost <= MOST_BYTES)
            self._taken += cost
        try:
            yield
        finally:
            with self._changed:
                self._taken -= cost
                self._changed.notify_all()


_memory = _Shared()
taken = _memory.taken
