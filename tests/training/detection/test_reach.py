"""Which objects anchors and points reach, and where tiles show objects; by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tiny_detectors
from tiny_detectors import PREPROCESSING

from kerascnn import zoo
from kerascnn.detection.anchors import Anchors, point_anchors, rpn_anchors, ssd_anchors
from kerascnn.preprocessing import Preprocessing
from training import tasks
from training.detection import auto_anchors, reach
from training.detection.seen import boxes_at_input, fullest_tile
from training.engine.request import request

GRIDS = [(8, 12), (4, 6), (1, 1)]


@pytest.mark.parametrize(
    "anchors",
    [
        ssd_anchors(GRIDS),
        point_anchors((64, 96), levels=(3, 4)),
        rpn_anchors((64, 96), strides=(8, 16), sizes=((16,), (32,))),
    ],
)
def test_points_within_boxes_are_counted(anchors: Anchors) -> None:
    rng = np.random.default_rng(5)
    corners = rng.uniform(-0.1, 1, (100, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0, 0.4, (100, 2))], axis=1)
    found = anchors.points_within(boxes)
    for number, level in enumerate(anchors.levels):
        y = (np.arange(level.rows) + level.offset) / level.rows
        x = (np.arange(level.columns) + level.offset) / level.columns
        rows = ((y > boxes[:, :1]) & (y < boxes[:, 2:3])).sum(axis=1)
        columns = ((x > boxes[:, 1:2]) & (x < boxes[:, 3:])).sum(axis=1)
        np.testing.assert_array_equal(found[:, number], rows * columns)


def test_a_point_on_an_edge_is_not_within() -> None:
    anchors = point_anchors((64, 64), levels=(3,))  # points at 0, 8, ... 56 pixels
    boxes = np.array([[8, 8, 16, 16], [7, 7, 9, 9], [57, 57, 64, 64], [0, 0, 64, 64]]) / 64
    assert anchors.points_within(boxes)[:, 0].tolist() == [0, 1, 0, 49]


def test_objects_between_points_are_nobodys() -> None:
    spec = tiny_detectors.point_spec((64, 64, 3))  # points each 4 and each 8 pixels
    boxes = np.array([[5, 5, 7, 7], [3, 3, 5, 5], [7, 7, 20, 20], [10, 0, 30, 60]]) / 64
    found = reach.of(spec, boxes, (64, 64), fitting=True)
    assert (found.unreached, found.iou, found.fitting) == (1, None, False)
    first, second = found.levels
    assert (first.cell, first.objects) == ((4.0, 4.0), 3)
    assert (first.smallest, first.largest) == pytest.approx((2, np.sqrt(20 * 60)))
    assert (second.cell, second.objects) == ((8.0, 8.0), 2)
    assert second.smallest == pytest.approx(13)


def test_objects_are_of_the_map_of_their_best_anchor() -> None:
    spec = dataclasses.replace(
        tiny_detectors.spec((64, 64, 3)),
        anchors=ssd_anchors([(8, 8), (2, 2)], min_scale=0.2, max_scale=0.7, aspect_ratios=()),
    )
    centres = np.array([[4.5, 4.5], [4, 4], [4.5, 4.5]]) / 8
    sides = np.array([[0.2, 0.2], [0.2, 0.2], [0.05, 0.05]])
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
    far = np.array([[0.25, 0.25]])
    boxes = np.concatenate([boxes, np.concatenate([far - 0.35, far + 0.35], axis=1)])
    found = reach.of(spec, boxes, (64, 64), fitting=True)
    # 0.2 and half a cell aside: (0.1375 / 0.2)**2 of it are shared, an IoU of 0.31.
    assert (found.unreached, found.iou, found.fitting) == (2, 0.5, True)
    assert [level.objects for level in found.levels] == [3, 1]
    assert found.levels[1].largest == pytest.approx(0.7 * 64)


def test_a_map_without_objects_is_told() -> None:
    found = reach.of(tiny_detectors.spec(), np.zeros((0, 4)), (32, 48))
    assert found.unreached == 0
    assert [(one.objects, one.smallest, one.largest) for one in found.levels] == [(0, 0, 0)] * 2


def test_detectors_without_anchors_say_what_no_point_is_in() -> None:
    model = "rtmdet_mobilenet_v4_conv_small"
    preprocessing = zoo.preprocessing(model, 320, 320, resize="stretch")
    boxes = np.array([[9, 9, 15, 15], [7, 7, 17, 17], [100, 100, 200, 200]]) / 320
    found = tasks.of("detection").reach(request(model, data="scenes"), preprocessing, boxes)
    assert found is not None
    assert (found.unreached, found.iou, found.fitting) == (1, None, False)
    assert [level.objects for level in found.levels] == [2, 2, 1]
    two_stages = request("faster_rcnn_resnet50_fpn", data="scenes")
    assert tasks.of("detection").reach(two_stages, preprocessing, boxes) is None


TILES = Preprocessing(height=64, width=64, channels=3, resize="stretch", tiles=100, overlap=0.2)


def test_an_object_is_seen_in_the_tile_that_holds_most_of_it() -> None:
    """Tiles of an image of 100 x 260 begin at columns 0, 80 and 160; 100 pixels are 64."""
    pixels = np.array([[10, 20, 30, 60], [10, 70, 50, 120], [0, 90, 100, 240]])
    boxes = pixels / [100, 260, 100, 260]
    found = boxes_at_input(boxes, (100, 260), TILES)
    # The second one begins ten columns before its tile; of the last one its tile has 90 of 150.
    expected = np.array([[10, 20, 30, 60], [10, 0, 50, 40], [0, 10, 100, 100]]) * 0.64
    np.testing.assert_allclose(found, expected)
    window = fullest_tile(boxes, (100, 260), TILES)
    assert window is not None
    assert window.tolist() == [0, 0, 100, 100]  # 1 + 3/5 + 1/15 objects, the next one 4/5 + 3/5


def test_an_image_that_is_no_larger_than_a_tile_is_seen_whole() -> None:
    boxes = np.array([[0.1, 0.2, 0.5, 0.6]])
    np.testing.assert_allclose(boxes_at_input(boxes, (50, 100), TILES), 64 * boxes)
    assert fullest_tile(boxes, (50, 100), TILES) is None
    letterbox = dataclasses.replace(TILES, resize="letterbox", tiles=0)
    found = boxes_at_input(boxes, (50, 100), letterbox)  # 32 rows of 64, the first one the 16th
    np.testing.assert_allclose(found, [[16 + 3.2, 12.8, 16 + 16, 38.4]])


def test_anchors_are_fitted_to_what_tiles_show() -> None:
    split = tiny_detectors.split(40)
    whole = auto_anchors._boxes(split, PREPROCESSING)
    tiled = auto_anchors._boxes(split, dataclasses.replace(PREPROCESSING, tiles=32))
    assert len(whole) == len(tiled)
    # A tile is less than the image, so that what is in it is larger at the network's input.
    assert np.median((tiled[:, 2:] - tiled[:, :2]).prod(axis=1)) > 1.5 * np.median(
        (whole[:, 2:] - whole[:, :2]).prod(axis=1)
    )
    assert tiled.min() >= 0
    assert tiled.max() <= 1
