"""tf.data streams: what the training loop and the evaluators eat.

Order and augmentation are functions of (seed, epoch, picture) alone, so that a stream begun at
epoch 7 gives what a stream from the start would have given there.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from kerascnn.preprocessing import Preprocessing
from training.augmentation import PictureAugmentation, affine_digits, scenes
from training.config import TrainConfig
from training.datasets import streams
from training.datasets.decode import decoded_stream
from training.datasets.splits import Split
from training.preprocessing import read_picture


def steps_per_epoch(split: Split, config: TrainConfig) -> int:
    """Batches in an epoch, the last one possibly short."""
    return math.ceil(len(split) / config.batch_size)


def train_stream(
    split: Split,
    *,
    source: Preprocessing,
    preprocessing: Preprocessing,
    classes: int,
    config: TrainConfig,
    first_epoch: int,
) -> tf.data.Dataset:
    """Shuffled, augmented, normalised batches from `first_epoch` to the last epoch.

    Args:
        split: pictures, in memory or as files.
        source: geometry of the pictures in `split` (the random crop cuts from it).
        preprocessing: geometry and normalisation of the network's input.
        classes: length of the one-hot labels.

    Returns:
        Batches of ((n, height, width, channels) float32, (n, classes) float32).
    """
    labels = tf.constant(split.labels)
    load = _loader(split, source)
    single = None
    if config.augmentation in ("pictures", "randaugment"):
        single = PictureAugmentation(preprocessing, randaugment=config.augmentation != "pictures")

    def one(index: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        picture = load(index)
        picture = single(picture, seed) if single else tf.cast(picture, tf.float32)
        return picture, labels[index], seed

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        number = tf.cast(number, tf.int32)
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(split)), seed=tf.stack([config.seed, number])
        )
        # The picture's number and the epoch name its random draws, whatever its batch is.
        seeds = tf.stack([order, tf.fill([len(split)], config.seed * 100_003 + number)], axis=1)
        return (
            tf.data.Dataset.from_tensor_slices((order, seeds))
            .map(one, num_parallel_calls=streams.WORKERS)
            .batch(config.batch_size)
        )

    def finish(pictures, labels, seeds):
        if config.augmentation == "digits":
            pictures = affine_digits(pictures, seeds[0])
        elif config.augmentation == "scenes":
            pictures = scenes(pictures, seeds[0])
        return _normalise(pictures, preprocessing), tf.one_hot(labels, classes)

    epochs = tf.data.Dataset.range(first_epoch, config.epochs)
    batches = epochs.flat_map(epoch).map(finish, num_parallel_calls=streams.WORKERS)
    return streams.ready(batches)


def evaluation_stream(
    split: Split, preprocessing: Preprocessing, *, classes: int, batch_size: int
) -> tf.data.Dataset:
    """Batches as `train_stream` gives them, in order and without augmentation."""
    if split.pictures is not None:
        pictures = tf.data.Dataset.from_tensor_slices(split.pictures)
    else:
        pictures = decoded_stream(split.names, preprocessing).map(lambda picture, _error: picture)
    labels = tf.data.Dataset.from_tensor_slices(split.labels)
    batches = tf.data.Dataset.zip((pictures, labels)).batch(batch_size)
    return streams.ready(
        batches.map(lambda p, y: (_normalise(p, preprocessing), tf.one_hot(y, classes)))
    )


def picture_batches(
    split: Split, preprocessing: Preprocessing, batch_size: int = 256
) -> Iterator[np.ndarray]:
    """(n, height, width, channels) uint8 blocks of a split, in order."""
    for start in range(0, len(split), batch_size):
        block = slice(start, start + batch_size)
        if split.pictures is not None:
            yield split.pictures[block]
        else:
            stream = decoded_stream(split.names[block], preprocessing)
            yield np.stack([picture.numpy() for picture, _error in stream])


def _loader(split: Split, source: Preprocessing):
    if split.pictures is not None:
        pictures = tf.constant(split.pictures)
        return lambda index: pictures[index]
    names = tf.constant(list(split.names))

    def read(path: bytes) -> np.ndarray:
        return read_picture(os.fsdecode(path), source)

    def load(index: tf.Tensor) -> tf.Tensor:
        picture = tf.numpy_function(read, [names[index]], tf.uint8, stateful=False)
        return tf.ensure_shape(picture, source.input_shape)

    return load


def _normalise(pictures: tf.Tensor, preprocessing: Preprocessing) -> tf.Tensor:
    return preprocessing.normalise_floats(tf.cast(pictures, tf.float32))
