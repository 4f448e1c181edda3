"""Losses of two-stage detectors: sampling and numbers worked by hand, odd pictures, jax."""

from __future__ import annotations

import dataclasses
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rcnn_case
import tensorflow as tf
from backends import Backends
from keras import ops
from marks import IN_CI

from kerascnn.detection.anchors import Anchors, Level
from kerascnn.detection.roi_align import roi_align
from kerascnn.detection.specs import TwoStageSpec
from training.datasets.mask_bits import packed
from training.detection.two_stage_losses import (
    RCNNLoss,
    Regions,
    Sample,
    Truth,
    _samples,
    mask_targets,
    match_anchors,
    sample,
)

# The four quarters of a picture.
QUARTERS = Anchors(levels=(Level(rows=2, columns=2, sizes=((0.5, 0.5),)),))
SPEC = TwoStageSpec(
    anchors=QUARTERS, input_size=(64, 64), rpn_samples=4, proposals=3, samples=4,
    positive_share=0.5,
)  # fmt: skip
LOSS = RCNNLoss(spec=SPEC)


def truth(*pictures: list[tuple[tuple[float, ...], int, bool]], most: int = 3) -> Truth:
    """Boxes, labels and whether they are crowds, picture by picture."""
    boxes = np.zeros((len(pictures), most, 4), np.float32)
    labels = np.full((len(pictures), most), -1, np.int32)
    crowd = np.zeros((len(pictures), most), bool)
    for row, objects in enumerate(pictures):
        for column, (box, label, many) in enumerate(objects):
            boxes[row, column], labels[row, column], crowd[row, column] = box, label, many
    return Truth(*map(ops.convert_to_tensor, (boxes, labels, crowd)))


def arrays(values: Any) -> Any:
    return type(values)(*map(np.asarray, values))


def floats(*values: Any) -> list[float]:
    return [float(ops.convert_to_numpy(value)) for value in values]


def log(values: Any) -> np.ndarray:
    return np.log(np.array(values, np.float32))


def taken(matched: Any, chance: Any, samples: int, share: float) -> Sample:
    found = sample(
        ops.convert_to_tensor(np.array(matched, np.int32)),
        ops.convert_to_tensor(np.array(chance, np.float32)),
        samples,
        share,
    )
    return arrays(found)


def test_the_highest_chances_are_taken_the_positive_ones_first() -> None:
    matched = [[0, -1, 5, -1, -2, 2, -1, -1]]
    chance = [[0.1, 0.9, 0.3, 0.2, 0.99, 0.8, 0.7, 0.0]]
    found = taken(matched, chance, 4, 0.5)
    assert found.index.tolist() == [[5, 2, 1, 6]]
    assert found.positive.tolist() == [[1, 1, 0, 0]]
    assert found.counted.tolist() == [[1, 1, 1, 1]]
    # All eight, of which one is neither: three positives of at most four, and four of background.
    found = taken(matched, chance, 8, 0.5)
    assert found.index[0, :7].tolist() == [5, 2, 0, 1, 6, 3, 7]
    assert found.positive.tolist() == [[1, 1, 1, 0, 0, 0, 0, 0]]
    assert found.counted.tolist() == [[1, 1, 1, 1, 1, 1, 1, 0]]


def test_too_few_of_either_leave_slots_that_do_not_count() -> None:
    chance = [[0.5, 0.25, 0.75, 0.0]] * 3
    found = taken([[-1, -2, -2, -2], [3, 3, 3, 3], [-2, -2, -2, -2]], chance, 4, 0.25)
    assert found.counted.tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert found.positive.tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert found.index[:2, 0].tolist() == [0, 2]
    # A share of less than one is one.
    assert taken([[0, 0, -1, -1]], chance[:1], 2, 0.25).positive.sum() == 1


def test_sampling_takes_as_many_as_there_are_and_none_twice() -> None:
    rng = np.random.default_rng(0)
    matched = rng.choice([-2, -1, -1, -1, 0, 1], (60, 30)).astype(np.int32)
    matched[:20][matched[:20] >= 0] = -2  # without an object
    chance = rng.integers(0, 8, matched.shape) / 8  # many are equal
    found = taken(matched, chance, 16, 0.25)
    assert found.index.shape == (60, 16)
    for row in range(60):
        positives = min(4, (matched[row] >= 0).sum())
        negatives = min(16 - positives, (matched[row] == -1).sum())
        assert (found.positive[row].sum(), found.counted[row].sum()) == (
            positives,
            positives + negatives,
        )
        counted = found.index[row][found.counted[row] > 0]
        assert len(set(counted)) == len(counted)
        kinds = np.minimum(matched[row][counted], 0)
        assert kinds.tolist() == [0] * positives + [-1] * negatives
        # None that is left out has a higher chance than one that is taken.
        for kind in (0, -1):
            of_kind = np.minimum(matched[row], 0) == kind
            chosen = np.isin(np.arange(30), counted) & of_kind
            if chosen.any() and (of_kind & ~chosen).any():
                assert chance[row][of_kind & ~chosen].max() <= chance[row][chosen].min()


def matches(*objects: tuple[tuple[float, ...], int, bool], anchors: Any = None) -> list[int]:
    anchors = QUARTERS.boxes() if anchors is None else np.array(anchors, np.float32)
    found = match_anchors(
        ops.convert_to_tensor(anchors), truth(list(objects)), positive_iou=0.7, negative_iou=0.3
    )
    return np.asarray(found)[0].tolist()


def test_anchors_are_positive_background_or_ignored() -> None:
    quarter, nearly, third = (0, 0, 0.5, 0.5), (0, 0.5, 0.4, 1), (0.5, 0, 1, 0.2)
    # IoUs of 1, 0.8, and 0.4, which is ignored where another anchor is better.
    assert matches((quarter, 4, False), (nearly, 2, False)) == [0, 1, -1, -1]
    anchors = [quarter, nearly, third, (0.5, 0, 1, 0.25)]
    assert matches((quarter, 4, False), ((0.5, 0, 1, 0.5), 0, False), anchors=anchors) == [
        0, -1, -2, 1,
    ]  # fmt: skip


def test_all_anchors_that_are_an_objects_best_have_it() -> None:
    # A small object in the middle overlaps with all quarters alike, and with none by a tenth.
    middle = ((0.4, 0.4, 0.6, 0.6), 1, False)
    assert matches(middle) == [0, 0, 0, 0]
    # Two of them by rounding: 1/3 and 2/3 are no floats.
    thirds = [(0, 0, 1 / 3, 1), (1 / 3, 0, 2 / 3, 1), (2 / 3, 0, 1, 1), (0, 0, 1, 1 / 3)]
    assert matches(((1 / 6, 0.4, 5 / 6, 0.6), 0, False), anchors=thirds) == [-1, 0, -1, -1]
    assert matches(((1 / 6, 0.4, 1 / 2, 0.6), 0, False), anchors=thirds) == [0, 0, -1, -1]
    # What is best for two has the one that it overlaps with more.
    assert matches(((0, 0, 0.2, 0.2), 0, False), ((0, 0, 0.3, 0.3), 0, False)) == [1, -1, -1, -1]


def test_crowds_padding_and_objects_without_area_are_nobodys() -> None:
    assert matches(((0, 0, 0.5, 0.5), 3, True)) == [-2, -1, -1, -1]
    assert matches(((0, 0, 0, 0), 3, False), ((0.6, 0.6, 0.6, 0.9), 3, False)) == [-1] * 4
    assert matches() == [-1] * 4
    # Nor one outside of all anchors.
    assert matches(((0.6, 0.6, 0.9, 0.9), 0, False), anchors=[(0, 0, 0.5, 0.5)]) == [-1]


CHANCE = np.array([[0.4, 0.3, 0.2, 0.1, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0, 0.0, 0.0]], np.float32)


def test_the_losses_of_anchors() -> None:
    # The first quarter is to find an object of half its height; the second is ignored.
    spec = dataclasses.replace(SPEC, rpn_positive_iou=0.5)
    objects = truth([((0, 0, 0.25, 0.5), 2, False), ((0, 0.5, 0.5, 1), 0, True)])
    codes = np.full((1, 4, 4), 7, np.float32)
    codes[0, 0] = (-0.25, 0.05, math.log(0.5) + 1, 0)  # off by 0, 1/20, 1 and 0
    shares = np.array([[0.8, 0.01, 0.4, 0.5]], np.float32)
    classes, boxes = floats(
        *RCNNLoss(spec=spec).of_anchors(objects, codes, np.log(shares / (1 - shares)), CHANCE)
    )
    assert classes == pytest.approx(-(math.log(0.8) + math.log(0.6) + math.log(0.5)) / 3, rel=1e-5)
    # Below a ninth half the square over a ninth, above it the size less half a ninth.
    assert boxes == pytest.approx((0.5 * 0.05**2 * 9 + (1 - 0.5 / 9)) / 3, rel=1e-5)


def test_samples_of_all_pictures_weigh_the_same() -> None:
    # Two anchors of each picture are looked at, but of the second, a crowd, there is one.
    loss = RCNNLoss(spec=dataclasses.replace(SPEC, rpn_samples=2))
    objects = truth([], [((0, 0, 1, 0.5), 0, True), ((0.5, 0.5, 1, 1), 0, True)])
    shares = np.array([[0.5, 0.5, 0.9, 0.9], [0.9, 0.25, 0.9, 0.9]], np.float32)
    logits = np.log(shares / (1 - shares))
    chance = np.repeat(CHANCE, 2, axis=0)
    classes, boxes = floats(*loss.of_anchors(objects, np.ones((2, 4, 4)), logits, chance))
    assert classes == pytest.approx(-(2 * math.log(0.5) + math.log(0.75)) / 3, rel=1e-5)
    assert boxes == 0


def test_without_anything_that_counts_anchors_cost_nothing() -> None:
    everywhere = truth([((0, 0, 1, 1), 0, True)])
    assert floats(*LOSS.of_anchors(everywhere, np.ones((1, 4, 4)), np.ones((1, 4)), CHANCE)) == [
        0,
        0,
    ]


def chosen(objects: Truth, proposals: Any, valid: Any, spec: TwoStageSpec = SPEC) -> Regions:
    proposals = ops.convert_to_tensor(np.array(proposals, np.float32))
    valid = ops.convert_to_tensor(np.array(valid, bool))
    chance = np.repeat(CHANCE, len(proposals), axis=0)
    return arrays(RCNNLoss(spec=spec).regions(objects, proposals, valid, chance))


def test_regions_are_proposals_and_the_objects_own_boxes() -> None:
    own, near, far = (0.1, 0.1, 0.5, 0.5), (0.1, 0.1, 0.5, 0.4), (0.6, 0.6, 0.9, 0.9)
    objects = truth([(own, 7, False)])
    # 3 of 6 proposals as in inference, and the boxes of at most 3 objects
    assert LOSS.random_numbers(3) == 4 + 6 + 3
    found = chosen(objects, [[far, near, own, (0, 0, 0, 0), far, far]], [[1, 1, 1, 0, 0, 0]])
    np.testing.assert_allclose(found.boxes, np.float32([[near, own, far, (0, 0, 1, 1)]]))
    assert found.labels.tolist() == [[7, 7, -1, -1]]
    assert found.matched[0, :2].tolist() == [0, 0]
    assert found.positive.tolist() == [[1, 1, 0, 0]]
    assert found.counted.tolist() == [[1, 1, 1, 0]]
    # Without a proposal the own box is there, and the first of the objects is not the only one.
    objects = truth([((0, 0, 0.3, 0.3), 1, True), (own, 7, False), (far, 3, False)])
    found = chosen(objects, np.zeros((1, 6, 4)), np.zeros((1, 6)))
    assert sorted(found.labels[0].tolist()) == [-1, -1, 3, 7]
    assert sorted(found.matched[0, :2].tolist()) == [1, 2]
    assert found.counted.sum() == 2


def test_regions_in_crowds_and_objects_without_area_are_neither() -> None:
    objects = truth([((0, 0, 0.5, 1), 1, True), ((0.7, 0.7, 0.7, 0.9), 2, False)])
    proposals = [(0, 0, 0.4, 0.4), (0.3, 0, 0.9, 0.4), (0, 0.2, 0.6, 0.8), *[(0, 0, 0, 0)] * 3]
    found = chosen(objects, [proposals], [[1, 1, 1, 0, 0, 0]])
    # Only the second lies in the crowd by less than half.
    assert found.counted.tolist() == [[1, 0, 0, 0]]
    np.testing.assert_allclose(found.boxes[0, 0], proposals[1], rtol=1e-6)
    assert found.labels.tolist() == [[-1] * 4]


def test_the_losses_of_regions() -> None:
    objects = truth([((0, 0, 0.5, 0.5), 1, False)])
    regions = Regions(
        boxes=np.array([[(0, 0, 0.5, 0.25), (0.5, 0.5, 1, 1), (0, 0, 1, 1)]], np.float32),
        matched=np.zeros((1, 3), np.int32),
        labels=np.array([[1, -1, -1]], np.int32),
        positive=np.array([[1, 0, 0]], np.float32),
        counted=np.array([[1, 1, 0]], np.float32),
    )
    # Half of a region's width to the right, of twice its width, times 10 and 5.
    codes = np.full((1, 3, 3, 4), 9, np.float32)
    codes[0, 0, 2] = (0, 10 * 0.5 + 0.1, -2, 5 * math.log(2))
    logits = log([[(0.2, 0.5, 0.3), (0.6, 0.2, 0.2), (0.1, 0.8, 0.1)]])
    classes, boxes = floats(*LOSS.of_regions(objects, regions, logits, codes))
    assert classes == pytest.approx(-(math.log(0.3) + math.log(0.6)) / 2, rel=1e-5)
    assert boxes == pytest.approx((0.5 * 0.1**2 * 9 + (2 - 0.5 / 9)) / 2, rel=1e-4)
    nothing = regions._replace(positive=np.float32([[0] * 3]), counted=np.float32([[0] * 3]))
    assert floats(*LOSS.of_regions(objects, nothing, logits, codes)) == [0, 0]


def targets(masks: Any, boxes: Any, matched: Any, side: int) -> np.ndarray:
    found = mask_targets(
        ops.convert_to_tensor(packed(np.array(masks, np.uint8))),
        ops.convert_to_tensor(np.array(boxes, np.float32)),
        ops.convert_to_tensor(np.array(matched, np.int32)),
        *(side, np.shape(masks)[-1]),
    )
    return np.asarray(found)


def test_targets_of_masks_by_hand() -> None:
    mask = np.zeros((4, 4), np.uint8)
    mask[:2, 1:3] = 1
    empty = np.zeros_like(mask)
    # The object's own box is full but for its edges, between a pixel of it and one that is not:
    # three quarters a cell, seven eighths, then all.
    (found,) = targets([[empty, mask]], [[(0, 0.25, 0.5, 0.75), (0, 0, 1, 1)]], [[1, 1]], 2)
    # Samples at 1/4 and 3/4 of a pixel: rows 0.5 1 | 1 0.75... by bilinear values at centres.
    across = np.array([(0.75 + 1) / 2, (1 + 0.75) / 2])
    down = np.array([1.0, (1 + 0.75) / 2])
    np.testing.assert_allclose(found[0], np.outer(down, across), atol=1e-6)
    # The whole picture: a cell of two pixels, samples in their centres.
    np.testing.assert_allclose(found[1], [[0.5, 0.5], [0, 0]], atol=1e-6)
    assert not targets([[empty, mask]], [[(0, 0.25, 0.5, 0.75)]], [[0]], 2).any()


def test_targets_of_masks_are_aligned_regions_of_them() -> None:
    rng = np.random.default_rng(0)
    masks = (rng.random((2, 3, 20, 30)) < 0.5).astype(np.uint8)
    corners = np.sort(rng.random((2, 8, 2, 2)), axis=-1)
    boxes = np.stack([*corners[..., 0].transpose(2, 0, 1), *corners[..., 1].transpose(2, 0, 1)], -1)
    boxes[0, 0], boxes[1, 0] = (0, 0, 1, 1), (0.5, 0.5, 0.51, 0.502)  # cut by the border; a dot
    matched = rng.integers(0, 3, (2, 8))
    found = targets(masks, boxes, matched, 7)
    for picture in range(2):
        for region in range(8):
            one = masks[picture, matched[picture, region]][None, ..., None].astype(np.float32)
            expected = roi_align(
                [one], boxes[None, picture, [region]].astype(np.float32), picture_size=(20, 30),
                size=(7, 7), sampling_ratio=2, aligned=True,
            )  # fmt: skip
            np.testing.assert_allclose(
                found[picture, region], np.asarray(expected)[0, 0, ..., 0], atol=2e-5
            )


def test_targets_of_packed_masks_are_those_of_the_pixels() -> None:
    # As they were computed of a byte a pixel: to the last bit, at widths of no whole bytes too.
    rng = np.random.default_rng(3)
    side, taps = 5, 2
    for width in (7, 8, 21):
        masks = (rng.random((2, 4, 11, width)) < 0.5).astype(np.uint8)
        corners = np.sort(rng.random((2, 6, 2, 2)), axis=-1).astype(np.float32)
        boxes = np.concatenate([corners[..., 0], corners[..., 1]], axis=-1)
        matched = rng.integers(0, 4, (2, 6))
        rows, y = map(np.asarray, _samples(boxes[..., 0], boxes[..., 2], side, 11))
        columns, x = map(np.asarray, _samples(boxes[..., 1], boxes[..., 3], side, width))
        below, after = np.minimum(rows + 1, 10), np.minimum(columns + 1, width - 1)
        image = np.arange(2)[:, None, None, None]
        own = matched[..., None, None]

        def at(row, column, image=image, own=own, masks=masks):
            return masks[image, own, row[..., None], column[:, :, None]].astype(np.float32)

        y, x = y[..., None], x[:, :, None]
        upper = at(rows, columns) * (1 - x) + at(rows, after) * x
        lower = at(below, columns) * (1 - x) + at(below, after) * x
        cells = (upper * (1 - y) + lower * y).reshape(2, 6, side, taps, side, taps)
        expected = np.asarray(ops.mean(ops.convert_to_tensor(cells), axis=(3, 5)))
        assert 0 < expected.mean() < 1
        np.testing.assert_array_equal(targets(masks, boxes, matched, side), expected)


def region_of(labels: Any, positive: Any) -> Regions:
    count = np.shape(labels)
    return Regions(
        boxes=np.broadcast_to(np.float32([0, 0, 1, 1]), (*count, 4)),
        matched=np.zeros(count, np.int32),
        labels=np.array(labels, np.int32),
        positive=np.array(positive, np.float32),
        counted=np.ones(count, np.float32),
    )


def test_the_loss_of_masks() -> None:
    # The left half of the picture; of class 1, whose mask is the third.
    masks = np.zeros((1, 1, 4, 4), np.uint8)
    masks[..., :2] = 1
    shares = np.full((1, 2, 2, 2, 3), 0.01, np.float32)
    shares[0, 0, ..., 2] = [[0.8, 0.4], [0.5, 0.1]]
    logits = np.log(shares / (1 - shares))
    (found,) = floats(LOSS.of_masks(region_of([[1, -1]], [[1, 0]]), logits, packed(masks), 4))
    # Cells next to the border between the halves: samples in the pixels' centres.
    expected = -(math.log(0.8) + math.log(0.6) + math.log(0.5) + math.log(0.9)) / 4
    assert found == pytest.approx(expected, rel=1e-5)
    assert floats(LOSS.of_masks(region_of([[-1, -1]], [[0, 0]]), logits, packed(masks), 4)) == [0]


def test_perfect_answers_cost_nothing() -> None:
    objects = truth([((0, 0, 0.5, 0.5), 1, False), ((0.5, 0.5, 1, 1), 0, False)])
    codes, logits = np.zeros((1, 4, 4), np.float32), np.float32([[1e4, -1e4, -1e4, 1e4]])
    assert floats(*LOSS.of_anchors(objects, codes, logits, CHANCE)) == pytest.approx([0, 0])
    regions = LOSS.regions(
        objects, ops.convert_to_tensor(np.float32([[(0, 0.5, 0.5, 1)] * 6])),
        ops.convert_to_tensor(np.ones((1, 6), bool)), CHANCE,
    )  # fmt: skip
    sure = np.where(np.asarray(regions.labels)[..., None] + 1 == np.arange(4), 1e4, -1e4)
    codes = np.zeros((1, 4, 4, 4), np.float32)
    assert floats(*LOSS.of_regions(objects, regions, sure, codes)) == pytest.approx([0, 0])
    assert floats(*LOSS.of_regions(objects, regions, -sure, codes))[0] > 1e3
    masks = np.zeros((1, 3, 8, 8), np.uint8)
    masks[0, 0, :4, :4] = masks[0, 1, 4:, 4:] = 1
    bits = ops.convert_to_tensor(packed(masks))
    wanted = mask_targets(bits, regions.boxes, regions.matched, 4, 8)
    inside = np.asarray(wanted)[..., None] == 1
    # A cell at the border of an object is of both kinds, and costs what its entropy is.
    found = LOSS.of_masks(regions, np.where(inside, 1e4, -1e4) * np.ones(4), bits, 8)
    assert math.isfinite(*floats(found))


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_half_precision_is_summed_in_single(kind: str) -> None:
    answers = random_answers(np.random.default_rng(0))
    single = all_losses(*answers)
    halved = all_losses(*answers[:3], *(ops.cast(each, kind) for each in answers[3:]))
    for found, expected in zip(halved, single, strict=True):
        assert found.dtype == tf.float32
        assert float(found) == pytest.approx(float(expected), rel=2e-2)


def random_answers(rng: np.random.Generator) -> tuple[Any, ...]:
    """Objects, masks, chance, and what networks may say: codes and logits of both stages."""
    corner = rng.uniform(0, 0.6, (2, 3, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.1, 0.4, (2, 3, 2))], -1)
    labels, crowd = np.int32([[0, 2, -1], [1, 1, 0]]), np.array([[0, 0, 0], [0, 1, 0]], bool)
    objects = Truth(*map(ops.convert_to_tensor, (boxes.astype(np.float32), labels, crowd)))
    shapes = ((2, 4, 4), (2, 4), (2, 4, 4), (2, 4, 4, 4), (2, 2, 7, 7, 4))
    given = [ops.convert_to_tensor(rng.normal(size=shape).astype(np.float32)) for shape in shapes]
    masks = (rng.random((2, 3, 16, 16)) < 0.5).astype(np.uint8)
    return objects, masks, rng.random((2, 13)).astype(np.float32), *given


def all_losses(
    objects: Truth, masks: Any, chance: Any, rpn_codes: Any, rpn_logits: Any, *second: Any
) -> list[Any]:
    logits, codes, mask_logits = second
    proposals = ops.convert_to_tensor(np.tile(QUARTERS.boxes()[[0, 1, 2, 3, 3, 3]], (2, 1, 1)))
    valid = ops.convert_to_tensor(np.tile([1, 1, 1, 1, 0, 0], (2, 1)).astype(bool))
    regions = LOSS.regions(objects, proposals, valid, chance)
    return [
        *LOSS.of_anchors(objects, rpn_codes, rpn_logits, chance),
        *LOSS.of_regions(objects, regions, logits, codes),
        LOSS.of_masks(
            Regions(*(each[:, : LOSS.positives] for each in regions)),
            *(mask_logits, packed(masks), 16),
        ),
    ]


def test_gradients_reach_only_what_counts() -> None:
    objects, masks, chance, *given = random_answers(np.random.default_rng(1))
    with tf.GradientTape() as tape:
        tape.watch(given)
        total = tf.add_n(all_losses(objects, masks, chance, *given))
    slopes = [np.asarray(slope) for slope in tape.gradient(total, given)]
    assert all(np.isfinite(slope).all() and slope.any() for slope in slopes)
    # One class's codes and masks of a region, at most.
    assert ((np.abs(slopes[3]).sum(-1) > 0).sum(-1) <= 1).all()
    assert ((np.abs(slopes[4]).sum((2, 3)) > 0).sum(-1) <= 1).all()


ANSWERS = ("rpn_codes", "rpn_logits", "to_logits", "to_codes", "to_masks")


@pytest.fixture(scope="module")
def case() -> tuple[dict[str, float], list[np.ndarray]]:
    """Losses, and slopes of their sum."""
    given = rcnn_case.case()
    answers = {name: tf.constant(given[name]) for name in ANSWERS}
    with tf.GradientTape() as tape:
        tape.watch(answers)
        found = rcnn_case.losses(given | answers)
        total = tf.add_n(list(found.values()))
    slopes = tape.gradient(total, list(answers.values()))
    return {name: float(value) for name, value in found.items()}, [s.numpy() for s in slopes]


def test_losses_are_torchvisions(case) -> None:
    found, slopes = case
    assert found == pytest.approx(rcnn_case.EXPECTED, rel=1e-5)
    # Anchors of objects, those of the small one's ties among them.
    corrected = (np.abs(slopes[0]).sum(-1) > 0).sum(axis=1)
    assert corrected.tolist() == [10, 8, 4]


JAX = """
import pickle, sys
import jax, keras, numpy as np, rcnn_case
assert keras.backend.backend() == "jax" and "tensorflow" not in sys.modules
names, losses, slopes = pickle.load(open(sys.argv[1], "rb"))
given = rcnn_case.case()
def total(answers):
    found = rcnn_case.losses(given | answers)
    return sum(found.values()), found
(_, found), got = jax.jit(jax.value_and_grad(total, has_aux=True))({n: given[n] for n in names})
for name, value in losses.items():
    np.testing.assert_allclose(float(found[name]), value, rtol=1e-5)
for name, wanted in zip(names, slopes, strict=True):
    np.testing.assert_allclose(np.asarray(got[name]), wanted, rtol=1e-3, atol=1e-5)
"""


@IN_CI
def test_jax_finds_the_same(on_backend: Backends, case, tmp_path: Path) -> None:
    (tmp_path / "case").write_bytes(pickle.dumps((ANSWERS, *case)))
    on_backend("jax", JAX, tmp_path / "case")
