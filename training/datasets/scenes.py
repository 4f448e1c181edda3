"""`scenes`: the digits of `mnist` strewn over photos, to be found, with boxes and masks.

    scenes                   2,000 scenes to learn from, 500 held out, of 320x320 pixels
    scenes:256x192           the same, 256 pixels high and 192 wide
    scenes:320@4000+1000     4,000 to learn from, 1,000 held out

Scenes are made when they are asked for. Scene i of a part depends on the size and on i alone, so
the first 500 are the same however many there are, in any order and on every machine: choices and
colours are made in whole numbers. Pixels come from Pillow's resizing and rotation, whose rounding
other versions than 13 may change by a few values, and with it a box's edge by a pixel.

A scene has up to eight digits (3% of scenes have none). Their longer sides are 8% to 50% of the
scene's shorter side; they are turned by up to 30 degrees, and some are cut by the border. At least
70% of a digit's pixels are inside, and 60% can be seen.
Boxes and areas are of the pixels that can be seen, as COCO's are of its masks.

Neither digits nor photos of held-out scenes are among those to learn from: digits are split as in
`mnist`, photos as in `scenes-digits`, with more of both parts here. Photos of scikit-image
(skimage.data, public domain or CC0) and scikit-learn (sklearn.datasets, by danielbuechele and
vultilion, CC BY 2.0), read from those packages' own files.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import re

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from kerascnn.errors import InputError
from training.datasets import mnist, painting
from training.datasets.detection import DetectionDataset, DetectionSplit, Objects
from training.datasets.painting import pick
from training.datasets.segmentation import BACKGROUND, SegmentationDataset, SegmentationSplit
from training.datasets.splits import digest

# Part of the data set's definition, as everything below: another value makes other scenes.
_VERSION = 1
_SEED = 20_26
_PHOTOS = {
    "train": (
        ("skimage.data", "astronaut.png"),
        ("skimage.data", "brick.png"),
        ("skimage.data", "camera.png"),
        ("skimage.data", "coffee.png"),
        ("skimage.data", "gravel.png"),
        ("skimage.data", "hubble_deep_field.jpg"),
        ("skimage.data", "ihc.png"),
        # The same motorcycle from two places: never one of them in each part.
        ("skimage.data", "motorcycle_left.png"),
        ("skimage.data", "motorcycle_right.png"),
        ("skimage.data", "retina.jpg"),
        ("skimage.data", "rocket.jpg"),
        ("sklearn.datasets.images", "flower.jpg"),
    ),
    "held_out": (
        ("skimage.data", "chelsea.png"),
        ("skimage.data", "coins.png"),
        ("skimage.data", "grass.png"),
        ("sklearn.datasets.images", "china.jpg"),
    ),
}
_PARTS = tuple(_PHOTOS)

_CROPS = (200, 512)  # shorter sides of what is cut from a photo, in its own pixels
_MOST = 8  # digits
_EMPTY = 1966  # of 65,536 scenes have no digit
# Longer sides of digits before they are turned, in thousandths of the scene's shorter side: equal
# ratios from 8% to 50%. None is near a half, so that rounding is the same everywhere.
_SHARES = tuple(round(80 * 6.25 ** (step / 255)) for step in range(256))
_SMALLEST = 16  # pixels; below that a digit cannot be read
_TURN = 30  # degrees
_TRIES = 8  # places for a digit, before it is left out
_BEYOND = 5  # a fifth of a digit's frame may lie outside, in every fourth place
_SHARED = 4  # a quarter of the smaller of two frames may be in both
# Hundredths of a digit's pixels.
_INSIDE = 70
_VISIBLE = 60
# Differences of brightness (0 to 255) that keep a digit readable.
_GAP = 60  # between the digit and the average behind it, beside 1.5 standard deviations there,
_SPREAD = 42  # which are brought down to this where they are more
_EITHER = (104, 152)  # on what is darker, digits are bright; on what is brighter, dark
_COLOURS = 4  # drawn for a digit; the one least like those of the digits it may touch is taken

# What is drawn for a digit: which it is, its size and turn; its places; its colours.
_PLACES = slice(3, 3 + 3 * _TRIES)
_HUES = slice(_PLACES.stop, _PLACES.stop + 4 * _COLOURS)

_SPEC = re.compile(
    r"scenes(?::(?P<height>[0-9]{1,7})(?:x(?P<width>[0-9]{1,7}))?)?"
    r"(?:@(?P<train>[0-9]{1,7})\+(?P<held_out>[0-9]{1,7}))?"
)
_SIDES = (64, 2048)
_COUNTS = (1, 1_000_000)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Part:
    """What the scenes of a part have in common."""

    name: str
    height: int
    width: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Digit:
    """A digit in its place.

    Attributes:
        stroke: 8-bit grey, how much of the colour each pixel takes; the digit's own pixels are
            those that take half or more.
        left: the stroke's first column, in the image; negative where it begins outside.
        top: its first row, likewise.
        hues: what was drawn for its colour.
    """

    label: int
    stroke: Image.Image
    left: int
    top: int
    hues: list[int]

    @property
    def frame(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom, as Pillow has them; may reach beyond the image."""
        return (
            self.left,
            self.top,
            self.left + self.stroke.width,
            self.top + self.stroke.height,
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Layout:
    """Where the digits of a scene are.

    Attributes:
        digits: a later one hides what it covers of an earlier one.
        owner: (height, width) uint8, 0 or 1 + the index of the digit whose pixel it is.
        draws: for the scene as a whole: whether it is empty, how many digits, which photo, the
            crop's side, left and top, the contrast, whether it is mirrored.
    """

    digits: tuple[_Digit, ...]
    owner: np.ndarray
    draws: list[int]


@functools.lru_cache(maxsize=16)
def scan(spec: str = "scenes") -> DetectionDataset:
    """The scenes that "scenes[:SIDE or :HEIGHTxWIDTH][@TRAIN+HELD_OUT]" asks for.

    Raises:
        InputError: it is something else, or a number is out of range.
    """
    height, width, counts = _parse(spec)
    parts = {name: _Part(name=name, height=height, width=width) for name in _PARTS}
    splits = {name: _split(parts[name], counts[name]) for name in _PARTS}
    settings = (
        *(_VERSION, _SEED, _PHOTOS, _CROPS, _MOST, _EMPTY, _SHARES, _SMALLEST, _TURN, _TRIES),
        *(_BEYOND, _SHARED, _INSIDE, _VISIBLE, _GAP, _SPREAD, _EITHER, _COLOURS),
    )
    asked = repr((settings, height, width, counts))
    digits = mnist.scan()
    return DetectionDataset(
        name=spec,
        classes=digits.classes,
        category_ids=tuple(range(1, len(digits.classes) + 1)),
        train=splits["train"],
        validation=None,
        held_out=splits["held_out"],
        fingerprint=digest([asked.encode(), digits.fingerprint.encode(), *_photo_bytes()]),
        generated=True,
    )


@functools.lru_cache(maxsize=16)
def scan_maps(spec: str = "scenes") -> SegmentationDataset:
    """The same scenes with the class of every pixel: background, or the digit whose pixel it is.

    Raises:
        InputError: as `scan`.
    """
    found = scan(spec)
    height, width, _counts = _parse(spec)

    def split(name: str, objects: DetectionSplit) -> SegmentationSplit:
        part = _Part(name=name, height=height, width=width)
        return SegmentationSplit(
            names=objects.names,
            places=objects.places,
            sizes=objects.sizes,
            read=objects.read,
            annotate=functools.partial(_label_map, part),
        )

    return SegmentationDataset(
        name=spec,
        classes=(BACKGROUND, *found.classes),
        train=split("train", found.train),
        validation=None,
        held_out=split("held_out", found.held_out),
        fingerprint=digest([found.fingerprint.encode(), b"label maps"]),
        generated=True,
    )


def _parse(spec: str) -> tuple[int, int, dict[str, int]]:
    """Height, width, and how many scenes each part has."""
    found = _SPEC.fullmatch(spec)
    if found is None:
        raise InputError(
            f"{spec!r} is not a set of scenes; write scenes, scenes:320, scenes:256x192 (height x "
            "width) or scenes:320@4000+1000 (to learn from + held out)"
        )
    height = int(found["height"] or 320)
    width = int(found["width"] or height)
    counts = {"train": int(found["train"] or 2000), "held_out": int(found["held_out"] or 500)}
    for what, values, (low, high) in (
        ("sides", (height, width), _SIDES),
        ("numbers of scenes", tuple(counts.values()), _COUNTS),
    ):
        if not all(low <= value <= high for value in values):
            raise InputError(
                f"{spec!r}: {what} are from {low} to {high}, as in scenes:320@4000+1000"
            )
    return height, width, counts


def _split(part: _Part, count: int) -> DetectionSplit:
    return DetectionSplit(
        names=tuple(f"scenes/{part.name}[{place}]" for place in range(count)),
        places=np.arange(count, dtype=np.int64),
        sizes=np.full((count, 2), (part.height, part.width), np.int32),
        read=functools.partial(_read, part),
        annotate=functools.partial(_annotate, part),
    )


@functools.lru_cache(maxsize=1 << 14)
def _annotate(part: _Part, place: int) -> Objects:
    """The boxes of what can be seen of each digit; masks are made when they are asked for."""
    layout = _layout(part, place)
    count = len(layout.digits)
    boxes, areas = np.zeros((count, 4), np.float32), np.zeros(count, np.float32)
    for index, digit in enumerate(layout.digits):
        left, top, right, bottom = _inside(digit.frame, part)
        seen = layout.owner[top:bottom, left:right] == index + 1
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        corners = top + rows[0], left + columns[0], top + rows[-1] + 1, left + columns[-1] + 1
        boxes[index] = np.divide(corners, (part.height, part.width) * 2)
        areas[index] = np.count_nonzero(seen)
    arrays = {
        "boxes": boxes,
        "labels": np.array([digit.label for digit in layout.digits], np.int32),
        "crowd": np.zeros(count, bool),
        "areas": areas,
        "ids": place * _MOST + 1 + np.arange(count, dtype=np.int64),
    }
    for array in arrays.values():
        array.setflags(write=False)  # the next to ask gets the same arrays
    masks = tuple(functools.partial(_mask, part, place, index) for index in range(count))
    return Objects(**arrays, masks=masks)


def _mask(part: _Part, place: int, index: int) -> np.ndarray:
    return _layout(part, place).owner == index + 1


def _label_map(part: _Part, place: int) -> np.ndarray:
    """(height, width) uint8, 0 or 1 + the digit."""
    layout = _layout(part, place)
    classes = np.array([0, *(1 + digit.label for digit in layout.digits)], np.uint8)
    return classes[layout.owner]


def _read(part: _Part, place: int) -> np.ndarray:
    """(height, width, 3) uint8: a crop of a photo, its contrast changed, and the digits on it."""
    layout = _layout(part, place)
    picture = _background(part, layout.draws)
    luma = picture.convert("L")
    behind = [_brightness(luma.crop(_inside(digit.frame, part))) for digit in layout.digits]
    restless = max((spread for _mean, spread in behind), default=1)
    contrast = min(pick(layout.draws[6], 154, 256), _SPREAD * 256 // max(restless, 1))
    middle, _spread = _brightness(luma)
    changed = [middle + ((value - middle) * contrast >> 8) for value in range(256)]
    picture = picture.point(changed * 3)
    colours: list[tuple[int, ...]] = []
    for digit, (mean, spread) in zip(layout.digits, behind, strict=True):
        near = [
            colour
            for other, colour in zip(layout.digits, colours, strict=False)
            if _shared(digit.frame, other.frame)
        ]
        gap = _GAP + (3 * spread * contrast >> 9)
        colours.append(_colour(digit.hues, changed[mean], gap, near))
        picture.paste(colours[-1], digit.frame[:2], digit.stroke)
    return np.array(picture)


@functools.lru_cache(maxsize=64)
def _layout(part: _Part, place: int) -> _Layout:
    """Digits laid one upon the other; no photo is looked at, so that annotations are cheap."""
    rng = np.random.default_rng([_SEED, _PARTS.index(part.name), place])
    scene, *draws = rng.integers(0, 1 << 16, (1 + _MOST, _HUES.stop)).tolist()
    wanted = 0 if scene[0] < _EMPTY else pick(scene[1], 1, _MOST)
    owner = np.zeros((part.height, part.width), np.uint8)
    digits: list[_Digit] = []
    for draw in draws[:wanted]:
        label, stroke = _stroke(part, draw)
        places = draw[_PLACES]
        for start in range(0, len(places), 3):
            left, top = _corner(part, stroke, places[start : start + 3])
            digit = _Digit(label=label, stroke=stroke, left=left, top=top, hues=draw[_HUES])
            if _fits(part, digit, digits, owner):
                digits.append(digit)
                frame, own = _own(part, digit)
                owner[frame][own] = len(digits)
                break
    return _Layout(digits=tuple(digits), owner=owner, draws=scene)


def _fits(part: _Part, digit: _Digit, digits: list[_Digit], owner: np.ndarray) -> bool:
    """Whether enough of the digit is inside, and enough of those that it hides can be seen."""
    frame, own = _own(part, digit)
    if 100 * np.count_nonzero(own) < _INSIDE * _pixels(digit):
        return False
    hidden = np.bincount(owner[frame][own], minlength=1 + len(digits))
    for index, other in enumerate(digits):
        shared = _shared(digit.frame, other.frame)
        if _SHARED * shared > min(_size(digit.frame), _size(other.frame)):
            return False
        if hidden[index + 1]:
            seen = np.count_nonzero(owner == index + 1) - int(hidden[index + 1])
            if 100 * seen < _VISIBLE * _pixels(other):
                return False
    return True


def _own(part: _Part, digit: _Digit) -> tuple[tuple[slice, slice], np.ndarray]:
    """Where in the image a digit lies, and which pixels there are its own."""
    left, top, right, bottom = _inside(digit.frame, part)
    stroke = digit.stroke.crop(
        (left - digit.left, top - digit.top, right - digit.left, bottom - digit.top)
    )
    return np.s_[top:bottom, left:right], np.asarray(stroke) >= 128


def _pixels(digit: _Digit) -> int:
    """How many a digit has, inside and outside the image."""
    return sum(digit.stroke.histogram()[128:])


def _inside(frame: tuple[int, int, int, int], part: _Part) -> tuple[int, int, int, int]:
    left, top, right, bottom = frame
    return max(left, 0), max(top, 0), min(right, part.width), min(bottom, part.height)


def _shared(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> int:
    """Pixels that are in both frames."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0) * max(height, 0)


def _size(frame: tuple[int, int, int, int]) -> int:
    return (frame[2] - frame[0]) * (frame[3] - frame[1])


def _corner(part: _Part, stroke: Image.Image, draw: list[int]) -> tuple[int, int]:
    """Left and top of a digit; it may reach beyond the border in every fourth place."""
    beyond = [side // _BEYOND if draw[0] % 4 == 0 else 0 for side in stroke.size]
    left = pick(draw[1], -beyond[0], part.width - stroke.width + beyond[0])
    top = pick(draw[2], -beyond[1], part.height - stroke.height + beyond[1])
    return left, top


def _stroke(part: _Part, draw: list[int]) -> tuple[int, Image.Image]:
    """A digit's label, and it cut out, resized and turned; 8-bit grey."""
    cuts, labels = _digits(part.name)
    index = pick(draw[0], 0, len(cuts) - 1)
    cut = cuts[index]
    side = max(_SMALLEST, min(part.height, part.width) * _SHARES[draw[1] >> 8] // 1000)
    longer = max(cut.size)
    size = tuple(max(2, length * side // longer) for length in cut.size)
    turned = cut.resize(size, Image.Resampling.BICUBIC).rotate(
        pick(draw[2], -_TURN, _TURN), Image.Resampling.BILINEAR, expand=True
    )
    # The larger, the more are an upscaled stroke's edges soft and its contours staircases: rounded,
    # then made as crisp as a small one's.
    scale = side // longer
    if scale > 1:
        turned = ImageOps.expand(turned, scale).filter(ImageFilter.BoxBlur(scale // 2 + 1))
    stroke = turned.point(_crisper(2 * scale + 2))
    return labels[index], stroke.crop(stroke.getbbox())


@functools.cache
def _crisper(slope: int) -> list[int]:
    """What becomes of each grey value; half of the ink is a little below the middle."""
    return [min(255, max(0, 128 + slope * (value - 112))) for value in range(256)]


@functools.cache
def _digits(part: str) -> tuple[list[Image.Image], list[int]]:
    """The digits of a part, each cut out, and their labels."""
    split = getattr(mnist.scan(), part)
    cuts = []
    for digit in split.pictures[..., 0]:
        whole = Image.fromarray(np.ascontiguousarray(digit))
        cuts.append(whole.crop(whole.getbbox()))
    return cuts, split.labels.tolist()


def _background(part: _Part, draws: list[int]) -> Image.Image:
    """A crop of a photo, as it is or mirrored, resized to the scene."""
    photos = _photos(part.name)
    photo = photos[pick(draws[2], 0, len(photos) - 1)]
    # The largest crop of the scene's shape; the one that is taken is as large or smaller.
    scale = min(photo.width * part.height, photo.height * part.width)
    largest = scale // part.height, scale // part.width
    shorter = min(largest)
    side = pick(draws[3], min(_CROPS[0], shorter), min(_CROPS[1], shorter))
    width, height = (max(1, length * side // shorter) for length in largest)
    left = pick(draws[4], 0, photo.width - width)
    top = pick(draws[5], 0, photo.height - height)
    box = (left, top, left + width, top + height)
    crop = photo.resize((part.width, part.height), Image.Resampling.BILINEAR, box)
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draws[7] % 2 else crop


@functools.cache
def _photos(part: str) -> tuple[Image.Image, ...]:
    return tuple(painting.photo(package, file) for package, file in _PHOTOS[part])


def _photo_bytes() -> list[bytes]:
    places = [place for photos in _PHOTOS.values() for place in photos]
    return [importlib.resources.files(name).joinpath(file).read_bytes() for name, file in places]


def _brightness(luma: Image.Image) -> tuple[int, int]:
    """Mean and standard deviation of an 8-bit grey image, as whole numbers."""
    counts = np.array(luma.histogram(), np.int64)
    values = np.arange(256)
    mean = int(counts @ values) // int(counts.sum())
    return mean, int(np.sqrt(int(counts @ (values - mean) ** 2) // int(counts.sum())))


def _colour(
    hues: list[int], brightness: int, gap: int, near: list[tuple[int, ...]]
) -> tuple[int, ...]:
    """Of the colours drawn, the first, or that which differs most from those of digits near by."""
    colours = []
    for start in range(0, len(hues), 4):
        even = hues[start] % 2 == 0
        bright = brightness < _EITHER[0] or (brightness <= _EITHER[1] and even)
        colours.append(painting.colour(hues[start + 1 : start + 4], brightness, gap, bright=bright))
    return max(colours, key=lambda colour: min((_difference(colour, o) for o in near), default=0))


def _difference(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True))
