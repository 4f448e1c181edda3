"""U-Net's weights of borders: by hand, and against distances to every pixel of every object."""

from __future__ import annotations

import numpy as np
import pytest

from training.datasets.segmentation import VOID
from training.segmentation.border_weights import border_weights


def row(*classes: int) -> np.ndarray:
    return np.array([classes], np.uint8)


def expected(*sums: float) -> list[float]:
    """Of distances to both borders together; the paper's w0 and sigma."""
    return [1 + 10 * np.exp(-(d**2) / 50) for d in sums]


@pytest.mark.parametrize(
    ("label_map", "sums"),
    [
        (row(1, 0, 1), (2, 2, 2)),
        (row(1, 0, 0, 1), (3, 3, 3, 3)),
        (row(0, 1, 0, 1, 0), (4, 2, 2, 2, 4)),
        (row(1, 2), (1, 1)),  # of two classes, they touch
        (row(2, VOID, 2), (2, 2, 2)),
        # The left one reaches to the picture's edge, which is no border of it.
        (row(1, 1, 0, 1), (1 + 3, 2, 2, 2)),
        # Of three, the two nearest.
        (row(1, 0, 1, 0, 0, 1), (2, 2, 2, 3, 3, 3)),
        (row(1, 1, 1, 0, 0, 1), (2 + 5, 1 + 4, 3, 3, 3, 3)),
    ],
)
def test_by_hand(label_map: np.ndarray, sums: tuple[float, ...]) -> None:
    found = border_weights(label_map, weight=10)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], expected(*sums), rtol=1e-6)
    np.testing.assert_array_equal(found[:, ::-1], border_weights(label_map[:, ::-1], weight=10))
    np.testing.assert_array_equal(found.T, border_weights(label_map.T, weight=10))


def test_a_diagonal_line_keeps_two_objects_apart() -> None:
    label_map = 1 - np.eye(9, dtype=np.uint8)
    found = border_weights(label_map, weight=10)
    np.testing.assert_allclose(np.diag(found)[1:-1], expected(2)[0], rtol=1e-6)
    np.testing.assert_allclose(found[0, 8], expected(5 + np.sqrt(41))[0], rtol=1e-6)


@pytest.mark.parametrize(
    "label_map",
    [
        np.zeros((5, 7), np.uint8),
        np.full((5, 7), VOID, np.uint8),
        np.full((5, 7), 3, np.uint8),
        np.pad(np.ones((1, 1), np.uint8), 3),
        np.pad(np.ones((3, 3), np.uint8), ((0, 4), (0, 4))),
        np.zeros((0, 0), np.uint8),
    ],
    ids=["nothing", "void", "all of it", "one pixel", "cut", "empty"],
)
def test_fewer_than_two_objects_weigh_nothing(label_map: np.ndarray) -> None:
    np.testing.assert_array_equal(border_weights(label_map, weight=10), np.ones(label_map.shape))


def objects(label_map: np.ndarray) -> list[set[tuple[int, int]]]:
    """Pixels of each, by walking from one to its neighbours."""
    left = {(int(y), int(x)) for y, x in np.argwhere((label_map > 0) & (label_map != VOID))}
    found = []
    while left:
        first = left.pop()
        own, ahead = {first}, [first]
        while ahead:
            y, x = ahead.pop()
            for place in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if place in left and label_map[place] == label_map[first]:
                    left.remove(place)
                    own.add(place)
                    ahead.append(place)
        found.append(own)
    return found


def slowly(label_map: np.ndarray, weight: float, sigma: float) -> np.ndarray:
    height, width = label_map.shape
    places = np.stack(np.indices(label_map.shape), axis=-1)
    distances = []
    for own in objects(label_map):
        edge = [
            (y, x)
            for y, x in own
            if any(
                0 <= j < height and 0 <= i < width and (j, i) not in own
                for j, i in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
            )
        ]
        steps = places[:, :, None] - np.array(edge)
        distances.append(np.hypot(steps[..., 0], steps[..., 1]).min(axis=-1))
    two = np.sort(distances, axis=0)[:2].sum(axis=0)
    return 1 + weight * np.exp(-(two**2) / (2 * sigma**2))


@pytest.mark.parametrize("sigma", [2.0, 5.0])
@pytest.mark.parametrize("count", [2, 5, 40])
def test_any_map_against_all_distances(count: int, sigma: float) -> None:
    """Few objects and many are measured in two ways."""
    rng = np.random.default_rng(count)
    label_map = np.zeros((30, 37), np.uint8)
    for _ in range(count):
        y, x = rng.integers(0, (26, 33))
        height, width = rng.integers(1, 6, 2)
        label_map[y : y + height, x : x + width] = rng.choice([1, 2, 3, VOID])
    found = border_weights(label_map, weight=10, sigma=sigma)
    np.testing.assert_allclose(found, slowly(label_map, 10, sigma), atol=1e-4)
    assert found.max() > 1.01


def test_noise_and_two_hundred_objects_are_numbers() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 4, (40, 40)).astype(np.uint8)
    np.testing.assert_allclose(
        border_weights(noise, weight=3, sigma=2), slowly(noise, 3, 2), atol=1e-4
    )
    many = np.zeros((96, 96), np.uint8)
    many[::7, ::6] = many[1::7, ::6] = np.arange(1, 17)
    found = border_weights(many, weight=10)
    assert np.isfinite(found).all()
    assert 1 <= found.min() <= found.max() <= 11
