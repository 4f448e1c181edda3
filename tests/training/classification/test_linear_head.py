"""The head that is solved for: least by its own conditions, and by another program."""

from __future__ import annotations

import numpy as np
import pytest

from training.classification.linear_head import (
    Samples,
    best,
    sigmoid_loss,
    softmax_loss,
    solve,
)

COUNT, WIDTH, CLASSES = 90, 12, 3


def features(rng: np.random.Generator, count: int = COUNT) -> np.ndarray:
    """Of unlike sizes and correlated, and one that never changes."""
    mixed = rng.normal(size=(count, WIDTH)) @ rng.normal(size=(WIDTH, WIDTH))
    mixed = mixed * np.geomspace(0.1, 10, WIDTH) + 5
    mixed[:, 3] = 7.0
    return mixed


def of_one_label(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    found = features(rng)
    noisy = scaled(found)[0][:, :CLASSES] + rng.normal(size=(COUNT, CLASSES))
    return found, noisy.argmax(axis=1)


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(CLASSES)[labels]


def scaled(found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features of deviation 1 (of what never changes: nothing), and their deviations."""
    deviation = found.std(axis=0)
    return (found - found.mean(axis=0)) / np.where(deviation > 0, deviation, 1), deviation


@pytest.mark.parametrize("strength", [1.0, 0.01])
def test_scikit_learn_finds_the_same_head(strength: float) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    found, labels = of_one_label(np.random.default_rng(0))
    head = solve(
        Samples(features=found, targets=one_hot(labels)), softmax_loss, strength, tolerance=1e-9
    )
    known = linear_model.LogisticRegression(C=1 / (strength * COUNT), tol=1e-10, max_iter=10_000)
    known.fit(scaled(found)[0], labels)
    probabilities = np.exp(head.logits(found))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, known.predict_proba(scaled(found)[0]), atol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("several", [False, True])
def test_the_gradient_is_nothing_at_the_head(several: bool, weighted: bool) -> None:
    """Written out once more, of features as they are."""
    rng = np.random.default_rng(1)
    found, labels = of_one_label(rng)
    targets = rng.random((COUNT, CLASSES)) < 0.4 if several else one_hot(labels)
    targets = targets.astype(np.float64)
    weights = None
    if weighted:
        weights = rng.uniform(0.2, 3, (COUNT, CLASSES) if several else COUNT)
    loss = sigmoid_loss if several else softmax_loss
    samples = Samples(features=found, targets=targets, weights=weights)
    head = solve(samples, loss, 0.05, tolerance=1e-9)

    logits = found @ head.kernel + head.bias
    shares = 1 / (1 + np.exp(-logits)) if several else np.exp(logits)
    shares = shares if several else shares / shares.sum(axis=1, keepdims=True)
    slopes = shares - targets
    if weights is not None:
        slopes = slopes * (weights if several else weights[:, None])
    values, deviation = scaled(found)
    gradient = values.T @ slopes / COUNT + 0.05 * head.kernel * deviation[:, None]
    np.testing.assert_allclose(gradient, 0, atol=1e-7)
    np.testing.assert_allclose(slopes.mean(axis=0), 0, atol=1e-7)
    assert not head.kernel[3].any()


def test_fewer_images_than_features_are_told_apart() -> None:
    rng = np.random.default_rng(2)
    found = rng.normal(size=(20, 200)).astype(np.float32)
    labels = np.arange(20) % CLASSES
    samples = Samples(features=found, targets=one_hot(labels).astype(np.float32))
    head = solve(samples, softmax_loss, 1e-3)
    assert (head.logits(found).argmax(axis=1) == labels).all()


def test_the_strength_is_that_of_the_least_loss_on_other_images() -> None:
    rng = np.random.default_rng(3)
    found, labels = of_one_label(rng)
    train = Samples(features=found[:60], targets=one_hot(labels[:60]))
    judged = Samples(features=found[60:], targets=one_hot(labels[60:]))
    strengths = (10.0, 1.0, 0.1, 0.01)
    head = best(train, softmax_loss, judged, strengths=strengths)
    losses = {
        one: softmax_loss(solve(train, softmax_loss, one).logits(judged.features), judged.targets)[
            0
        ].mean()
        for one in strengths
    }
    assert head.strength == min(losses, key=lambda one: losses[one])
    np.testing.assert_allclose(
        head.logits(found), solve(train, softmax_loss, head.strength).logits(found), atol=0.05
    )


def test_cross_validation_takes_a_stronger_penalty_where_labels_are_by_chance() -> None:
    rng = np.random.default_rng(4)
    found = features(rng, 60)
    told = found[:, 0] > np.median(found[:, 0])
    strengths = [
        best(Samples(features=found, targets=np.eye(2)[labels.astype(int)]), softmax_loss).strength
        for labels in (told, rng.permutation(told))
    ]
    assert strengths[0] <= 0.01
    assert strengths[1] >= 1


def test_a_single_image_is_answered() -> None:
    one = Samples(features=np.ones((1, 4)), targets=np.eye(2)[:1])
    head = best(one, softmax_loss)
    assert np.isfinite(head.logits(np.ones((1, 4)))).all()
