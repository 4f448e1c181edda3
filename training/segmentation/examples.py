"""Held-out images with their masks, true and found, for a person to look at."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.common import atomic
from training.common.drawing import INK
from training.common.fonts import OURS
from training.common.spread import spread
from training.datasets.segmentation import Palette, SegmentationSplit
from training.segmentation.drawing import legend, overlay

_COLUMNS, _MOST = 2, 12
_SIDE = 240  # pixels that an image is shown in
_GAP, _BETWEEN = 8, 24
_HEAD = 24
_TITLES = ("image", "truth", "found")


def chosen(count: int) -> np.ndarray:
    """Positions of the images to show: up to twelve, evenly over the split."""
    return np.unique(spread(count, _MOST))


def example(
    picture: np.ndarray,
    truth: np.ndarray,
    found: np.ndarray,
    classes: Sequence[str],
    palette: Palette | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image, its true map on it, and the one that was found.

    Args:
        picture: (h, w, 3) uint8.
        truth, found: (h, w) uint8.

    Returns:
        Three (height, width, 3) uint8, the longer side 240 pixels.
    """
    height, width = picture.shape[:2]
    scale = _SIDE / max(height, width)
    size = max(1, round(scale * width)), max(1, round(scale * height))
    small = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))
    truth, found = (
        np.asarray(Image.fromarray(each).resize(size, Image.Resampling.NEAREST))
        for each in (truth, found)
    )
    return (
        small,
        overlay(small, truth, classes, palette),
        overlay(small, found, classes, palette),
    )


def write_examples(
    path: pathlib.Path,
    split: SegmentationSplit,
    found: Mapping[int, np.ndarray],
    classes: Sequence[str],
    *,
    palette: Palette | None = None,
) -> None:
    """Write images of a split, two in a row, as a .png: each as it is, true and found.

    Args:
        found: (h, w) maps by position in the split, of the images to show.
    """
    indices = sorted(found)
    columns = min(_COLUMNS, len(indices))
    rows, present = [], set()
    for index in indices:
        truth = split.label_map(index)
        present |= {*np.unique(truth).tolist(), *np.unique(found[index]).tolist()}
        rows.append(example(split.picture(index), truth, found[index], classes, palette))
    step, high = len(_TITLES) * (_SIDE + _GAP) + _BETWEEN, _GAP + max(len(row[0]) for row in rows)
    width = columns * step - _BETWEEN + _GAP
    below = Image.fromarray(legend(sorted(present), classes, width, palette))
    head = _HEAD + -(-len(indices) // columns) * high
    sheet = Image.new("RGB", (width, head + below.height), "white")
    _write_titles(sheet, columns, step)
    for number, three in enumerate(rows):
        row, column = divmod(number, columns)
        for place, each in enumerate(three):
            left = _GAP + column * step + place * (_SIDE + _GAP)
            sheet.paste(Image.fromarray(each), (left, _HEAD + row * high))
    sheet.paste(below, (0, head))
    with atomic.replacing(path) as temporary:
        sheet.save(temporary)


def _write_titles(sheet: Image.Image, columns: int, step: int) -> None:
    font = ImageFont.truetype(OURS, 13)
    canvas = ImageDraw.Draw(sheet)
    for column in range(columns):
        for place, title in enumerate(_TITLES):
            left = _GAP + column * step + place * (_SIDE + _GAP)
            canvas.text((left, 4), title, fill=INK, font=font)
