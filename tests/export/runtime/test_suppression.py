"""Suppression in NumPy gives what that of Keras gives."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tiny_detectors
from marks import IN_CI

from export.runtime import suppression
from kerascnn.detection import postprocess
from training.detection.metrics import Detections

SPEC = dataclasses.replace(tiny_detectors.spec(), score_threshold=0.2)


def both(spec, codes: np.ndarray, scores: np.ndarray) -> list[tuple[Detections, dict]]:
    wanted = postprocess.select(spec, codes, scores)
    found = suppression.select(spec, codes, scores)
    pairs = enumerate(found)
    return [(one, postprocess.of_picture(wanted, place)) for place, one in pairs]


@pytest.mark.parametrize("levels", [0, 8], ids=["distinct scores", "many equal scores"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"candidates": 30},
        pytest.param({"max_detections": 400}, marks=IN_CI),
        {"iou_threshold": 0.1},
    ],
    ids=["usual", "few candidates", "all kept", "little overlap"],
)
def test_detections_are_those_of_keras(changes: dict, levels: int) -> None:
    spec = dataclasses.replace(SPEC, **changes)
    rng = np.random.default_rng(0)
    codes = rng.normal(0, 2, (4, spec.anchors.count, 4)).astype(np.float32)
    scores = rng.uniform(0, 1, (4, spec.anchors.count, 2)).astype(np.float32) ** 2
    if levels:
        scores = np.round(scores * levels) / np.float32(levels)
    for found, wanted in both(spec, codes, scores):
        assert len(found) == len(wanted["scores"]) > 0
        np.testing.assert_array_equal(found.labels, wanted["labels"])
        np.testing.assert_array_equal(found.scores, wanted["scores"])
        np.testing.assert_allclose(found.boxes, wanted["boxes"], atol=1e-6)
        assert found.boxes.dtype == found.scores.dtype == np.float32
        assert found.labels.dtype == np.int32


def test_nothing_above_the_threshold() -> None:
    shape = (1, SPEC.anchors.count)
    ((found, wanted),) = both(SPEC, np.zeros((*shape, 4)), np.full((*shape, 2), 0.19))
    assert len(found) == len(wanted["scores"]) == 0
    assert found.boxes.shape == (0, 4)


def test_boxes_of_a_broken_file_are_no_error() -> None:
    shape = (1, SPEC.anchors.count)
    for size in (1e4, -1e4):
        codes = np.full((*shape, 4), size, np.float32)
        ((found, wanted),) = both(SPEC, codes, np.full((*shape, 2), 0.5))
        np.testing.assert_array_equal(found.labels, wanted["labels"])
        np.testing.assert_array_equal(found.boxes, wanted["boxes"])
