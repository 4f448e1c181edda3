"""Which validation images watch an epoch: of many, the same few after every one."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from training.common import random_streams
from training.datasets.splits import SplitLike
from training.engine.config import TrainConfig

_AnySplit = TypeVar("_AnySplit", bound=SplitLike)


def watching(split: _AnySplit, config: TrainConfig) -> _AnySplit:
    """The images whose figures choose the epoch: `watch_images` of them, or all where fewer are.

    They are drawn by `split_seed` alone: the same in every epoch, after a resume, and in runs of
    another `seed`.
    """
    most = config.watch_images
    if not most or len(split) <= most:
        return split
    order = random_streams.of_run(config.split_seed, random_streams.WATCHING).permutation(
        len(split)
    )
    few: _AnySplit = split.take(np.sort(order[:most]))
    return few


def counted(whole: SplitLike, few: SplitLike) -> dict[str, float]:
    """What a row of the history says of it: "val_images", where some were left out."""
    return {"val_images": float(len(few))} if len(few) < len(whole) else {}
