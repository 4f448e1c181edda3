"""`mnist-photos`: the digits of `mnist` blended with photos, 28x28 in colour.

The recipe of MNIST-M (Ganin et al. 2016, arXiv:1505.07818, section 5.2.1), |photo - digit| of each
channel, on other photos: brightness and colour say nothing of the digit, whose strokes are
negatives of what lies behind them. 4,000 are to learn from and 1,000 held out, as in `mnist`; nor
are the photos of held-out digits among those to learn from, which are those of `scenes-digits`. Of
a photo a square of 28 to 112 pixels is cut out, drawn once, from a fixed seed.
"""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image

from training.datasets import mnist, painting
from training.datasets.painting import pick
from training.datasets.scenes_digits import HELD_OUT_PHOTOS, TRAIN_PHOTOS
from training.datasets.splits import Dataset, Split, digest

SIDE = 28

# Part of the data set's definition, as everything below: another value makes other images.
_SEED = 20_26
_CROPS = (28, 112)  # sides of what is cut from a photo, in its own pixels


@functools.cache
def scan() -> Dataset:
    """The embedded images, (28, 28, 3), with their fixed split."""
    digits = mnist.scan()
    train = _blend(digits.train, TRAIN_PHOTOS, part=0)
    held_out = _blend(digits.held_out, HELD_OUT_PHOTOS, part=1)
    arrays = [array for split in (train, held_out) for array in (split.pictures, split.labels)]
    return Dataset(
        name="mnist-photos",
        classes=digits.classes,
        train=train,
        validation=None,
        held_out=held_out,
        resize="pad",
        fingerprint=digest([array.tobytes() for array in arrays if array is not None]),
    )


def _blend(digits: Split, photos: tuple[tuple[str, str], ...], *, part: int) -> Split:
    """Every digit of a split with a random crop of one of the photos."""
    opened = [painting.photo(package, file) for package, file in photos]
    # Whole numbers, not floats, so that every machine makes the same choices.
    draws = np.random.default_rng([_SEED, part]).integers(0, 1 << 16, (len(digits), 4)).tolist()
    crops = np.stack([_crop(opened[pick(draw[0], 0, len(opened) - 1)], draw[1:]) for draw in draws])
    assert digits.pictures is not None
    pictures = np.abs(crops.astype(np.int16) - digits.pictures).astype(np.uint8)
    names = tuple(name.replace("mnist", "mnist-photos") for name in digits.names)
    return Split(labels=digits.labels, names=names, pictures=pictures)


def _crop(photo: Image.Image, draw: list[int]) -> np.ndarray:
    """(28, 28, 3) uint8: a square of a photo, resized."""
    side = pick(draw[0], *_CROPS)
    left, top = pick(draw[1], 0, photo.width - side), pick(draw[2], 0, photo.height - side)
    box = (left, top, left + side, top + side)
    return np.asarray(photo.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box))
