"""What must not grow with the square of the classes, or with all pictures times all classes."""

from __future__ import annotations

import csv
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from marks import IN_CI

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.classification import batches
from training.classification.batches import EvaluationBatches, TrainingData, one_hot
from training.classification.confusion import (
    confusion_matrix,
    draw_confusion,
    most_confused,
    write_confusion,
)
from training.classification.evaluate import Evaluation
from training.datasets.splits import Split, places_by_class, stratified
from training.engine.config import TrainConfig

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
    training_data = TrainingData(
        split=many(64),
        source=GREY,
        preprocessing=GREY,
        classes=CLASSES,
        config=TrainConfig(batch_size=64, augmentation="none"),
    )
    rows = {key: value[0] for key, value in training_data.epoch(0).items()}
    with at_most(16):
        _, labels = batches._batch(training_data, rows)
    np.testing.assert_array_equal(labels.argmax(axis=1), training_data.split.labels[rows["index"]])
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


@IN_CI
def test_confusion_of_many_classes(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(CLASSES), 2)
    predictions = labels.copy()
    predictions[[6, 7]] = 20_000  # both pictures of class 3
    predictions[40_001] = 3  # one of class 20,000
    predictions[200] = 7_000  # one of class 100
    names = [f"class {i}" for i in range(CLASSES)]
    png, table = tmp_path / "c.png", tmp_path / "c.csv"
    # A square of float64 alone would be 3,640 MiB, a drawing of two pixels a cell as many.
    with at_most(256):
        matrix = confusion_matrix(labels, predictions, CLASSES)
        write_confusion(matrix, names, png, table)
        found = most_confused(matrix, names, top=2)
    assert found == [
        ("class 3", "class 20000", 2, 100.0),
        ("class 100", "class 7000", 1, 50.0),
    ]
    with table.open(encoding="utf-8") as stream:
        head, *rows = csv.reader(stream)
    assert head == ["true", "predicted", "images"]
    assert len(rows) == CLASSES + 2  # each with itself but class 3; and three mistakes
    assert rows[2:4] == [["class 2", "class 2", "2"], ["class 3", "class 20000", "2"]]
    assert ["class 20000", "class 3", "1"] in rows
    assert sum(int(row[2]) for row in rows) == 2 * CLASSES


def test_the_drawing_of_many_classes_shows_those_confused_most() -> None:
    labels = np.repeat(np.arange(1_001), 4)
    predictions = labels.copy()
    predictions[4 * 900 : 4 * 900 + 3] = 950
    predictions[4 * 500] = 1_000
    names = [f"class {i}" for i in range(1_001)]
    axes = draw_confusion(confusion_matrix(labels, predictions, 1_001), names).axes[0]
    texts = [label.get_text() for label in axes.get_yticklabels()]
    assert len(texts) == 60
    # Behind those that are confused, the commonest: all are, so the first.
    assert texts[-4:] == ["class 500", "class 900", "class 950", "class 1000"]
    assert texts[:2] == ["class 0", "class 1"]
    shares = axes.get_images()[0].get_array()
    assert shares[57, 58] == 75
    assert shares[57, 57] == 25
    assert axes.get_title("left") == (
        "4,000 of 4,004 right, 99.9%; the 60 most confused of 1,001 classes"
    )
    # Shares are of whole rows, whatever is shown of them.
    few = confusion_matrix(np.zeros(100, int), np.arange(100), 1_001)
    assert draw_confusion(few, names).axes[0].get_images()[0].get_array()[0].sum() == 60


def test_a_thousand_classes_keep_their_square(tmp_path: Path) -> None:
    matrix = confusion_matrix(np.arange(1_000), np.arange(1_000), 1_000)
    names = [str(i) for i in range(1_000)]
    write_confusion(matrix, names, tmp_path / "c.png", tmp_path / "c.csv")
    with (tmp_path / "c.csv").open(encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["true \\ predicted", *names]
    assert rows[1000][:1] + rows[1000][-1:] == ["999", "1"]


def test_an_evaluation_holds_no_logits_of_all_images() -> None:
    # 4,000 images: 333 MiB of float32 logits, twice as many in float64; here an eighth is kept.
    count, keep = 4_000, 40 * MIB
    labels = np.arange(count) % CLASSES

    def answers() -> Iterator[np.ndarray]:
        for first in range(0, count, 50):
            block = np.zeros((50, CLASSES), np.float32)
            block[np.arange(50), first + np.arange(50)] = 20
            yield block

    with at_most(160):
        found = Evaluation.of_blocks(answers(), labels, keep_bytes=keep)
    assert found.accuracy == found.top5 == 100
    assert found.loss == pytest.approx(np.log1p((CLASSES - 1) * np.exp(-20)), rel=1e-6)
    assert found.outputs.compared[:3].tolist() == [0, 9, 18]
    assert found.outputs.logits.nbytes <= keep
    with at_most(60):
        assert found.outputs.difference(found.outputs) == 0
