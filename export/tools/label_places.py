"""Which output of a network a class of some data means: by its name, or by ImageNet's synsets."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from training.importing import labels as naming


def places_of(
    path: pathlib.Path, labels: Sequence[str], data: str, classes: Sequence[str]
) -> np.ndarray:
    """(c,) of each class of the data, its place among the labels of a file; as an import has it.

    Raises:
        InputError: classes that the file does not know, or one that may be several of its labels.
    """
    found = naming.places(
        naming.of_names(labels, classes),
        classes,
        data=data,
        source=str(path),
        remedy="take them out, or correct their names",
    )
    return np.array([found[name] for name in classes], np.int32)
