"""What `kerascnn check` finds of labelled images."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence

import numpy as np

from kerascnn.preprocessing import Preprocessing
from training.datasets.decode import decode_split
from training.datasets.splits import Dataset, Split
from training.engine.config import TrainConfig
from training.engine.inspection import SAMPLES, Counts, Sample


def counts(dataset: Dataset, splits: Mapping[str, Split]) -> Counts:
    """Images of each class."""
    count = len(dataset.classes)
    of = np.stack([np.bincount(split.labels, minlength=count) for split in splits.values()])
    return Counts(
        unit="image",
        remedy="train with --set class_weights=balanced --set monitor=balanced_accuracy",
        classes=dataset.classes,
        splits=tuple(splits),
        of=of,
        images=of,
        empty=np.zeros(len(splits), np.int64),
    )


def samples(
    dataset: Dataset,
    preprocessing: Preprocessing,
    config: TrainConfig,
    readable: Sequence[int] | np.ndarray,
) -> list[Sample]:
    """One of each class in turn; grey images are shown in three equal channels."""
    chosen = _of_each_class(dataset.train.labels, readable, config.seed)
    part = dataset.train.take(chosen)
    seen = decode_split(part, preprocessing)[0].pictures
    assert seen is not None
    changed = augmented(dataset, chosen, preprocessing, config)
    return [
        Sample(
            name=part.names[i],
            label=dataset.classes[part.labels[i]],
            seen=three(seen[i]),
            augmented=three(changed[i]),
        )
        for i in range(len(part))
    ]


def _of_each_class(
    labels: np.ndarray, readable: Sequence[int] | np.ndarray, seed: int
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.asarray(readable, np.int64))
    taken: dict[int, int] = {}
    turns = []
    for place in order:
        label = int(labels[place])
        turns.append(taken.get(label, 0))
        taken[label] = turns[-1] + 1
    first = order[np.argsort(turns, kind="stable")][:SAMPLES]
    return first[np.argsort(labels[first], kind="stable")]


def augmented(
    dataset: Dataset, chosen: np.ndarray, preprocessing: Preprocessing, config: TrainConfig
) -> np.ndarray:
    """(n, height, width, channels) uint8; the one place of a check that needs a framework."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    from training.common.quiet import native_quiet

    with native_quiet():
        from keras import ops

        from training.augment.images import augment
        from training.augment.policies import POLICIES
        from training.classification.batches import TrainingData, train_batches
        from training.classification.train import source_for

    plain = dataclasses.replace(config, batch_size=len(chosen), min_steps=0, mixup=0.0, cutmix=0.0)
    source = source_for(preprocessing, plain)
    split = decode_split(dataset.train.take(chosen), source)[0]
    training_data = TrainingData(
        split=split,
        source=source,
        preprocessing=preprocessing,
        classes=len(dataset.classes),
        config=plain,
    )
    order = training_data.epoch(0)["index"][0]
    batch = next(train_batches(training_data, first_epoch=0, last_epoch=1))[0]
    pictures = np.asarray(batch["pictures"], np.float32)
    size = preprocessing.height, preprocessing.width
    changed = ops.convert_to_numpy(
        augment(POLICIES[config.augmentation], pictures, batch["drawn"], size)
    )
    found = np.empty(changed.shape, np.uint8)
    found[order] = np.clip(np.round(changed), 0, 255)
    return found


def three(pixels: np.ndarray) -> np.ndarray:
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3)).copy()
