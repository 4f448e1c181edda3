"""Random changes of training pictures, a pure function of (seed, picture number).

Keras' augmentation layers draw from a counter that lives in the layer, so their result would
depend on thread timing and could not be resumed. Here every layer draws from a seed that the
pipeline hands in with the picture.
"""

from __future__ import annotations

import math

import keras
import tensorflow as tf
from keras import layers

from kerascnn.preprocessing import Preprocessing


class PictureAugmentation:
    """Crop, flip and RandAugment of single pictures, by Keras' own layers.

    Args:
        preprocessing: final geometry; larger pictures are cropped to it at random.
        randaugment: adds RandAugment (two operations, factor 0.5; arXiv:1909.13719).
    """

    def __init__(self, preprocessing: Preprocessing, *, randaugment: bool) -> None:
        self._seed = _HandedSeed()
        self._layers: list[keras.Layer] = [
            layers.RandomCrop(preprocessing.height, preprocessing.width),
            layers.RandomFlip("horizontal"),
        ]
        # Half of RandAugment's operations work on colour and need three channels.
        if randaugment and preprocessing.channels == 3:
            self._layers.append(layers.RandAugment(value_range=(0, 255), num_ops=2, factor=0.5))
        for layer in self._layers:
            for inner in layer._flatten_layers():
                inner.generator = self._seed

    def __call__(self, picture: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """(h, w, c) bytes or floats and a (2,) int32 seed -> (height, width, c) float32."""
        self._seed.hand(seed)
        picture = tf.cast(picture, tf.float32)
        for layer in self._layers:
            picture = layer(picture, training=True)
        return picture


class _HandedSeed(keras.random.SeedGenerator):
    """A seed generator whose draws derive from a tensor handed in, not from state of its own."""

    def __init__(self) -> None:
        super().__init__(seed=0)
        self._base: tf.Tensor | None = None
        self._draws = 0

    def hand(self, base: tf.Tensor) -> None:
        self._base, self._draws = base, 0

    def next(self, ordered: bool = True) -> tf.Tensor:
        # Counted while tracing: each place that draws gets a constant of its own.
        self._draws += 1
        mixed = tf.random.experimental.stateless_fold_in(self._base, self._draws)
        return tf.bitcast(mixed, tf.uint32)


def affine_digits(
    pictures: tf.Tensor, seed: tf.Tensor, *, strength: float = 1.0, fill_mode: str = "constant"
) -> tf.Tensor:
    """Rotate, zoom, shear and shift each picture of a batch, in one resampling.

    Args:
        pictures: (n, h, w, c).
        seed: (2,) int32.
        strength: share of the largest changes.
        fill_mode: what lies outside the frame: "constant" (black), "reflect" or "nearest".

    Returns:
        (n, h, w, c) float32: up to 15 degrees, 15% of zoom a side, a shear of 0.2, and a shift of
        9% of the side.
    """
    height, width = pictures.shape[1:3]
    draws = tf.random.stateless_uniform([6, tf.shape(pictures)[0]], seed, minval=-1.0, maxval=1.0)
    draws *= strength
    angle = draws[0] * math.radians(15)
    zoom_x, zoom_y, shear = 1 + 0.15 * draws[1], 1 + 0.15 * draws[2], 0.2 * draws[3]
    a, b = tf.cos(angle) * zoom_x, (shear - tf.sin(angle)) * zoom_y
    c, d = tf.sin(angle) * zoom_x, tf.cos(angle) * zoom_y
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    shift_x = middle_x - a * middle_x - b * middle_y + 0.09 * width * draws[4]
    shift_y = middle_y - c * middle_x - d * middle_y + 0.09 * height * draws[5]
    zero = tf.zeros_like(a)
    transforms = tf.stack([a, b, shift_x, c, d, shift_y, zero, zero], axis=1)
    return keras.ops.image.affine_transform(
        tf.cast(pictures, tf.float32), transforms, interpolation="bilinear", fill_mode=fill_mode
    )


def scenes(pictures: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Digits on photos: moved, with the edge mirrored beyond itself, and recoloured.

    Args:
        pictures: (n, h, w, c), 0 to 255.
        seed: (2,) int32.

    Returns:
        (n, h, w, c) float32, 0 to 255: moved half as far as `affine_digits` does; one of two made
        its negative; then each channel multiplied by 0.7 to 1.3.
    """
    # Half as far: a digit may stand at the edge already.
    moved = affine_digits(pictures, seed, strength=0.5, fill_mode="reflect")
    own = tf.random.experimental.stateless_fold_in(seed, 1)
    count, channels = tf.shape(pictures)[0], pictures.shape[-1]
    draws = tf.random.stateless_uniform([count, 1, 1, 1 + channels], own)
    moved = tf.where(draws[..., :1] < 0.5, 255 - moved, moved)
    return tf.clip_by_value(moved * (0.7 + 0.6 * draws[..., 1:]), 0, 255)
