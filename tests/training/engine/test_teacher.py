"""What a teacher's answers add to a loss, by hand."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from keras import ops

from kerascnn.detection.anchors import Anchors, Level
from kerascnn.detection.specs import DetectorSpec
from training.detection.distillation import DetectionDistillation
from training.detection.losses import DetectionLoss
from training.engine.teacher import channel_wise_divergence
from training.segmentation.distillation import SegmentationDistillation
from training.segmentation.losses import SegmentationLoss


def floats(values: object) -> np.ndarray:
    return np.asarray(values, np.float32)


def test_places_of_a_channel_make_a_distribution() -> None:
    """One channel at two places: 3/4 and 1/4 there, halves here."""
    wanted, found = floats([[[math.log(3)], [0]]]), floats([[[5], [5]]])
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert float(channel_wise_divergence(wanted, found, 1.0)) == pytest.approx(expected, rel=1e-6)
    # At T = 2 the teacher's are sqrt(3) to 1; T^2 in front.
    high = math.sqrt(3) / (1 + math.sqrt(3))
    softer = high * math.log(2 * high) + (1 - high) * math.log(2 * (1 - high))
    assert float(channel_wise_divergence(wanted, found, 2.0)) == pytest.approx(4 * softer, rel=1e-5)


def test_a_constant_of_a_channel_changes_nothing_and_the_mean_is_over_channels() -> None:
    rng = np.random.default_rng(0)
    wanted, found = rng.normal(size=(2, 3, 6, 4)).astype(np.float32)
    value = float(channel_wise_divergence(wanted, found, 3.0))
    moved = found + floats([1, -2, 3, 4])
    assert float(channel_wise_divergence(wanted, moved, 3.0)) == pytest.approx(value, rel=1e-4)
    assert float(channel_wise_divergence(wanted, wanted + 1, 3.0)) == pytest.approx(0, abs=1e-5)
    each = [
        float(channel_wise_divergence(wanted[..., [c]], found[..., [c]], 3.0)) for c in range(4)
    ]
    assert value == pytest.approx(np.mean(each), rel=1e-5)


def spec(loss: str) -> DetectorSpec:
    levels = (
        Level(rows=1, columns=2, sizes=((0.5, 0.5), (0.3, 0.3))),
        Level(rows=1, columns=1, sizes=((0.9, 0.9),)),
    )
    return DetectorSpec(
        anchors=Anchors(levels=levels), box_scales=(1.0,) * 4, background=loss == "multibox",
        positive_iou=0.5, negative_iou=0.5, loss=loss,
    )  # fmt: skip


@pytest.mark.parametrize("loss", ["multibox", "focal"])
def test_a_box_nearer_than_the_teachers_adds_nothing_more(loss: str) -> None:
    truth = DetectionLoss(spec=spec(loss))
    taught = DetectionDistillation(loss=truth, weight=0.25, temperature=3.0)
    labels = np.int32([[0, 1, -1, -1, -1]])
    wanted = np.zeros((1, 5, 4), np.float32)
    codes = floats([[[0.4] * 4, [0.2] * 4, [9] * 4, [9] * 4, [9] * 4]])
    teacher = floats([[[0.3] * 4, [0.3] * 4, [0] * 4, [0] * 4, [0] * 4]])
    both = float(truth.of_boxes(wanted, labels, codes))
    alone = codes.copy()
    alone[0, 1] = 0  # the second is nearer than the teacher's
    worse = float(truth.of_boxes(wanted, labels, alone))
    found = float(taught.of_boxes(wanted, labels, codes, teacher))
    assert found == pytest.approx(0.75 * both + 0.25 * worse, rel=1e-5)


def test_classes_are_compared_by_level_and_anchor() -> None:
    """Of the first level's two cells; the second one has a single place."""
    truth = DetectionLoss(spec=spec("focal"))
    rng = np.random.default_rng(1)
    logits, teacher = rng.normal(size=(2, 3, 5, 2)).astype(np.float32)
    labels = np.full((3, 5), -1, np.int32)
    taught = DetectionDistillation(loss=truth, weight=1.0, temperature=2.0)
    maps = [each[:, :4].reshape(3, 2, 4) for each in (teacher, logits)]
    expected = float(channel_wise_divergence(*maps, 2.0))
    assert float(taught.of_classes(labels, logits, teacher)) == pytest.approx(expected, rel=1e-5)
    own = DetectionDistillation(loss=truth, weight=0.0, temperature=2.0)
    assert float(own.of_classes(labels, logits, teacher)) == pytest.approx(
        float(truth.of_classes(labels, logits)), rel=1e-6
    )


def test_maps_are_compared_at_the_students_size() -> None:
    loss = SegmentationLoss(name="cross_entropy", classes=2)
    taught = SegmentationDistillation(loss=loss, weight=0.5, temperature=4.0)
    rng = np.random.default_rng(2)
    logits = keras.ops.convert_to_tensor(rng.normal(size=(2, 4, 6, 2)).astype(np.float32))
    truth = rng.integers(0, 2, (2, 4, 6)).astype(np.uint8)
    small = np.repeat(rng.normal(size=(2, 1, 1, 2)), 2, axis=1).repeat(3, axis=2)
    small = small.astype(np.float32)  # the same everywhere: at any size a uniform distribution
    uniform = np.zeros((2, 24, 2), np.float32)
    divergence = channel_wise_divergence(uniform, ops.reshape(logits, (-1, 24, 2)), 4.0)
    expected = 0.5 * float(loss(truth, logits)) + 0.5 * float(divergence)
    assert float(taught(truth, logits, small)) == pytest.approx(expected, rel=1e-4)
