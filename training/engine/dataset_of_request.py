"""From a request to its pictures: which ones are learnt from, which choose, which measure.

Training, fine-tuning, calibration and the figures of files all ask here, so that what one of them
learns from, no other one chooses or measures by:

    scan ──> pictures_per_class ──> (detectors, label maps: those that can be read) ──> set aside

Classifiers are decoded behind this, and lose their broken pictures there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

from kerascnn.zoo import entry
from training import datasets
from training.common import once
from training.common.progress import busy
from training.datasets.detection import DetectionDataset
from training.datasets.detection_sets import scan_objects
from training.datasets.segmentation import SegmentationDataset
from training.datasets.segmentation_sets import scan_maps
from training.datasets.selection import choosing, choosing_by_class, without
from training.datasets.splits import Dataset, each, few
from training.engine.config import TrainConfig
from training.engine.request import TrainRequest

_Regions = TypeVar("_Regions", DetectionDataset, SegmentationDataset)


def labelled(asked: TrainRequest) -> Dataset:
    """The pictures of a classifier's request, not read yet and none set aside."""
    config = asked.config
    with busy(f"reading {asked.data}"):
        dataset = once.call(
            datasets.scan,
            asked.data,
            seed=config.split_seed,
            reading=asked.reading,
            val_data=asked.val_data,
        )
    if config.pictures_per_class:
        dataset = few(dataset, config.pictures_per_class, seed=config.split_seed)
    return dataset


def objects(asked: TrainRequest) -> DetectionDataset:
    """The pictures of a detector's request, not read yet and none set aside."""
    return _regions(scan_objects, asked)


def maps(asked: TrainRequest) -> SegmentationDataset:
    """The pictures of a segmentation network's request, not read yet and none set aside."""
    return _regions(scan_maps, asked)


def of_any_task(asked: TrainRequest) -> Dataset | DetectionDataset | SegmentationDataset:
    """The pictures of a request, not read yet and none set aside."""
    task = entry(asked.model).task
    if task == "classification":
        return labelled(asked)
    return objects(asked) if task == "detection" else maps(asked)


def _regions(scan: Callable[..., _Regions], asked: TrainRequest) -> _Regions:
    with busy(f"reading {asked.data}"):
        return once.call(
            scan,
            asked.data,
            seed=asked.config.split_seed,
            strict=asked.strict,
            val_data=asked.val_data,
            reading=asked.reading,
        )


def with_validation(
    dataset: Dataset, config: TrainConfig, *, broken: Collection[str] = ()
) -> Dataset:
    """With pictures that choose the epoch set aside, if it has none: never the held-out ones.

    Args:
        broken: names of pictures that were found broken later; they are left out of the splits.
    """
    chosen = choosing_by_class(dataset, config.validation_fraction, config.split_seed)
    return each(chosen, lambda split: without(split, broken)) if broken else chosen


def with_validation_of(
    dataset: _Regions,
    config: TrainConfig,
    *,
    skipped: Collection[str] = (),
    broken: Collection[str] = (),
) -> _Regions:
    """The same for what finds objects or label maps.

    Args:
        skipped: names of pictures that cannot be read; they are left out first.
        broken: names of pictures that were found broken later; they are left out of the splits.
    """
    sound = dataset.each(lambda split: without(split, skipped)) if skipped else dataset
    chosen = choosing(sound, config.validation_fraction, config.split_seed)
    return chosen.each(lambda split: without(split, broken)) if broken else chosen
