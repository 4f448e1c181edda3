"""Hand-worked numbers of average precision, and scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from keras import ops

from training.engine.config import TrainConfig
from training.multilabel import metrics
from training.multilabel.evaluate import MultilabelEvaluation, sigmoid
from training.multilabel.fit import SigmoidLoss, balanced
from training.multilabel.keras_metric import MeanAveragePrecision


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


@pytest.mark.parametrize(
    ("scores", "truth", "wanted"),
    [
        # Right, wrong, right, wrong: recall 1/2 at precision 1, and 1 at 2/3.
        (column(4, 3, 2, 1), column(1, 0, 1, 0), 100 * (1 / 2 + 1 / 2 * 2 / 3)),
        (column(4, 3, 2, 1), column(1, 1, 0, 0), 100.0),
        (column(4, 3, 2, 1), column(0, 0, 0, 1), 25.0),
        # Equal scores count at once: two of four are right.
        (column(1, 1, 1, 1), column(1, 0, 1, 0), 50.0),
        (column(2, 1, 1, 0), column(0, 1, 0, 0), 100 / 3),
    ],
)
def test_average_precision_by_hand(scores: np.ndarray, truth: np.ndarray, wanted: float) -> None:
    (found,) = metrics.average_precisions(scores, truth.astype(bool))
    assert found == pytest.approx(wanted)


def test_it_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(0)
    scores = rng.integers(0, 9, (60, 5)) / 8  # many are equal
    truth = rng.random((60, 5)) < (0.1, 0.3, 0.5, 0.7, 0.95)
    wanted = [100 * average_precision_score(truth[:, k], scores[:, k]) for k in range(5)]
    np.testing.assert_allclose(metrics.average_precisions(scores, truth), wanted, rtol=1e-12)
    assert metrics.mean_average_precision(scores, truth) == pytest.approx(np.mean(wanted))


def test_a_class_without_images_has_no_part() -> None:
    scores, truth = np.array([[1.0, 3], [2, 1]]), np.array([[True, False], [False, False]])
    found = metrics.average_precisions(scores, truth)
    assert found[0] == 50
    assert math.isnan(found[1])
    assert metrics.mean_average_precision(scores, truth) == 50
    assert math.isnan(metrics.mean_average_precision(scores, np.zeros((2, 2), bool)))


def test_ranks_keep_the_figure_and_the_interval() -> None:
    rng = np.random.default_rng(1)
    before, after = rng.normal(0, 1, (2, 40, 3)).round(1)
    truth = rng.random((40, 3)) < 0.4
    assert metrics.mean_average_precision(metrics.ranks(before), truth) == pytest.approx(
        metrics.mean_average_precision(before, truth)
    )
    low, high = metrics.map_interval(before, after, truth)
    drop = metrics.mean_average_precision(before, truth) - metrics.mean_average_precision(
        after, truth
    )
    assert low < drop < high
    assert metrics.map_interval(metrics.ranks(before), metrics.ranks(after), truth) == (low, high)
    assert metrics.map_interval(before, before, truth) == (0, 0)


def test_an_interval_is_that_of_images_drawn_anew() -> None:
    """Against the same by repeating rows."""
    rng = np.random.default_rng(2)
    before, after = rng.normal(0, 1, (2, 12, 2))
    truth = rng.random((12, 2)) < 0.5
    times = rng.multinomial(12, np.full(12, 1 / 12), size=5).astype(float)
    found = metrics._resampled(before, truth, times)
    for draw, one in zip(times, found, strict=True):
        rows = np.repeat(np.arange(12), draw.astype(int))
        assert one == pytest.approx(metrics.mean_average_precision(before[rows], truth[rows]))
    with pytest.raises(ValueError, match="scores of shapes"):
        metrics.map_interval(before, after[:5], truth)


def test_luck_is_above_the_share_of_each_class() -> None:
    truth = np.random.default_rng(3).random((200, 4)) < 0.25
    luck = metrics.by_luck(truth)
    assert 100 * truth.mean() < luck < 40


def test_labels_at_the_threshold_by_hand() -> None:
    logits = np.array([[2.0, -1], [0, 3], [-2, 1]], np.float32)  # a score of one half is a label
    truth = np.array([[True, True], [False, True], [True, False]])
    found = MultilabelEvaluation(logits=logits, truth=truth).by_class(("a", "b"))
    assert found["per_class"][0] == {
        "label": "a", "ap": pytest.approx(100 * (1 / 2 + 1 / 2 * 2 / 3)), "precision": 50.0,
        "recall": 50.0, "f1": 50.0, "pictures": 2,
    }  # fmt: skip
    assert found["per_class"][1]["precision"] == 50
    assert found["f1"] == found["macro_f1"] == 50


def test_the_loss_is_the_sum_over_classes() -> None:
    logits = np.array([[0.0, 2, -3], [50, -50, 0]], np.float32)
    labels = np.array([[1.0, 0, 0.25], [1, 1, 0]], np.float32)
    shares = sigmoid(logits)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = -(labels * np.log(shares) + (1 - labels) * np.log1p(-shares))
    found = ops.convert_to_numpy(SigmoidLoss().call(labels, logits))
    np.testing.assert_allclose(found[0], each[0].sum(), rtol=1e-6)
    assert found[1] == pytest.approx(50 + math.log(2), rel=1e-5)  # finite where a sigmoid is 0
    whole = MultilabelEvaluation(logits=logits[:1], truth=labels[:1] > 0.5).loss
    assert whole == pytest.approx(float(np.mean([math.log(2), 2.126928, 0.0485874])), rel=1e-5)


def test_classes_weigh_as_much_with_a_label_as_without() -> None:
    labels = np.array([[1, 0], [0, 0], [0, 1], [0, 1]], bool)
    np.testing.assert_allclose(balanced(labels), [[4 / 6, 1], [2, 1]], rtol=1e-6)
    config = TrainConfig(class_weights="balanced")
    wrong = np.zeros((4, 2), np.float32)  # each costs log 2
    found = ops.convert_to_numpy(SigmoidLoss.of(config, labels).call(labels + 0.0, wrong))
    unit = math.log(2)
    np.testing.assert_allclose(
        found, unit * np.array([2 + 1, 4 / 6 + 1, 4 / 6 + 1, 4 / 6 + 1]), rtol=1e-6
    )
    # A class that all images have, or none, costs no less.
    assert np.isfinite(balanced(np.array([[True, False]]))).all()


def test_a_teacher_of_the_same_answers_costs_nothing() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (5, 3)).astype(np.float32)
    labels = (rng.random((5, 3)) < 0.5).astype(np.float32)
    loss = SigmoidLoss(weight=1.0, temperature=3.0)
    same = ops.convert_to_numpy(loss.call(np.concatenate([labels, logits], axis=1), logits))
    np.testing.assert_allclose(same, 0, atol=1e-5)
    teacher = rng.normal(0, 2, (5, 3)).astype(np.float32)
    taught = np.concatenate([labels, teacher], axis=1)
    p, q = (np.clip(sigmoid(one / 3), 1e-12, 1) for one in (teacher, logits))
    wanted = 9 * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum(axis=1)
    np.testing.assert_allclose(loss.call(taught, logits), wanted, rtol=1e-4)
    half = SigmoidLoss(weight=0.5, temperature=3.0).call(taught, logits)
    alone = SigmoidLoss().call(labels, logits)
    np.testing.assert_allclose(half, (wanted + ops.convert_to_numpy(alone)) / 2, rtol=1e-4)


def test_the_metric_of_a_training_is_that_of_the_evaluation() -> None:
    rng = np.random.default_rng(4)
    logits = (rng.integers(-400, 400, (50, 3)) / 128).astype(np.float32)  # of a bin each
    truth = rng.random((50, 3)) < 0.4
    metric = MeanAveragePrecision(3)
    for rows in (slice(0, 20), slice(20, 50)):
        metric.update_state(truth[rows].astype(np.float32), logits[rows])
    wanted = metrics.mean_average_precision(logits, truth)
    assert 100 * float(metric.result()) == pytest.approx(wanted, rel=1e-5)
    metric.reset_state()
    metric.update_state(np.zeros((2, 3)), np.full((2, 3), np.nan, np.float32))
    assert float(metric.result()) == 0
