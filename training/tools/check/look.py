"""One look at one image: what its file is, what its pixels resemble. Light, for worker processes.

An image is decoded once, where libjpeg can at an eighth of its size. All bytes are still read, so
that a file that is cut short is found. Two perceptual hashes are taken of the upright image in 32 x
32 shades of grey: `imagehash.phash` (signs of a cosine transform) and `imagehash.dhash` (signs of
differences), 64 bits each.
"""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Sequence

import imagehash
import numpy as np
from PIL import Image

from kerascnn.errors import InputError
from training.datasets import pictures
from training.datasets.pictures import JPEGS, SWAP

# What `LOOK["format"]` and `LOOK["mode"]` count; the first is all that is no file.
FILE_FORMATS = ("none", "JPEG", "PNG", "WEBP", "BMP")
MODES = ("other", "RGB", "grey", "palette", "CMYK", "RGB with alpha", "grey with alpha", "bilevel")
_MODES = {
    **{"RGB": 1, "L": 2, "I": 2, "P": 3, "CMYK": 4, "RGBA": 5, "LA": 6, "PA": 3, "1": 7},
    **dict.fromkeys(("I;16", "I;16B", "I;16L", "I;16N"), 2),
}
_SIDE = 32  # of the shades of grey
_BLANK = 8  # of 255, most by which they differ where an image is of one colour
_PNG_DEPTH = 24  # where the header of a PNG has it

# A row of what is known of an image; `read` is false where nothing else is.
LOOK = np.dtype([
    ("read", "?"), ("format", "u1"), ("mode", "u1"), ("depth", "u1"), ("turned", "u1"),
    ("frames", "i4"), ("height", "i4"), ("width", "i4"), ("transparent", "?"), ("blank", "?"),
    ("phash", "u8"), ("dhash", "u8"), ("digest", "u8", 2), ("bytes", "i8"),
])  # fmt: skip


def look_at_files(names: Sequence[str]) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """Rows of `LOOK` of some files; and place and reason of those that cannot be read."""
    rows, broken = np.zeros(len(names), LOOK), []
    for place, name in enumerate(names):
        try:
            rows[place] = look_at_bytes(pathlib.Path(name).read_bytes(), name)
        except OSError as error:
            broken.append((place, f"{name} cannot be read ({error.strerror or error})"))
        except InputError as error:
            broken.append((place, str(error)))
    return rows, broken


def look_at_bytes(data: bytes, name: str) -> np.ndarray:
    """The row of an encoded image.

    Raises:
        InputError: it cannot be read, in the words of `training.datasets.pictures`.
    """
    row = np.zeros((), LOOK)
    with pictures.image_opened(data, name) as (opened, _data):
        format_, width, height = str(opened.format), opened.width, opened.height
        row["depth"] = data[_PNG_DEPTH] if format_ == "PNG" else 8
        row["frames"] = getattr(opened, "n_frames", 1) if format_ in ("PNG", "WEBP") else 1
        row["mode"] = _MODES.get(opened.mode, 0)
        divisor = pictures.divisor_for(opened, _SIDE, _SIDE)
        more = pictures.copies_of(opened, 3)
        with pictures.pixels_loaded(opened, data, divisor, more=more):
            turned = pictures.orientation_of(opened)
            row["transparent"] = _is_transparent(opened)
            grey = _shades(pictures.in_channels(opened, data, 1))
    format_ = "JPEG" if format_ in JPEGS else format_
    row["format"] = FILE_FORMATS.index(format_) if format_ in FILE_FORMATS else 0
    row["width"], row["height"] = (height, width) if SWAP[turned] else (width, height)
    row["turned"], row["read"] = turned, True
    return _hashed(row, pictures.turned_by(grey[..., None], turned)[..., 0], data)


def look_at_pixels(pixels: np.ndarray) -> np.ndarray:
    """The row of an image that is no file: (height, width, 1 or 3) uint8."""
    row = np.zeros((), LOOK)
    row["read"], row["depth"], row["turned"], row["frames"] = True, 8, 1, 1
    row["height"], row["width"] = pixels.shape[:2]
    row["mode"] = _MODES["RGB" if pixels.shape[2] == 3 else "L"]
    image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).convert("L")
    return _hashed(row, _shades(image), pixels.tobytes())


def _is_transparent(opened: Image.Image) -> bool:
    """Whether a pixel lets the ground be seen; of a palette, whether one of its colours does."""
    if opened.mode in ("RGBA", "LA"):
        return bool(np.asarray(opened.getchannel("A")).min(initial=255) < 255)
    return opened.has_transparency_data


def _shades(grey: Image.Image) -> np.ndarray:
    """(32, 32) uint8 of an image in shades of grey."""
    small = grey.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return np.asarray(small, np.uint8)


def _hashed(row: np.ndarray, grey: np.ndarray, data: bytes) -> np.ndarray:
    row["bytes"] = len(data)
    row["digest"] = np.frombuffer(hashlib.blake2b(data, digest_size=16).digest(), np.uint64)
    row["blank"] = int(grey.max()) - int(grey.min()) <= _BLANK
    image = Image.fromarray(np.ascontiguousarray(grey))
    row["phash"] = _number(imagehash.phash(image))
    row["dhash"] = _number(imagehash.dhash(image))
    return row


def _number(found: imagehash.ImageHash) -> np.uint64:
    return np.packbits(found.hash.ravel()).view(">u8")[0].astype(np.uint64)
