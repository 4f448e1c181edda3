"""Boxes are drawn where they are, and their names can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from kerascnn.errors import InputError
from training.common.drawing import CLASS_COLOURS, INK
from training.detection.drawing import draw_boxes, write_boxes

NAMES = ["one", "two", "three"]
MIDDLE = [0.25, 0.25, 0.75, 0.75]


def grey(height: int = 200, width: int = 320) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def colour(name: str) -> list[int]:
    return [round(255 * part) for part in to_rgb(name)]


def is_white(picture: np.ndarray) -> int:
    """Letters on the first class's colour are white, and nothing else is."""
    return int((picture == 255).all(axis=-1).sum())


def draw(picture: np.ndarray, boxes: Any, labels: Any, scores: Any = None, **other: Any) -> Any:
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    scores = None if scores is None else np.asarray(scores, np.float32)
    return draw_boxes(picture, boxes, np.asarray(labels, np.int32), scores, classes=NAMES, **other)


def test_band_lies_on_the_edges_in_the_classs_colour() -> None:
    picture = grey()
    drawn = draw(picture, [MIDDLE], [1])
    # Rows 50 to 150, columns 80 to 240.
    for row, column in ((50, 160), (149, 160), (100, 80), (100, 239)):
        assert drawn[row, column].tolist() == colour(CLASS_COLOURS[1])
    assert (drawn[53:147, 83:237] == 90).all()  # inside
    assert (drawn[155:] == 90).all()  # below
    assert (picture == 90).all()  # what was given stays
    assert (drawn.shape, drawn.dtype) == (picture.shape, np.uint8)


def test_strip_with_the_name_stands_above() -> None:
    drawn = draw(grey(), [MIDDLE], [0], [0.5])
    strip = drawn[34:48, 80:110]
    assert (strip == colour(CLASS_COLOURS[0])).all(axis=-1).mean() > 0.5
    assert is_white(drawn) == is_white(strip.reshape(1, -1, 3)) + is_white(drawn[34:48, 110:])
    assert is_white(drawn) > is_white(draw(grey(), [MIDDLE], [0]))  # the score has letters too
    assert (drawn[:33] == 90).all()


@pytest.mark.parametrize(
    "box",
    [
        [0, 0, 1, 1],
        [0, 0, 0.3, 0.3],
        [0, 0.9, 0.1, 1],
        [0.9, 0.95, 1, 1],
        [0.9, 0, 1, 0.1],
        [-2, -3, 1.5, 0.01],
        [0.5, 0.99, 0.6, 7],
    ],
)
def test_strip_stays_inside_whole(box: list[float]) -> None:
    whole = is_white(draw(grey(), [MIDDLE], [0], [0.25]))
    assert is_white(draw(grey(), [box], [0], [0.25])) == whole > 0


def test_strips_of_equal_boxes_do_not_hide_each_other() -> None:
    one = is_white(draw(grey(), [MIDDLE], [0], [0.75]))
    other = is_white(draw(grey(), [MIDDLE], [0], [0.25]))
    assert is_white(draw(grey(), [MIDDLE, MIDDLE], [0, 0], [0.25, 0.75])) == one + other


def test_higher_score_lies_above() -> None:
    for scores, top in (([0.9, 0.3], 0), ([0.3, 0.9], 2)):
        drawn = draw(grey(), [MIDDLE, MIDDLE], [0, 2], scores)
        assert drawn[100, 80].tolist() == colour(CLASS_COLOURS[top])


def test_lines_and_letters_grow_with_the_picture() -> None:
    small, large = (draw(grey(*size), [MIDDLE], [0]) for size in ((240, 320), (2250, 3000)))
    lines = [
        int((each[each.shape[0] // 2] == colour(CLASS_COLOURS[0])).all(axis=-1).sum())
        for each in (small, large)
    ]
    assert lines == [2 * 3, 2 * 8]
    assert is_white(large) > 4 * is_white(small)


def test_truth_is_dashed_in_black_and_white() -> None:
    drawn = draw(grey(), np.empty((0, 4)), [], truth=np.array([MIDDLE, [np.nan] * 4]))
    top = drawn[50, 80:240]
    dark, white = ((top == each).all(axis=-1) for each in (colour(INK), 255))
    assert (dark | white).all()
    assert 0.4 < white.mean() < 0.6
    changed = (drawn != 90).any(axis=-1)
    assert changed.sum() == 2 * 160 + 2 * 98  # one pixel wide


def test_truth_shows_on_the_band_of_what_was_found() -> None:
    drawn = draw(grey(), [MIDDLE], [1], truth=np.array([MIDDLE]))
    column = drawn[60:140, 78:84].reshape(-1, 3).tolist()
    for each in (colour(INK), [255] * 3, colour(CLASS_COLOURS[1])):
        assert each in column


@pytest.mark.parametrize(
    "box", [[np.nan] * 4, [0, 0, np.inf, 1], [1.2, 0, 1.5, 1], [0, -1, 1, -0.1], [1e30] * 4]
)
def test_box_that_is_nowhere_is_left_out(box: list[float]) -> None:
    assert (draw(grey(), [box], [0], [0.5]) == 90).all()


def test_box_without_area_is_still_seen() -> None:
    drawn = draw(grey(), [[0.5, 0.25, 0.5, 0.75]], [1])
    assert drawn[100, 160].tolist() == colour(CLASS_COLOURS[1])


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (30, 40), (100, 50)])
def test_small_and_thin_pictures(size: tuple[int, int]) -> None:
    name = ["a name that is much too long for the picture"]
    boxes, labels = np.array([MIDDLE, [0, 0, 1, 1]]), np.array([0, 0])
    drawn = draw_boxes(grey(*size), boxes, labels, np.array([0.9, 0.5]), classes=name)
    assert drawn.shape == (*size, 3)
    assert (drawn != 90).any()


def test_names_in_any_script_and_many_classes() -> None:
    names = ["Ærø", "猫", "a\nb", "", *map(str, range(20))]
    boxes = np.tile(np.float32(MIDDLE), (len(names), 1))
    drawn = draw_boxes(grey(), boxes, np.arange(len(names)), classes=names)
    assert drawn.shape == (200, 320, 3)


def test_written_by_suffix(tmp_path: Path) -> None:
    arguments = (grey(), np.float32([MIDDLE]), np.array([0]), np.float32([0.5]))
    drawn = draw_boxes(*arguments, classes=NAMES)
    for name, kind in (("a.png", "PNG"), ("b.jpg", "JPEG"), ("c.JPEG", "JPEG")):
        write_boxes(tmp_path / name, *arguments, classes=NAMES)
        with Image.open(tmp_path / name) as picture:
            assert picture.format == kind
            difference = np.abs(np.asarray(picture, np.float64) - drawn)
        assert difference.mean() < (2 if kind == "JPEG" else 1e-9)
    with pytest.raises(InputError, match=r"d\.bmp: images are written as \.png or \.jpg"):
        write_boxes(tmp_path / "d.bmp", *arguments, classes=NAMES)
    assert len(list(tmp_path.iterdir())) == 3


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="labels go from 3 to 3 and there are 3 classes"):
        draw(grey(), [MIDDLE], [3])
    with pytest.raises(InputError, match="differ in number"):
        draw(grey(), [MIDDLE], [0], [0.5, 0.4])
    with pytest.raises(InputError, match="drawn on"):
        draw(grey().astype(np.float32), [MIDDLE], [0])


# --- Masks ----------------------------------------------------------------------------------------


def disc(row: int, column: int, radius: int) -> np.ndarray:
    rows, columns = np.mgrid[:200, :320]
    covered: np.ndarray = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    return covered


def test_mask_is_tinted_and_outlined() -> None:
    picture, mask = grey(), disc(100, 160, 30)
    drawn = draw(picture, [MIDDLE], [1], masks=[mask])
    paint = colour(CLASS_COLOURS[1])
    tinted = [round(0.55 * 90 + 0.45 * part) for part in paint]
    assert drawn[100, 160].tolist() == drawn[100, 132].tolist() == tinted
    assert drawn[100, 130].tolist() == paint  # the last column of the disc
    assert drawn[100, 129].tolist() == colour(INK)  # the first outside
    assert drawn[100, 127].tolist() == [90] * 3
    # Nothing else differs from the drawing without the mask.
    plain = draw(picture, [MIDDLE], [1])
    assert np.array_equal(drawn[~disc(100, 160, 32)], plain[~disc(100, 160, 32)])
    assert (picture == 90).all()


def test_touching_masks_of_a_class_are_told_apart() -> None:
    left, right = np.zeros((2, 200, 320), bool)
    left[60:140, 90:160], right[60:140, 160:230] = True, True
    drawn = draw(grey(), [MIDDLE, MIDDLE], [1, 1], [0.9, 0.8], masks=[left, right])
    row = drawn[100, 150:170].tolist()
    assert colour(CLASS_COLOURS[1]) in row
    assert colour(INK) in row


def test_letters_stand_above_masks() -> None:
    everywhere = np.ones((200, 320), bool)
    drawn = draw(grey(), [MIDDLE], [0], [0.25], masks=[everywhere])
    assert is_white(drawn) == is_white(draw(grey(), [MIDDLE], [0], [0.25])) > 0
    assert (drawn != 90).any(axis=-1).all()


def test_masks_that_are_nowhere_or_at_the_edge() -> None:
    empty, corner = np.zeros((2, 200, 320), bool)
    corner[-1, -1] = True
    plain = draw(grey(), [MIDDLE], [0])
    assert np.array_equal(draw(grey(), [MIDDLE], [0], masks=[empty]), plain)
    drawn = draw(grey(), [MIDDLE], [0], masks=[corner])
    assert drawn[-1, -1].tolist() == colour(CLASS_COLOURS[0])
    # The box is outside, and its mask goes with it.
    assert (draw(grey(), [[1.2, 0, 1.5, 1]], [0], masks=[~empty]) == 90).all()
    assert draw(grey(), [], [], masks=[]).shape == (200, 320, 3)


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="1 masks for 2 boxes; give one of each"):
        draw(grey(), [MIDDLE, MIDDLE], [0, 0], masks=[disc(0, 0, 1)])
    for wrong in (np.ones((28, 28), bool), np.ones((200, 320), np.float32)):
        with pytest.raises(InputError, match="masks are bool of the image's"):
            draw(grey(), [MIDDLE], [0], masks=[wrong])
