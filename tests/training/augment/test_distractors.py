"""Shapes on the background: never on objects, never of them, and different each time."""

from __future__ import annotations

import numpy as np

from training.augment import distractors
from training.augment.box_policies import BoxPolicy, draw
from training.augment.distractors import cluttered


def picture() -> tuple[np.ndarray, np.ndarray]:
    """Grey ramps from 50 to 199, with an object of pure red and a part that counts nowhere."""
    pixels = np.repeat(np.arange(50, 200, dtype=np.uint8)[None, :, None], 100, axis=0)
    pixels = np.repeat(pixels, 3, axis=2)
    labels = np.zeros((100, 150), np.uint8)
    labels[20:60, 30:80], labels[90:] = 4, 255
    pixels[labels == 4] = (255, 0, 0)
    return pixels, labels


def numbers(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((distractors.MOST, distractors.COLUMNS))


def test_only_background_changes_and_grey_stays_grey() -> None:
    pixels, labels = picture()
    before, changed = pixels.copy(), []
    for seed in range(20):
        made = cluttered(pixels, labels, numbers(seed))
        assert made.dtype == np.uint8
        np.testing.assert_array_equal(made[labels != 0], pixels[labels != 0])
        # Nothing of the red object is anywhere else.
        assert np.ptp(made[labels == 0].astype(int), axis=1).max() == 0
        changed.append((made != pixels).any(axis=-1).mean())
    np.testing.assert_array_equal(pixels, before)
    assert min(changed) > 0
    assert max(changed) > 0.1


def test_the_same_numbers_make_the_same_shapes() -> None:
    pixels, labels = picture()
    one, two = (cluttered(pixels, labels, numbers(3)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert (one != cluttered(pixels, labels, numbers(4))).any()


def test_one_disc_is_where_and_as_large_as_drawn() -> None:
    pixels, labels = np.full((80, 80, 3), 100, np.uint8), np.zeros((80, 80), np.uint8)
    u = np.zeros((distractors.MOST, distractors.COLUMNS))
    u[0] = [0, 1, 0, 0.5, 0.25, 0.5, np.log(1 / 0.75) / np.log(1.33 / 0.75), 0, 0, 0, 1, 0.5, 1]
    made = cluttered(pixels, labels, u)
    rows, columns = np.nonzero(made[..., 0] == 150)  # 1.5 times as bright
    assert set(np.unique(made)) == {100, 150}
    assert abs(rows.mean() - 20) <= 0.5
    assert abs(columns.mean() - 40) <= 0.5
    assert abs(len(rows) - np.pi * 16**2) < 60  # 0.4 of the side is across


def test_nothing_drawn_changes_nothing() -> None:
    pixels, labels = picture()
    assert cluttered(pixels, labels, np.zeros((0, distractors.COLUMNS))) is pixels


def test_pictures_have_shapes_as_often_as_the_policy_says() -> None:
    batch = np.arange(400)
    policies = (BoxPolicy(), BoxPolicy(distractors=0.3), BoxPolicy(distractors=0.3, gain=0.2))
    plain, some, more = (
        [draw(policy, batch, row, seed=0, epoch=0).parts[0] for row in batch] for policy in policies
    )
    assert not any(len(part.distractors) for part in plain)
    assert abs(np.mean([len(part.distractors) > 0 for part in some]) - 0.3) < 0.07
    for one, two in zip(some, more, strict=True):
        np.testing.assert_array_equal(one.distractors, two.distractors)
