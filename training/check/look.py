"""One look at one image: what its file is, what its pixels resemble. Light, for worker processes.

An image is decoded once, where libjpeg can at an eighth of its size. All bytes are still read, so
that a file that is cut short is found. Two perceptual hashes are taken of the upright image in 32 x
32 shades of grey: `imagehash.phash` (signs of a cosine transform) and `imagehash.dhash` (signs of
differences), 64 bits each.
"""

from __future__ import annotations

import hashlib
import io
import pathlib
import warnings
from collections.abc import Sequence

import imagehash
import numpy as np
from PIL import Image

from kerascnn.errors import InputError
from training.decode_memory import open_image
from training.preprocessing import FLIP_X, FLIP_Y, SWAP, read_pixels, refuse_too_large

# What `LOOK["format"]` and `LOOK["mode"]` count; the first is all that is no file.
FILE_FORMATS = ("none", "JPEG", "PNG", "WEBP", "BMP")
MODES = ("other", "RGB", "grey", "palette", "CMYK", "RGB with alpha", "grey with alpha", "bilevel")
_MODES = {
    **{"RGB": 1, "L": 2, "I": 2, "P": 3, "CMYK": 4, "RGBA": 5, "LA": 6, "PA": 3, "1": 7},
    **dict.fromkeys(("I;16", "I;16B", "I;16L", "I;16N"), 2),
}
_SIDE = 32  # of the shades of grey
_BLANK = 8  # of 255, most by which they differ where an image is of one colour
_ORIENTATION = 0x0112  # EXIF
_PNG_DEPTH = 24  # where the header of a PNG has it

# A row of what is known of an image; `read` is false where nothing else is.
LOOK = np.dtype([
    ("read", "?"), ("format", "u1"), ("mode", "u1"), ("depth", "u1"), ("turned", "u1"),
    ("frames", "i4"), ("height", "i4"), ("width", "i4"), ("transparent", "?"), ("peak", "u2"),
    ("blank", "?"), ("phash", "u8"), ("dhash", "u8"), ("digest", "u8", 2), ("bytes", "i8"),
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
        InputError: it cannot be read, in the words of `training.preprocessing`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, and of odd EXIF data
            return _looked_at(data)
    except Exception:
        # Whatever it was, training's own reader knows whether it is broken, and says why.
        return _of_pixels(read_pixels(data, name), data)


def look_at_pixels(pixels: np.ndarray) -> np.ndarray:
    """The row of an image that is no file: (height, width, 1 or 3) uint8."""
    return _of_pixels(pixels, pixels.tobytes())


def _looked_at(data: bytes) -> np.ndarray:
    row = np.zeros((), LOOK)
    with open_image(io.BytesIO(data)) as opened:
        refuse_too_large(opened, len(data))
        format_, mode = str(opened.format), opened.mode
        row["width"], row["height"] = opened.size
        row["depth"] = data[_PNG_DEPTH] if format_ == "PNG" else 8
        if format_ in ("PNG", "WEBP"):
            row["frames"] = getattr(opened, "n_frames", 1)
        if format_ in ("JPEG", "MPO"):
            opened.draft("L" if mode == "RGB" else None, (_SIDE, _SIDE))
        opened.load()
        turned = opened.getexif().get(_ORIENTATION, 1)
        turned = turned if turned in range(1, 9) else 1
        grey = _grey(opened, row)
    if SWAP[turned]:
        row["height"], row["width"] = row["width"].copy(), row["height"].copy()
    format_ = "JPEG" if format_ == "MPO" else format_
    row["format"] = FILE_FORMATS.index(format_) if format_ in FILE_FORMATS else 0
    row["mode"], row["turned"], row["read"] = _MODES.get(mode, 0), turned, True
    grey = grey[::-1] if FLIP_Y[turned] else grey
    grey = grey[:, ::-1] if FLIP_X[turned] else grey
    return _hashed(row, grey.T if SWAP[turned] else grey, data)


def _grey(opened: Image.Image, row: np.ndarray) -> np.ndarray:
    """(32, 32) uint8 of an image as it is stored; what its values show is put into the row."""
    if opened.mode in ("RGBA", "LA"):
        row["transparent"] = np.asarray(opened.getchannel("A")).min(initial=255) < 255
    elif opened.has_transparency_data:
        row["transparent"] = True
    if opened.mode.startswith("I"):
        wide = np.asarray(opened)
        row["peak"] = np.clip(wide.max(initial=0), 0, 65535)
        opened = Image.fromarray((wide / max(1, int(row["peak"])) * 255).astype(np.uint8))
    if row["transparent"]:
        small = opened.convert("RGBA").resize((_SIDE, _SIDE), Image.Resampling.BOX)
        opened = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small)
    if opened.mode in ("P", "1", "PA"):
        opened = opened.convert("RGB")
    small = opened.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return np.asarray(small.convert("L"), np.uint8)


def _of_pixels(pixels: np.ndarray, data: bytes) -> np.ndarray:
    row = np.zeros((), LOOK)
    row["read"], row["depth"], row["turned"], row["frames"] = True, 8, 1, 1
    row["height"], row["width"] = pixels.shape[:2]
    row["mode"] = _MODES["RGB" if pixels.shape[2] == 3 else "L"]
    image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).convert("L")
    grey = image.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return _hashed(row, np.asarray(grey, np.uint8), data)


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
