"""The data of a classifier that was imported: its classes are the network's, in their order."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from kerascnn.errors import InputError
from training import datasets
from training.datasets import unlabelled
from training.datasets.splits import Dataset
from training.engine import dataset_of_request as of_request
from training.engine.imported import Imported
from training.engine.request import TrainRequest


def scan(asked: TrainRequest) -> Dataset:
    """The data of a request for an imported network, with the network's classes.

    Labels of data that has none are `unlabelled.UNKNOWN`.

    Raises:
        InputError: no data, or a class that it had not when the network was imported.
    """
    assert asked.imported is not None
    return aligned(as_it_is(asked), asked.imported)


def as_it_is(asked: TrainRequest) -> Dataset:
    """The same with the data's own classes; there may be few images, and few classes."""
    assert asked.imported is not None
    if not asked.imported.labelled:
        return _scanned(unlabelled.scan, asked)
    return _scanned(datasets.scan, asked, sparse=True)


def _scanned(scan_: Any, asked: TrainRequest, **more: Any) -> Dataset:
    found: Dataset = of_request.scanned(scan_, asked, **more)
    return found


def aligned(dataset: Dataset, imported: Imported) -> Dataset:
    """A data set with the labels of an imported network in place of its own."""
    if imported.labelled:
        if new := [name for name in dataset.classes if name not in imported.places]:
            raise InputError(
                f"{dataset.name} has the class {new[0]!r}, which it had not when the network was "
                "imported; take it out, or import again"
            )
        places = np.array([imported.places[name] for name in dataset.classes], np.int32)
        dataset = dataset.each(lambda split: split.relabelled(places))
    return dataclasses.replace(dataset, classes=imported.labels)
