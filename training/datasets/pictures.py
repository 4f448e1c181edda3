"""Image files to uint8 arrays, the same way in training, evaluation and `predict`."""

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
from kerascnn.geometry import placement
from kerascnn.preprocessing import Preprocessing
from training.datasets import decode_memory
from training.datasets.bit_depth import to_eight_bits
from training.datasets.decode_memory import (
    JPEGS,
    TooLargeError,
    is_large,
    open_image,
)
from training.datasets.deep_png import with_low_bits

_ORIENTATION = 0x0112  # EXIF
_ROWS = 64  # of a large image at once
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


# How a stored image becomes upright, by EXIF orientation (CIPA DC-008, 4.6.4): turned over from
# top to bottom, from left to right, and then its axes exchanged. The first entry is no orientation.
FLIP_Y = np.array([0, 0, 0, 1, 1, 0, 1, 1, 0], bool)
FLIP_X = np.array([0, 0, 1, 1, 0, 0, 0, 1, 1], bool)
SWAP = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1], bool)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checked:
    """What is known of an image that could be decoded.

    Attributes:
        size: (height, width) of the file's own pixels, upright.
        kind: see `Split.kinds`.
    """

    size: tuple[int, int]
    kind: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoded(Checked):
    """An image file, read.

    Attributes:
        pixels: (height, width, channels) uint8, at the network's geometry.
    """

    pixels: np.ndarray


def read_picture(
    source: str | os.PathLike[str] | bytes, preprocessing: Preprocessing, name: str = "image"
) -> np.ndarray:
    """Decode a file and bring it to the network's geometry.

    Grey, palette, CMYK, 16-bit and transparent images are converted (16 bits as `bit_depth` has
    it, transparency onto white); the EXIF orientation is applied. Large ones are decoded at reduced
    size (`decode_memory`).

    Args:
        source: a path, or the file's bytes.
        name: of bytes, for messages.

    Returns:
        (height, width, channels) uint8.

    Raises:
        InputError: missing, truncated, too large, or not a JPEG, PNG, WebP or BMP image.
    """
    return read_decoded(source, preprocessing, name).pixels


def read_decoded(
    source: str | os.PathLike[str] | bytes, preprocessing: Preprocessing, name: str = "image"
) -> Decoded:
    """As `read_picture`, with what else is known of it then."""
    with image_opened(source, name) as (opened, data):
        width, height = opened.size
        kind = _kind(opened, data)
        divisor = 1
        if is_large(opened):  # twice the pixels a side that are needed
            side = 2 * max(preprocessing.height, preprocessing.width)
            divisor = max(decode_memory.reduction(opened), divisor_for(opened, side, side))
        with pixels_loaded(opened, data, divisor, more=copies_of(opened, preprocessing.channels)):
            turned = orientation_of(opened)
            picture = in_channels(opened, data, preprocessing.channels)
            if (left := decode_memory.reduction(picture)) > 1:  # it is no JPEG
                picture = picture.reduce(left)
            picture = _upright(picture, turned)
            size = (width, height) if SWAP[turned] else (height, width)
            return Decoded(pixels=fit(picture, preprocessing), size=size, kind=kind)


def read_pixels(source: str | os.PathLike[str] | bytes, name: str = "image") -> np.ndarray:
    """Decode a file at its own size, upright, however large; otherwise as `read_picture`.

    Returns:
        (height, width, 3) uint8, red first.
    """
    with image_opened(source, name) as (opened, data):
        large = is_large(opened)
        with pixels_loaded(opened, data, more=3 + copies_of(opened, 3)):
            turned = orientation_of(opened)
            picture = in_channels(opened, data, 3)
            if not large:
                return np.array(_upright(picture, turned), np.uint8)
            pixels = _array(picture)
            del picture
    return turned_by(pixels, turned)


def read_stored(
    source: str | os.PathLike[str] | bytes, name: str = "image"
) -> tuple[Image.Image, str]:
    """Decode a file and convert nothing: a palette's numbers, 16 bits, bits. It is upright.

    Args:
        source: a path, or the file's bytes.
        name: of bytes, for messages.

    Returns:
        The image, and its format, one of `decode_memory.FORMATS`.

    Raises:
        InputError: as `read_picture`.
    """
    with image_opened(source, name) as (opened, data), pixels_loaded(opened, data, more=4):
        return ImageOps.exif_transpose(opened), opened.format or ""


def read_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width) of an image, upright, from the front of its file.

    Raises:
        InputError: missing, or not a JPEG, PNG, WebP or BMP image.
    """
    with (
        complaining_of(str(path)),
        pathlib.Path(path).open("rb") as file,
        contextlib.closing(open_image(file)) as opened,
    ):
        # A PNG's pixels would be decoded for an orientation behind them.
        turned = orientation_of(opened) if opened.format != "PNG" or "exif" in opened.info else 1
        return opened.size if SWAP[turned] else (opened.height, opened.width)


def check_picture(source: str | os.PathLike[str] | bytes, name: str = "image") -> Checked:
    """Find out whether `read_picture` could read it, sooner than it would.

    Raises:
        InputError: as `read_picture`.
    """
    with image_opened(source, name) as (opened, data):
        width, height = opened.size
        kind = _kind(opened, data)
        with pixels_loaded(opened, data, 8, more=copies_of(opened, 3)):  # all bytes are still read
            pass
        swapped = SWAP[orientation_of(opened)]
        size = (width, height) if swapped else (height, width)
        return Checked(size=size, kind=kind)


def read_window(
    source: str | os.PathLike[str] | bytes,
    window: np.ndarray | None,
    preprocessing: Preprocessing,
    name: str = "image",
) -> np.ndarray:
    """Decode a file and resize a part of it; otherwise as `read_picture`.

    Args:
        window: top, left, height and width as shares of the upright image; None: `read_picture`.
    """
    if window is None:
        return read_picture(source, preprocessing, name)
    with image_opened(source, name) as (opened, data), contextlib.ExitStack() as memory:
        jpeg, more = opened.format in JPEGS, copies_of(opened, preprocessing.channels)
        sides = np.array([opened.height, opened.width], np.float64)
        if not jpeg:  # a PNG may tell its orientation behind its pixels
            memory.enter_context(pixels_loaded(opened, data, more=more))
        turned = orientation_of(opened)
        first, share, target = _stored(
            np.asarray(window, np.float64), preprocessing.input_shape[:2], turned
        )
        if jpeg:
            height, width = np.ceil(target / np.maximum(share, 1e-6)).astype(int)
            divisor = max(divisor_for(opened, width, height), decode_memory.reduction(opened))
            memory.enter_context(pixels_loaded(opened, data, divisor, more=more))
            sides /= divisor
        top, left = np.maximum(first * sides, 0.0)
        bottom, right = np.minimum((first + share) * sides, sides)
        picture = in_channels(opened, data, preprocessing.channels)
        size = (int(target[1]), int(target[0]))
        cut = picture.resize(size, resampling(preprocessing), (left, top, right, bottom))
        pixels = np.asarray(cut, np.uint8).reshape(*target, preprocessing.channels)
    return turned_by(pixels, turned)


def shrunk(data: bytes, longer_side: int, name: str) -> tuple[bytes, Checked] | None:
    """The image made smaller, as a JPEG of quality 95; None if it is small already.

    Raises:
        InputError: as `read_picture`.
    """
    with image_opened(data, name) as (opened, _data):
        if max(opened.size) <= longer_side:
            return None
        grey = opened.mode in ("1", "L", "LA", "I") or opened.mode.startswith("I;16")
        channels = 1 if grey else 3
        large = is_large(opened)
        divisor = _power(max(opened.size) // longer_side) if large else 1
        with pixels_loaded(opened, data, divisor, more=copies_of(opened, channels)):
            turned = orientation_of(opened)
            picture = in_channels(opened, data, channels)
            picture = picture if large else _upright(picture, turned)
            picture.thumbnail((longer_side, longer_side), Image.Resampling.LANCZOS)
            picture = _upright(picture, turned) if large else picture
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=95)
        return stream.getvalue(), Checked(size=(picture.height, picture.width), kind=1)


def refuse_too_large(opened: Image.Image, encoded: int) -> None:
    """Raise TooLargeError for an image that `read_picture` would refuse; it is not decoded yet.

    Args:
        encoded: bytes of its file.
    """
    divisor = decode_memory.reduction(opened) if opened.format in JPEGS else 1
    more = copies_of(opened, 3)
    decode_memory.refuse_too_large(opened, encoded, divisor=divisor, more=more)


@contextlib.contextmanager
def image_opened(
    source: str | os.PathLike[str] | bytes, name: str
) -> Iterator[tuple[Image.Image, bytes]]:
    """An image and its bytes; whatever goes wrong with them is an InputError that names it."""
    with complaining_of(name if isinstance(source, bytes) else str(pathlib.Path(source))):
        data = source if isinstance(source, bytes) else pathlib.Path(source).read_bytes()
        with contextlib.closing(open_image(io.BytesIO(data))) as opened:
            yield opened, data


@contextlib.contextmanager
def pixels_loaded(
    opened: Image.Image, data: bytes, divisor: int = 1, *, more: int = 0
) -> Iterator[None]:
    """Decode within the memory that threads share.

    Args:
        divisor: of the sides; libjpeg knows 1, 2, 4 and 8, and other formats are decoded whole.
        more: as of `refuse_too_large`.
    """
    divisor = divisor if opened.format in JPEGS else 1
    cost = decode_memory.refuse_too_large(opened, len(data), divisor=divisor, more=more)
    with decode_memory.taken(cost):
        if divisor > 1:
            least = (max(1, opened.width // divisor), max(1, opened.height // divisor))
            opened.draft(None, least)
        opened.load()
        yield


@contextlib.contextmanager
def complaining_of(name: str) -> Iterator[None]:
    """Whatever is wrong with an image file of this name becomes an InputError."""
    try:
        yield
    except InputError:
        raise
    except TooLargeError as error:
        raise InputError(f"{name} {error}") from None
    except FileNotFoundError:
        raise InputError(f"{name}: no such image") from None
    except IsADirectoryError:
        raise InputError(f"{name} is a folder; name image files") from None
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise InputError(
            f"{name} is not a readable JPEG, PNG, WebP or BMP image ({_reason(error)}); "
            "replace or remove it"
        ) from error


def orientation_of(opened: Image.Image) -> int:
    """EXIF's, 1 to 8; 1 where there is none that means anything."""
    orientation = opened.getexif().get(_ORIENTATION, 1)
    return orientation if orientation in range(1, 9) else 1


def _kind(opened: Image.Image, data: bytes) -> int:
    plain = opened.format in JPEGS and opened.mode in ("L", "RGB") and _is_huffman_coded(data)
    return orientation_of(opened) if plain and not is_large(opened) else 0


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


def divisor_for(opened: Image.Image, width: int, height: int) -> int:
    """By what libjpeg may divide the sides, so that they are no smaller than these."""
    return _power(min(opened.width // width, opened.height // height))


def _power(ratio: int) -> int:
    return next((divisor for divisor in (8, 4, 2) if divisor <= ratio), 1)


def copies_of(opened: Image.Image, channels: int) -> int:
    """Bytes a pixel that `in_channels` takes beside the image's own, at most."""
    if opened.mode.startswith("I"):
        return 12
    if opened.has_transparency_data:
        return 16
    return 0 if opened.mode == ("L" if channels == 1 else "RGB") else 4


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
    """Resize, cut and pad an image of the right mode; (height, width, channels) uint8."""
    target = (preprocessing.width, preprocessing.height)
    if preprocessing.resize == "crop":
        border = preprocessing.frame[::-1]
        picture = ImageOps.fit(picture, border, resampling(preprocessing))
        left, top = (border[0] - target[0]) // 2, (border[1] - target[1]) // 2
        picture = picture.crop((left, top, left + target[0], top + target[1]))
    elif preprocessing.resize == "centre":
        size = covering(picture.size, preprocessing)
        if picture.size != size:
            picture = picture.resize(size, resampling(preprocessing))
        # As Python rounds, to the even one of two whole numbers that are equally near.
        left, top = (round((size[i] - target[i]) / 2) for i in range(2))
        picture = picture.crop((left, top, left + target[0], top + target[1]))
    else:
        picture = _placed(picture, preprocessing)
    return np.asarray(picture, np.uint8).reshape(preprocessing.input_shape)


def _placed(picture: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """A whole image in its place on the input."""
    place = placement((picture.height, picture.width), preprocessing)
    size = (place.width, place.height)
    if picture.size != size:
        picture = picture.resize(size, resampling(preprocessing))
    whole = (preprocessing.width, preprocessing.height)
    if size == whole:
        return picture
    colour = (preprocessing.filling,) * len(picture.getbands())
    canvas = Image.new(picture.mode, whole, colour)
    canvas.paste(picture, (place.left, place.top))
    return canvas


def resampling(preprocessing: Preprocessing) -> Image.Resampling:
    """Pillow's filter of a geometry."""
    return Image.Resampling[preprocessing.interpolation.upper()]


def covering(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """(width, height) that "centre" cuts from: one side as the frame's, the other rounded down.

    Source: torchvision.transforms.functional's `_compute_resized_output_size`, of square frames.

    Args:
        size: (width, height) of the picture.
    """
    (width, height), (high, wide) = size, preprocessing.frame
    if width * high <= height * wide:
        return wide, max(high, int(wide * height / width))
    return max(wide, int(high * width / height)), high


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


def in_channels(opened: Image.Image, data: bytes, channels: int) -> Image.Image:
    """In RGB or grey of 8 bits, transparent pixels on white."""
    picture = to_eight_bits(with_low_bits(opened, data), data)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    mode = "L" if channels == 1 else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)


# How a stored image becomes upright, by EXIF orientation; as ImageOps.exif_transpose.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(picture: Image.Image, orientation: int) -> Image.Image:
    return picture.transpose(_TURNS[orientation]) if orientation in _TURNS else picture


def turned_by(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The same of (height, width, channels) pixels."""
    pixels = pixels[::-1] if FLIP_Y[orientation] else pixels
    pixels = pixels[:, ::-1] if FLIP_X[orientation] else pixels
    return np.ascontiguousarray(pixels.swapaxes(0, 1) if SWAP[orientation] else pixels)


def _array(picture: Image.Image) -> np.ndarray:
    """(height, width, 3) uint8 of a large image, without the copies that np.array makes."""
    pixels = np.empty((picture.height, picture.width, 3), np.uint8)
    for top in range(0, picture.height, _ROWS):
        bottom = min(top + _ROWS, picture.height)
        pixels[top:bottom] = np.asarray(picture.crop((0, top, picture.width, bottom)), np.uint8)
    return pixels


def _reason(error: BaseException) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is in another format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__
