"""A segmentation network that learns within a second, and pictures of coloured shapes for it."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from kerascnn import blocks
from kerascnn.preprocessing import Preprocessing
from training.datasets.segmentation import VOID, SegmentationSplit

CLASSES = ("background", "red", "blue")
SHAPE = (16, 24, 3)
PREPROCESSING = Preprocessing(height=16, width=24, channels=3, resize="stretch")
_COLOURS = np.uint8([(120, 120, 120), (230, 30, 30), (30, 30, 230)])


def network(
    input_shape: tuple[int, ...] = SHAPE, classes: int = 3, *, dropout: float = 0.2
) -> keras.Model:
    """One level below the picture's own, with batch norms."""
    keras.utils.set_random_seed(0)
    conventions = blocks.Conventions(activation="relu", norm_momentum=0.5)
    x = inputs = blocks.picture_input(input_shape)
    kept = conventions.conv(x, 6, 3, name="enc1")
    x = conventions.conv(kept, 8, 3, strides=2, name="enc2")
    x = layers.Dropout(dropout, name="enc2_dropout")(x)
    x = layers.Conv2DTranspose(6, 2, strides=2, name="dec1_up")(x)
    x = layers.Concatenate(name="dec1_concat")([kept, x])
    x = conventions.conv(x, 6, 3, name="dec1")
    return keras.Model(inputs, layers.Conv2D(classes, 1, name="logits")(x), name="tiny")


def split(count: int) -> SegmentationSplit:
    """Pictures of different sizes with two rectangles; every fifth, from the fifth, has none.

    The right column of every third is void.
    """
    pairs = [_drawn(place) for place in range(count)]
    return split_of(
        [picture for picture, _map in pairs], [label_map for _picture, label_map in pairs]
    )


def split_of(pictures: Sequence[np.ndarray], maps: Sequence[np.ndarray]) -> SegmentationSplit:
    """These pictures and maps."""
    return SegmentationSplit(
        names=tuple(f"p{place}" for place in range(len(maps))),
        places=np.arange(len(maps)),
        sizes=np.array([each.shape for each in maps], np.int32).reshape(-1, 2),
        read=lambda place: pictures[place],
        annotate=lambda place: maps[place],
    )


def _drawn(place: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([1, place])
    height, width = 18 + place % 7, 30 - place % 5
    label_map = np.zeros((height, width), np.uint8)
    for label in (1, 2) if place % 5 != 4 else ():
        top, left = rng.integers(0, (height - 8, width - 8))
        label_map[top : top + rng.integers(5, 9), left : left + rng.integers(5, 12)] = label
    noise = rng.integers(-30, 31, (height, width, 3))
    picture = np.clip(_COLOURS[label_map] + noise, 0, 255).astype(np.uint8)
    if place % 3 == 0:
        label_map[:, -1] = VOID
    return picture, label_map
