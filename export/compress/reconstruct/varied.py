"""Images made of others, so that a fit to few of them holds for more.

A hundred crops of eight photos have the colours and textures of eight photos. What the float
network makes of any image is known, so that images need not be likely ones: colours that change
places, other contrasts and blends of two images show a layer's kernel directions of its input that
the photos alone leave out, and in which rounding would be free to do as it likes.
"""

from __future__ import annotations

import numpy as np

_CONTRAST, _BRIGHTNESS = (0.7, 1.3), 20.0
_BLENDED = (0.3, 0.7)
_OFTEN = 0.5
_SMALLEST = 0.6  # side of a crop, in sides of the image


def varied(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n, height, width, channels) uint8 -> as many, each made of the one in its place."""
    others = rng.permutation(len(images))
    return np.stack([_varied(one, images[o], rng) for one, o in zip(images, others, strict=True)])


def crops(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As many, of a part of each, to the nearest pixel; half of them mirrored."""
    made = np.empty_like(images)
    height, width = images.shape[1:3]
    for image, out in zip(images, made, strict=True):
        side = rng.uniform(_SMALLEST, 1)
        top, left = rng.uniform(0, 1 - side, 2)
        rows = ((top + side * (np.arange(height) + 0.5) / height) * height).astype(int)
        columns = ((left + side * (np.arange(width) + 0.5) / width) * width).astype(int)
        out[...] = image[rows[:, None], columns[:: 1 if rng.random() < _OFTEN else -1]]
    return made


def half_varied(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same images, every second one of them varied."""
    made = images.copy()
    made[1::2] = varied(images[1::2], rng) if len(images) > 1 else made[1::2]
    return made


def _varied(image: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    x: np.ndarray = image.astype(np.float32)
    if rng.random() < _OFTEN:
        share = rng.uniform(*_BLENDED)
        x = share * x + (1 - share) * other[:, ::-1]
    if rng.random() < _OFTEN:
        x = x[..., rng.permutation(x.shape[-1])]
    middle = x.mean()
    x = (x - middle) * rng.uniform(*_CONTRAST) + middle + rng.uniform(-_BRIGHTNESS, _BRIGHTNESS)
    found: np.ndarray = np.rint(x).clip(0, 255).astype(np.uint8)
    return found
