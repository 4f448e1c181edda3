"""What `kerascnn check` finds of images with several labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from kerascnn.preprocessing import Preprocessing
from training.classification.inspection import augmented, three
from training.datasets.decode import decode_split
from training.datasets.splits import Dataset, Split
from training.engine.config import TrainConfig
from training.engine.inspection import SAMPLES, Counts, Sample


def counts(dataset: Dataset, splits: Mapping[str, Split]) -> Counts:
    """Images of each class; an image counts for each of its labels."""
    of = np.stack([split.counts(len(dataset.classes)) for split in splits.values()])
    return Counts(
        unit="image",
        remedy="add images of it",
        classes=dataset.classes,
        splits=tuple(splits),
        of=of,
        images=of,
        empty=np.array([int((~split.labels.any(axis=1)).sum()) for split in splits.values()]),
    )


def samples(
    dataset: Dataset,
    preprocessing: Preprocessing,
    config: TrainConfig,
    readable: Sequence[int] | np.ndarray,
) -> list[Sample]:
    """Some by chance, with all their labels."""
    order = np.random.default_rng(config.seed).permutation(np.asarray(readable, np.int64))
    chosen = np.sort(order[:SAMPLES])
    part = dataset.train.take(chosen)
    seen = decode_split(part, preprocessing)[0].pictures
    assert seen is not None
    plain = dataclasses.replace(config, mixup=0.0)
    changed = augmented(dataset, chosen, preprocessing, plain)
    return [
        Sample(
            name=part.names[i],
            label=", ".join(np.array(dataset.classes)[part.labels[i]]) or "(none)",
            seen=three(seen[i]),
            augmented=three(changed[i]),
        )
        for i in range(len(part))
    ]
