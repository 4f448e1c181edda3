"""What rounding does to answers, by hand: detections, masks, labels."""

from __future__ import annotations

import numpy as np
import pytest

from export.tasks.comparison import OfDetections, OfLabels, OfLogits, OfMaps
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.detection.metrics import Detections

PREPROCESSING = Preprocessing(height=8, width=8, channels=3)


def found(*rows: tuple[float, float, float, float, int, float]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(boxes=table[:, :4], labels=table[:, 4].astype(np.int32), scores=table[:, 5])


def of_detections() -> OfDetections:
    return OfDetections(lambda _path: lambda _pictures: [], classes=2)


def test_equal_detections_are_no_distance() -> None:
    own = [found((0, 0, 0.5, 0.5, 0, 0.9)), found()]
    assert of_detections().differences(own, own) == (0.0, 0.0)


def test_a_moved_and_less_sure_detection() -> None:
    """Half of it is left of each: an IoU of a third; the score falls by 0.2."""
    own = [found((0, 0, 1, 0.4, 0, 0.9))]
    moved = [found((0, 0.2, 1, 0.6, 0, 0.7))]
    error, changed = of_detections().differences(own, moved)
    assert error == pytest.approx(1 - 1 / 3 + 0.2, rel=1e-5)
    assert changed == 100  # an IoU of half is the same detection


def test_what_is_lost_and_what_is_new_counts_as_much() -> None:
    own = [found((0, 0, 0.5, 0.5, 0, 0.9), (0.5, 0.5, 1, 1, 1, 0.5))]
    lost = [found((0, 0, 0.5, 0.5, 0, 0.9))]
    there, back = of_detections(), of_detections()
    assert there.differences(own, lost) == back.differences(lost, own)
    error, changed = there.differences(own, lost)
    assert (error, changed) == (pytest.approx((0 + 1.5 + 0) / 3), pytest.approx(50))
    other_class = [found((0, 0, 0.5, 0.5, 0, 0.9), (0.5, 0.5, 1, 1, 0, 0.5))]
    assert there.differences(own, other_class)[1] == pytest.approx(50)


def test_what_nobody_is_sure_of_is_not_compared() -> None:
    own = [found((0, 0, 0.5, 0.5, 0, 0.9))]
    more = [found((0, 0, 0.5, 0.5, 0, 0.9), (0.5, 0.5, 1, 1, 1, 0.2))]
    assert of_detections().differences(own, more) == (0.0, 0.0)
    with pytest.raises(InputError, match="sure of nothing"):
        of_detections().differences([found((0, 0, 1, 1, 0, 0.1))], own)


def test_masks_differ_by_the_mean_over_classes() -> None:
    comparison = OfMaps(lambda _path: lambda _pictures: np.empty(0), lambda _found, _own: 87.5)
    maps = np.zeros((1, 2, 2), np.uint8)
    assert comparison.differences(maps, maps) == (0.125, 12.5)


def test_labels_are_taken_away_or_added() -> None:
    own = np.array([[4.0, -4.0], [4.0, -4.0], [0.5, -4.0], [4.0, -4.0]])
    same = OfLabels(PREPROCESSING).differences(own, own)
    assert same == (pytest.approx(0, abs=1e-12), 0.0)
    other = own + np.array([[0, 0], [0, 0], [-1, 0], [0, 5]])
    error, changed = OfLabels(PREPROCESSING).differences(own, other)
    assert changed == 50
    assert error > 0
    # Of one class: p = 1/2 against q = 1/(1 + e).
    p, q = 0.5, 1 / (1 + np.e)
    expected = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    error, _ = OfLabels(PREPROCESSING).differences(np.array([[0.0]]), np.array([[-1.0]]))
    assert error == pytest.approx(expected)


def test_classes_are_compared_by_their_probabilities() -> None:
    own = np.log(np.float32([[0.7, 0.3], [0.4, 0.6]]))
    other = np.log(np.float32([[0.7, 0.3], [0.6, 0.4]]))
    error, changed = OfLogits(PREPROCESSING).differences(own, other)
    expected = (0.4 * np.log(0.4 / 0.6) + 0.6 * np.log(0.6 / 0.4)) / 2
    assert (error, changed) == (pytest.approx(expected, rel=1e-4), 50)
