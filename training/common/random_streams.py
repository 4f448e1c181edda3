"""The numbers of all random streams, in one place: two with one number would not be independent.

What is random in a training is drawn beforehand, in NumPy, by a generator that is seeded with the
run's seed, the epoch and the purpose, so that one more draw for one purpose shifts no other. These
numbers are part of what a run is: another one makes other weights.

Generators of a seed alone (`default_rng(seed)`) choose which images are for what, once a data set;
data that is generated (`training.datasets.scenes`) has seeds of its own.
"""

from __future__ import annotations

import numpy as np

ORDER = 0  # of an epoch's images
AUGMENTATION = 1  # of classifiers' images, all of an epoch at once
MIXING = 2  # of two images and their labels
TILES = 3  # of images with boxes or masks, each by itself
SAMPLING = 4  # of the regions that the losses of a two-stage detector look at
TILE_PLACES = 5  # of which tile of a larger image is learnt from
WATCHING = 7  # which validation images are evaluated after each epoch


def of_epoch(seed: int, epoch: int, purpose: int, *image: int) -> np.random.Generator:
    """The generator of one purpose in an epoch, or of one image in it."""
    return np.random.default_rng([seed, epoch, purpose, *image])


def of_run(seed: int, purpose: int) -> np.random.Generator:
    """The generator of one purpose for a whole training."""
    return np.random.default_rng([seed, purpose])
