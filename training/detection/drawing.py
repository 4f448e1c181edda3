"""Boxes and masks drawn on images.

What was found stands in bands of the class's colour, the truth in dashes. A mask is tinted, and has
a line around it, so that two objects of a class that touch are told apart.
"""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from kerascnn.errors import InputError
from training.common import atomic
from training.common.drawing import (
    CLASS_COLOURS,
    INK,
    shorten,
)
from training.common.fonts import Letters

_WHITE = "#ffffff"
_TINT = 0.45  # share of the class's colour in a mask
_BRIGHT = 140  # of 255, from which on letters on a colour are dark
_LETTERS = 24  # of a name
_SMALLEST = 8  # pixels that letters need to be read
_JPEG = {"quality": 92, "subsampling": 0}  # thin coloured lines need all colours
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


class _Rectangle(NamedTuple):
    """Pixels from left and top up to right and bottom, which are outside."""

    left: int
    top: int
    right: int
    bottom: int

    def grown(self, pixels: int) -> _Rectangle:
        return _Rectangle(
            self.left - pixels, self.top - pixels, self.right + pixels, self.bottom + pixels
        )

    def within(self, size: tuple[int, int]) -> _Rectangle:
        """The part inside an image of this width and height."""
        wide, high = size
        return _Rectangle(
            *(max(self.left, 0), max(self.top, 0), min(self.right, wide), min(self.bottom, high))
        )

    def overlaps(self, other: _Rectangle) -> bool:
        return max(self.left, other.left) < min(self.right, other.right) and max(
            self.top, other.top
        ) < min(self.bottom, other.bottom)

    @property
    def last(self) -> tuple[int, int, int, int]:
        """As Pillow draws: the last column and row are inside."""
        return self.left, self.top, self.right - 1, self.bottom - 1


def draw_boxes(
    picture: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray | None = None,
    *,
    classes: Sequence[str],
    truth: np.ndarray | None = None,
    masks: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Draw boxes with their classes' names on a copy of an image.

    Lines and letters grow with the image. A box that is no number, or lies outside, is left
    out, with its mask; higher scores lie above lower ones.

    Args:
        picture: (height, width, 3) uint8.
        boxes: (d, 4) top, left, bottom and right, as shares of height and width.
        labels: (d,) class indices.
        scores: (d,) shares of 1, written behind the names.
        classes: names in index order.
        truth: (m, 4) boxes to draw in dashes, without names.
        masks: d of (height, width) bool, the pixels of each object.

    Returns:
        (height, width, 3) uint8.

    Raises:
        InputError: not a label (and score, and mask) a box, a label that is no class, a mask of
            another size than the image, or not an image.
    """
    _check(picture, boxes, labels, scores, classes)
    size = picture.shape[1], picture.shape[0]
    line, letters = _line_width(size), _letter_height(size)
    order = np.arange(len(labels)) if scores is None else np.argsort(-scores, kind="stable")
    drawn = [(int(i), box) for i in order if (box := _inside(boxes[i], size, line))]
    if masks is not None:
        _check_masks(masks, len(labels), picture.shape[:2])
        picture = picture.copy()
        for i, _box in reversed(drawn):
            _tint(picture, masks[i], _colour(labels[i]), max(1, line // 2))
    image = Image.fromarray(picture)
    for i, box in reversed(drawn):
        _band(image, box, line, _colour(labels[i]))
    for each in () if truth is None else truth:
        if dashed := _inside(each, image.size, 0):
            _dashes(image, dashed, line)
    names = {classes[labels[i]] for i, _box in drawn}
    strips = _Strips(image, max(letters, _SMALLEST), names)
    for i, box in drawn if letters >= _SMALLEST else ():
        score = "" if scores is None else f"{scores[i]:.2f}"
        strips.place(classes[labels[i]], score, box, _colour(labels[i]))
    strips.draw()
    return np.array(image)


def write_boxes(
    path: pathlib.Path,
    picture: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray | None = None,
    *,
    classes: Sequence[str],
    truth: np.ndarray | None = None,
    masks: Sequence[np.ndarray] | None = None,
) -> None:
    """Write what `draw_boxes` draws as .png or .jpg; the rest of the arguments is its own.

    Raises:
        InputError: another suffix, or as `draw_boxes`.
    """
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"{path}: images are written as .png or .jpg; choose one of them")
    drawn = draw_boxes(picture, boxes, labels, scores, classes=classes, truth=truth, masks=masks)
    kind = _FORMATS[path.suffix.lower()]
    with atomic.replacing(path) as temporary:
        Image.fromarray(drawn).save(temporary, kind, **(_JPEG if kind == "JPEG" else {}))


class _Strip(NamedTuple):
    place: _Rectangle
    text: str
    colour: str


class _Strips:
    """Names beside boxes: none leaves the image, and few hide another."""

    def __init__(self, image: Image.Image, height: int, names: Collection[str]) -> None:
        self.size = image.size
        self.canvas = ImageDraw.Draw(image)
        self.letters = Letters(height, names)
        self.gap = max(1, height // 5)
        self.high = sum(self.letters.metrics) + 2
        self.placed: list[_Strip] = []

    def place(self, name: str, score: str, box: _Rectangle, colour: str) -> None:
        """Choose where a strip goes; those placed first, of higher scores, have first choice."""
        text = self._fitting(name, score)
        if not text:
            return
        wide = self._width(text)
        free = (
            place
            for place in self._places(box, wide)
            if not any(place.overlaps(strip.place) for strip in self.placed)
        )
        place = next(free, None) or next(self._places(box, wide))
        self.placed.append(_Strip(place, text, colour))

    def draw(self) -> None:
        """Lower scores first, so that higher ones can be read."""
        for place, text, colour in reversed(self.placed):
            self.canvas.rectangle(place.last, fill=colour)
            corner = (place.left + self.gap, place.top + 1)
            self.letters.write(self.canvas, corner, text, _contrast(colour))

    def _places(self, box: _Rectangle, wide: int) -> Iterator[_Rectangle]:
        """Above the box, below it, then inside; pushed into the image where it is too near."""
        across, down = self.size
        tops = (box.top - self.high, box.bottom, box.top, box.bottom - self.high)
        for top, left in itertools.product(tops, (box.left, box.right - wide)):
            pushed = min(max(left, 0), across - wide), min(max(top, 0), down - self.high)
            if pushed[1] == top or top == box.top:
                yield _Rectangle(*pushed, pushed[0] + wide, pushed[1] + self.high)

    def _fitting(self, name: str, score: str) -> str:
        """As much of the name as the image is wide for, nothing where no letter is."""
        for letters in range(_LETTERS, 0, -1):
            text = f"{shorten(name, letters)} {score}".strip()
            if self._width(text) <= self.size[0]:
                return text
        return ""

    def _width(self, text: str) -> int:
        return int(np.ceil(self.letters.length(text))) + 2 * self.gap


def _check(
    picture: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray | None,
    classes: Sequence[str],
) -> None:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
        raise InputError(
            f"boxes are drawn on (height, width, 3) uint8, not {picture.shape} {picture.dtype}; "
            "give the image as it is read"
        )
    counts = {len(boxes), len(labels)} | (set() if scores is None else {len(scores)})
    if len(counts) != 1:
        raise InputError(f"boxes, labels and scores differ in number ({counts}); give one of each")
    if len(labels) and not 0 <= min(labels) <= max(labels) < len(classes):
        raise InputError(
            f"labels go from {min(labels)} to {max(labels)} and there are {len(classes)} classes; "
            "give the names of all classes"
        )


def _check_masks(masks: Sequence[np.ndarray], count: int, size: tuple[int, ...]) -> None:
    if len(masks) != count:
        raise InputError(f"{len(masks)} masks for {count} boxes; give one of each")
    for mask in masks:
        if mask.dtype != bool or mask.shape != size:
            raise InputError(
                f"masks are bool of the image's {size} pixels, not {mask.dtype} of {mask.shape}; "
                "paste them into the image first"
            )


def _line_width(size: tuple[int, int]) -> int:
    return max(3, round((size[0] * size[1]) ** 0.5 / 320))


def _letter_height(size: tuple[int, int]) -> int:
    """A small image is looked at as it is, a large one shrunk to the screen."""
    return min(max(11, round(0.016 * (size[0] * size[1]) ** 0.5)), min(size) // 6)


def _inside(box: np.ndarray, size: tuple[int, int], line: int) -> _Rectangle | None:
    """The pixels of a box with its line, which lies half outside; None if there are none."""
    wide, high = size
    edges = np.asarray(box, np.float64) * (high, wide, high, wide)
    if not np.isfinite(edges).all():
        return None
    # Far outside is outside enough; Pillow takes no number above 2^31.
    top, left, bottom, right = np.clip(np.rint(edges), -1, np.tile((high + 1, wide + 1), 2))
    whole = _Rectangle(int(left), int(top), int(max(right, left + 1)), int(max(bottom, top + 1)))
    part = whole.within(size)
    if part.left >= part.right or part.top >= part.bottom:
        return None
    return part.grown(line // 2).within(size)


def _tint(picture: np.ndarray, mask: np.ndarray, colour: str, line: int) -> None:
    """Mix a colour into the pixels of a mask, which end in a line of it and a dark edge outside."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return
    # The part of the image that the mask and its edge take.
    part = tuple(slice(max(0, each[0] - 1), each[-1] + 2) for each in (rows, columns))
    pixels, mask = picture[part], mask[part]
    paint = np.array(ImageColor.getrgb(colour))
    inner = mask
    for _ in range(line):
        inner = ~_grown(~inner)
    pixels[inner] = np.rint((1 - _TINT) * pixels[inner] + _TINT * paint)
    pixels[mask & ~inner] = paint
    pixels[_grown(mask) & ~mask] = ImageColor.getrgb(INK)


def _grown(mask: np.ndarray) -> np.ndarray:
    """With the neighbours above, below, left and right."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def _band(image: Image.Image, box: _Rectangle, line: int, colour: str) -> None:
    """A frame with a thin dark edge, so that it shows on a ground of its own colour."""
    draw = ImageDraw.Draw(image)
    edge = max(1, line // 4)
    around = box.grown(edge).within(image.size)
    draw.rectangle(around.last, outline=INK, width=edge)
    draw.rectangle(box.last, outline=colour, width=line)


def _dashes(image: Image.Image, box: _Rectangle, line: int) -> None:
    """A thin black frame with white dashes."""
    draw = ImageDraw.Draw(image)
    thin = max(1, line // 2)
    draw.rectangle(box.last, outline=INK, width=thin)
    dash = 4 * thin
    for left in range(box.left, box.right, 2 * dash):
        right = min(left + dash, box.right) - 1
        draw.rectangle((left, box.top, right, box.top + thin - 1), fill=_WHITE)
        draw.rectangle((left, box.bottom - thin, right, box.bottom - 1), fill=_WHITE)
    for top in range(box.top, box.bottom, 2 * dash):
        bottom = min(top + dash, box.bottom) - 1
        draw.rectangle((box.left, top, box.left + thin - 1, bottom), fill=_WHITE)
        draw.rectangle((box.right - thin, top, box.right - 1, bottom), fill=_WHITE)


def _colour(label: int) -> str:
    return CLASS_COLOURS[int(label) % len(CLASS_COLOURS)]


def _contrast(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue >= _BRIGHT else _WHITE
