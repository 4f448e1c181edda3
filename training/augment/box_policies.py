"""What may happen to training images with boxed objects, and how chance decides on it.

Each image of each epoch has a generator of its own (`draw`), so that augmentation is a function
of (seed, epoch, image) and of the images that share its batch: nothing depends on what was made
before. `training.augment.boxes` does what was drawn.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from training.augment import distractors
from training.common import random_streams


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoxPolicy:
    """What may happen to an image; everything is off by default.

    Sizes are against the image as an evaluation sees it. An image that is larger than the
    network's input then is cropped at a random place, a smaller one lies at a random place of it.

    Attributes:
        flip: one of two mirrored, left to right.
        scale: factor of both sides, log-uniform.
        aspect: factor of width over height, log-uniform.
        zoom_out: probability that it becomes up to `zoom_most` times smaller, uniform
            (arXiv:1512.02325, section 3.6).
        zoom_most: 4 times a side is the paper's 16 times of the area.
        overlap_crop: a window that holds an object by a drawn least overlap (arXiv:1512.02325,
            section 2.2), after zooming out.
        mosaic: probability that three others of the batch are put together with it around a
            centre, each in a rectangle (arXiv:2004.10934, section 3.4).
        mosaic_centre: range of the centre, in shares of either side.
        mosaic_scale: in the place of `scale` there; more where the image would not fill its
            rectangle. `zoom_out` and `overlap_crop` stay away.
        recolour: probability of each change of colour by itself.
        brightness, contrast, saturation: most by which the factor differs from 1.
        gain: likewise of a factor a channel.
        negative: probability that contrast is turned round, so that dark is bright; of images
            whose contrast stays, thus 1 - `recolour` at most.
        distractors: probability of shapes on what a mask has as class 0
            (`training.augment.distractors`).
        kept: share of an object's box from which it is still to be found once it has been cut.
        ignored: share from which what is left of it counts as a crowd: neither to be found, nor
            background. Less is background.
    """

    flip: bool = False
    scale: tuple[float, float] = (1.0, 1.0)
    aspect: tuple[float, float] = (1.0, 1.0)
    zoom_out: float = 0.0
    zoom_most: float = 4.0
    overlap_crop: bool = False
    mosaic: float = 0.0
    mosaic_centre: tuple[float, float] = (0.25, 0.75)
    mosaic_scale: tuple[float, float] = (0.5, 1.0)
    recolour: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    gain: float = 0.0
    negative: float = 0.0
    distractors: float = 0.0
    kept: float = 0.3
    ignored: float = 0.1

    @property
    def moves(self) -> bool:
        """Whether images leave the place that an evaluation gives them."""
        resized = (self.scale, self.aspect) != ((1.0, 1.0), (1.0, 1.0))
        return resized or bool(self.zoom_out) or self.overlap_crop


# EfficientDet's jitter goes from 0.1 to 2 (arXiv:1911.09070, section 5.1); at a tenth, what has 30
# pixels of a phone's 320 would have 3.
_DETECTION = BoxPolicy(
    flip=True,
    scale=(0.5, 2.0),
    brightness=0.125,  # these three as SSD's in torchvision (RandomPhotometricDistort), whose
    contrast=0.5,  # turned hue is a gain a channel here
    saturation=0.5,
    gain=0.1,
)
# No flip: a mirrored digit is none. Half of one may be another, so that more has to be left.
_SCENES = BoxPolicy(
    scale=(0.7, 1.4),
    aspect=(0.85, 1.18),
    mosaic=0.25,
    brightness=0.2,
    contrast=0.3,
    saturation=0.5,
    gain=0.2,
    kept=0.7,
)
BOX_POLICIES: Mapping[str, BoxPolicy] = {
    "none": BoxPolicy(),
    "flip": BoxPolicy(flip=True),
    "scenes": _SCENES,
    # Of 128 pixels a mosaic, or a scene made much smaller, has digits that nobody can read. Twelve
    # photos are few for a network that says of every pixel what it is: their colours change more.
    "small_scenes": dataclasses.replace(
        _SCENES,
        mosaic=0.0,
        scale=(0.85, 1.25),
        contrast=0.5,
        gain=0.4,
        negative=0.4,
        distractors=0.5,
    ),
    "detection": _DETECTION,
    # Half of the images stay whole, as they are in an evaluation.
    "mosaic": dataclasses.replace(_DETECTION, mosaic=0.5),
    "ssd": dataclasses.replace(_DETECTION, scale=(1.0, 1.0), zoom_out=0.5, overlap_crop=True),
}

# Least overlaps of a window with an object: None is the whole image, 0 any window (section 2.2).
OVERLAPS = (None, 0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
# Windows that are tried before an image stays whole (torchvision's RandomIoUCrop).
_TRIES = 40

# Columns of uniform numbers a part. Each purpose has its own, used or not, so that what one policy
# draws another draws too.
_FLIP, _SCALE, _ASPECT, _ZOOM, _ZOOM_RATIO, _OVERLAP = range(6)
_PLACE, _RECOLOUR, _FACTORS = slice(6, 8), slice(8, 12), slice(12, 18)
_COLUMNS = 18
# The own image lies in any of the four rectangles.
_MOSAIC, _OWN = range(2)
_CENTRE = slice(2, 4)
_MOSAIC_COLUMNS = 4


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """What happens to one image on its way into one of the batch.

    Attributes:
        picture: its position in the split.
        flip: whether it is mirrored.
        scale: (height, width) factors.
        place: (y, x) from 0 to 1, for where it lies in what is free, or which part of it is seen.
        zoom: how many times smaller it becomes.
        overlap: one of `OVERLAPS`.
        tries: (tries, 4) from 0 to 1: height, width, top and left of windows.
        brightness, contrast, saturation: factors.
        gains: a factor a channel.
        distractors: (shapes, `distractors.COLUMNS`) from 0 to 1.
    """

    picture: int
    flip: bool
    scale: tuple[float, float]
    place: tuple[float, float]
    zoom: float
    overlap: float | None
    tries: np.ndarray
    brightness: float
    contrast: float
    saturation: float
    gains: tuple[float, float, float]
    distractors: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SampledParameters:
    """What one image of a batch is made of.

    Attributes:
        parts: one; or four, of the rectangles from left to right and then down.
        centre: (y, x) shares of the network's sides where four rectangles meet; None for one.
    """

    parts: tuple[Part, ...]
    centre: tuple[float, float] | None


def draw(
    policy: BoxPolicy, batch: np.ndarray, row: int, *, seed: int, epoch: int
) -> SampledParameters:
    """Draw what happens to one image of a batch.

    Args:
        batch: (n,) positions in the split of all images of the batch: those of a mosaic are
            among them, so that none is read more than once.
        row: of the image in the batch.
    """
    rng = random_streams.of_epoch(seed, epoch, random_streams.TILES, int(batch[row]))
    whole = rng.random(_MOSAIC_COLUMNS)
    rows = rng.random((4, _COLUMNS))
    tries = rng.random((_TRIES if policy.overlap_crop else 0, 4))
    if whole[_MOSAIC] >= policy.mosaic:
        part = _part(policy, int(batch[row]), rows[0], tries, _shapes(policy, rng))
        return SampledParameters(parts=(part,), centre=None)
    # A batch of fewer than four has some of them twice.
    others = np.resize(1 + rng.permutation(len(batch) - 1), 3)
    pictures = np.insert(batch[(row + others) % len(batch)], int(4 * whole[_OWN]), batch[row])
    inside = dataclasses.replace(
        policy, scale=policy.mosaic_scale, zoom_out=0.0, overlap_crop=False
    )
    parts = [
        _part(inside, int(picture), u, tries, _shapes(policy, rng))
        for picture, u in zip(pictures, rows, strict=True)
    ]
    low, high = policy.mosaic_centre
    y, x = low + (high - low) * whole[_CENTRE]
    return SampledParameters(parts=tuple(parts), centre=(float(y), float(x)))


def _shapes(policy: BoxPolicy, rng: np.random.Generator) -> np.ndarray:
    happens = policy.distractors and rng.random() < policy.distractors
    return rng.random((distractors.MOST if happens else 0, distractors.COLUMNS))


def _part(
    policy: BoxPolicy, picture: int, u: np.ndarray, tries: np.ndarray, shapes: np.ndarray
) -> Part:
    scale = _log_uniform(policy.scale, u[_SCALE])
    aspect = np.sqrt(_log_uniform(policy.aspect, u[_ASPECT]))
    place = u[_PLACE] if policy.moves else (0.5, 0.5)
    zoom = 1 + (policy.zoom_most - 1) * u[_ZOOM_RATIO] if u[_ZOOM] < policy.zoom_out else 1.0
    most = np.array([policy.brightness, policy.contrast, policy.saturation, *3 * (policy.gain,)])
    happens = u[_RECOLOUR][[0, 1, 2, 3, 3, 3]] < policy.recolour
    factors = np.where(happens, 1 + most * (2 * u[_FACTORS] - 1), 1.0).tolist()
    if u[_RECOLOUR][1] >= 1 - policy.negative:
        factors[1] = -1.0
    return Part(
        picture=picture,
        flip=bool(policy.flip and u[_FLIP] < 0.5),
        scale=(float(scale / aspect), float(scale * aspect)),
        place=(float(place[0]), float(place[1])),
        zoom=float(zoom),
        overlap=OVERLAPS[int(u[_OVERLAP] * len(OVERLAPS))] if policy.overlap_crop else None,
        tries=tries,
        brightness=factors[0],
        contrast=factors[1],
        saturation=factors[2],
        gains=(factors[3], factors[4], factors[5]),
        distractors=shapes,
    )


def _log_uniform(limits: tuple[float, float], u: float) -> float:
    low, high = np.log(limits)
    return float(np.exp(low + (high - low) * u))
