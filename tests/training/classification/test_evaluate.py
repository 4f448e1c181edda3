"""Figures of an evaluation, worked by hand."""

from __future__ import annotations

import math
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from kerascnn.complexity import count_activations
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.classification.evaluate import (
    Evaluation,
    class_report,
    evaluate,
    keras_predict_fn,
    log_softmax,
    softmax,
    unequal,
)
from training.datasets.splits import Split
from training.engine.evaluation import at_once

FOUR = np.array([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.05, 0.1, 0.85], [0.7, 0.2, 0.1]])


def of(probabilities: np.ndarray, labels: list[int]) -> Evaluation:
    return Evaluation.of(np.log(probabilities), np.array(labels))


def test_four_pictures_in_three_classes() -> None:
    answers = of(FOUR, [0, 2, 2, 1])
    assert answers.accuracy == 50
    assert answers.predictions.tolist() == [0, 1, 2, 0]
    assert answers.top5 == 100
    np.testing.assert_allclose(answers.confidence, [0.5, 0.5, 0.85, 0.7], rtol=1e-6)
    # -(ln 0.5 + ln 0.25 + ln 0.85 + ln 0.2) / 4
    assert answers.loss == pytest.approx(0.9628495, abs=1e-6)
    # Confidences 0.5 and 0.5 are half right: no gap. 0.85 is right, 0.7 wrong: (0.15 + 0.7) / 4.
    assert answers.calibration_error == pytest.approx(21.25, abs=1e-5)
    assert answers.per_class.tolist() == [100, 0, 50]


def test_gaps_of_different_bins_do_not_cancel() -> None:
    # One bin apart, 0.62 (wrong) and 0.7 (right); in one bin they would give |0.3 - 0.62| / 2.
    answers = of(np.array([[0.62, 0.38], [0.7, 0.3]]), [1, 0])
    assert answers.calibration_error == pytest.approx(100 * (0.62 + 0.3) / 2, abs=1e-5)


def test_class_without_pictures_has_no_accuracy() -> None:
    answers = of(FOUR, [0, 0, 2, 2])
    assert answers.per_class[[0, 2]].tolist() == [50, 50]
    assert math.isnan(answers.per_class[1])
    assert answers.accuracy == 50


def test_two_classes() -> None:
    answers = of(np.array([[0.9, 0.1], [0.8, 0.2]]), [0, 1])
    assert (answers.accuracy, answers.top5) == (50, 100)
    assert answers.calibration_error == pytest.approx(100 * (0.1 + 0.8) / 2, abs=1e-5)
    assert answers.per_class.tolist() == [100, 0]


def test_one_picture() -> None:
    answers = of(FOUR[3:], [0])
    assert (answers.accuracy, answers.top5) == (100, 100)
    assert answers.calibration_error == pytest.approx(30, abs=1e-5)
    assert answers.loss == pytest.approx(-math.log(0.7), abs=1e-6)


def test_top5_counts_the_fifth_and_not_the_sixth() -> None:
    logits = np.array([[7.0, 6, 5, 4, 3, 2, 1]] * 3)
    assert Evaluation.of(logits, np.array([4, 5, 6])).top5 == pytest.approx(100 / 3)
    # Equal logits are ranked by index, as argmax does.
    answers = Evaluation.of(np.zeros((7, 7)), np.arange(7))
    assert answers.accuracy == pytest.approx(100 / 7)
    assert answers.top5 == pytest.approx(500 / 7)


def test_sure_and_right_is_calibrated_and_costs_nothing() -> None:
    answers = Evaluation.of(1e4 * np.eye(3), np.arange(3))
    assert (answers.accuracy, answers.calibration_error, answers.loss) == (100, 0, 0)


def test_uniform_answers_are_calibrated_where_one_in_three_is_right() -> None:
    answers = Evaluation.of(np.zeros((3, 3)), np.arange(3))
    assert answers.calibration_error == pytest.approx(0, abs=1e-9)
    assert answers.loss == pytest.approx(math.log(3))


def test_softmax_of_huge_and_tiny_logits() -> None:
    logits = np.array([[3e38, -3e38, 0], [1000, 1000, -1000], [-1e30, -1e30, -1e30]], np.float32)
    expected = [[1, 0, 0], [0.5, 0.5, 0], [1 / 3] * 3]
    np.testing.assert_allclose(softmax(logits), expected, rtol=1e-12)
    assert softmax(logits).dtype == np.float64
    # ln(1 + e^-40): lost where the sum is made in float32.
    two = log_softmax(np.array([0, -40], np.float32))
    np.testing.assert_allclose(two, [-np.log1p(np.exp(-40.0)), -40], rtol=1e-12, atol=1e-17)
    # Less than what float64's exp can hold, and still a finite logarithm.
    np.testing.assert_allclose(log_softmax(np.array([0.0, -5000])), [0, -5000])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_broken_logits_have_an_accuracy_and_no_loss(bad: float) -> None:
    logits = np.log(FOUR)
    logits[1] = bad
    answers = Evaluation.of(logits, np.array([0, 2, 2, 1]))
    assert answers.accuracy == 50
    # The first of equal ones is no answer, even if it is the true class.
    lucky = Evaluation.of(logits, np.array([0, 0, 2, 1]))
    assert (lucky.accuracy, lucky.top5, lucky.per_class[0]) == (50, 75, 50)
    assert math.isnan(answers.loss)
    assert math.isnan(answers.calibration_error)


@pytest.mark.parametrize(
    ("logits", "labels", "said"),
    [
        (np.zeros((0, 3)), [], "no images to evaluate"),
        (np.zeros((2, 3)), [0], "do not fit labels"),
        (np.zeros((2, 3)), [0, 3], "labels go from 0 to 3, the network has 3 classes"),
        (np.zeros((2, 3)), [-1, 0], "labels go from -1"),
    ],
)
def test_what_does_not_fit_is_refused(logits: np.ndarray, labels: list[int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Evaluation.of(logits, np.array(labels))


def test_pictures_go_through_in_order_from_memory_and_from_files(tmp_path: Path) -> None:
    plain = Preprocessing(height=2, width=2, channels=1, resize="stretch")
    values = np.arange(300) % 256  # more than a block
    pictures = np.broadcast_to(values[:, None, None, None], (300, 2, 2, 1)).astype(np.uint8)
    labels = (values >= 100).astype(np.int32)
    names = tuple(str(tmp_path / f"{i}.png") for i in range(300))
    for picture, name in zip(pictures, names, strict=True):
        Image.fromarray(picture[..., 0]).save(name)

    def predict(block: np.ndarray) -> np.ndarray:
        mean = block.reshape(len(block), -1).mean(axis=1)
        return np.stack([99.5 - mean, mean - 99.5], axis=1)

    memory = evaluate(predict, Split(labels=labels, names=names, pictures=pictures), plain)
    files = evaluate(predict, Split(labels=labels, names=names), plain)
    assert memory.accuracy == files.accuracy == 100
    np.testing.assert_array_equal(memory.outputs.logits, files.outputs.logits)
    assert memory.outputs.logits[:, 1].tolist() == (values - 99.5).tolist()
    Path(names[7]).write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"7\.png is not a readable"):
        evaluate(predict, Split(labels=labels, names=names), plain)


def test_split_without_pictures_is_refused() -> None:
    plain = Preprocessing(height=2, width=2, channels=1, resize="stretch")
    empty = Split(labels=np.empty(0, np.int32), names=(), pictures=np.empty((0, 2, 2, 1), np.uint8))
    with pytest.raises(InputError, match="no images to evaluate"):
        evaluate(lambda block: block, empty, plain)


def test_keras_network_sees_normalised_pictures() -> None:
    half = Preprocessing(
        height=2, width=2, channels=1, resize="stretch", mean=(127.5,), std=(127.5,)
    )
    inputs = keras.Input((2, 2, 1))
    model = keras.Model(inputs, keras.layers.Flatten()(inputs))
    pictures = np.full((70, 2, 2, 1), 255, np.uint8)  # more than the network gets at once
    pictures[69] = 0
    logits = keras_predict_fn(model, half)(pictures)
    assert logits.shape == (70, 4)
    assert (logits[:69] == 1).all()
    assert (logits[69] == -1).all()


class _Counted(keras.layers.Layer):
    """Remembers how many images it was given at once."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int | None] = []

    def call(self, x):
        self.seen.append(x.shape[0])
        return x


def test_keras_holds_no_more_activations_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Preprocessing(height=4, width=4, channels=1, resize="stretch")
    inputs = keras.Input((4, 4, 1))
    inner = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.ReLU()])
    counted = _Counted()
    x = inner(counted(keras.layers.Conv2D(3, 1)(inputs)))
    model = keras.Model(inputs, keras.layers.Flatten()(x))
    # What is put in; the convolution and what counts; the model within and its own two; the rest.
    numbers = 16 + 2 * 48 + 48 + 2 * 48 + 48
    assert count_activations(model) == numbers
    for copies, images in ((1, 12), (3, 4)):
        monkeypatch.setattr("training.engine.evaluation._EAGER_BYTES", 12 * 4 * numbers)
        assert at_once(model, 64, copies=copies) == images
    counted.seen.clear()
    keras_predict_fn(model, plain)(np.zeros((30, 4, 4, 1), np.uint8))
    assert counted.seen == [12, 12, 6]
    monkeypatch.undo()
    assert at_once(model, 64) == 64


def test_classes_are_judged_one_by_one() -> None:
    # Class 0: 1 of 2 found; class 1: 5 of 6, and 1 of its 6 labels wrong; class 2 is nowhere.
    report = class_report(np.array([0, 0, 1, 1, 1, 1, 1, 1]), np.array([0, 1, 1, 1, 1, 1, 1, 0]), 3)
    np.testing.assert_allclose(report.recall, [50, 500 / 6, math.nan])
    np.testing.assert_allclose(report.precision, [50, 500 / 6, math.nan])
    assert report.support.tolist() == [2, 6, 0]
    assert report.balanced_accuracy == pytest.approx((50 + 500 / 6) / 2)
    assert (report.majority_baseline, report.majority) == (75, 1)
    assert report.unequal
    told = report.to_dict(["bad", "good", "never"])
    assert told["per_class"][0] == {"label": "bad", "recall": 50, "precision": 50, "pictures": 2}
    assert told["per_class"][2]["recall"] is None
    assert told["majority_baseline"] == 75


def test_always_one_answer_is_half_as_good_as_it_looks() -> None:
    answers = of(np.array([[0.9, 0.1]] * 4), [0, 0, 0, 1])
    assert (answers.accuracy, answers.balanced_accuracy) == (75, 50)


def test_equal_classes_are_not_unequal() -> None:
    assert not unequal([10, 10, 0])
    assert not unequal([10, 14])
    assert unequal([10, 15])
    assert not unequal([])
