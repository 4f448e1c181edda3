"""Losses of label maps: numbers worked by hand, formulas in NumPy, what does not count."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from kerascnn.errors import InputError
from training.datasets.segmentation import VOID, SegmentationSplit
from training.segmentation.losses import (
    LOSSES,
    SegmentationLoss,
    balanced,
    class_prior_biases,
    count_pixels,
)

FACTORS = np.float32([0.5, 3.0, 1.0])


def loss_of(
    name: str, gt_map: Any, logits: Any, weights: Any = None, factors: np.ndarray | None = None
) -> float:
    logits = np.asarray(logits, np.float32)
    loss = SegmentationLoss(name=name, classes=logits.shape[-1], class_weights=factors)
    found = loss(np.asarray(gt_map, np.uint8), logits, weights)
    assert found.dtype == "float32"
    return float(ops.convert_to_numpy(found))


def gradient(name: str, gt_map: Any, logits: Any, weights: Any = None) -> np.ndarray:
    given = tf.constant(np.asarray(logits, np.float32))
    with tf.GradientTape() as tape:
        tape.watch(given)
        loss = SegmentationLoss(name=name, classes=given.shape[-1])
        value = loss(tf.constant(np.asarray(gt_map, np.uint8)), given, weights)
    return tape.gradient(value, given).numpy()


def row(*shares: float) -> list[list[list[list[float]]]]:
    """Logits of one picture of one row of pixels, of two classes: shares of the second."""
    return [[[[0.0, math.log(p / (1 - p))] for p in shares]]]


def test_cross_entropy_by_hand() -> None:
    logits = row(0.25, 0.5, 0.9)
    assert loss_of("cross_entropy", [[[1, 0, VOID]]], logits) == pytest.approx(
        (math.log(4) + math.log(2)) / 2, rel=1e-6
    )
    # Of weights 1 and 3 the second pixel has three quarters; what is void has none.
    assert loss_of("cross_entropy", [[[1, 0, VOID]]], logits, [[[1.0, 3.0, 9.0]]]) == pytest.approx(
        math.log(4) / 4 + 3 * math.log(2) / 4, rel=1e-6
    )
    factors = np.float32([3.0, 1.0])
    assert loss_of("cross_entropy", [[[1, 0, VOID]]], logits, factors=factors) == pytest.approx(
        math.log(4) / 4 + 3 * math.log(2) / 4, rel=1e-6
    )


def test_focal_by_hand() -> None:
    # (1 - p)² of an answer with p = 1/4 is 9/16, with p = 1/2 it is 1/4.
    assert loss_of("focal", [[[1, 0]]], row(0.25, 0.5)) == pytest.approx(
        (9 / 16 * math.log(4) + 1 / 4 * math.log(2)) / 2, rel=1e-6
    )


def test_dice_by_hand() -> None:
    # Class 1: 2 (0.8) / (1 + 0.8 + 0.4); class 0: 2 (0.6) / (1 + 0.2 + 0.6).
    expected = 1 - (1.6 / 2.2 + 1.2 / 1.8) / 2
    assert loss_of("dice", [[[1, 0]]], row(0.8, 0.4)) == pytest.approx(expected, rel=1e-6)
    both = expected + (math.log(1 / 0.8) + math.log(1 / 0.6)) / 2
    assert loss_of("cross_entropy_dice", [[[1, 0]]], row(0.8, 0.4)) == pytest.approx(both, rel=1e-6)


def test_a_class_that_is_not_in_the_batch_is_no_part_of_dice() -> None:
    assert loss_of("dice", [[[1, 1]]], row(0.5, 0.5)) == pytest.approx(1 - 2 / 3, rel=1e-6)


def numpy_loss(
    name: str, gt_map: np.ndarray, logits: np.ndarray, weights: np.ndarray, factors: np.ndarray
) -> float:
    """The same, pixel by pixel and class by class."""
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    total = scale = 0.0
    sums = {c: [0.0, 0.0, 0.0] for c in range(logits.shape[-1])}
    for place in np.ndindex(gt_map.shape):
        label, weight = int(gt_map[place]), float(weights[place])
        if label == VOID:
            continue
        answer = p[place][label]
        each = -math.log(answer) * ((1 - answer) ** 2 if name == "focal" else 1)
        total += weight * factors[label] * each
        scale += weight * factors[label]
        for c, (both, truth, found) in sums.items():
            own = weight * p[place][c]
            sums[c] = [both + own * (c == label), truth + weight * (c == label), found + own]
    overlaps = [2 * both / (truth + found) for both, truth, found in sums.values() if truth]
    parts = {
        "cross_entropy": total / scale, "focal": total / scale, "dice": 1 - np.mean(overlaps),
    }  # fmt: skip
    parts["cross_entropy_dice"] = parts["cross_entropy"] + parts["dice"]
    return float(parts[name])


def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    gt_map = rng.choice(np.uint8([0, 1, 2, VOID]), (2, 4, 5))
    return gt_map, rng.normal(0, 3, (2, 4, 5, 3)).astype(np.float32), rng.uniform(1, 9, (2, 4, 5))


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_its_formula(name: str) -> None:
    gt_map, logits, weights = drawn()
    found = loss_of(name, gt_map, logits, weights.astype(np.float32), FACTORS)
    assert found == pytest.approx(numpy_loss(name, gt_map, logits, weights, FACTORS), rel=1e-5)
    plain = numpy_loss(name, gt_map, logits, np.ones(gt_map.shape), np.ones(3))
    assert loss_of(name, gt_map, logits) == pytest.approx(plain, rel=1e-5)
    assert plain != pytest.approx(found, rel=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_void_counts_nowhere(name: str) -> None:
    gt_map, logits, _weights = drawn()
    slope = gradient(name, gt_map, logits)
    assert (slope[gt_map == VOID] == 0).all()
    assert (np.abs(slope[gt_map != VOID]).max(axis=-1) > 0).all()
    other = np.where((gt_map == VOID)[..., None], 50.0, logits)
    assert loss_of(name, gt_map, other) == loss_of(name, gt_map, logits)


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_without_a_pixel_that_counts_has_no_loss_and_no_slope(name: str) -> None:
    void = np.full((2, 3, 3), VOID)
    logits = np.random.default_rng(0).normal(size=(2, 3, 3, 4))
    assert loss_of(name, void, logits) == 0
    assert (gradient(name, void, logits) == 0).all()
    # As do weights of nothing.
    assert loss_of(name, np.ones((1, 3, 3)), logits[:1], np.zeros((1, 3, 3), np.float32)) == 0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_sure_answers_have_finite_losses_and_slopes(name: str, logit: float) -> None:
    logits = np.zeros((1, 2, 2, 3))
    logits[..., 1] = logit
    truth = np.ones((1, 2, 2))
    found = loss_of(name, truth, logits)
    assert math.isfinite(found)
    assert (found < 1e-6) == (logit > 0)
    assert np.isfinite(gradient(name, truth, logits)).all()


@pytest.mark.parametrize("name", LOSSES)
def test_slopes_are_those_of_differences(name: str) -> None:
    gt_map, logits, weights = drawn()
    slope = gradient(name, gt_map, logits, weights.astype(np.float32))
    rng, step = np.random.default_rng(0), 0.02
    direction = rng.normal(size=logits.shape)
    ends = [
        numpy_loss(name, gt_map, logits + sign * step * direction, weights, np.ones(3))
        for sign in (1, -1)
    ]
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx((slope * direction).sum(), rel=1e-2)


def test_half_precision_logits_are_added_up_in_single() -> None:
    size = (1, 300, 300)
    half = np.zeros((*size, 2), np.float16)
    half[..., 1] = 3.0
    loss = SegmentationLoss(name="cross_entropy_dice", classes=2)
    assert float(loss(np.ones(size, np.uint8), half)) == pytest.approx(
        loss_of("cross_entropy_dice", np.ones(size), half), rel=1e-6
    )


def test_another_name_is_an_input_error() -> None:
    with pytest.raises(InputError, match="map_loss must be one of cross_entropy, dice"):
        SegmentationLoss(name="tversky", classes=2)


def split_of(*maps: np.ndarray) -> SegmentationSplit:
    return SegmentationSplit(
        names=tuple(f"p{i}" for i in range(len(maps))), places=np.arange(len(maps)),
        sizes=np.array([each.shape for each in maps], np.int32),
        read=lambda place: np.zeros((*maps[place].shape, 3), np.uint8),
        annotate=lambda place: maps[place],
    )  # fmt: skip


def test_balanced_classes_weigh_the_same() -> None:
    maps = split_of(np.uint8([[0, 0, 0], [0, 0, 3]]), np.uint8([[0, VOID, 1, 1]]))
    pixels = count_pixels(maps, 4)
    assert pixels.tolist() == [6, 2, 0, 1]
    # 9 pixels of three classes that are there.
    expected = [9 / 3 / 6, 9 / 3 / 2, 1.0, 9 / 3 / 1]
    np.testing.assert_allclose(balanced(pixels), expected, rtol=1e-6)
    void = split_of(np.full((2, 2), VOID, np.uint8))
    assert count_pixels(void, 3).tolist() == [0, 0, 0]
    assert balanced(np.zeros(3, np.int64)).tolist() == [1, 1, 1]


def test_first_biases_are_those_of_the_lowest_loss_without_a_look() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice(np.uint8([0, 0, 0, 0, 1, 1, 2]), (2, 60, 60))
    pixels = np.bincount(truth.ravel(), minlength=3)
    for factors in (None, balanced(pixels), FACTORS):
        biases = class_prior_biases(pixels, factors)
        assert np.exp(biases).sum() == pytest.approx(1)
        best = loss_of(
            "cross_entropy", truth, np.broadcast_to(biases, (2, 60, 60, 3)), None, factors
        )
        for step in np.eye(3)[:, None, None, None] * 0.1:
            for sign in (1, -1):
                other = np.broadcast_to(biases + sign * step, (2, 60, 60, 3))
                assert loss_of("cross_entropy", truth, other, None, factors) > best
    # Nothing, and a class without a pixel, give numbers.
    assert class_prior_biases(np.zeros(4, np.int64)).tolist() == [np.float32(np.log(0.25))] * 4
    assert np.isfinite(class_prior_biases(np.array([10**9, 0]))).all()
