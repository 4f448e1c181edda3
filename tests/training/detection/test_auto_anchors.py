"""Anchors fitted to data, and how many objects anchors reach, against all pairs and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_detectors

from kerascnn import zoo
from kerascnn.detection.anchors import Anchors, pyramid_anchors, rpn_anchors, ssd_anchors
from kerascnn.errors import InputError
from training import tasks
from training.detection import auto_anchors
from training.engine import options
from training.engine.request import request

GRIDS = [(8, 12), (4, 6), (1, 1)]


def boxes(count: int = 200, *, low: float = 0.05, high: float = 0.6) -> np.ndarray:
    rng = np.random.default_rng(3)
    sides = np.exp(rng.uniform(np.log(low), np.log(high), (count, 2)))
    corners = rng.uniform(0, 1 - sides)
    return np.concatenate([corners, corners + sides], axis=1)


def all_pairs(anchors: Anchors, some: np.ndarray) -> np.ndarray:
    every = anchors.boxes().astype(np.float64)
    low = np.maximum(every[:, None, :2], some[None, :, :2])
    high = np.minimum(every[:, None, 2:], some[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    areas = [(each[:, 2:] - each[:, :2]).prod(axis=1) for each in (every, some)]
    best: np.ndarray = (shared / (areas[0][:, None] + areas[1][None] - shared)).max(axis=0)
    return best


@pytest.mark.parametrize(
    "anchors",
    [
        ssd_anchors(GRIDS),
        pyramid_anchors((64, 96), levels=(3, 4)),
        rpn_anchors((64, 96), strides=(8, 16), sizes=((16,), (32,))),
    ],
)
def test_the_nearest_cell_has_the_best_anchor(anchors: Anchors) -> None:
    some = boxes()
    np.testing.assert_allclose(anchors.reach(some), all_pairs(anchors, some), atol=1e-5)


def test_clusters_are_the_groups_that_there_are() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[0.1, 0.1], [0.1, 0.4], [0.5, 0.5]])
    sizes = np.concatenate([c * rng.uniform(0.95, 1.05, (40, 2)) for c in centres])
    found = auto_anchors.clusters(sizes, 3)
    assert found is not None
    np.testing.assert_allclose(found, centres, rtol=0.02)
    np.testing.assert_array_equal(found, auto_anchors.clusters(sizes, 3))
    assert auto_anchors.clusters(sizes[:2], 3) is None


def test_an_object_is_for_the_coarsest_map_that_reaches_it_everywhere() -> None:
    """At a match of 0.5, squares from 2.73 cells on: x / (2 - x) = 1/2 at x = 2/3."""
    levels = ssd_anchors([(20, 20), (10, 10), (5, 5)]).levels
    edge = 0.5 / (1 - np.sqrt(2 / 3))
    assert edge == pytest.approx(2.725, abs=1e-3)
    sides = np.array([[0.01, 0.01], [0.99 * edge / 10] * 2, [1.01 * edge / 10] * 2, [0.9, 0.9]])
    assert auto_anchors._levels_of(sides, levels, 0.5).tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("anchors", [ssd_anchors(GRIDS), pyramid_anchors((64, 96), levels=(3, 4))])
def test_grids_and_numbers_stay(anchors: Anchors) -> None:
    found = auto_anchors.fitted(anchors, boxes(), positive_iou=0.5)
    assert [(one.rows, one.columns, one.count) for one in found.levels] == [
        (one.rows, one.columns, one.count) for one in anchors.levels
    ]
    assert found != anchors


def test_a_shared_head_has_the_same_sizes_in_cells_on_every_map() -> None:
    anchors = pyramid_anchors((64, 96), levels=(3, 4))
    found = auto_anchors.fitted(anchors, boxes(), positive_iou=0.5)
    first, second = (np.asarray(one.sizes) * [one.rows, one.columns] for one in found.levels)
    np.testing.assert_allclose(first, second)


def test_maps_without_objects_keep_their_sizes() -> None:
    anchors = ssd_anchors(GRIDS)
    found = auto_anchors.fitted(anchors, boxes(low=0.05, high=0.2), positive_iou=0.5)
    assert found.levels[2] == anchors.levels[2]
    assert found.levels[0] != anchors.levels[0]
    assert auto_anchors.fitted(anchors, boxes(0), positive_iou=0.5) == anchors


def test_fitted_anchors_reach_no_fewer_objects() -> None:
    split = tiny_detectors.split(40)
    for given in (
        ssd_anchors([(8, 12), (4, 6)], min_scale=0.05, max_scale=0.1),  # far too small
        tiny_detectors.spec().anchors,
    ):
        found = auto_anchors.fit_to(given, split, tiny_detectors.PREPROCESSING, positive_iou=0.5)
        assert found.objects == sum(len(split.objects(i)) for i in range(40))
        assert 0 <= found.before <= found.after <= 100
        if given.levels[0].sizes[0][0] < 0.1:
            assert found.after > found.before + 50
        again = auto_anchors.fit_to(
            found.anchors, split, tiny_detectors.PREPROCESSING, positive_iou=0.5
        )
        assert again.before == found.after


def test_anchors_are_fitted_where_they_are_not_built_in() -> None:
    for model in ("ssdlite_mobilenet_v2", "efficientdet_lite0"):
        options.check(model, {}, {"anchors": "auto"})
        with pytest.raises(InputError, match=r"decides on its own anchors.*auto"):
            options.check(model, {}, {"anchors": 3})
    with pytest.raises(InputError, match="decides on its own anchors; leave"):
        options.check("faster_rcnn_resnet50_fpn", {}, {"anchors": "auto"})


def test_what_anchors_do_not_reach_is_counted() -> None:
    model = "ssdlite_mobilenet_v2"
    preprocessing = zoo.preprocessing(model, 320, 320, resize="stretch")
    asked = request(model, data="scenes", detector_options={"min_scale": 0.2, "max_scale": 0.9})
    # Of the finest map's square of 0.2 a box of 0.05 covers a sixteenth.
    some = np.array([[0.1, 0.1, 0.15, 0.15], [0.4, 0.4, 0.6, 0.6]])
    found = tasks.of("detection").reach(asked, preprocessing, some)
    assert found is not None
    assert (found.unreached, found.fitting) == (1, True)
    asked = request(model, data="scenes", detector_options={"anchors": "auto"})
    again = tasks.of("detection").reach(asked, preprocessing, some)
    assert again is not None
    assert not again.fitting
