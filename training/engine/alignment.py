"""Data whose classes become those of an imported network, in the order of its outputs."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import numpy as np

from kerascnn.errors import InputError
from training.datasets.splits import SplitDataset
from training.engine.imported import Imported

_AnyDataset = TypeVar("_AnyDataset", bound=SplitDataset[Any])


def aligned(dataset: _AnyDataset, imported: Imported, **more: Any) -> _AnyDataset:
    """A data set with the labels of an imported network in place of its own.

    Args:
        **more: what else of it goes by the labels.

    Raises:
        InputError: a class that it had not when the network was imported.
    """
    if imported.labelled:
        if new := [name for name in dataset.classes if name not in imported.places]:
            raise InputError(
                f"{dataset.name} has the class {new[0]!r}, which it had not when the network was "
                "imported; take it out, or import again"
            )
        places = np.array([imported.places[name] for name in dataset.classes], np.int32)
        dataset = dataset.each(lambda split: split.relabelled(places))
    return dataclasses.replace(dataset, classes=imported.labels, **more)
