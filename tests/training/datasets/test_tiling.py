"""Tiles of images that are larger than a network's input."""

from __future__ import annotations

import numpy as np
import pytest

from kerascnn.preprocessing import Preprocessing
from training.datasets import tiling


def _in_tiles(side: int, overlap: float = 0.2) -> Preprocessing:
    return Preprocessing(
        height=64, width=64, channels=3, resize="stretch", tiles=side, overlap=overlap
    )


def test_tiles_by_hand() -> None:
    # Steps of 80; the third of a row would end at 260, and is moved back by 30.
    assert tiling.windows((100, 230), _in_tiles(100)).tolist() == [
        [0, 0, 100, 100],
        [0, 80, 100, 180],
        [0, 130, 100, 230],
    ]
    assert tiling.windows((60, 90), _in_tiles(100)).tolist() == [[0, 0, 60, 90]]
    assert tiling.windows((60, 180), _in_tiles(100)).tolist() == [
        [0, 0, 60, 100],
        [0, 80, 60, 180],
    ]
    assert tiling.windows((500, 600), _in_tiles(0)).tolist() == [[0, 0, 500, 600]]


def test_tiles_are_those_of_sahi() -> None:
    def sahi(height: int, width: int, side: int, overlap: float) -> list[list[int]]:
        """`get_slice_bboxes` of github.com/obss/sahi, as (top, left, bottom, right)."""
        found, y_max, y_min = [], 0, 0
        shared = int(overlap * side)
        while y_max < height:
            x_min = x_max = 0
            y_max = y_min + side
            while x_max < width:
                x_max = x_min + side
                bottom, right = min(height, y_max), min(width, x_max)
                found.append([max(0, bottom - side), max(0, right - side), bottom, right])
                x_min = x_max - shared
            y_min = y_max - shared
        return found

    rng = np.random.default_rng(1)
    for _ in range(200):
        height, width, side = rng.integers(32, 400, 3).tolist()
        overlap = float(rng.choice([0, 0.1, 0.2, 0.5]))
        ours = tiling.windows((height, width), _in_tiles(side, overlap)).tolist()
        assert ours == sahi(height, width, side, overlap)


def test_every_pixel_is_in_a_tile() -> None:
    for size in ((333, 97), (64, 640), (65, 65)):
        seen = np.zeros(size, int)
        for window in tiling.windows(size, _in_tiles(64)):
            tiling.cut(seen, window)[:] += 1
        assert seen.min() == 1


@pytest.mark.parametrize("point", [(0, 0), (99, 199), (50, 120)])
def test_tiles_around_a_point_hold_it(point: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    firsts = set()
    for _ in range(500):
        top, left, bottom, right = tiling.around(point, (100, 200), _in_tiles(40), rng.random(2))
        assert 0 <= top <= point[0] < bottom <= 100
        assert 0 <= left <= point[1] < right <= 200
        assert (bottom - top, right - left) == (40, 40)
        firsts.add(int(top))
    assert len(firsts) == {0: 1, 99: 1, 50: 40}[point[0]]


def test_tiles_anywhere_are_within_the_image() -> None:
    rng = np.random.default_rng(3)
    windows = np.array(
        [tiling.anywhere((100, 30), _in_tiles(40), rng.random(2)) for _ in range(500)]
    )
    assert set(windows[:, 0]) == set(range(61))
    assert (windows[:, 1::2] == (0, 30)).all()
