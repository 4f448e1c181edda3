"""Which classes are taken for which: counts of true classes against predicted ones.

Counts are sparse: most classes are never confused. `confusion` draws them, with matplotlib, which
is not needed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy.sparse import coo_array, csr_array

from kerascnn.errors import InputError


class Confused(NamedTuple):
    """A class taken for another: in how many images, and in what percent of the true class's."""

    true: str
    predicted: str
    pictures: int
    share: float


# Counts of any form that SciPy makes a sparse one of.
Counts: TypeAlias = Any


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, classes: int) -> csr_array:
    """Count the images of each true class by the predicted one.

    Args:
        labels: (n,) true class indices.
        predictions: (n,) predicted ones.
        classes: how many there are.

    Returns:
        (classes, classes) int64, rows are true classes; sparse, as most classes are never confused.

    Raises:
        InputError: labels and predictions differ in number, or one is no class.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape or labels.ndim != 1:
        raise InputError(
            f"labels of shape {labels.shape} do not fit predictions of shape {predictions.shape}; "
            "give one of each per image"
        )
    for what, values in (("labels", labels), ("predictions", predictions)):
        if len(values) and not 0 <= values.min() <= values.max() < classes:
            raise InputError(
                f"{what} go from {values.min()} to {values.max()} and there are {classes} classes; "
                "count them by the classes that the network was trained for"
            )
    ones = np.ones(len(labels), np.int64)
    places = (labels.astype(np.int64), predictions.astype(np.int64))
    return coo_array((ones, places), shape=(classes, classes)).tocsr()  # which adds up


def most_confused(matrix: Counts, names: Sequence[str], top: int = 5) -> list[Confused]:
    """The commonest mistakes, by count, then by share, then in the order of the classes.

    Raises:
        InputError: the matrix is not square, or has another number of classes than names.
    """
    mistakes = mistakes_of(checked(matrix, names))
    return [
        Confused(names[i], names[j], int(count), float(share))
        for i, j, count, share in zip(*(each[:top] for each in mistakes), strict=True)
    ]


def checked(matrix: Counts, names: Sequence[str]) -> csr_array:
    """The counts as a sparse array; raises InputError where they are not of these names."""
    if matrix.shape != (len(names), len(names)) or not len(names):
        raise InputError(
            f"a confusion matrix of shape {matrix.shape} does not fit {len(names)} class names; "
            "give one row and one column a name"
        )
    return csr_array(matrix)


def cells_of(counts: csr_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True class, predicted class and count of every pair that occurs, by true class."""
    cells = counts.tocoo()
    order = np.lexsort((cells.col, cells.row))
    order = order[cells.data[order] > 0]
    return cells.row[order], cells.col[order], cells.data[order]


def mistakes_of(counts: csr_array) -> tuple[np.ndarray, ...]:
    """True class, predicted class, count and percent of the true class, commonest first."""
    cells = cells_of(counts)
    rows, columns, numbers = (each[cells[0] != cells[1]] for each in cells)
    shares = 100 * numbers / counts.sum(axis=1)[rows]
    order = np.lexsort((columns, rows, -shares, -numbers))
    return rows[order], columns[order], numbers[order], shares[order]
