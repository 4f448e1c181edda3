"""Maps of tiles become the map of the image."""

from __future__ import annotations

import numpy as np

from kerascnn.preprocessing import Preprocessing
from training.datasets import tiling
from training.datasets.segmentation import VOID, SegmentationSplit
from training.segmentation.evaluate import maps
from training.segmentation.tiles import stitched


def test_neighbours_meet_halfway() -> None:
    windows = np.array([[0, 0, 4, 10], [0, 6, 4, 16]])
    found = [np.full((4, 10), label, np.uint8) for label in (1, 2)]
    whole = stitched(found, windows, (4, 16))
    assert whole.tolist() == [[1] * 8 + [2] * 8] * 4


def test_a_network_that_gives_its_middle_leaves_the_edge_of_the_image_alone() -> None:
    windows = np.array([[0, 0, 8, 10], [0, 6, 8, 16]])
    found = [np.full((8, 10), label, np.uint8) for label in (1, 2)]
    for one in found:
        one[:2] = one[-2:] = one[:, :2] = one[:, -2:] = VOID
    whole = stitched(found, windows, (8, 16))
    assert (whole[2:6, 2:14] == [1] * 6 + [2] * 6).all()
    assert (whole[[0, 1, 6, 7]] == VOID).all()
    assert (whole[:, [0, 1, 14, 15]] == VOID).all()


def test_a_large_map_comes_back_pixel_by_pixel() -> None:
    truth = np.random.default_rng(0).integers(0, 3, (150, 117), np.uint8)
    image = np.repeat(truth[..., None] * 80, 3, axis=-1)
    split = SegmentationSplit(
        names=("a.png",),
        places=np.arange(1),
        sizes=np.array([truth.shape], np.int32),
        read=lambda _place: image,
        annotate=lambda _place: truth,
    )
    tiled = Preprocessing(height=48, width=48, channels=3, resize="letterbox", tiles=48)

    def segment(pictures: np.ndarray) -> np.ndarray:
        assert pictures.shape[1:] == (48, 48, 3)
        return pictures[..., 0] // 80

    assert len(tiling.windows(truth.shape, tiled)) > 6
    np.testing.assert_array_equal(next(maps(segment, split, tiled)), truth)
