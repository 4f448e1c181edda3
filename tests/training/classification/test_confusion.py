"""Confusion matrices: counts by hand, the table, and a picture in which no mistake is lost."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kerascnn.errors import InputError
from training.classification.confusion import (
    confusion_matrix,
    draw_confusion,
    most_confused,
    write_confusion,
)

PETS = ("cat", "dog", "hare, brown")
COUNTS = np.array([[2, 1, 0], [0, 0, 3], [0, 0, 4]])


def test_counts_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2])
    predictions = np.array([0, 1, 0, 2, 2, 2, 2, 2, 2, 2])
    matrix = confusion_matrix(labels, predictions, 3)
    assert matrix.toarray().tolist() == COUNTS.tolist()
    assert matrix.dtype == np.int64
    none = confusion_matrix(labels[:0], predictions[:0], 2)
    assert none.toarray().tolist() == [[0, 0], [0, 0]]


def test_small_integer_types_do_not_overflow() -> None:
    ids = np.array([199, 199], np.uint8)
    matrix = confusion_matrix(ids, ids, 200)
    assert matrix[199, 199] == matrix.sum() == 2


@pytest.mark.parametrize(
    ("labels", "predictions", "said"),
    [
        ([0, 1], [0], "do not fit predictions"),
        ([0, 3], [0, 1], "labels go from 0 to 3 and there are 3 classes"),
        ([0, 1], [-1, 1], "predictions go from -1"),
    ],
)
def test_what_is_no_class_is_refused(labels: list[int], predictions: list[int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        confusion_matrix(np.array(labels), np.array(predictions), 3)


def test_most_confused_by_count_then_by_share() -> None:
    assert most_confused(COUNTS, PETS) == [
        ("dog", "hare, brown", 3, 100),
        ("cat", "dog", 1, pytest.approx(100 / 3)),
    ]
    assert most_confused(COUNTS, PETS, top=1)[0].predicted == "hare, brown"
    assert most_confused(np.diag([3, 0, 2]), PETS) == []
    # Equal counts: the class with fewer pictures first, then the order of the classes.
    even = np.array([[8, 1, 1], [2, 0, 0], [1, 0, 4]])
    assert [(c.true, c.predicted) for c in most_confused(even, "abc")] == [
        *(("b", "a"), ("c", "a"), ("a", "b"), ("a", "c")),
    ]


def test_table_has_names_and_counts(tmp_path: Path) -> None:
    write_confusion(COUNTS, PETS, tmp_path / "c.png", tmp_path / "c.csv")
    with (tmp_path / "c.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    assert rows == [
        ["true \\ predicted", *PETS],
        ["cat", "2", "1", "0"],
        ["dog", "0", "0", "3"],
        ["hare, brown", "0", "0", "4"],
    ]


def test_cells_hold_counts_and_colours_are_shares_of_rows() -> None:
    figure = draw_confusion(COUNTS, PETS)
    axes = figure.axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    # (column, row): empty cells stay empty, but for the diagonal.
    expected = {(0, 0): "2", (1, 0): "1", (1, 1): "0", (2, 1): "3", (2, 2): "4"}
    assert cells == expected
    shares = axes.get_images()[0].get_array()
    np.testing.assert_allclose(shares[0], [200 / 3, 100 / 3, 0])
    np.testing.assert_allclose(shares[1], [0, 0, 100])
    assert axes.get_title(loc="left") == "6 of 10 right, 60%"


def test_class_without_pictures_has_no_colour(tmp_path: Path) -> None:
    matrix = np.array([[2, 0], [0, 0]])
    shares = draw_confusion(matrix, ("a", "b")).axes[0].get_images()[0].get_array()
    assert np.ma.getmaskarray(shares).tolist() == [[False, False], [True, True]]
    write_confusion(0 * matrix, ("a", "b"), tmp_path / "c.png", tmp_path / "c.csv")


@pytest.mark.parametrize("classes", [1, 2, 20, 21, 60, 61, 100, 1000])
def test_names_are_thinned_and_cells_lose_their_counts(classes: int) -> None:
    names = [f"a very long name of a class, number {i}" for i in range(classes)]
    matrix = 5 * np.eye(classes, dtype=np.int64)
    axes = draw_confusion(matrix, names).axes[0]
    texts = [label.get_text() for label in axes.get_yticklabels()]
    assert len(axes.texts) == (classes if classes <= 20 else 0)
    assert len(texts) == {61: 31, 100: 50, 1000: 50}.get(classes, classes)
    assert all(len(text) <= 22 for text in texts)
    assert texts[-1].endswith(str(int(axes.get_yticks()[-1])))


@pytest.mark.parametrize("classes", [2, 37, 300, 1000])
def test_single_mistake_is_seen_and_texts_are_inside(tmp_path: Path, classes: int) -> None:
    names = [f"class {i}" for i in range(classes)]
    matrix = 99 * np.eye(classes, dtype=np.int64)
    row, column = classes // 3, classes - 1
    matrix[row, column] = 1
    png = tmp_path / "c.png"
    write_confusion(matrix, names, png, tmp_path / "c.csv")
    figure = draw_confusion(matrix, names)
    with Image.open(png) as opened:
        pixels = np.asarray(opened.convert("RGB"), np.int64)
    scale = 200 / figure.dpi
    # A bit beside the middle, where the count stands.
    x, y = figure.axes[0].transData.transform((column - 0.3, row - 0.3)) * scale
    seen = pixels[len(pixels) - 1 - int(y), int(x)]
    assert 20 < np.abs(seen - 255).sum() < 300, "light, and not white"
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (border == border[0]).all()


def test_same_matrix_same_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    write_confusion(COUNTS, PETS, one, tmp_path / "c.csv")
    write_confusion(COUNTS, PETS, other, tmp_path / "c.csv")
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("shape", [(2, 2), (3, 2), (0, 0)])
def test_names_must_fit(tmp_path: Path, shape: tuple[int, int]) -> None:
    names = PETS if shape != (0, 0) else ()
    with pytest.raises(InputError, match="does not fit"):
        write_confusion(np.zeros(shape, int), names, tmp_path / "c.png", tmp_path / "c.csv")
    assert not list(tmp_path.iterdir())
