"""Matching and targets: hand-worked, and against plain loops over exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from keras import ops

from kerascnn.detection import matching
from kerascnn.detection.matching import match, targets

Box = tuple[int, int, int, int]


def _match(anchors, gt_boxes, labels=None, crowd=None, **options) -> list[int]:
    """`match` of one picture."""
    labels = np.zeros(len(gt_boxes), np.int32) if labels is None else np.array(labels, np.int32)
    crowd = np.zeros(len(gt_boxes), bool) if crowd is None else np.array(crowd)
    thresholds = {"positive_iou": 0.5, "negative_iou": 0.5} | options
    truth = (np.array(gt_boxes, np.float32)[None], labels[None], crowd[None])
    return ops.convert_to_numpy(match(np.array(anchors, np.float32), *truth, **thresholds))[
        0
    ].tolist()


def _shared(a: Box, b: Box) -> int:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def _iou(a: Box, b: Box) -> Fraction:
    union = _shared(a, a) + _shared(b, b) - _shared(a, b)
    return Fraction(_shared(a, b), union) if union else Fraction(0)


def _plain_match(anchors, gt, labels, crowd, positive, negative, force) -> list[int]:
    """One picture, one anchor at a time, in whole numbers."""
    real = [
        j for j, box in enumerate(gt) if labels[j] >= 0 and not crowd[j] and _shared(box, box) > 0
    ]
    matched = []
    for anchor in anchors:
        ranked = sorted(real, key=lambda j: (-_iou(anchor, gt[j]), j))
        best = _iou(anchor, gt[ranked[0]]) if ranked else Fraction(0)
        in_crowd = any(
            2 * _shared(anchor, gt[j]) >= _shared(anchor, anchor) > 0
            for j in range(len(gt))
            if crowd[j] and labels[j] >= 0
        )
        if best >= positive:
            matched.append(ranked[0])
        else:
            matched.append(-2 if best >= negative or in_crowd else -1)
    if force:
        claims: dict[int, tuple[Fraction, int]] = {}
        for j in real:
            i = min(range(len(anchors)), key=lambda i: (-_iou(anchors[i], gt[j]), i))
            value = _iou(anchors[i], gt[j])
            if value > 0 and (i not in claims or value > claims[i][0]):
                claims[i] = (value, j)
        for i, (_, j) in claims.items():
            matched[i] = j
    return matched


def test_thresholds_part_objects_ignored_and_background() -> None:
    gt = [[0, 0, 0.5, 0.5]]
    # IoU 1, 1/2 exactly, 2/5, 1/4, 0.
    anchors = [
        [0, 0, 0.5, 0.5],
        [0, 0, 0.25, 0.5],
        [0, 0, 0.2, 0.5],
        [0, 0, 0.25, 0.25],
        [0.5, 0.5, 1, 1],
    ]
    assert _match(anchors, gt) == [0, 0, -1, -1, -1]
    assert _match(anchors, gt, negative_iou=0.3) == [0, 0, -2, -1, -1]
    assert _match(anchors, gt, positive_iou=0.6, negative_iou=0.25) == [0, -2, -2, -2, -1]


def test_an_anchor_goes_to_the_box_it_overlaps_most_with() -> None:
    gt = [[0, 0, 0.5, 0.75], [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]]
    assert _match([[0, 0, 0.5, 0.5]], gt, force=False) == [1]


def test_each_box_keeps_its_best_anchor() -> None:
    anchors = [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0, 1, 1]]
    small = [[0.5, 0.5, 0.75, 0.75]]  # IoU 0, 1/4, 1/16
    assert _match(anchors, small, force=False) == [-1, -1, -1]
    assert _match(anchors, small) == [-1, 0, -1]


def test_of_equal_anchors_the_first_is_kept() -> None:
    anchors = [[0, 0, 0.5, 0.25], [0, 0.25, 0.5, 0.5], [0, 0.25, 0.5, 0.5]]
    across = [[0, 0.125, 0.5, 0.375]]  # as much of each one
    assert _match(anchors, across) == [0, -1, -1]


def test_an_anchor_wanted_twice_goes_to_the_higher_overlap() -> None:
    anchor = [[0, 0, 1, 1]]
    lesser, greater = [0, 0, 0.25, 0.25], [0, 0, 0.5, 0.5]
    assert _match(anchor, [lesser, greater, lesser]) == [1]
    assert _match(anchor, [lesser, lesser]) == [0]


def test_a_claim_beats_a_better_overlap_with_another_box() -> None:
    anchors = [[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.4375]]
    first, second = [0, 0, 0.5, 0.5], [0, 0, 0.25, 0.4375]
    # The second anchor has 7/8 with the first box, 1/2 with the second, which has no better one.
    assert _match(anchors, [first, second], force=False) == [0, 0]
    assert _match(anchors, [first, second]) == [0, 1]


def test_padding_crowds_and_boxes_without_area_match_nothing() -> None:
    anchors = [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]]
    assert _match(anchors, [[0, 0, 0.5, 0.5]], labels=[-1]) == [-1, -1]
    assert _match(anchors, [[0.25, 0, 0.25, 0.5]]) == [-1, -1]
    assert _match(anchors, [[0.5, 0.5, 0, 0]]) == [-1, -1]
    # A box that no anchor touches claims none.
    assert _match([[0, 0, 0.25, 0.25]], [[0.5, 0.5, 1, 1]]) == [-1]
    assert _match(anchors, [[0, 0, 0.5, 0.5]], crowd=[True]) == [-2, -1]
    assert _match(anchors, [[0, 0, 0.5, 0.5]], labels=[-1], crowd=[True]) == [-1, -1]


def test_anchors_inside_a_crowd_are_ignored_unless_they_match() -> None:
    anchors = [[0, 0, 0.5, 0.5], [0, 0.25, 0.5, 0.75], [0, 0.375, 0.5, 0.875], [0.5, 0, 1, 0.5]]
    crowd, single = [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]
    # Covered by 1, 1/2, 1/4 and 0.
    assert _match(anchors, [crowd], crowd=[True]) == [-2, -2, -1, -1]
    assert _match(anchors, [crowd, single], crowd=[True, False]) == [1, -2, -1, -1]


def _problem(seed: int) -> tuple[np.ndarray, ...]:
    """Boxes on a coarse grid: many ties, some without area; padding and crowds among them."""
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> np.ndarray:
        corner, size = rng.integers(0, 4, (*shape, 2)), rng.integers(3, 8, (*shape, 2))
        size[..., ::8, 0] = 0
        return np.concatenate([corner, corner + size], axis=-1)

    anchors, gt = drawn(150), drawn(6, 9)
    anchors[:, 2] = np.maximum(anchors[:, 2], anchors[:, 0] + 1)
    labels = rng.integers(-1, 3, (6, 9)).astype(np.int32)
    labels[0] = -1
    return anchors, gt, labels, rng.random((6, 9)) < 0.2


@pytest.mark.parametrize("one_at_a_time", [False, True])
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(("positive", "negative"), [(0.5, 0.5), (0.5, 0.4), (0.75, 0.25)])
def test_random_boxes_match_as_in_plain_loops(
    positive: float, negative: float, force: bool, one_at_a_time: bool, monkeypatch
) -> None:
    if one_at_a_time:
        monkeypatch.setattr(matching, "PAIRS_AT_ONCE", 0)
    anchors, gt, labels, crowd = _problem(3)
    exact = Fraction(positive), Fraction(negative).limit_denominator(100)
    wanted = [
        _plain_match(anchors.tolist(), g, la, c, *exact, force)
        for g, la, c in zip(gt.tolist(), labels, crowd, strict=True)
    ]
    got = match(
        anchors / 16,
        gt / 16,
        labels,
        crowd,
        positive_iou=positive,
        negative_iou=negative,
        force=force,
    )
    got = ops.convert_to_numpy(got)
    np.testing.assert_array_equal(got, wanted)
    assert got.dtype == np.int32
    assert (got >= 0).sum() > 20
    assert (got == -1).sum() > 20


def test_targets_are_codes_and_labels_of_the_matches() -> None:
    anchors = np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0, 1, 1]], np.float32)
    gt = np.array([[[0, 0, 0.25, 0.5], [0.5, 0.75, 1, 1]], [[0, 0, 1, 1], [0, 0, 0, 0]]])
    labels = np.array([[7, 3], [5, -1]], np.int32)
    codes, got = targets([[1, -1, 0], [-2, -1, 0]], gt, labels, anchors, (10, 10, 5, 5))
    np.testing.assert_array_equal(got, [[3, -1, 7], [-2, -1, 5]])
    half, quarter = 5 * np.log(0.5), 5 * np.log(0.25)
    wanted = np.zeros((2, 3, 4))
    wanted[0, 0] = [10, 12.5, 0, half]
    wanted[0, 2] = [-3.75, -2.5, quarter, half]
    np.testing.assert_allclose(codes, wanted, atol=1e-6)
    assert ops.convert_to_numpy(got).dtype == np.int32
    assert ops.convert_to_numpy(codes).dtype == np.float32


def test_targets_of_boxes_without_area_are_finite() -> None:
    anchors, gt, labels, crowd = _problem(5)
    matched = match(anchors / 16, gt / 16, labels, crowd, positive_iou=0.5, negative_iou=0.4)
    codes, _ = targets(matched, gt / 16, labels, anchors / 16, (1, 1, 1, 1))
    assert np.isfinite(ops.convert_to_numpy(codes)).all()
