"""Anchors against their two sources, written out as plain loops, and hand-worked numbers."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from checkpoints import golden_operations

from kerascnn import zoo
from kerascnn.detection.anchors import Anchors, Level, pyramid_anchors, rpn_anchors, ssd_anchors
from kerascnn.errors import InputError

GRIDS_320 = [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]


def _plain_ssd(grids: list[tuple[int, int]], low: float, high: float) -> list[list[float]]:
    """As torchvision has it: centres and sides, the sides cut, then corners; y before x here."""
    scales = [low + (high - low) * k / (len(grids) - 1) for k in range(len(grids))] + [1.0]
    boxes = []
    for k, (rows, columns) in enumerate(grids):
        s, mean = scales[k], math.sqrt(scales[k] * scales[k + 1])
        pairs = [(s, s), (mean, mean)]  # width, height
        for ratio in (2, 3):
            w, h = s * math.sqrt(ratio), s / math.sqrt(ratio)
            pairs += [(w, h), (h, w)]
        for j in range(rows):
            for i in range(columns):
                y, x = (j + 0.5) / rows, (i + 0.5) / columns
                for w, h in ((min(w, 1), min(h, 1)) for w, h in pairs):
                    boxes.append([y - h / 2, x - w / 2, y + h / 2, x + w / 2])
    return boxes


def _plain_pyramid(height: int, width: int, scale: float) -> list[list[float]]:
    """As google/automl has it: in pixels, by strides that may be fractions."""
    boxes = []
    rows, columns = height, width
    for level in range(1, 8):
        rows, columns = (rows - 1) // 2 + 1, (columns - 1) // 2 + 1
        if level < 3:
            continue
        stride_y, stride_x = height / rows, width / columns
        for j in range(rows):
            for i in range(columns):
                y, x = (j + 0.5) * stride_y, (i + 0.5) * stride_x
                for octave in range(3):
                    for aspect in (1.0, 2.0, 0.5):
                        h = scale * stride_y * 2 ** (octave / 3) / math.sqrt(aspect)
                        w = scale * stride_x * 2 ** (octave / 3) * math.sqrt(aspect)
                        corners = [y - h / 2, x - w / 2, y + h / 2, x + w / 2]
                        boxes.append(list(np.divide(corners, [height, width] * 2)))
    return boxes


def test_order_and_centres_of_a_level() -> None:
    level = Level(rows=1, columns=2, sizes=((0.5, 0.25), (2.0, 0.5)))
    wanted = [
        [0.25, 0.125, 0.75, 0.375],
        [-0.5, 0.0, 1.5, 0.5],
        [0.25, 0.625, 0.75, 0.875],
        [-0.5, 0.5, 1.5, 1.0],
    ]
    boxes = level.boxes()
    np.testing.assert_array_equal(boxes, wanted)
    assert boxes.dtype == np.float32
    assert level.count == 4


def test_hand_worked_default_boxes() -> None:
    # One map of one cell: sides 0.15, sqrt(0.15 * 0.9), and 0.15 by ratio 2, on 15 pixels.
    anchors = ssd_anchors([(1, 1)], min_scale=0.15, max_scale=0.9, aspect_ratios=(2,))
    wanted = [
        [6.3750, 6.3750, 8.6250, 8.6250],
        [4.7443, 4.7443, 10.2557, 10.2557],
        [6.7045, 5.9090, 8.2955, 9.0910],
        [5.9090, 6.7045, 9.0910, 8.2955],
    ]
    np.testing.assert_allclose(anchors.boxes() * 15, wanted, atol=1e-4)


@pytest.mark.parametrize("grids", [GRIDS_320, [(12, 20), (6, 10), (3, 5), (2, 3), (1, 2), (1, 1)]])
def test_ssd_anchors_are_torchvisions(grids: list[tuple[int, int]]) -> None:
    anchors = ssd_anchors(grids)
    np.testing.assert_allclose(anchors.boxes(), _plain_ssd(grids, 0.2, 0.95), atol=1e-6)
    assert anchors.count == len(anchors.boxes()) == 6 * sum(r * c for r, c in grids)


def test_the_last_ssd_map_has_anchors_cut_to_the_picture() -> None:
    assert ssd_anchors(GRIDS_320).count == 3234
    last = ssd_anchors(GRIDS_320).levels[-1].sizes
    side, short = math.sqrt(0.95), 0.95 / math.sqrt(2)
    assert last[1] == pytest.approx((side, side))
    assert last[2:4] == (pytest.approx((short, 1.0)), pytest.approx((1.0, short)))


@pytest.mark.parametrize(
    ("shape", "scale", "count"),
    [((320, 320), 3.0, 19206), ((640, 640), 4.0, 76725), ((200, 328), 3.0, None)],
)
def test_pyramid_anchors_are_automls(shape: tuple[int, int], scale: float, count: int) -> None:
    anchors = pyramid_anchors(shape, scale=scale)
    boxes = anchors.boxes()
    np.testing.assert_allclose(boxes, _plain_pyramid(*shape, scale), atol=2e-6)
    assert anchors.count == len(boxes)
    assert count in (None, len(boxes))


def test_hand_worked_pyramid_anchors() -> None:
    # Level 3 of 16x16: 2x2 cells of 8 pixels; a square of 24 about (4, 4), then 2 to 1 lying.
    anchors = pyramid_anchors((16, 16), levels=(3,), octaves=1)
    assert anchors.count == 12
    wide, low = 12 * math.sqrt(2), 12 / math.sqrt(2)
    wanted = [
        [-8, -8, 16, 16],
        [4 - low, 4 - wide, 4 + low, 4 + wide],
        [4 - wide, 4 - low, 4 + wide, 4 + low],
    ]
    np.testing.assert_allclose(anchors.boxes()[:3] * 16, wanted, rtol=1e-6)


def test_hand_worked_rpn_anchors() -> None:
    # Two cells of 8 pixels; half sides of 10 * sqrt(2) / 2 and 10 / sqrt(2) / 2, rounded: 7 and 4.
    anchors = rpn_anchors((8, 16), strides=[8], sizes=[[10, 20]], aspect_ratios=(0.5, 1))
    wanted = [
        [-4, -7, 4, 7],
        [-7, -14, 7, 14],
        [-5, -5, 5, 5],
        [-10, -10, 10, 10],
        [-4, 1, 4, 15],
    ]
    np.testing.assert_allclose(anchors.boxes()[:5] * [8, 16, 8, 16], wanted, rtol=1e-6)
    assert anchors.count == 8
    # The grid is rounded up; an anchor has a pixel to either side at least.
    tiny = rpn_anchors((9, 16), strides=[8], sizes=[[1]], aspect_ratios=(1,))
    wanted = [[-1, -1, 1, 1], [-1, 7, 1, 9], [3.5, -1, 5.5, 1], [3.5, 7, 5.5, 9]]
    np.testing.assert_allclose(tiny.boxes() * [9, 16, 9, 16], wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "strides", "sizes"),
    [
        ("rpn_anchors", (4, 8, 16, 32, 64), [[32], [64], [128], [256], [512]]),
        ("mobile_anchors", (32, 32, 64), [[32, 64, 128, 256, 512]] * 3),
    ],
)
def test_rpn_anchors_are_torchvisions(name: str, strides, sizes) -> None:
    goldens = golden_operations()
    size, wanted = tuple(goldens["size"].tolist()), goldens[name][:, [1, 0, 3, 2]]
    boxes = rpn_anchors(size, strides=strides, sizes=sizes).boxes()
    np.testing.assert_allclose(boxes * [*size, *size], wanted, atol=1e-4)


def test_anchors_without_an_offset_are_about_the_middle_of_cells() -> None:
    level = {"rows": 2, "columns": 4, "sizes": [[0.5, 0.25]]}
    assert Anchors.from_dict({"levels": [level]}).levels[0].offset == 0.5
    np.testing.assert_allclose(
        Level(rows=2, columns=4, sizes=((0.5, 0.25),), offset=0.25).boxes()[5],
        [0.375, 0.1875, 0.875, 0.4375],
    )


def test_json_brings_back_the_same() -> None:
    rpn = rpn_anchors((64, 96), strides=[4, 8], sizes=[[32], [64]])
    for anchors in (ssd_anchors(GRIDS_320), pyramid_anchors((96, 160)), rpn):
        back = Anchors.from_dict(json.loads(json.dumps(anchors.to_dict())))
        assert back == anchors
        np.testing.assert_array_equal(back.boxes(), anchors.boxes())
    with pytest.raises(TypeError, match="aspect"):
        Anchors.from_dict({"levels": [{"rows": 1, "columns": 1, "sizes": [[1, 1]], "aspect": 2}]})
    with pytest.raises(KeyError, match="levels"):
        Anchors.from_dict({})


@pytest.mark.parametrize(
    "change",
    [{"rows": 0}, {"columns": -1}, {"sizes": ()}, {"sizes": ((0.0, 1.0),)}, {"offset": 1.5}],
)
def test_impossible_levels_are_refused(change: dict) -> None:
    with pytest.raises(InputError):
        dataclasses.replace(Level(rows=2, columns=2, sizes=((0.5, 0.5),)), **change)


@pytest.mark.parametrize("name", zoo.list_models("detection"))
def test_the_catalogue_knows_the_cells_of_the_finest_grid(name: str) -> None:
    shape = zoo.entry(name).input_shape
    levels = zoo.detector_spec(name, shape).anchors.levels
    assert round(min(shape[0] / level.rows for level in levels)) == zoo.entry(name).cell
