"""Decode and crop in one: of a JPEG, only the window that is wanted, at no more than its size.

libjpeg skips what lies outside a window, and gives halves, quarters and eighths of an image for
less than the whole one. Other formats, and JPEGs that are not plain (CMYK, say), go by Pillow.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from kerascnn.preprocessing import Preprocessing
from training.datasets.pictures import (
    FLIP_X,
    FLIP_Y,
    SWAP,
    read_window,
)

_RATIOS = (1, 2, 4, 8)
# TensorFlow's names of Pillow's filters, and how many pixels these reach.
_KERNELS = {"bilinear": ("triangle", 1.0), "bicubic": ("keyscubic", 2.0)}


def decode_window(
    encoded: tf.Tensor, window: tf.Tensor | None, kind: tf.Tensor, preprocessing: Preprocessing
) -> tf.Tensor:
    """Decode a part of an image and resize it; a pure function for `tf.data.Dataset.map`.

    Args:
        encoded: scalar string, the file's bytes, of an image that has been found readable.
        window: (4,) float32 top, left, height and width as shares of the upright image, or None
            for the geometry that `preprocessing` says.
        kind: scalar uint8, see `Split.kinds`.

    Returns:
        (height, width, channels) uint8.
    """

    def by_pillow() -> tf.Tensor:
        def read(data: bytes | np.ndarray, part: np.ndarray) -> np.ndarray:
            whole = bytes(np.asarray(data).item())  # an array, outside of a tf.function
            return read_window(whole, part if len(part) else None, preprocessing)

        part = tf.zeros([0]) if window is None else window
        return tf.numpy_function(read, [encoded, part], tf.uint8, stateful=False)

    if window is None:
        picture = by_pillow()
    else:
        picture = tf.cond(kind > 0, lambda: _jpeg(encoded, window, kind, preprocessing), by_pillow)
    return tf.ensure_shape(picture, preprocessing.input_shape)


def _jpeg(
    encoded: tf.Tensor, window: tf.Tensor, kind: tf.Tensor, preprocessing: Preprocessing
) -> tf.Tensor:
    flip_y, flip_x, swap = (tf.constant(turn)[tf.cast(kind, tf.int32)] for turn in _TURNS)
    first, share = window[:2], window[2:]
    first, share = tf.where(swap, first[::-1], first), tf.where(swap, share[::-1], share)
    first = tf.where(tf.stack([flip_y, flip_x]), 1.0 - first - share, first)
    target = tf.constant([preprocessing.height, preprocessing.width])
    target = tf.where(swap, target[::-1], target)
    sides = tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.float32)
    spare = tf.reduce_min(share * sides / tf.cast(target, tf.float32))

    def at(ratio: int) -> tf.Tensor:
        box = (first * sides / ratio, share * sides / ratio)
        whole = tf.math.ceil(sides / ratio)
        return _cut_and_resize(encoded, box, whole, target, ratio, preprocessing)

    smaller = tf.reduce_sum([tf.cast(spare >= ratio, tf.int32) for ratio in _RATIOS[1:]])
    picture = tf.switch_case(smaller, [lambda ratio=ratio: at(ratio) for ratio in _RATIOS])
    picture = tf.cond(flip_y, lambda: picture[::-1], lambda: picture)
    picture = tf.cond(flip_x, lambda: picture[:, ::-1], lambda: picture)
    return tf.cond(swap, lambda: tf.transpose(picture, [1, 0, 2]), lambda: picture)


def _cut_and_resize(
    encoded: tf.Tensor,
    box: tuple[tf.Tensor, tf.Tensor],
    sides: tf.Tensor,
    target: tf.Tensor,
    ratio: int,
    preprocessing: Preprocessing,
) -> tf.Tensor:
    """A box, (top, left) and (height, width) in fractions of pixels, of the reduced image.

    As Pillow does, with pixels around the box as far as the filter reaches.
    """
    first, share = box
    scale = tf.cast(target, tf.float32) / share
    kernel, support = _KERNELS[preprocessing.interpolation]
    reach = tf.math.ceil(support / tf.minimum(scale, 1.0)) + 1.0
    low = tf.clip_by_value(tf.floor(first - reach), 0.0, sides - 1.0)
    high = tf.clip_by_value(tf.math.ceil(first + share + reach), low + 1.0, sides)
    cut = tf.image.decode_and_crop_jpeg(
        encoded,
        tf.cast(tf.concat([low, high - low], axis=0), tf.int32),
        channels=preprocessing.channels,
        ratio=ratio,
        dct_method="INTEGER_ACCURATE",
    )
    resized = tf.raw_ops.ScaleAndTranslate(
        images=cut[None],
        size=target,
        scale=scale,
        translation=(low - first) * scale,
        kernel_type=kernel,
        antialias=True,
    )[0]
    return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)


_TURNS = (FLIP_Y, FLIP_X, SWAP)
