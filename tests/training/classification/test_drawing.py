"""Labels written on images."""

from __future__ import annotations

import numpy as np
import pytest

from training.classification.drawing import draw_labels


@pytest.mark.parametrize("size", [(48, 64), (480, 640), (2000, 300), (60, 3000)])
def test_labels_stand_in_the_upper_left_corner(size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 200, np.uint8)
    one = draw_labels(picture, [("tabby", 0.934)])
    three = draw_labels(
        picture, [("tabby", 0.934), ("an unusually long name " * 4, 0.05), ("x", 0)]
    )
    assert (picture == 200).all()
    for drawn in (one, three):
        assert drawn.shape == picture.shape
        changed = np.argwhere((drawn != picture).any(axis=-1))
        assert (changed.min(axis=0) == 0).all()
        assert (drawn[-1, -1] == 200).all()
    rows = [np.flatnonzero((drawn[:, 0] != 200).any(axis=-1)).max() for drawn in (one, three)]
    assert rows[1] > 1.8 * rows[0]


def test_an_image_too_small_for_letters_stays_as_it_is() -> None:
    picture = np.zeros((28, 28, 3), np.uint8)
    assert (draw_labels(picture, [("seven", 1.0)]) == picture).all()
