"""Learnt steps: values and gradients by hand, from the equations of the papers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from export.compress.learnt_steps import (
    LearntRange,
    LearntSteps,
    MovingRange,
    in_range,
    on_grid,
    units_of,
)


def test_a_kernels_gradients_are_lsqs() -> None:
    """Two bits: -Qn = -2, Qp = 1; two channels of four weights, of which one is always inside."""
    kernel = tf.constant([[0.3, 0.1], [-0.6, 0.1], [0.9, 0.1], [-1.4, 0.1]])
    steps = tf.constant([[0.5, 1.0]])
    upstream = tf.constant([[1.0, 1.0], [2.0, 1.0], [3.0, 1.0], [4.0, 1.0]])
    with tf.GradientTape() as tape:
        tape.watch([kernel, steps])
        found = on_grid(kernel, steps, -2, 1)
    np.testing.assert_allclose(found, [[0.5, 0], [-0.5, 0], [0.5, 0], [-1.0, 0]])
    of_kernel, of_steps = tape.gradient(found, [kernel, steps], output_gradients=upstream)
    # w / s: 0.6, -1.2, 1.8 and -2.8; equation 5.
    np.testing.assert_allclose(of_kernel, [[1, 1], [2, 1], [0, 1], [0, 1]])
    # Equation 3: 1 (1 - 0.6) + 2 (-1 + 1.2) + 3 Qp - 4 Qn = -4.2, and 4 (0 - 0.1); 1 / sqrt(4 Qp).
    np.testing.assert_allclose(of_steps, [[-4.2 / 2, -0.4 / 2]], rtol=1e-5)


def test_one_step_of_all_channels_counts_all_weights() -> None:
    kernel, steps = tf.fill((3, 3, 2, 2), 0.1), tf.fill((1, 1, 1, 1), 1.0)
    with tf.GradientTape() as tape:
        tape.watch(steps)
        found = on_grid(kernel, steps, -127, 127)
    gradient = tape.gradient(found, steps)
    np.testing.assert_allclose(gradient, np.full((1, 1, 1, 1), -3.6 / np.sqrt(36 * 127)), rtol=1e-5)


def test_a_ranges_gradients_are_those_of_its_step_and_its_ends() -> None:
    """256 steps of 0.01 from -1 to 1.55."""
    values = tf.constant([[-2.0, 0.004, 0.503, 3.0]])
    low, high = tf.constant(-1.0), tf.constant(1.55)
    upstream = tf.constant([[1.0, 2.0, 3.0, 4.0]])
    with tf.GradientTape() as tape:
        tape.watch([values, low, high])
        found = in_range(values, low, high)
    np.testing.assert_allclose(found, [[-1.0, 0.0, 0.5, 1.55]], atol=1e-6)
    gradients = tape.gradient(found, [values, low, high], output_gradients=upstream)
    np.testing.assert_allclose(gradients[0], [[0, 2, 3, 0]])
    of_step = 2 * -0.4 + 3 * -0.3  # rounded less whole, in steps; high - low is 255 of them
    slower = 1 / np.sqrt(4 * 255)
    np.testing.assert_allclose(gradients[1], slower * (1 - of_step / 255), rtol=1e-4)
    np.testing.assert_allclose(gradients[2], slower * (4 + of_step / 255), rtol=1e-4)


def owner() -> tf_keras.layers.Layer:
    return tf_keras.layers.Layer()


def test_steps_begin_where_they_are_told_and_move_as_weights_do() -> None:
    begun, units = np.array([[0.02, 0.5]]), np.array([[0.1, 4.0]])
    steps = LearntSteps(begun, units, -8, 7)
    layer = owner()
    steps.build(layer)
    (grown,) = layer.trainable_weights
    assert np.array_equal(steps.now(), begun.astype(np.float32))
    grown.assign([[0.01, 0.4]])  # a tenth of the units
    np.testing.assert_allclose(steps.now(), 1.1 * begun, rtol=1e-6)
    grown.assign([[-9.0, -9.0]])
    assert np.all(np.asarray(steps.now()) > 0)


def test_units_are_what_weights_are_like() -> None:
    kernel = np.zeros((2, 2, 1, 3), np.float32)
    kernel[..., 0], kernel[0, 0, 0, 1] = -0.3, 0.2
    units = units_of(kernel, (1, 1, 1, 3)).reshape(-1)
    assert units[:2] == pytest.approx([0.3, 0.1])
    assert 0 < units[2] < 0.01
    assert units_of(np.zeros((4, 2)), (1, 2)).min() > 0


def test_an_end_at_nought_stays_and_the_other_learns() -> None:
    range_, layer = LearntRange(0.0, 2.0), owner()
    range_.build(layer)
    (grown,) = layer.trainable_weights
    assert range_.now() == (0.0, 2.0)
    grown.assign([0.01, 0.01])
    assert range_.now() == pytest.approx((0.0, 2.4))
    values = tf.constant([[5.0, -1.0, 1.0]])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(range_(values, True))
    gradient = tape.gradient(loss, grown).numpy()
    assert gradient[0] == 0
    assert gradient[1] > 0


def test_a_moving_range_cuts_nothing_for_good() -> None:
    range_, layer = MovingRange(-1.0, 1.0), owner()
    range_.build(layer)
    assert not layer.trainable_weights
    values = tf.constant([[-1.0, 3.0]])
    range_(values, False)
    assert range_.now() == (-1.0, 1.0)
    range_(values, True)
    assert range_.now() == pytest.approx((-1.0, 1.02))
