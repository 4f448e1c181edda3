"""The data of a classifier that was imported: its classes are the network's, in their order."""

from __future__ import annotations

import csv
import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from kerascnn.preprocessing import Preprocessing
from training import datasets
from training.common import atomic
from training.datasets import unlabelled
from training.datasets.broken import BrokenPictures
from training.datasets.decode import picture_batches
from training.datasets.pictures import check_picture
from training.datasets.splits import Dataset, Split
from training.engine import dataset_of_request as of_request
from training.engine import own_answers
from training.engine.request import TrainRequest

# What images without labels are held against; in the run's folder.
ANSWERS = "answers.csv"
_COLUMNS = ("image", "label")
PredictFn = Callable[[np.ndarray], np.ndarray]


def as_it_is(asked: TrainRequest) -> Dataset:
    """The data of a request for an imported network; there may be few images, and few classes.

    Labels of data that has none are `unlabelled.UNKNOWN`.

    Raises:
        InputError: no data.
    """
    assert asked.imported is not None
    if not asked.imported.labelled:
        return _scanned(unlabelled.scan, asked)
    return _scanned(datasets.scan, asked, sparse=True)


def _scanned(scan_: Any, asked: TrainRequest, **more: Any) -> Dataset:
    found: Dataset = of_request.scanned(scan_, asked, **more)
    return found


def answered(
    dataset: Dataset, predict: PredictFn, preprocessing: Preprocessing, broken: BrokenPictures
) -> Dataset:
    """A data set without labels, whose held-out and validation images have the network's answers.

    Args:
        predict: of the network.
        broken: collects images that cannot be read, which are left out.
    """

    def labelled(split: Split) -> Split:
        def answers(some: Split) -> np.ndarray:
            blocks = picture_batches(some, preprocessing)
            found = [predict(block).argmax(axis=-1) for block in blocks]
            return np.concatenate(found).astype(np.int32)

        sound, labels = broken.measured(
            split, lambda one, index: check_picture(one.encoded(index), one.names[index]), answers
        )
        return dataclasses.replace(sound, labels=labels)

    return dataclasses.replace(
        dataset,
        validation=dataset.validation and labelled(dataset.validation),
        held_out=labelled(dataset.held_out),
    )


def write_answers(path: pathlib.Path, dataset: Dataset) -> None:
    """Write what `answered` put into a data set: a line an image."""
    splits = filter(None, (dataset.validation, dataset.held_out))
    rows = [
        [own_answers.key_of(name, dataset.name), dataset.classes[label]]
        for split in splits
        for name, label in zip(split.names, split.labels.tolist(), strict=True)
    ]
    atomic.write_csv(path, _COLUMNS, rows)


def with_answers(dataset: Dataset, path: pathlib.Path) -> Dataset:
    """The same of a file; images that it lacks are left out.

    Raises:
        InputError: the file is gone or damaged.
    """
    places = {name: place for place, name in enumerate(dataset.classes)}
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            head, *rows = csv.reader(stream)
        if head != [*_COLUMNS]:
            raise ValueError("other columns")
        known = {image: places[label] for image, label in rows}
    except (OSError, ValueError, KeyError) as error:
        raise own_answers.gone(path, error) from None

    def labelled(split: Split) -> Split:
        keys = [own_answers.key_of(name, dataset.name) for name in split.names]
        there = [index for index, key in enumerate(keys) if key in known]
        labels = np.array([known[keys[index]] for index in there], np.int32)
        return dataclasses.replace(split.take(there), labels=labels)

    return dataclasses.replace(
        dataset,
        validation=dataset.validation and labelled(dataset.validation),
        held_out=labelled(dataset.held_out),
    )
