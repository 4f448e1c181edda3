"""Picture files to uint8 arrays, the same way in training, evaluation and `predict`."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import pathlib
import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing

# Naming the formats keeps Pillow's rarer parsers away from untrusted bytes.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
_JPEGS = ("JPEG", "MPO")  # the latter has more pictures behind the first
_ORIENTATION = 0x0112  # EXIF
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


# How a stored picture becomes upright, by EXIF orientation (CIPA DC-008, 4.6.4): turned over from
# top to bottom, from left to right, and then its axes exchanged. The first entry is no orientation.
FLIP_Y = np.array([0, 0, 0, 1, 1, 0, 1, 1, 0], bool)
FLIP_X = np.array([0, 0, 1, 1, 0, 0, 0, 1, 1], bool)
SWAP = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1], bool)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checked:
    """What is known of a picture that could be decoded.

    Attributes:
        size: (height, width) of the file's own pixels, upright.
        kind: see `Split.kinds`.
    """

    size: tuple[int, int]
    kind: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoded(Checked):
    """A picture file, read.

    Attributes:
        pixels: (height, width, channels) uint8, at the network's geometry.
    """

    pixels: np.ndarray


def read_picture(
    source: str | os.PathLike[str] | bytes, preprocessing: Preprocessing, name: str = "picture"
) -> np.ndarray:
    """Decode a file and bring it to the network's geometry.

    Grey, palette, CMYK, 16-bit and transparent pictures are converted (transparency onto white);
    the EXIF orientation is applied.

    Args:
        source: a path, or the file's bytes.
        name: of bytes, for messages.

    Returns:
        (height, width, channels) uint8.

    Raises:
        InputError: missing, truncated, too large, or not a JPEG, PNG, WebP or BMP picture.
    """
    return read_decoded(source, preprocessing, name).pixels


def read_decoded(
    source: str | os.PathLike[str] | bytes, preprocessing: Preprocessing, name: str = "picture"
) -> Decoded:
    """As `read_picture`, with what else is known of it then."""
    with _opened(source, name) as (opened, data):
        opened.load()
        kind = _kind(opened, data)
        picture = _convert(ImageOps.exif_transpose(opened), preprocessing.channels)
        size = (picture.height, picture.width)
        return Decoded(pixels=fit(picture, preprocessing), size=size, kind=kind)


def read_pixels(source: str | os.PathLike[str] | bytes, name: str = "picture") -> np.ndarray:
    """Decode a file at its own size, upright; otherwise as `read_picture`.

    Returns:
        (height, width, 3) uint8, red first.
    """
    with _opened(source, name) as (opened, _data):
        opened.load()
        return np.array(_convert(ImageOps.exif_transpose(opened), 3), np.uint8)


def read_stored(
    source: str | os.PathLike[str] | bytes, name: str = "picture"
) -> tuple[Image.Image, str]:
    """Decode a file and convert nothing: a palette's numbers, 16 bits, bits. It is upright.

    Args:
        source: a path, or the file's bytes.
        name: of bytes, for messages.

    Returns:
        The picture, and its format, one of `FORMATS`.

    Raises:
        InputError: as `read_picture`.
    """
    with _opened(source, name) as (opened, _data):
        opened.load()
        return ImageOps.exif_transpose(opened), opened.format or ""


def read_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width) of a picture, upright, from the front of its file.

    Raises:
        InputError: missing, or not a JPEG, PNG, WebP or BMP picture.
    """
    with _complaining(str(path)), Image.open(path, formats=FORMATS) as opened:
        # A PNG's pixels would be decoded for an orientation behind them.
        turned = _orientation(opened) if opened.format != "PNG" or "exif" in opened.info else 1
        return opened.size if SWAP[turned] else (opened.height, opened.width)


def check_picture(source: str | os.PathLike[str] | bytes, name: str = "picture") -> Checked:
    """Find out whether `read_picture` could read it, sooner than it would.

    Raises:
        InputError: as `read_picture`.
    """
    with _opened(source, name) as (opened, data):
        width, height = opened.size
        _reduce(opened, (1, 1))  # all bytes are still read
        opened.load()
        swapped = SWAP[_orientation(opened)]
        size = (width, height) if swapped else (height, width)
        return Checked(size=size, kind=_kind(opened, data))


def read_window(
    source: str | os.PathLike[str] | bytes,
    window: np.ndarray | None,
    preprocessing: Preprocessing,
    name: str = "picture",
) -> np.ndarray:
    """Decode a file and resize a part of it; otherwise as `read_picture`.

    Args:
        window: top, left, height and width as shares of the upright picture; None: `read_picture`.
    """
    if window is None:
        return read_picture(source, preprocessing, name)
    with _opened(source, name) as (opened, _data):
        if opened.format not in _JPEGS:
            opened.load()  # a PNG may tell its orientation behind its pixels
        turned = _orientation(opened)
        first, share, target = _stored(
            np.asarray(window, np.float64), preprocessing.input_shape[:2], turned
        )
        height, width = np.ceil(target / np.maximum(share, 1e-6)).astype(int)
        sides = _reduce(opened, (int(width), int(height)))
        top, left = np.maximum(first * sides, 0.0)
        bottom, right = np.minimum((first + share) * sides, sides)
        picture = _convert(opened, preprocessing.channels)
        size = (int(target[1]), int(target[0]))
        cut = picture.resize(size, Image.Resampling.BILINEAR, (left, top, right, bottom))
        pixels = np.asarray(cut, np.uint8).reshape(*target, preprocessing.channels)
        pixels = pixels[::-1] if FLIP_Y[turned] else pixels
        pixels = pixels[:, ::-1] if FLIP_X[turned] else pixels
        return np.ascontiguousarray(pixels.swapaxes(0, 1) if SWAP[turned] else pixels)


def shrunk(data: bytes, longer_side: int, name: str) -> tuple[bytes, Checked] | None:
    """The picture made smaller, as a JPEG of quality 95; None if it is small already.

    Raises:
        InputError: as `read_picture`.
    """
    with _opened(data, name) as (opened, _data):
        if max(opened.size) <= longer_side:
            return None
        opened.load()
        picture = ImageOps.exif_transpose(opened)
        grey = picture.mode in ("1", "L", "LA", "I") or picture.mode.startswith("I;16")
        picture = _convert(picture, 1 if grey else 3)
        picture.thumbnail((longer_side, longer_side), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=95)
        return stream.getvalue(), Checked(size=(picture.height, picture.width), kind=1)


@contextlib.contextmanager
def _opened(
    source: str | os.PathLike[str] | bytes, name: str
) -> Iterator[tuple[Image.Image, bytes]]:
    """A picture and its bytes; whatever goes wrong with them is an InputError that names it."""
    with _complaining(name if isinstance(source, bytes) else str(pathlib.Path(source))):
        data = source if isinstance(source, bytes) else pathlib.Path(source).read_bytes()
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            yield opened, data


@contextlib.contextmanager
def _complaining(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{name}: no such image") from None
    except IsADirectoryError:
        raise InputError(f"{name} is a folder; name image files") from None
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise InputError(
            f"{name} is not a readable JPEG, PNG, WebP or BMP image ({_reason(error)}); "
            "replace or remove it"
        ) from error


def _orientation(opened: Image.Image) -> int:
    orientation = opened.getexif().get(_ORIENTATION, 1)
    return orientation if orientation in range(1, 9) else 1


def _kind(opened: Image.Image, data: bytes) -> int:
    plain = opened.format in _JPEGS and opened.mode in ("L", "RGB") and _is_huffman_coded(data)
    return _orientation(opened) if plain else 0


def _is_huffman_coded(jpeg: bytes) -> bool:
    """Whether a frame is baseline, extended or progressive (ITU-T T.81, table B.1)."""
    at = 2
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF:
        marker = jpeg[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return marker in (0xC0, 0xC1, 0xC2)
        else:
            at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return False


def _reduce(opened: Image.Image, least: tuple[int, int]) -> np.ndarray:
    """Have libjpeg give a half, quarter or eighth that is no smaller than (width, height).

    Returns:
        (height, width) of the whole picture then, in fractions of pixels.
    """
    drafted = opened.draft(None, least) if opened.format in _JPEGS else None
    width, height = drafted[1][2:] if drafted else opened.size
    return np.array([height, width], np.float64)


def _stored(
    window: np.ndarray, target: tuple[int, int], orientation: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(top and left, height and width, target) of an upright window as the file lies there."""
    first, share, sides = window[:2], window[2:], np.array(target)
    if SWAP[orientation]:
        first, share, sides = first[::-1], share[::-1], sides[::-1]
    flipped = np.array([FLIP_Y[orientation], FLIP_X[orientation]])
    return np.where(flipped, 1 - first - share, first), share, sides


def fit(picture: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """Resize and crop a picture of the right mode; (height, width, channels) uint8."""
    target = (preprocessing.width, preprocessing.height)
    smaller = picture.width <= target[0] and picture.height <= target[1]
    if preprocessing.resize == "crop":
        fraction = preprocessing.crop_fraction
        border = (round(target[0] / fraction), round(target[1] / fraction))
        picture = ImageOps.fit(picture, border, Image.Resampling.BILINEAR)
        left, top = (border[0] - target[0]) // 2, (border[1] - target[1]) // 2
        picture = picture.crop((left, top, left + target[0], top + target[1]))
    elif preprocessing.resize == "pad" and smaller:
        canvas = Image.new(picture.mode, target)
        canvas.paste(picture, ((target[0] - picture.width) // 2, (target[1] - picture.height) // 2))
        picture = canvas
    elif picture.size != target:
        picture = picture.resize(target, Image.Resampling.BILINEAR)
    return np.asarray(picture, np.uint8).reshape(preprocessing.input_shape)


def fit_array(picture: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """`fit` for a (height, width, 1 or 3) uint8 array with the right channels."""
    squeezed = picture[..., 0] if picture.shape[-1] == 1 else picture
    return fit(Image.fromarray(squeezed), preprocessing)


def convert_channels(pictures: np.ndarray, channels: int) -> np.ndarray:
    """(n, h, w, 1 or 3) uint8 to the asked number of channels."""
    if pictures.shape[-1] == channels:
        return pictures
    if channels == 3:
        return np.repeat(pictures, 3, axis=-1)
    luma = pictures @ np.array([0.299, 0.587, 0.114])
    return np.round(luma).astype(np.uint8)[..., None]


def _convert(picture: Image.Image, channels: int) -> Image.Image:
    if picture.mode.startswith("I;16") or picture.mode == "I":
        # Pillow clips 16-bit grey at 255 instead of scaling it.
        wide = np.asarray(picture, np.float64)
        picture = Image.fromarray(np.clip(wide / 257, 0, 255).round().astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("L" if channels == 1 else "RGB")


def _reason(error: BaseException) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is in another format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__
