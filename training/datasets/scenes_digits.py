"""`scenes-digits`: the digits of `mnist` painted onto photos, 96x96 in colour.

The 5,000 digits keep the split of `mnist`, 4,000 to learn and 1,000 held out, so that no held-out
digit is seen in training. Nor is a held-out background: the two parts use different photos. Size
(28 to 72 pixels), slant (20 degrees either way), place, colour and the photo's contrast are drawn
once, from a fixed seed; the digit's brightness always differs from what lies behind it.

Photos of scikit-image (skimage.data, public domain or CC0) and scikit-learn (sklearn.datasets,
by danielbuechele and vultilion, CC BY 2.0), read from those packages' own files.
"""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image

from training.datasets import mnist, painting
from training.datasets.painting import pick
from training.datasets.splits import Dataset, Split, digest

SIDE = 96

# Part of the data set's definition, as everything below: another value makes other images.
_SEED = 20_26
TRAIN_PHOTOS = (
    ("skimage.data", "astronaut.png"),
    ("skimage.data", "coffee.png"),
    ("skimage.data", "motorcycle_left.png"),
    ("skimage.data", "rocket.jpg"),
    ("sklearn.datasets.images", "flower.jpg"),
)
HELD_OUT_PHOTOS = (("skimage.data", "chelsea.png"), ("sklearn.datasets.images", "china.jpg"))

_CROPS = (96, 288)  # sides of what is cut from a photo, in its own pixels
_DIGIT_SIDES = (28, 72)  # longer side, before it is slanted
_SLANT = 20  # degrees
# Differences of brightness (0 to 255) that keep a digit readable.
_GAP = 60  # between the digit and the average behind it, beside 1.5 standard deviations there,
_SPREAD = 30  # which are brought down to this where they are more
# The upscaled strokes' soft edges, made crisper.
_CRISPER = np.clip(2 * (np.arange(256) - 64), 0, 255).astype(np.uint8)


@functools.cache
def scan() -> Dataset:
    """The embedded images, (96, 96, 3), with their fixed split."""
    digits = mnist.scan()
    train, painted = _paint(digits.train, TRAIN_PHOTOS, part=0)
    held_out, painted_held_out = _paint(digits.held_out, HELD_OUT_PHOTOS, part=1)
    arrays = (painted, train.labels, painted_held_out, held_out.labels)
    return Dataset(
        name="scenes-digits",
        classes=digits.classes,
        train=train,
        validation=None,
        held_out=held_out,
        resize="pad",
        fingerprint=digest([array.tobytes() for array in arrays]),
    )


def _paint(
    digits: Split, photos: tuple[tuple[str, str], ...], *, part: int
) -> tuple[Split, np.ndarray]:
    """Every digit of a split on a random crop of one of the photos; and its images alone."""
    opened = [painting.photo(package, file) for package, file in photos]
    # Whole numbers, not floats, so that every machine makes the same choices.
    draws = np.random.default_rng([_SEED, part]).integers(0, 1 << 16, (len(digits), 12)).tolist()
    pictures = np.empty((len(digits), SIDE, SIDE, 3), np.uint8)
    assert digits.pictures is not None
    for index, (digit, draw) in enumerate(zip(digits.pictures[..., 0], draws, strict=True)):
        photo = opened[pick(draw[0], 0, len(opened) - 1)]
        pictures[index] = _scene(digit, photo, draw[1:])
    names = tuple(name.replace("mnist", "scenes-digits") for name in digits.names)
    return Split(labels=digits.labels, names=names, pictures=pictures), pictures


def _scene(digit: np.ndarray, photo: Image.Image, draw: list[int]) -> np.ndarray:
    """One (96, 96, 3) image of a (28, 28) digit, by eleven numbers below 2**16."""
    mask = _mask(digit, pick(draw[0], *_DIGIT_SIDES), pick(draw[1], -_SLANT, _SLANT))
    left = pick(draw[2], 0, SIDE - mask.width)
    top = pick(draw[3], 0, SIDE - mask.height)
    frame = np.s_[top : top + mask.height, left : left + mask.width]
    background = _background(photo, draw[4:7])
    brightness, spread = _brightness(background[frame])
    contrast = min(pick(draw[7], 128, 256), _SPREAD * 256 // max(spread, 1))
    background = (brightness + (((background - brightness) * contrast) >> 8)).astype(np.uint8)
    gap = _GAP + (3 * spread * contrast >> 9)
    bright = _wants_bright(draw[7], brightness, gap)
    colour = painting.colour(draw[8:11], brightness, gap, bright=bright)
    picture = Image.fromarray(background)
    picture.paste(colour, (left, top), mask)
    return np.asarray(picture)


def _mask(digit: np.ndarray, side: int, slant: int) -> Image.Image:
    """The digit cut out, its longer side at `side` pixels, slanted; 8-bit grey."""
    rows, columns = np.flatnonzero(digit.any(axis=1)), np.flatnonzero(digit.any(axis=0))
    cut = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    longer = max(cut.shape)
    size = tuple(max(2, length * side // longer) for length in reversed(cut.shape))
    large = Image.fromarray(np.ascontiguousarray(cut)).resize(size, Image.Resampling.BICUBIC)
    slanted = large.rotate(slant, Image.Resampling.BILINEAR, expand=True)
    return Image.fromarray(_CRISPER[np.asarray(slanted)])


def _background(photo: Image.Image, draw: list[int]) -> np.ndarray:
    """(96, 96, 3) int32: a square crop of a photo, resized."""
    side = pick(draw[0], *_CROPS)
    left, top = pick(draw[1], 0, photo.width - side), pick(draw[2], 0, photo.height - side)
    box = (left, top, left + side, top + side)
    return np.asarray(photo.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box), np.int32)


def _brightness(pixels: np.ndarray) -> tuple[int, int]:
    """Mean and standard deviation of the luma of (h, w, 3) int32 pixels, as whole numbers."""
    luma = pixels @ np.array([299, 587, 114], np.int32) // 1000
    mean = int(luma.sum()) // luma.size
    return mean, int(np.sqrt(int(((luma - mean) ** 2).sum()) // luma.size))


def _wants_bright(drawn: int, brightness: int, gap: int) -> bool:
    """Whether a digit is brighter than its background: by chance where both are possible."""
    if brightness - gap < 0:
        return True
    return brightness + gap <= 255 and drawn % 2 == 0
