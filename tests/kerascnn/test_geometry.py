"""Where images come to lie on a network's input, there and back."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kerascnn.geometry import Placement, fitting, placement
from kerascnn.preprocessing import Preprocessing
from training.datasets.pictures import fit_array


def _preprocessing(resize: str, height: int = 96, width: int = 128) -> Preprocessing:
    return Preprocessing(height=height, width=width, channels=3, resize=resize)


def test_letterboxed_by_hand() -> None:
    seen = _preprocessing("letterbox")
    assert placement((48, 64), seen) == Placement(top=0, left=0, height=96, width=128)
    # Twice as wide as high: 128 x 64, and 16 rows above and below.
    assert placement((200, 400), seen) == Placement(top=16, left=0, height=64, width=128)
    # 101 / 75 * 96 = 71.29; of the 57 columns that are left over the odd one lies to the right.
    assert placement((101, 75), seen) == Placement(top=0, left=28, height=96, width=71)
    assert placement((1, 5000), seen) == Placement(top=47, left=0, height=1, width=128)


def test_what_lies_around_an_image_is_of_one_grey() -> None:
    picture = np.full((10, 40, 3), 200, np.uint8)
    seen = fit_array(picture, _preprocessing("letterbox", 64, 64))
    assert (seen[24:40] == 200).all()
    assert (seen[:24] == 114).all()
    assert (seen[40:] == 114).all()


def test_half_a_pixel_is_rounded_up() -> None:
    assert fitting((2, 3), (1, 100)) == (1, 2)  # 1.5
    assert fitting((4, 10), (1, 100)) == (1, 3)  # 2.5, which Python rounds to 2


def test_stretched_and_padded() -> None:
    assert placement((10, 300), _preprocessing("stretch")) == Placement(
        top=0, left=0, height=96, width=128
    )
    assert placement((81, 75), _preprocessing("pad")) == Placement(
        top=7, left=26, height=81, width=75
    )
    assert placement((97, 75), _preprocessing("pad")) == Placement(
        top=0, left=0, height=96, width=128
    )
    with pytest.raises(ValueError, match="shows a part"):
        placement((9, 9), _preprocessing("crop"))


@pytest.mark.parametrize("size", [(37, 411), (411, 37), (3, 5), (1080, 1920), (97, 129)])
def test_the_shape_is_kept_and_boxes_come_back(size: tuple[int, int]) -> None:
    place = placement(size, _preprocessing("letterbox"))
    scale = min(96 / size[0], 128 / size[1])
    assert math.isclose(place.height, scale * size[0], abs_tol=0.5)
    assert math.isclose(place.width, scale * size[1], abs_tol=0.5)
    boxes = np.random.default_rng(0).uniform(0, 1, (50, 4))
    np.testing.assert_allclose(place.shares(place.boxes(boxes)), boxes, atol=1e-12)
    np.testing.assert_allclose(
        place.boxes([[0, 0, 1, 1]]),
        [[place.top, place.left, place.top + place.height, place.left + place.width]],
    )
