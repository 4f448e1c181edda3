"""What must not grow with the square of the classes, or with all pictures times all classes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import batches
from training.batches import Course, EvaluationBatches, one_hot
from training.config import TrainConfig
from training.datasets.splits import Split, places_by_class, stratified

CLASSES = 21_841  # of ImageNet as a whole
MIB = 1 << 20
GREY = Preprocessing(height=4, width=4, channels=1)


@contextmanager
def at_most(mebibytes: float) -> Iterator[None]:
    """Fails where NumPy and Python together hold more at once; XLA and Keras are not counted."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] / MIB < mebibytes
    finally:
        tracemalloc.stop()


def many(count: int) -> Split:
    """One tiny picture of each of so many classes, the last ones."""
    return Split(
        labels=np.arange(CLASSES - count, CLASSES, dtype=np.int32),
        names=tuple(f"{i}.png" for i in range(count)),
        pictures=np.zeros((count, 4, 4, 1), np.uint8),
    )


def test_one_hot_labels_are_those_of_the_identity() -> None:
    labels = np.array([2, 0, 2])
    np.testing.assert_array_equal(one_hot(labels, 4), np.eye(4, dtype=np.float32)[labels])
    assert one_hot(labels, 4).dtype == np.float32
    assert one_hot(labels[:0], 4).shape == (0, 4)


def test_a_batch_of_many_classes_is_no_square() -> None:
    # 64 x 21,841 float32 are 5.3 MiB; an identity of all classes would be 1,820.
    given = EvaluationBatches(many(80), GREY, classes=CLASSES, batch_size=64)
    with at_most(16):
        _, labels = given[1]
    assert labels.shape == (16, CLASSES)
    assert labels.argmax(axis=1).tolist() == list(range(CLASSES - 16, CLASSES))
    course = Course(
        split=many(64),
        source=GREY,
        preprocessing=GREY,
        classes=CLASSES,
        config=TrainConfig(batch_size=64, augmentation="none"),
    )
    rows = {key: value[0] for key, value in course.epoch(0).items()}
    with at_most(16):
        _, labels = batches._batch(course, rows)
    np.testing.assert_array_equal(labels.argmax(axis=1), course.split.labels[rows["index"]])
    np.testing.assert_array_equal(labels.sum(axis=1), 1)


def test_places_of_each_class() -> None:
    labels = np.array([5, 2, 5, 9, 2, 5])
    assert [p.tolist() for p in places_by_class(labels)] == [[1, 4], [0, 2, 5], [3]]
    assert places_by_class(labels[:0]) == []
    drawn = np.random.default_rng(1).integers(0, 40, 500)
    for places, label in zip(places_by_class(drawn), np.unique(drawn), strict=True):
        np.testing.assert_array_equal(places, np.flatnonzero(drawn == label))


def test_a_class_of_a_single_picture_is_named() -> None:
    with pytest.raises(InputError, match="class 'c' has a single training image"):
        stratified(np.array([0, 0, 2, 1, 1]), "abc", fraction=0.5, seed=0)
