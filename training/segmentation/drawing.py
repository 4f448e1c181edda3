"""Masks drawn on images: a tint and a contour a class, and a legend below.

A class has the colour that boxes of the same objects have (`training.common.drawing`). Seven
colours are what colour-blind people tell apart: the next seven classes have stripes of them, the
next dots. What is no object's, where maps are made of objects, stays as it is.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from kerascnn.errors import InputError
from training.common import atomic
from training.common.drawing import CLASS_COLOURS, INK, MUTED, shorten
from training.common.fonts import Letters
from training.datasets.segmentation import BACKGROUND, VOID, Palette

_SOLID, _STRIPES, _DOTS = range(3)  # looks of a tint
_TINTS = 3
_TINT = 0.65  # the colour's share in a solid tint,
_STRONG, _WEAK = 0.85, 0.25  # and on and between stripes or dots
_NOT_COUNTED = "not counted"
_LETTERS = 24  # of a name
_LEGEND = 0.25  # most of a frame's height that a legend of all classes takes below it
_JPEG = {"quality": 92, "subsampling": 0}  # thin coloured lines need all colours
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def draw_map(
    picture: np.ndarray,
    label_map: np.ndarray,
    classes: Sequence[str],
    palette: Palette | None = None,
) -> np.ndarray:
    """Draw a mask on a copy of an image, and the names of the classes in it below.

    Args:
        picture: (h, w, 3) uint8.
        label_map: (h, w) uint8 class indices; `VOID` is drawn in grey.
        classes: names in index order.
        palette: (c, 3) the data's own colours; without it, ours.

    Returns:
        (h + the legend's, w, 3) uint8.

    Raises:
        InputError: a map of another size, one with what is no class, or not an image.
    """
    drawn = overlay(picture, label_map, classes, palette)
    present = np.flatnonzero(np.bincount(label_map.ravel(), minlength=VOID + 1))
    below = legend(present, classes, drawn.shape[1], palette, letters=_letters(drawn.shape))
    return np.concatenate([drawn, below])


def draw_frame(
    picture: np.ndarray,
    label_map: np.ndarray,
    classes: Sequence[str],
    palette: Palette | None = None,
) -> np.ndarray:
    """As `draw_map`, of one height whichever classes are in the map: what a video's frames need.

    The legend below has all classes. Where that takes more than a quarter of the image's height,
    those in the map are named on the image's lower border instead.
    """
    drawn = overlay(picture, label_map, classes, palette)
    letters, (high, wide) = _letters(drawn.shape), drawn.shape[:2]
    below = legend(range(len(classes)), classes, wide, palette, letters=letters)
    if len(below) <= _LEGEND * high:
        return np.concatenate([drawn, below])
    present = np.flatnonzero(np.bincount(label_map.ravel(), minlength=VOID + 1))
    within = legend(present, classes, wide, palette, letters=letters)[: int(_LEGEND * high)]
    drawn[high - len(within) :] = within
    return drawn


def write_map(
    path: pathlib.Path,
    picture: np.ndarray,
    label_map: np.ndarray,
    classes: Sequence[str],
    palette: Palette | None = None,
) -> None:
    """Write what `draw_map` draws as .png or .jpg; the rest of the arguments is its own.

    Raises:
        InputError: another suffix, or as `draw_map`.
    """
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"{path}: images are written as .png or .jpg; choose one of them")
    drawn = draw_map(picture, label_map, classes, palette)
    kind = _FORMATS[path.suffix.lower()]
    with atomic.replacing(path) as temporary:
        Image.fromarray(drawn).save(temporary, kind, **(_JPEG if kind == "JPEG" else {}))


def overlay(
    picture: np.ndarray,
    label_map: np.ndarray,
    classes: Sequence[str],
    palette: Palette | None = None,
) -> np.ndarray:
    """The image with tints and contours alone; (h, w, 3) uint8. The rest is as `draw_map`."""
    _check(picture, label_map, classes)
    colours, share = _looks(label_map, classes, palette)
    line = max(1, round((picture.shape[0] * picture.shape[1]) ** 0.5 / 320))
    share = np.where(_outlines(label_map, line) & (share > 0), 1.0, share)[..., None]
    return np.rint(picture * (1 - share) + colours * share).astype(np.uint8)


def legend(
    labels: Sequence[int] | np.ndarray,
    classes: Sequence[str],
    width: int,
    palette: Palette | None = None,
    *,
    letters: int = 12,
) -> np.ndarray:
    """Swatches and names on white, in as many rows as they need.

    Args:
        labels: classes to name, `VOID` as "not counted"; the background has no entry.
        width: pixels.
        letters: their height in pixels.

    Returns:
        (height, width, 3) uint8; without entries its height is 0.
    """
    writer = Letters(letters, [_name(int(label), classes) for label in labels])
    gap, high = max(2, letters // 3), sum(writer.metrics)
    step = high + gap
    entries, left, top = [], gap, gap
    for label in labels:
        if _is_bare(int(label), classes):
            continue
        name = _fitting(_name(int(label), classes), writer, width - high - 3 * gap)
        wide = high + gap + int(np.ceil(writer.length(name)))
        if left > gap and left + wide + gap > width:
            left, top = gap, top + step
        entries.append((int(label), name, left, top))
        left += wide + 3 * gap
    sheet = Image.new("RGB", (width, top + step if entries else 0), "white")
    canvas = ImageDraw.Draw(sheet)
    for label, name, left, top in entries:
        swatch = np.full((high, high), label, np.uint8)
        colours, share = _looks(swatch, classes, palette)
        edge = np.pad(np.zeros((high - 2, high - 2), bool), 1, constant_values=True)
        share = np.where(edge, 1.0, share)[..., None]
        ground = np.rint(255 * (1 - share) + colours * share).astype(np.uint8)
        sheet.paste(Image.fromarray(ground), (left, top))
        writer.write(canvas, (left + high + gap, top), name, INK)
    return np.asarray(sheet, np.uint8).reshape(sheet.height, width, 3)


def _looks(
    label_map: np.ndarray, classes: Sequence[str], palette: Palette | None
) -> tuple[np.ndarray, np.ndarray]:
    """Colour (h, w, 3) of each pixel's class, and (h, w) its share of the pixel; float32."""
    numbers, shape = range(VOID + 1), label_map.shape
    colours = np.array([_colour(label, classes, palette) for label in numbers], np.float32)
    looks = np.array([_look(label, classes, palette) for label in numbers])
    bare = np.array([_is_bare(label, classes) for label in numbers])
    rows, columns = np.indices(shape)
    period = 4 * max(1, round((shape[0] * shape[1]) ** 0.5 / 320))
    on = np.stack([
        np.full(shape, True),
        (rows + columns) % (2 * period) < period,
        (rows % period < period / 2) & (columns % period < period / 2),
    ])  # fmt: skip
    look = looks[label_map]
    patterned = np.where(np.take_along_axis(on, look[None], axis=0)[0], _STRONG, _WEAK)
    share = np.where(look == _SOLID, _TINT, patterned)
    return colours[label_map], np.where(bare[label_map], 0, share).astype(np.float32)


def _number(label: int, classes: Sequence[str]) -> int:
    """Of the class among those of objects, which boxes have."""
    return label - (classes[0] == BACKGROUND)


def _colour(label: int, classes: Sequence[str], palette: Palette | None) -> tuple[int, ...]:
    if label >= len(classes):
        return ImageColor.getrgb(MUTED)
    if palette is not None:
        return palette[label]
    return ImageColor.getrgb(CLASS_COLOURS[_number(label, classes) % len(CLASS_COLOURS)])


def _look(label: int, classes: Sequence[str], palette: Palette | None) -> int:
    if label >= len(classes):
        return _STRIPES
    if palette is not None:
        return _SOLID
    return _number(label, classes) // len(CLASS_COLOURS) % _TINTS


def _is_bare(label: int, classes: Sequence[str]) -> bool:
    """Whether a class is drawn by leaving the image as it is."""
    return label == 0 and classes[0] == BACKGROUND


def _name(label: int, classes: Sequence[str]) -> str:
    return _NOT_COUNTED if label == VOID else classes[label]


def _fitting(name: str, writer: Letters, width: int) -> str:
    """As much of a name as there is room for."""
    for letters in range(_LETTERS, 0, -1):
        if writer.length(text := shorten(name, letters)) <= width:
            return text
    return ""


def _outlines(label_map: np.ndarray, line: int) -> np.ndarray:
    """(h, w) bool: pixels with another class within `line` pixels up, down, left or right."""
    edge = np.zeros(label_map.shape, bool)
    for step in range(1, line + 1):
        differ = label_map[:-step] != label_map[step:]
        edge[:-step] |= differ
        edge[step:] |= differ
        differ = label_map[:, :-step] != label_map[:, step:]
        edge[:, :-step] |= differ
        edge[:, step:] |= differ
    return edge


def _letters(shape: tuple[int, ...]) -> int:
    """Their height: a small image is looked at as it is, a large one shrunk to the screen."""
    return max(10, round(0.02 * (shape[0] * shape[1]) ** 0.5))


def _check(picture: np.ndarray, label_map: np.ndarray, classes: Sequence[str]) -> None:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
        raise InputError(
            f"maps are drawn on (height, width, 3) uint8, not {picture.shape} {picture.dtype}; "
            "give the image as it is read"
        )
    if label_map.shape != picture.shape[:2] or label_map.dtype != np.uint8:
        raise InputError(
            f"a label map of shape {label_map.shape} {label_map.dtype} does not fit an image of "
            f"{picture.shape[:2]}; give (height, width) uint8 at the image's own size"
        )
    named = label_map[label_map != VOID]
    if named.size and named.max() >= len(classes):
        raise InputError(
            f"class {named.max()} is in the label map and there are {len(classes)} classes; give "
            "the names of all classes"
        )
