"""Suppression: hand-worked, and against the same by classes, sorted, in whole numbers."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from kerascnn.detection.nms import nms, nms_of_groups

Kept = list[list[int]]


def _kept(boxes, scores, classes, *, iou_threshold=0.5, max_detections=10) -> Kept:
    """Indices that stay, picture by picture."""
    indices, valid = nms(
        np.array(boxes, np.float32),
        np.array(scores, np.float32),
        np.array(classes, np.int32),
        iou_threshold=iou_threshold,
        max_detections=max_detections,
    )
    indices, valid = ops.convert_to_numpy(indices), ops.convert_to_numpy(valid)
    assert indices.shape == valid.shape == (len(scores), max_detections)
    assert indices.dtype == np.int32
    assert valid.dtype == bool
    assert (np.diff(valid.astype(int)) <= 0).all(), "kept ones come first"
    assert (indices[~valid] == 0).all()
    return [i[v].tolist() for i, v in zip(indices, valid, strict=True)]


def _overlaps(a: list[int], b: list[int], hundredths: int) -> bool:
    """Whether the IoU of boxes in whole numbers is above, without a division."""

    def shared(a: list[int], b: list[int]) -> int:
        return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))

    union = shared(a, a) + shared(b, b) - shared(a, b)
    return 100 * shared(a, b) > hundredths * union


def _plain_kept(boxes, scores, classes, hundredths: int, most: int) -> list[int]:
    """Each class by itself in the order of scores, then the best of all that stay."""
    stay: list[int] = []
    for label in set(classes):
        order = [i for i, c in enumerate(classes) if c == label and scores[i] > 0]
        of_class: list[int] = []
        for i in sorted(order, key=lambda i: (-scores[i], i)):
            if not any(_overlaps(boxes[i], boxes[j], hundredths) for j in of_class):
                of_class.append(i)
        stay += of_class
    return sorted(stay, key=lambda i: (-scores[i], i))[:most]


# IoU with the first: 1, 3/5, 1/3, 0.
ROW = [[0, 0, 0.5, 0.5], [0, 0.125, 0.5, 0.625], [0, 0.25, 0.5, 0.75], [0.5, 0.5, 1, 1]]


def test_hand_worked() -> None:
    # 0 drops 1; 2 (1/3 with 0) stays, though 1 would have dropped it.
    assert _kept([ROW], [[0.9, 0.8, 0.7, 0.6]], [[0] * 4]) == [[0, 2, 3]]
    assert _kept([ROW], [[0.7, 0.9, 0.8, 0.6]], [[0] * 4]) == [[1, 3]]
    assert _kept([ROW], [[0.9, 0.8, 0.7, 0.6]], [[0] * 4], iou_threshold=0.3) == [[0, 3]]


def test_only_the_same_class_is_dropped() -> None:
    scores = [[0.6, 0.9, 0.8, 0.7]]
    assert _kept([ROW], scores, [[0, 1, 0, 1]]) == [[1, 2, 3, 0]]
    assert _kept([[ROW[0]] * 4], scores, [[5, 80, 5, 80]]) == [[1, 2]]


def test_an_overlap_at_the_threshold_stays() -> None:
    halves = [[0, 0, 1, 1], [0, 0, 0.5, 1]]
    assert _kept([halves], [[0.9, 0.8]], [[0, 0]], iou_threshold=0.5) == [[0, 1]]
    assert _kept([halves], [[0.9, 0.8]], [[0, 0]], iou_threshold=0.49) == [[0]]


def test_of_equal_scores_the_first_wins() -> None:
    assert _kept([ROW], [[0.5] * 4], [[0] * 4]) == [[0, 2, 3]]
    assert _kept([ROW[::-1]], [[0.5] * 4], [[0] * 4]) == [[0, 1, 3]]


def test_what_has_no_score_is_no_candidate() -> None:
    scores = [[np.nan, 0.8, -np.inf, 0.0], [-1.0, 0.0, np.nan, 0.0]]
    assert _kept([ROW, ROW], scores, [[0] * 4] * 2) == [[1], []]


def test_boxes_without_area_all_stay_and_end() -> None:
    point, inside_out = [0.5, 0.5, 0.5, 0.5], [0.75, 0.75, 0.25, 0.25]
    boxes = [point, point, inside_out, [0, 0, 1, 1]]
    assert _kept([boxes], [[0.6, 0.7, 0.8, 0.9]], [[0] * 4]) == [[3, 2, 1, 0]]


def test_the_best_of_all_classes_are_kept() -> None:
    scores = [[0.6, 0.9, 0.8, 0.7]]
    assert _kept([ROW], scores, [[0, 1, 2, 3]], max_detections=2) == [[1, 2]]


@pytest.mark.parametrize("hundredths", [30, 50, 70])
def test_random_boxes_are_kept_as_by_classes(hundredths: int) -> None:
    rng = np.random.default_rng(hundredths)
    corner, size = rng.integers(0, 4, (5, 80, 2)), rng.integers(5, 10, (5, 80, 2))
    size[:, ::9, 0] = 0
    boxes = np.concatenate([corner, corner + size], axis=-1)
    scores = rng.integers(0, 12, (5, 80)) / 16  # many equal ones, some of 0
    scores[4] = 0
    classes = rng.integers(0, 3, (5, 80))
    for most in (7, 80):
        wanted = [
            _plain_kept(b, s, c, hundredths, most)
            for b, s, c in zip(boxes.tolist(), scores.tolist(), classes.tolist(), strict=True)
        ]
        got = _kept(
            boxes / 16, scores, classes, iou_threshold=hundredths / 100, max_detections=most
        )
        assert got == wanted
        assert got[4] == []
    candidates = (scores > 0).sum(axis=1)[:4]
    assert (candidates - [len(kept) for kept in got[:4]] > 8).all(), "too few overlap to tell"


def _kept_of_groups(boxes, scores, groups, *, iou_threshold=0.5, max_detections=10) -> Kept:
    """The same of `nms_of_groups`."""
    indices, valid = nms_of_groups(
        np.array(boxes, np.float32),
        np.array(scores, np.float32),
        groups,
        iou_threshold=iou_threshold,
        max_detections=max_detections,
    )
    indices, valid = ops.convert_to_numpy(indices), ops.convert_to_numpy(valid)
    assert indices.shape == valid.shape == (len(scores), max_detections)
    assert indices.dtype == np.int32
    assert valid.dtype == bool
    assert (np.diff(valid.astype(int)) <= 0).all(), "kept ones come first"
    assert (indices[~valid] == 0).all()
    return [i[v].tolist() for i, v in zip(indices, valid, strict=True)]


def test_hand_worked_groups() -> None:
    assert _kept_of_groups([ROW], [[0.9, 0.8, 0.7, 0.6]], [4]) == [[0, 2, 3]]
    assert _kept_of_groups([ROW], [[-3, -1, -2, -4]], [4]) == [[1, 3]]
    assert _kept_of_groups([ROW], [[0.9, 0.8, 0.7, 0.6]], [1, 3]) == [[0, 1, 3]]
    assert _kept_of_groups([ROW], [[0.9, 0.8, 0.7, 0.6]], [2, 2], max_detections=2) == [[0, 2]]
    halves = [[0, 0, 1, 1], [0, 0, 0.5, 1]]
    assert _kept_of_groups([halves], [[0.9, 0.8]], [2], iou_threshold=0.5) == [[0, 1]]
    assert _kept_of_groups([halves], [[0.9, 0.8]], [2], iou_threshold=0.49) == [[0]]


def test_of_equal_scores_in_a_group_the_first_wins() -> None:
    assert _kept_of_groups([ROW], [[0.5] * 4], [4]) == [[0, 2, 3]]
    assert _kept_of_groups([ROW[::-1]], [[0.5] * 4], [4]) == [[0, 1, 3]]
    assert _kept_of_groups([[ROW[0]] * 4], [[0.5, 0.6, 0.6, 0.5]], [4]) == [[1]]


def test_a_group_without_candidates() -> None:
    scores = [[np.nan, 0.8, -np.inf, 0.5], [-np.inf] * 4, [np.nan, np.inf, np.nan, np.nan]]
    assert _kept_of_groups([ROW] * 3, scores, [3, 1]) == [[1, 3], [], []]


def test_a_long_chain_takes_turns() -> None:
    """Each drops the next alone, so that every second one stays, which the last hears of last."""
    count = 60
    tops = np.arange(count) / 200
    boxes = np.stack([tops, 0 * tops, tops + 0.014, 0 * tops + 1], axis=-1)
    scores = np.linspace(1, 0.1, count)
    kept = _kept_of_groups([boxes], [scores], [count], iou_threshold=0.4, max_detections=count)
    assert kept == [list(range(0, count, 2))]


@pytest.mark.parametrize("hundredths", [30, 70])
def test_random_groups_are_kept_as_by_classes(hundredths: int) -> None:
    rng = np.random.default_rng(hundredths)
    corner, size = rng.integers(0, 4, (4, 80, 2)), rng.integers(5, 10, (4, 80, 2))
    size[:, ::9, 0] = 0
    boxes = np.concatenate([corner, corner + size], axis=-1)
    scores = rng.integers(0, 12, (4, 80)) / 16
    groups = [50, 10, 20]
    classes = np.repeat([0, 1, 2], groups).tolist()
    of_nms = np.where(scores > 0, scores, -np.inf)
    for most in (7, 80):
        got = _kept_of_groups(
            boxes / 16, of_nms, groups, iou_threshold=hundredths / 100, max_detections=most
        )
        assert got == [
            _plain_kept(b, s, classes, hundredths, most)
            for b, s in zip(boxes.tolist(), scores.tolist(), strict=True)
        ]
    assert max(len(kept) for kept in got) < 60
