"""What detectors without anchors learn by: who finds what, worked by hand and by mmdetection."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from backends import Backends
from checkpoints import goldens
from keras import ops

from kerascnn.detection import matching
from kerascnn.detection.anchors import Anchors, Level
from kerascnn.detection.rtmdet_boxes import detector_spec
from kerascnn.detection.specs import DetectorSpec
from training.detection import quality_losses
from training.detection.assignment import assign
from training.detection.distillation import QualityDistillation
from training.detection.quality_losses import Assigned, QualityLoss, giou

SPEC = detector_spec("rtmdet_tiny", (64, 64, 3))
# Four points, at the corners of a picture's quarters.
QUARTERS = DetectorSpec(
    anchors=Anchors(levels=(Level(rows=2, columns=2, sizes=((0.5, 0.5),)),)),
    box_scales=(1.0, 1.0, 1.0, 1.0),
    background=False,
    positive_iou=1.0,
    negative_iou=1.0,
    loss="quality_focal",
    coding="distances",
)


def learnt() -> tuple[np.ndarray, np.ndarray]:
    """As make_rtmdet_goldens.py has it; theirs are left, top, right and bottom."""
    rng = np.random.default_rng(0)
    distances = rng.uniform(-0.5, 4, (3, 84, 4)).astype(np.float32)[..., [1, 0, 3, 2]]
    return distances, rng.normal(-2, 1.5, (3, 84, 3)).astype(np.float32)


def truth_of(objects: list, most: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    boxes = np.zeros((len(objects), most, 4), np.float32)
    labels = np.full((len(objects), most), -1, np.int32)
    for row, (pixels, classes) in enumerate(objects):
        if pixels:
            boxes[row, : len(pixels)] = np.array(pixels)[:, [1, 0, 3, 2]] / 64
            labels[row, : len(pixels)] = classes
    return boxes, labels, np.zeros(labels.shape, bool)


def floats(values: Any) -> list[float]:
    return [float(ops.convert_to_numpy(one)) for one in values]


@pytest.mark.parametrize("turns", [False, True])
def test_objects_and_losses_are_mmdetections(turns: bool, monkeypatch) -> None:
    if turns:  # images one after the other
        monkeypatch.setattr("training.detection.assignment.PAIRS_AT_ONCE", 1)
    golden, (distances, logits) = goldens("rtmdet_goldens.json.gz")["losses"], learnt()
    truth, loss = truth_of(golden["objects"]), QualityLoss(spec=SPEC)
    index, overlap = assign(*loss._points, loss.boxes(distances), logits, *truth)
    np.testing.assert_array_equal(index, golden["index"])
    np.testing.assert_allclose(overlap, golden["overlap"], atol=1e-5)
    assert {*np.unique(index)} == {-1, 0, 1, 2, 3}
    assert floats(loss.both(truth, distances, logits)) == pytest.approx(
        [golden["box_loss"], golden["class_loss"]], rel=1e-5
    )


def test_an_object_takes_its_cheapest_points() -> None:
    points = np.array([(0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)], np.float32)
    cells = np.full((4, 2), 0.5, np.float32)
    # One object over all four points. The boxes of the first two are its own and its upper half;
    # those of the others touch it nowhere. 1 + 0.5 = 1.5 of overlap: it takes one point.
    boxes = np.array([[(0, 0, 1, 1), (0, 0, 0.5, 1), (2, 2, 3, 3), (2, 2, 3, 3)]], np.float32)
    truth = (np.array([[(0, 0, 1, 1)]], np.float32), np.array([[0]]), np.array([[False]]))
    index, overlap = assign(points, cells, boxes, np.zeros((1, 4, 2), np.float32), *truth)
    assert np.asarray(index).tolist() == [[0, -1, -1, -1]]
    assert np.asarray(overlap).tolist() == [[1, 0, 0, 0]]
    # All four boxes are right: it takes four points, however unsure of the class they are.
    boxes = np.tile(truth[0], (1, 4, 1))
    index, overlap = assign(points, cells, boxes, np.full((1, 4, 2), -3.0, np.float32), *truth)
    assert np.asarray(index).tolist() == [[0, 0, 0, 0]]
    assert np.asarray(overlap).tolist() == [[1, 1, 1, 1]]


def test_costs_worked_by_hand() -> None:
    # Boxes that overlap with the object by a half and by a quarter; the second says the class.
    points = np.array([(0.5, 0.5), (0.5, 0.5)], np.float32)
    cells = np.full((2, 2), 0.5, np.float32)
    boxes = np.array([[(0, 0, 0.5, 1), (0, 0, 0.5, 0.5)]], np.float32)
    truth = (np.array([[(0, 0, 1, 1)]], np.float32), np.array([[0]]), np.array([[False]]))

    def taken(logit: float) -> list[int]:
        logits = np.array([[(-logit, -30), (0, -30)]], np.float32)
        return np.asarray(assign(points, cells, boxes, logits, *truth)[0]).tolist()[0]

    def cost(logit: float, overlap: float) -> float:
        score = 1 / (1 + math.exp(-logit))
        entropy = -overlap * math.log(score) - (1 - overlap) * math.log(1 - score)
        return entropy * (overlap - score) ** 2 - 3 * math.log(overlap)

    # The distance costs both the same, and the second class next to nothing.
    for logit in (6.0, 18.0):
        cheapest = cost(-logit, 0.5) < cost(0, 0.25)
        assert taken(logit) == ([0, -1] if cheapest else [-1, 0])
    assert (cost(-6, 0.5) < cost(0, 0.25)) != (cost(-18, 0.5) < cost(0, 0.25))


def test_near_points_are_cheaper_and_points_outside_are_none() -> None:
    points = np.array([(0.1, 0.5), (0.5, 0.45), (0.9, 0.5), (0.5, 1.0)], np.float32)
    cells = np.full((4, 2), 0.1, np.float32)
    boxes = np.tile(np.float32([0.0, 0.0, 0.2, 0.2]), (1, 4, 1))
    truth = (np.array([[(0, 0, 1, 1)]], np.float32), np.array([[1]]), np.array([[False]]))
    index, overlap = assign(points, cells, boxes, np.zeros((1, 4, 2), np.float32), *truth)
    assert np.asarray(index).tolist() == [[-1, 0, -1, -1]]
    np.testing.assert_allclose(overlap[0], [0, 0.04, 0, 0], rtol=1e-5)


def test_padding_crowds_and_flat_boxes_take_no_points() -> None:
    points, cells = QualityLoss(spec=QUARTERS)._points
    boxes = np.zeros((1, 4, 4), np.float32)
    gt_boxes = np.array([[(0, 0, 1, 1), (0, 0, 0.5, 0.5), (0.2, 0.2, 0.2, 0.9)]], np.float32)
    labels, crowd = np.array([[-1, 1, 0]]), np.array([[False, True, False]])
    index, overlap = assign(
        points, cells, boxes, np.zeros((1, 4, 2), np.float32), gt_boxes, labels, crowd
    )
    assert np.asarray(index).tolist() == [[matching.IGNORED, -1, -1, -1]]
    assert not np.asarray(overlap).any()


def test_generalised_iou_worked_by_hand() -> None:
    boxes = np.array([(0, 0, 2, 2), (0, 0, 1, 1), (0, 0, 2, 2), (1, 0, 0, 1)], np.float32)
    others = np.array([(1, 1, 3, 3), (2, 0, 3, 1), (0, 0, 2, 2), (0, 0, 1, 1)], np.float32)
    # 1 / 7 less 2 / 9 of the box around; nothing less 1 / 3; the same box; one inside out.
    expected = [1 / 7 - 2 / 9, -1 / 3, 1]
    np.testing.assert_allclose(giou(boxes, others)[:3], expected, rtol=1e-5)
    with tf.GradientTape() as tape:
        sides = tf.constant([(0.6, 0.0, 0.4, 1.0)])
        tape.watch(sides)
        loss = 1 - giou(sides, tf.constant([(0.0, 0.0, 1.0, 1.0)]))
    slope = tape.gradient(loss, sides).numpy()[0]
    assert slope[0] > 0 > slope[2]  # its top wants up, and its bottom down


def test_losses_worked_by_hand() -> None:
    loss = QualityLoss(spec=QUARTERS)
    wanted = Assigned(
        boxes=np.array([[(0, 0, 1, 1), (0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0.5, 0.5)]], np.float32),
        labels=np.array([[1, -1, -2, 0]], np.int32),
        quality=np.array([[0.75, 0, 0, 0.5]], np.float32),
    )
    logits = np.array([[(0, 0), (0, -30), (30, 30), (-30, -30)]], np.float32)
    # |0.75 - 0.5|² and 0.5² of ln 2; 0.5² of it; nothing; 0.5² of 0.5 * 30.
    expected = (0.25**2 + 0.5**2 + 0.5**2) * math.log(2) + 0.25 * 15
    assert float(loss.of_classes(wanted, logits)) == pytest.approx(expected / 1.25, rel=1e-5)
    # About the points at quarters: the first is right, the last box is twice as wide as its object.
    distances = np.array([[(0.5, 0.5, 1.5, 1.5), 4 * (9,), 4 * (9,), (1.5, 1.5, -0.5, 0.5)]])
    expected = 2 * (0.75 * 0 + 0.5 * (1 - 0.5)) / 1.25
    assert float(loss.of_boxes(wanted, distances)) == pytest.approx(expected, rel=1e-5)
    counted = np.array([[1, 1, 1, 0]], np.float32)
    assert float(loss.of_boxes(wanted, distances, counted)) == pytest.approx(0, abs=1e-6)


def test_few_overlaps_do_not_make_a_loss_large_and_none_is_no_loss_of_boxes() -> None:
    truth = truth_of([([], []), ([], [])])
    distances, logits = (each[:2] for each in learnt())
    boxes, classes = floats(QualityLoss(spec=SPEC).both(truth, distances, logits))
    assert boxes == 0
    assert 0 < classes < math.inf


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_half_precision_is_assigned_and_summed_in_single(kind: str) -> None:
    golden = goldens("rtmdet_goldens.json.gz")["losses"]
    truth, loss = truth_of(golden["objects"]), QualityLoss(spec=SPEC)
    halves = [ops.cast(ops.cast(each, kind), "float32") for each in learnt()]
    single = floats(loss.both(truth, *halves))
    found = loss.both(truth, *(ops.cast(each, kind) for each in halves))
    assert {one.dtype for one in found} == {tf.float32}
    assert floats(found) == pytest.approx(single, rel=1e-6)


def test_more_padding_changes_nothing() -> None:
    golden, outputs = goldens("rtmdet_goldens.json.gz")["losses"], learnt()
    few, many = (truth_of(golden["objects"], most) for most in (4, 40))
    loss = QualityLoss(spec=SPEC)
    assert floats(loss.both(few, *outputs)) == pytest.approx(floats(loss.both(many, *outputs)))


def test_a_teacher_bounds_boxes_and_shows_where_to_look() -> None:
    golden, (distances, logits) = goldens("rtmdet_goldens.json.gz")["losses"], learnt()
    truth, loss = truth_of(golden["objects"]), QualityLoss(spec=SPEC)
    own = floats(loss.both(truth, distances, logits))
    taught = QualityDistillation(loss=loss, weight=0.5, temperature=1.0)
    # Of itself it learns nothing: no box is farther, and no map differs.
    same = floats(taught.both(truth, distances, logits, (distances, logits)))
    assert same == pytest.approx([0.5 * one for one in own], rel=1e-5)
    # A teacher that is wrong everywhere bounds nothing, one that is right bounds all.
    away = distances + np.float32([-100, -100, 100, 100])
    wrong = floats(taught.both(truth, distances, logits, (away, logits)))
    assert wrong[0] == pytest.approx(0.5 * own[0], rel=1e-5)
    wanted = loss.targets(truth, distances, logits)
    points, cells = loss._points
    low, high = np.split(np.asarray(wanted.boxes), 2, axis=-1)
    right = np.concatenate([(points - low) / cells, (high - points) / cells], axis=-1)
    assert floats(taught.both(truth, distances, logits, (right, logits)))[0] == pytest.approx(
        own[0], rel=1e-5
    )
    other = floats(taught.both(truth, distances, logits, (distances, logits[:, ::-1])))
    assert other[1] > same[1]


JAX = """
import pickle, sys
import jax, keras, numpy as np
from training.detection.quality_losses import QualityLoss
assert keras.backend.backend() == "jax" and "tensorflow" not in sys.modules
spec, (truth, distances, logits), expected = pickle.load(open(sys.argv[1], "rb"))
loss = QualityLoss(spec=spec)
both = lambda truth, *outputs: sum(loss.both(truth, *outputs))
value, slopes = jax.jit(jax.value_and_grad(both, (1, 2)))(truth, distances, logits)
for got, wanted in zip((value, *slopes), expected, strict=True):
    np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-4, atol=1e-6)
"""


def test_jax_finds_the_same(on_backend: Backends, tmp_path: Path) -> None:
    golden, (distances, logits) = goldens("rtmdet_goldens.json.gz")["losses"], learnt()
    truth = truth_of(golden["objects"])
    given = tf.constant(distances), tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(given)
        value = sum(QualityLoss(spec=SPEC).both(truth, *given))
    slopes = [slope.numpy() for slope in tape.gradient(value, given)]
    assert all(np.isfinite(slope).all() and slope.any() for slope in slopes)
    case = (SPEC, (truth, distances, logits), (float(value), *slopes))
    (tmp_path / "case").write_bytes(pickle.dumps(case))
    on_backend("jax", JAX, tmp_path / "case")


def test_codes_against_anchors_are_decoded() -> None:
    spec = DetectorSpec.from_dict(SPEC.in_files.to_dict())
    codes = np.zeros((1, 84, 4), np.float32)
    boxes = quality_losses.QualityLoss(spec=spec).boxes(codes)
    np.testing.assert_allclose(boxes[0], spec.anchors.boxes(), atol=1e-6)
