"""Mixup and CutMix: pairs, boxes of whole pixels, and labels that agree with the pixels."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from training.augment import mixing

SIZE = (12, 20)


def drawn(count: int, *, mixup: float = 0.0, cutmix: float = 0.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return mixing.draw(rng, count, mixup=mixup, cutmix=cutmix, size=SIZE)


def numbered(count: int) -> np.ndarray:
    """Picture i is i + 1 everywhere."""
    numbers = np.arange(1, count + 1, dtype=np.float32)
    return np.ones((count, *SIZE, 3), np.float32) * numbers[:, None, None, None]


@pytest.mark.parametrize("count", [0, 1, 7, 8])
def test_a_pair_has_one_row(count: int) -> None:
    rows = drawn(count, mixup=0.2, cutmix=1.0)
    assert rows.shape == (count, 5)
    assert rows.dtype == np.float32
    even = rows[: count // 2 * 2].reshape(-1, 2, 5)
    np.testing.assert_array_equal(even[:, 0], even[:, 1])


def test_mixup_has_shares_of_a_beta_distribution_and_no_box() -> None:
    rows = drawn(40000, mixup=0.2)
    np.testing.assert_array_equal(rows[:, 1:], 0)
    np.testing.assert_allclose(rows[:, 0].mean(), 0.5, atol=0.01)
    # The variance of Beta(a, a) is 1 / (4 (2 a + 1)).
    np.testing.assert_allclose(rows[:, 0].var(), 1 / (4 * 1.4), rtol=0.03)


def test_boxes_are_whole_pixels_within_the_picture_and_shares_what_they_leave() -> None:
    rows = drawn(2000, cutmix=1.0)
    box = rows[:, 1:] * [*SIZE, *SIZE]
    np.testing.assert_allclose(box, np.round(box), atol=1e-4)
    assert box.min() == 0
    assert ((box[:, :2] + box[:, 2:]) <= [SIZE[0] + 1e-4, SIZE[1] + 1e-4]).all()
    np.testing.assert_allclose(rows[:, 0], 1 - rows[:, 3] * rows[:, 4], atol=1e-6)
    assert (rows[:, 0] > 0.9).any()
    assert (rows[:, 0] < 0.2).any()


def test_with_both_each_pair_takes_either() -> None:
    rows = drawn(20000, mixup=0.8, cutmix=1.0)
    np.testing.assert_allclose((rows[:, 3] == 0).mean(), 0.5, atol=0.06)  # some boxes are empty
    only = drawn(20000, cutmix=1.0)
    np.testing.assert_allclose((only[:, 3] == 0).mean(), 0.05, atol=0.05)


def test_mixup_by_hand() -> None:
    mix = np.array([[0.75, 0, 0, 0, 0]] * 2, np.float32)
    mixed = keras.ops.convert_to_numpy(mixing.mix_pictures(numbered(2), mix))
    np.testing.assert_allclose(mixed[:, 0, 0, 0], [1.25, 1.75])
    labels = keras.ops.convert_to_numpy(mixing.mix_labels(np.eye(2, 3, dtype=np.float32), mix))
    np.testing.assert_allclose(labels, [[0.75, 0.25, 0], [0.25, 0.75, 0]])


def test_cutmix_by_hand() -> None:
    box = [3 / 12, 10 / 20, 6 / 12, 10 / 20]  # rows 3 to 9, columns 10 to 20
    mix = np.array([[0.75, *box]] * 2, np.float32)
    mixed = keras.ops.convert_to_numpy(mixing.mix_pictures(numbered(2), mix))
    expected = numbered(2)
    expected[:, 3:9, 10:] = expected[::-1][:, 3:9, 10:]
    np.testing.assert_array_equal(mixed, expected)


@pytest.mark.parametrize("size", [SIZE, (224, 224), (37, 111)])
def test_a_label_is_the_pasted_area_exactly(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    mix = mixing.draw(rng, 64, mixup=0.0, cutmix=1.0, size=size)
    batch = np.zeros((64, *size, 1), np.float32)
    batch[::2] = 1
    mixed = keras.ops.convert_to_numpy(mixing.mix_pictures(batch, mix))
    assert {*np.unique(mixed)} == {0.0, 1.0}
    labels = keras.ops.convert_to_numpy(mixing.mix_labels(batch[:, 0, 0], mix))
    np.testing.assert_allclose(mixed.mean(axis=(1, 2)), labels, atol=1e-6)


@pytest.mark.parametrize("count", [1, 5])
def test_the_last_of_an_odd_number_stays_as_it_is(count: int) -> None:
    mix = drawn(count, mixup=1.0, cutmix=1.0)
    mixed = keras.ops.convert_to_numpy(mixing.mix_pictures(numbered(count), mix))
    np.testing.assert_allclose(mixed[-1], count, rtol=1e-6)
    labels = np.eye(count, dtype=np.float32)
    last = keras.ops.convert_to_numpy(mixing.mix_labels(labels, mix))[-1]
    np.testing.assert_allclose(last, labels[-1], atol=1e-6)
    assert count == 1 or np.abs(mixed[0] - 1).max() > 0.01


def test_compiled_and_with_an_unknown_count_it_is_the_same() -> None:
    batch, mix = numbered(6), drawn(6, mixup=1.0, cutmix=1.0)
    eager = keras.ops.convert_to_numpy(mixing.mix_pictures(batch, mix))
    compiled = tf.function(mixing.mix_pictures, jit_compile=True)(batch, mix)
    np.testing.assert_allclose(compiled, eager, atol=1e-5)
    signature = [tf.TensorSpec((None, *SIZE, 3)), tf.TensorSpec((None, 5))]
    unknown = tf.function(mixing.mix_pictures, input_signature=signature)(batch, mix)
    np.testing.assert_allclose(unknown, eager, atol=1e-5)
