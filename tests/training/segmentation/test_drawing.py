"""Label maps on pictures: classes can be told apart, and what is not meant stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_segmenters
from PIL import Image, ImageColor

from kerascnn.errors import InputError
from training.common.drawing import CLASS_COLOURS
from training.datasets.segmentation import BACKGROUND, VOID
from training.segmentation import examples as segmentation_examples
from training.segmentation.drawing import (
    draw_frame,
    draw_map,
    legend,
    overlay,
    write_map,
)

NAMES = (BACKGROUND, *map(str, range(22)))


def grey(height: int = 60, width: int = 80) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def field(label: int, height: int = 60, width: int = 80) -> np.ndarray:
    """The class but for a frame of background."""
    made = np.zeros((height, width), np.uint8)
    made[10:-10, 10:-10] = label
    return made


def colour(name: str) -> list[int]:
    return list(ImageColor.getrgb(name))


def test_background_stays_and_objects_have_their_boxes_colour_and_a_contour() -> None:
    drawn = overlay(grey(), field(2), NAMES)
    assert (drawn[field(2) == 0][:9] == 90).all()
    expected = np.rint(0.35 * 90 + 0.65 * np.array(colour(CLASS_COLOURS[1])))
    assert np.abs(drawn[30, 40] - expected).max() <= 1
    assert drawn[10, 40].tolist() == drawn[30, 10].tolist() == colour(CLASS_COLOURS[1])
    assert (drawn[0] == 90).all()
    assert (grey() == overlay(grey(), np.zeros((60, 80), np.uint8), NAMES)).all()


def test_more_classes_than_colours_have_stripes_and_dots() -> None:
    """All of 21 look different, also those of one colour."""
    inside = np.s_[14:46, 14:66]
    seen = [overlay(grey(), field(label), NAMES)[inside] for label in range(1, 22)]
    for one, other in ((i, j) for i in range(21) for j in range(i)):
        assert (seen[one] != seen[other]).any(axis=-1).mean() > 0.2
    for turn in range(3):
        for place, name in enumerate(CLASS_COLOURS):
            looks = np.unique(seen[7 * turn + place].reshape(-1, 3), axis=0).astype(float)
            assert len(looks) == (1 if turn == 0 else 2)
            # Lines through grey in the colour's direction.
            away = (np.array(colour(name), float) - 90) / 100
            assert (
                np.abs(looks - 90 - np.outer((looks - 90) @ away / (away @ away), away)).max() < 1
            )


def test_a_palette_is_taken_as_it_is() -> None:
    palette = tuple((10 * i, 255 - 10 * i, 7) for i in range(23))
    drawn = overlay(grey(), field(9), NAMES, palette)
    assert drawn[10, 40].tolist() == list(palette[9])
    assert np.abs(drawn[30, 40] - (0.35 * 90 + 0.65 * np.array(palette[9]))).max() <= 1
    # Without a background the first class is one as the others.
    first = overlay(grey(), np.zeros((60, 80), np.uint8), ("sky", "sea"))
    assert (first != 90).any(axis=-1).all()


def test_the_legend_names_what_is_there_alone() -> None:
    label_map = field(3)
    label_map[20:30, 20:30] = VOID
    drawn = draw_map(grey(), label_map, NAMES)
    assert drawn.shape[1:] == (80, 3)
    np.testing.assert_array_equal(drawn[:60], overlay(grey(), label_map, NAMES))
    below = legend([0, 3, VOID], NAMES, 80, letters=10)
    np.testing.assert_array_equal(drawn[60:], below)
    assert colour(CLASS_COLOURS[2]) in below.reshape(-1, 3).tolist()
    assert colour(CLASS_COLOURS[1]) not in below.reshape(-1, 3).tolist()
    assert legend([0], NAMES, 80).shape == (0, 80, 3)
    assert draw_map(grey(), np.zeros((60, 80), np.uint8), NAMES).shape == (60, 80, 3)


def test_legends_have_as_many_rows_as_they_need() -> None:
    heights = [legend(range(1, count), NAMES, 120).shape[0] for count in (2, 3, 9, 22)]
    assert heights == sorted(heights)
    assert heights[0] < heights[2] < heights[3]
    long = legend([0, 1], ("a name that is much too long " * 3, "another" * 9), 100)
    assert long.shape[1] == 100
    assert (long[:, -2:] == 255).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (5, 7)])
def test_small_and_thin_pictures(size: tuple[int, int]) -> None:
    label_map = np.ones(size, np.uint8)
    label_map[0, 0] = 2
    drawn = draw_map(grey(*size), label_map, NAMES)
    assert drawn.shape[1:] == (size[1], 3)
    assert (drawn[: size[0]] != 90).any()


def test_written_by_suffix(tmp_path: Path) -> None:
    drawn = draw_map(grey(), field(1), NAMES)
    for name, kind in (("a.png", "PNG"), ("b.JPG", "JPEG")):
        write_map(tmp_path / name, grey(), field(1), NAMES)
        with Image.open(tmp_path / name) as picture:
            assert picture.format == kind
            assert np.abs(np.asarray(picture, float) - drawn).mean() < (
                3 if kind == "JPEG" else 0.1
            )
    with pytest.raises(InputError, match=r"d\.bmp: images are written as \.png or \.jpg"):
        write_map(tmp_path / "d.bmp", grey(), field(1), NAMES)
    assert len(list(tmp_path.iterdir())) == 2


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="drawn on"):
        draw_map(grey().astype(np.float32), field(1), NAMES)
    with pytest.raises(InputError, match="does not fit an image"):
        draw_map(grey(), field(1, 40), NAMES)
    with pytest.raises(InputError, match="class 23 is in the label map and there are 23 classes"):
        draw_map(grey(), field(23), NAMES)


def test_examples_show_picture_truth_and_found(tmp_path: Path) -> None:
    split = tiny_segmenters.split(5)
    picture, truth = split.picture(0), split.label_map(0)
    found = np.zeros_like(truth)
    three = segmentation_examples.example(picture, truth, found, tiny_segmenters.CLASSES)
    assert [each.shape for each in three] == [three[0].shape] * 3
    assert max(three[0].shape) == 240
    np.testing.assert_array_equal(three[0], three[2])  # nothing was found
    assert (three[1] != three[0]).any()
    sizes = []
    for count in (1, 2, 5):
        maps = {index: split.label_map(index) for index in range(count)}
        path = tmp_path / f"{count}.png"
        segmentation_examples.write_examples(path, split, maps, tiny_segmenters.CLASSES)
        with Image.open(path) as sheet:
            sizes.append(sheet.size)
    (one, two, five) = sizes
    assert one[0] < two[0] == five[0]
    assert one[1] <= two[1] < five[1]


def test_examples_are_spread_over_the_split() -> None:
    assert segmentation_examples.chosen(3).tolist() == [0, 1, 2]
    many = segmentation_examples.chosen(500)
    assert (len(many), many[0], many[-1]) == (12, 0, 499)


def test_frames_of_a_video_have_one_height() -> None:
    picture = np.full((240, 320, 3), 128, np.uint8)
    few, many = ("sky", "sea", "sand"), tuple(f"class number {i}" for i in range(150))
    for classes, below in ((few, True), (many, False)):
        drawn = [
            draw_frame(picture, np.full((240, 320), label, np.uint8), classes) for label in (0, 2)
        ]
        assert drawn[0].shape == drawn[1].shape
        assert (len(drawn[0]) > 240) == below
        assert (drawn[0][:180] != picture[:180]).any()
    named = draw_frame(picture, np.zeros((240, 320), np.uint8), many)
    assert (named[-3:, -3:] == 255).all()  # the legend, on white
