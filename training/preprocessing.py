"""Picture files to uint8 arrays, the same way in training, evaluation and `predict`."""

from __future__ import annotations

import os
import pathlib

import numpy as np
from PIL import Image, ImageOps

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing

# Naming the formats keeps Pillow's rarer parsers away from untrusted bytes.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


def read_picture(path: str | os.PathLike[str], preprocessing: Preprocessing) -> np.ndarray:
    """Decode a file and bring it to the network's geometry.

    Grey, palette, CMYK, 16-bit and transparent pictures are converted (transparency onto white);
    the EXIF orientation is applied.

    Returns:
        (height, width, channels) uint8.

    Raises:
        InputError: missing, truncated, too large, or not a JPEG, PNG, WebP or BMP picture.
    """
    path = pathlib.Path(path)
    try:
        with Image.open(path, formats=FORMATS) as opened:
            opened.load()
            picture = ImageOps.exif_transpose(opened)
            return fit(_convert(picture, preprocessing.channels), preprocessing)
    except FileNotFoundError:
        raise InputError(f"{path}: no such picture") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; name picture files") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = _reason(error)
        raise InputError(
            f"{path} is not a readable JPEG, PNG, WebP or BMP picture ({reason}); "
            "replace or remove it"
        ) from error


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
        return "its bytes are no such format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__
