"""Decode and crop in one: of a JPEG, only the window that is wanted, at no more than its size.

libjpeg skips what lies outside a window, and gives halves, quarters and eighths of a picture for
less than the whole one. Other formats, and JPEGs that are not plain (CMYK, say), go by Pillow.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from kerascnn.preprocessing import Preprocessing
from training.preprocessing import read_window

# How a stored picture becomes upright, by EXIF orientation (CIPA DC-008, 4.6.4): turned over from
# top to bottom, from left to right, and then its axes exchanged. The first row is no orientation.
_FLIP_Y = np.array([0, 0, 0, 1, 1, 0, 1, 1, 0], bool)
_FLIP_X = np.array([0, 0, 1, 1, 0, 0, 0, 1, 1], bool)
_SWAP = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1], bool)
_RATIOS = (1, 2, 4, 8)


def decode_window(
    encoded: tf.Tensor, window: tf.Tensor | None, kind: tf.Tensor, preprocessing: Preprocessing
) -> tf.Tensor:
    """Decode a part of a picture and resize it; a pure function for `tf.data.Dataset.map`.

    Args:
        encoded: scalar string, the file's bytes, of a picture that has been found readable.
        window: (4,) float32 top, left, height and width as shares of the upright picture, or None
            for the geometry that `preprocessing` says.
        kind: scalar uint8, see `Split.kinds`.

    Returns:
        (height, width, channels) uint8.
    """

    def by_pillow() -> tf.Tensor:
        def read(data: bytes, part: np.ndarray) -> np.ndarray:
            return read_window(data, part if len(part) else None, preprocessing)

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
    kind = tf.cast(kind, tf.int32)
    flip_y, flip_x, swap = (tf.constant(turn)[kind] for turn in (_FLIP_Y, _FLIP_X, _SWAP))
    first, share = window[:2], window[2:]
    first, share = tf.where(swap, first[::-1], first), tf.where(swap, share[::-1], share)
    first = tf.where(tf.stack([flip_y, flip_x]), 1.0 - first - share, first)
    target = tf.constant([preprocessing.height, preprocessing.width])
    target = tf.where(swap, target[::-1], target)
    sides = tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.float32)
    spare = tf.reduce_min(share * sides / tf.cast(target, tf.float32))

    def at(ratio: int) -> tf.Tensor:
        stored = tf.math.ceil(sides / ratio)
        low = tf.clip_by_value(tf.round(first * stored), 0.0, stored - 1.0)
        high = tf.clip_by_value(tf.round((first + share) * stored), low + 1.0, stored)
        return tf.image.decode_and_crop_jpeg(
            encoded,
            tf.cast(tf.concat([low, high - low], axis=0), tf.int32),
            channels=preprocessing.channels,
            ratio=ratio,
            dct_method="INTEGER_ACCURATE",
        )

    smaller = tf.reduce_sum([tf.cast(spare >= ratio, tf.int32) for ratio in _RATIOS[1:]])
    cut = tf.switch_case(smaller, [lambda ratio=ratio: at(ratio) for ratio in _RATIOS])
    resized = tf.image.resize(tf.cast(cut, tf.float32), target, antialias=True)
    picture = tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)
    picture = tf.cond(flip_y, lambda: picture[::-1], lambda: picture)
    picture = tf.cond(flip_x, lambda: picture[:, ::-1], lambda: picture)
    return tf.cond(swap, lambda: tf.transpose(picture, [1, 0, 2]), lambda: picture)
