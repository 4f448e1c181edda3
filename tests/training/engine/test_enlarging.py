"""What is said of images much smaller than the network's input."""

from __future__ import annotations

import numpy as np
import pytest

from kerascnn.preprocessing import Preprocessing
from training.engine.enlarging import enlarging_lines


def network(height: int, width: int) -> Preprocessing:
    return Preprocessing(height=height, width=width, channels=3)


def test_small_images_and_the_option_that_mends_it() -> None:
    sizes = np.array([[64, 64], [64, 64], [600, 600]])
    assert enlarging_lines(sizes, network(512, 512), asked=False) == [
        "images have 64 x 64 pixels (the median) and are enlarged 8.0 times, to the 512 x 512 of "
        "the network; --image-size 64 trains near their own size, in a fraction of the time"
    ]


@pytest.mark.parametrize(
    ("longer", "side", "suggested"),
    [
        (28, 224, 64),  # smaller ones leave a network nothing to see
        (100, 224, 128),
        (112, 224, 128),
        (113, 224, None),  # less than twice
        (160, 320, 160),
        (500, 224, None),
        (32, 64, None),  # nothing smaller to suggest
    ],
)
def test_what_is_suggested(longer: int, side: int, suggested: int | None) -> None:
    lines = enlarging_lines(np.array([[longer // 2, longer]]), network(side, side), asked=False)
    found = [line.split("--image-size ")[1].split(" ")[0] for line in lines]
    assert found == ([] if suggested is None else [str(suggested)])


def test_nothing_is_said_of_what_was_asked_for_or_is_not_known() -> None:
    sizes = np.array([[64, 64]])
    assert enlarging_lines(sizes, network(512, 512), asked=True) == []
    assert enlarging_lines(None, network(512, 512), asked=False) == []
    assert enlarging_lines(sizes[:0], network(512, 512), asked=False) == []
