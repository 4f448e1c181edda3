"""From a request to its images: which ones are learnt from, which choose, which measure.

Training, fine-tuning, calibration and the figures of files all ask here, so that what one of them
learns from, no other one chooses or measures by:

    scan ──> pictures_per_class ──> (detectors, masks: those that can be read) ──> set aside

Classifiers are decoded behind this, and lose their broken images there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from training import tasks
from training.common import once
from training.common.progress import busy
from training.datasets.selection import without
from training.datasets.splits import SplitDataset
from training.engine.config import TrainConfig
from training.engine.request import TrainRequest

_AnyDataset = TypeVar("_AnyDataset", bound=SplitDataset[Any])


def dataset_of(asked: TrainRequest) -> Any:
    """The images of a request, not read yet and none set aside; a `SplitDataset`.

    Raises:
        InputError: there are none, or they are inconsistent.
    """
    return tasks.of_request(asked).scan(asked)


def scanned(scan: Callable[..., Any], asked: TrainRequest, **more: Any) -> Any:
    """What a task's reader finds for a request: once in each `training.common.once.scope`.

    Args:
        scan: as `training.datasets.scan`.
        **more: further arguments of it.
    """
    with busy(f"reading {asked.data}"):
        return once.call(
            scan,
            asked.data,
            seed=asked.config.split_seed,
            val_data=asked.val_data,
            reading=asked.reading,
            **more,
        )


def without_labels(asked: TrainRequest) -> bool:
    """Whether nothing is known of the images of a request, for an imported network."""
    return asked.imported is not None and not asked.imported.labelled


def with_validation(
    dataset: _AnyDataset,
    config: TrainConfig,
    *,
    skipped: Collection[str] = (),
    broken: Collection[str] = (),
) -> _AnyDataset:
    """With images that choose the epoch set aside, if it has none: never the held-out ones.

    Args:
        skipped: names of images that cannot be read; they are left out first.
        broken: names of images that were found broken later; they are left out of the splits.
    """
    sound = dataset.each(lambda split: without(split, skipped)) if skipped else dataset
    chosen = sound.with_validation(config.validation_fraction, config.split_seed)
    return chosen.each(lambda split: without(split, broken)) if broken else chosen
