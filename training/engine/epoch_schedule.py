"""What the batches of an epoch hold: which images, in what order, and what chance does to them.

Everything random about the data is drawn here, in NumPy, before the epoch begins. It is a function
of (seed, epoch) alone: the same under every backend, on any number of devices, and in a training
that goes on after an interruption.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from kerascnn.preprocessing import Preprocessing
from training.augment import policies
from training.common import random_streams
from training.datasets.splits import Split
from training.engine.config import TrainConfig

# Shards that are shuffled together; a whole shuffle would read a disk at random places.
_SHARDS_AT_ONCE = 16


# Images that a batch is not cut below for the sake of `min_steps`: batch norms want some.
_SMALLEST_BATCH = 4


def batch_size(split: Split, config: TrainConfig) -> int:
    """Images in each batch: as asked, or fewer where there are few images."""
    return batch_of(len(split), config)


def batch_of(pictures: int, config: TrainConfig) -> int:
    """Images in each batch of a training on so many.

    As many as asked for, at most all, and so few that an epoch has `min_steps` of them.
    """
    size = config.batch_size
    if config.min_steps:
        size = min(size, max(_SMALLEST_BATCH, pictures // config.min_steps))
    return max(1, min(size, pictures))


def for_images(config: TrainConfig, pictures: int) -> TrainConfig:
    """The configuration that a training on so many images has.

    Its batches are as large as they really are, which sets the learning rate. As many epochs are
    frozen as `freeze_updates` takes, if any are, and there are as many epochs as `min_updates`
    takes behind them, and one at least, if there are any behind them.

    Args:
        pictures: to learn from.
    """
    size = batch_of(pictures, config)
    epochs, frozen = config.epochs, config.freeze_epochs

    def long_enough(updates: int) -> int:
        return math.ceil(updates * config.accumulate / max(1, pictures // size))

    if epochs > frozen:
        frozen = max(frozen, long_enough(config.freeze_updates)) if frozen else 0
        epochs = max(epochs, frozen + max(1, long_enough(config.min_updates)))
    return dataclasses.replace(config, batch_size=size, epochs=epochs, freeze_epochs=frozen)


def steps_per_epoch(split: Split, config: TrainConfig) -> int:
    """Batches in an epoch, all full: what fills no batch is left out, others each time."""
    return len(split) // batch_size(split, config)


def epoch(
    split: Split, *, source: Preprocessing, target: Preprocessing, config: TrainConfig, number: int
) -> dict[str, np.ndarray]:
    """Draw an epoch.

    Args:
        split: to learn from.
        source: geometry that its images are stored at.
        target: the network's.
        number: of the epoch, from 0.

    Returns:
        Rows in the order in which the images come, as many as fill batches: "index", int64
        positions in the split; what `policies.draw` has for these images; and "mix", those of
        `mixing.draw`, where images are mixed.
    """
    policy = policies.POLICIES[config.augmentation]
    count = steps_per_epoch(split, config) * batch_size(split, config)
    index = order(len(split), seed=config.seed, epoch=number, blocks=split.blocks)[:count]
    rng = random_streams.of_epoch(config.seed, number, random_streams.AUGMENTATION)
    params = policies.draw(policy, rng, _sizes(split, source), target.input_shape[:2])
    rows = {"index": index, **{key: values[index] for key, values in params.items()}}
    if config.mixup or config.cutmix:
        from training.augment import mixing  # loads keras, which no file needs

        rows["mix"] = mixing.draw(
            random_streams.of_epoch(config.seed, number, random_streams.MIXING),
            count,
            mixup=config.mixup,
            cutmix=config.cutmix,
            size=target.input_shape[:2],
        )
    return rows


def order(count: int, *, seed: int, epoch: int, blocks: np.ndarray | None = None) -> np.ndarray:
    """The images of an epoch in random order, each once.

    Args:
        blocks: (count,) shard of each image, or None. Shards come in random order, and images
            are shuffled among those of 16 shards.

    Returns:
        (count,) int64.
    """
    rng = random_streams.of_epoch(seed, epoch, random_streams.ORDER)
    if blocks is None:
        return rng.permutation(count)
    shards = rng.permutation(int(blocks.max()) + 1)
    group = np.empty(len(shards), np.int64)
    group[shards] = np.arange(len(shards)) // _SHARDS_AT_ONCE
    return np.lexsort((rng.random(count), group[blocks]))


def _sizes(split: Split, source: Preprocessing) -> np.ndarray:
    """(n, 2) height and width that windows are shares of."""
    if source.resize == "stretch" and split.sizes is not None:
        return split.sizes
    return np.full((len(split), 2), source.input_shape[:2], np.int32)
