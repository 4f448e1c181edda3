"""Losses of detectors: numbers worked by hand, what does not count, half precision, jax."""

from __future__ import annotations

import dataclasses
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from backends import Backends
from keras import ops
from marks import IN_CI

from kerascnn.detection.anchors import Anchors, Level
from kerascnn.detection.specs import DetectorSpec
from training.detection.losses import DetectionLoss

# The four quarters of a picture.
SSD = DetectorSpec(
    anchors=Anchors(levels=(Level(rows=2, columns=2, sizes=((0.5, 0.5),)),)),
    box_scales=(10.0, 10.0, 5.0, 5.0),
    background=True,
    positive_iou=0.5,
    negative_iou=0.4,
    loss="multibox",
)
SOFTMAX = dataclasses.replace(SSD, loss="focal")
SIGMOID = dataclasses.replace(SOFTMAX, background=False)
SPECS = {"multibox": SSD, "softmax": SOFTMAX, "sigmoid": SIGMOID}


def of_boxes(spec: DetectorSpec, codes: Any, labels: Any, wanted: Any = 0.0) -> float:
    codes = np.array(codes, np.float32)
    wanted = np.broadcast_to(np.float32(wanted), codes.shape)
    loss = DetectionLoss(spec=spec).of_boxes(wanted, np.array(labels, np.int32), codes)
    return float(ops.convert_to_numpy(loss))


def of_classes(spec: DetectorSpec, logits: Any, labels: Any) -> float:
    loss = DetectionLoss(spec=spec)
    found = loss.of_classes(np.array(labels, np.int32), np.array(logits, np.float32))
    return float(ops.convert_to_numpy(found))


def gradient(spec: DetectorSpec, logits: Any, labels: Any) -> np.ndarray:
    """Of the class loss, by logits."""
    given = tf.constant(np.array(logits, np.float32))
    with tf.GradientTape() as tape:
        tape.watch(given)
        loss = DetectionLoss(spec=spec).of_classes(tf.constant(labels, tf.int32), given)
    found: np.ndarray = tape.gradient(loss, given).numpy()
    return found


def background(*shares: float) -> np.ndarray:
    """Logits of a softmax that has these shares for the background, and the rest for a class."""
    return np.log([(share, 1 - share) for share in shares])


def test_targets_are_the_anchors_of_the_spec() -> None:
    boxes = np.zeros((3, 2, 4), np.float32)
    boxes[0, 0] = (0, 0, 0.5, 0.5)  # the first quarter
    boxes[0, 1] = (0.5, 0.5, 1, 0.95)  # nearly the last
    boxes[1, 0] = (0, 0, 1, 1)  # a crowd
    labels = np.array([[4, 2], [1, -1], [-1, -1]], np.int32)
    crowd = np.array([[False, False], [True, False], [False, False]])
    codes, found = map(np.asarray, DetectionLoss(spec=SSD).targets(boxes, labels, crowd))
    assert found.tolist() == [[4, -1, -1, 2], 4 * [-2], 4 * [-1]]
    expected = np.zeros((3, 4, 4))
    expected[0, 3] = (0, 10 * -0.05, 0, 5 * math.log(0.9))
    np.testing.assert_allclose(codes, expected, atol=1e-5)


def test_smooth_l1_on_both_sides_of_one() -> None:
    codes = [[(0.5, 2, 0, -1), (9, 9, 9, 9), (9, 9, 9, 9), (0, 0, 0, 0)]]
    # 0.5 * 0.5² + (2 - 0.5) + (1 - 0.5), for two matched anchors
    assert of_boxes(SSD, codes, [[0, -1, -2, 3]]) == pytest.approx(2.125 / 2)
    assert of_boxes(SSD, codes, [[0, -1, -2, 3]], wanted=codes) == 0


def test_hubers_loss_on_both_sides_of_a_tenth() -> None:
    codes = [[(0.05, -0.3, 0, 0), (9, 9, 9, 9)], [(9, 9, 9, 9), (0, 0, 0, 0.1)]]
    # 0.5 * 0.05², 0.1 * (0.3 - 0.05) and 0.5 * 0.1², times 50, over 4 times 2 anchors and one
    expected = 50 * (0.00125 + 0.025 + 0.005) / 12
    for spec in (SIGMOID, SOFTMAX):
        assert of_boxes(spec, codes, [[1, -2], [-1, 0]]) == pytest.approx(expected)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_without_a_match_boxes_cost_nothing(spec: DetectorSpec) -> None:
    assert of_boxes(spec, np.full((2, 4, 4), 7.0), np.full((2, 4), -1)) == 0


def test_the_three_hardest_for_each_match() -> None:
    # One object, to which a quarter is given; backgrounds, of which the last one does not count.
    shares = (0.75, 0.9, 0.5, 0.8, 0.6, 0.7, 0.01)
    labels = [[0, -1, -1, -1, -1, -1, -2]]
    expected = -math.log(0.25) - math.log(0.5) - math.log(0.6) - math.log(0.7)
    assert of_classes(SSD, [background(*shares)], labels) == pytest.approx(expected, rel=1e-5)
    slopes = np.abs(gradient(SSD, [background(*shares)], labels)).sum(axis=-1) > 0
    assert slopes.tolist() == [[True, False, True, False, True, True, False]]


def test_each_picture_has_its_own_negatives() -> None:
    # Two matches here take all five others; none there, and its three hardest are taken.
    one = background(0.5, 0.5, 0.9, 0.9, 0.9, 0.9, 0.9)
    two = background(0.99, 0.2, 0.98, 0.4, 0.97, 0.3, 0.96)
    labels = [[0, 0, -1, -1, -1, -1, -1], 7 * [-1]]
    expected = -2 * math.log(0.5) - 5 * math.log(0.9) - math.log(0.2 * 0.3 * 0.4)
    assert of_classes(SSD, [one, two], labels) == pytest.approx(expected / 2, rel=1e-5)


def test_a_picture_without_objects_gives_its_three_hardest() -> None:
    shares = background(0.9, 0.8, 0.7, 0.6)
    expected = -math.log(0.8) - math.log(0.7) - math.log(0.6)
    assert of_classes(SSD, [shares], [4 * [-1]]) == pytest.approx(expected, rel=1e-5)
    assert of_classes(SSD, [shares], [4 * [-2]]) == 0


def test_focal_loss_of_a_sigmoid() -> None:
    # In doubt of everything: a quarter for yes, three for no. What does not count is wrong.
    doubt = 0.5**1.5 * math.log(2)
    logits = [[(0, 0), (0, 0), (30, -30)]]
    expected = (0.25 + 0.75) * doubt + 2 * 0.75 * doubt
    assert of_classes(SIGMOID, logits, [[1, -1, -2]]) == pytest.approx(expected / 2, rel=1e-5)
    # A share of 0.8: sure of a class, and wrongly sure of the other one.
    sure = math.log(0.8 / 0.2)
    right, wrong = -0.25 * 0.2**1.5 * math.log(0.8), -0.75 * 0.8**1.5 * math.log(0.2)
    found = of_classes(SIGMOID, [[(sure, sure)]], [[0]])
    assert found == pytest.approx((right + wrong) / 2, rel=1e-5)


def test_focal_loss_of_a_softmax() -> None:
    shares = np.log([[(0.2, 0.3, 0.5), (0.8, 0.1, 0.1), (0.01, 0.98, 0.01)]])
    right, wrong = -0.25 * 0.5**1.5 * math.log(0.5), -0.75 * 0.2**1.5 * math.log(0.8)
    found = of_classes(SOFTMAX, shares, [[1, -1, -2]])
    assert found == pytest.approx((right + wrong) / 2, rel=1e-5)


def perfect(spec: DetectorSpec, labels: list[list[int]], sure: float) -> np.ndarray:
    """Logits that are sure of these labels."""
    classes = np.array(labels)[..., None]
    answers = range(-1, 3) if spec.background else range(3)
    return np.where(classes == list(answers), sure, -sure)


@pytest.mark.parametrize("sure", [20.0, 1e4])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_perfect_answers_cost_nothing_and_wrong_ones_have_slopes(
    spec: DetectorSpec, sure: float
) -> None:
    labels = [[0, 2, -1, -1], [-1, 1, -1, -1]]
    logits = perfect(spec, labels, sure)
    assert 0 <= of_classes(spec, logits, labels) < 1e-6
    assert np.abs(gradient(spec, logits, labels)).max() < 1e-6
    assert of_classes(spec, -logits, labels) > 1
    slopes = gradient(spec, -logits, labels)
    assert np.isfinite(slopes).all()
    assert slopes.any()


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_anchors_that_do_not_count_have_no_slope(spec: DetectorSpec) -> None:
    logits = np.random.default_rng(0).normal(size=(1, 6, 4 if spec.background else 3))
    slopes = gradient(spec, logits, [[0, -2, -1, -1, -2, 2]])
    assert (np.abs(slopes).sum(axis=-1) > 0).tolist() == [[True, False, True, True, False, True]]


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_half_precision_is_summed_in_single(spec: DetectorSpec, kind: str) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(-2, 3, (2, 500)).astype(np.int32)
    logits = rng.normal(0, 2, (2, 500, 4 if spec.background else 3)).astype(np.float32)
    codes = rng.normal(0, 30, (2, 500, 4)).astype(np.float32)
    loss = DetectionLoss(spec=spec)
    wanted = np.zeros_like(codes)
    for found, single in (
        (loss.of_classes(labels, ops.cast(logits, kind)), of_classes(spec, logits, labels)),
        (loss.of_boxes(wanted, labels, ops.cast(codes, kind)), of_boxes(spec, codes, labels)),
    ):
        assert found.dtype == tf.float32
        assert float(found) == pytest.approx(single, rel=1e-2)


JAX = """
import pickle, sys
import jax, keras, numpy as np
from training.detection.losses import DetectionLoss
assert keras.backend.backend() == "jax" and "tensorflow" not in sys.modules
for spec, (truth, codes, logits), expected in pickle.load(open(sys.argv[1], "rb")):
    loss = DetectionLoss(spec=spec)
    def both(truth, codes, logits):
        wanted, labels = loss.targets(*truth)
        return loss.of_boxes(wanted, labels, codes) + loss.of_classes(labels, logits)
    value, slopes = jax.jit(jax.value_and_grad(both, (1, 2)))(truth, codes, logits)
    for got, wanted in zip((value, *slopes), expected, strict=True):
        np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-4, atol=1e-6)
"""


@IN_CI
def test_jax_finds_the_same(on_backend: Backends, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 0.5, (2, 3, 4)).astype(np.float32)
    boxes[..., 2:] += 0.5
    labels = np.array([[0, 2, -1], [1, 1, 0]], np.int32)
    truth = (boxes, labels, np.array([[False, False, False], [False, True, False]]))
    cases = []
    for spec in SPECS.values():
        codes = rng.normal(size=(2, 4, 4)).astype(np.float32)
        logits = rng.normal(size=(2, 4, 4 if spec.background else 3)).astype(np.float32)
        loss = DetectionLoss(spec=spec)
        given = tf.constant(codes), tf.constant(logits)
        with tf.GradientTape() as tape:
            tape.watch(given)
            wanted, matched = loss.targets(*truth)
            value = loss.of_boxes(wanted, matched, given[0]) + loss.of_classes(matched, given[1])
        assert (np.asarray(matched) >= 0).any()
        slopes = [slope.numpy() for slope in tape.gradient(value, given)]
        cases.append((spec, (truth, codes, logits), (float(value), *slopes)))
    (tmp_path / "cases").write_bytes(pickle.dumps(cases))
    on_backend("jax", JAX, tmp_path / "cases")
