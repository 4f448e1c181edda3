"""Optimisers against steps worked in numpy, under this process' backend and under jax."""

import json
import math
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from training.engine import optimizers
from training.engine.config import TrainConfig

KERNEL, BIAS = np.array([[1.0, -2.0], [0.5, 3.0]]), np.array([0.7, -0.3])
RATE = 0.1
OPTIMIZERS = ("adamw", "rmsprop", "sgd")
DECAYS = ("decoupled", "l2")


def gradients(count: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=(2, 2)), rng.normal(size=2)) for _ in range(count)]


def config(**fields) -> TrainConfig:
    return TrainConfig(**{"weight_decay": 0.0, "nesterov": False, **fields})


def run(config: TrainConfig, steps: list[tuple[np.ndarray, np.ndarray]]):
    """A kernel and a bias after the steps, and the optimiser."""
    kernel = keras.Variable(KERNEL.astype("float32"), name="kernel")
    bias = keras.Variable(BIAS.astype("float32"), name="bias")
    optimizer = optimizers.build(config, RATE)
    optimizer.build([kernel, bias])
    for step in steps:
        optimizer.apply([keras.ops.convert_to_tensor(g, "float32") for g in step], [kernel, bias])
    found = [np.asarray(keras.ops.convert_to_numpy(v)) for v in (kernel, bias)]
    return (*found, optimizer)


def test_sgd_with_l2_is_alexnets_rule():
    steps = gradients(3)
    kernel, bias, _ = run(config(optimizer="sgd", weight_decay=0.01, decay="l2"), steps)
    w, b = KERNEL.copy(), BIAS.copy()
    v = u = 0.0
    for g, h in steps:  # section 5: v <- 0.9 v - rate (g + decay w), w <- w + v
        v = 0.9 * v - RATE * (g + 0.01 * w)
        u = 0.9 * u - RATE * h  # biases are not decayed
        w, b = w + v, b + u
    np.testing.assert_allclose(kernel, w, rtol=1e-6)
    np.testing.assert_allclose(bias, b, rtol=1e-6)


def test_nesterov_looks_ahead():
    steps = gradients(2)
    kernel, _, _ = run(config(optimizer="sgd", nesterov=True, weight_decay=0.01, decay="l2"), steps)
    w, v = KERNEL.copy(), 0.0
    for g, _ in steps:
        step = g + 0.01 * w
        v = 0.9 * v - RATE * step
        w = w + 0.9 * v - RATE * step
    np.testing.assert_allclose(kernel, w, rtol=1e-6)


def test_momentum_may_be_none():
    steps = gradients(2)
    kernel, _, _ = run(config(optimizer="sgd", momentum=0), steps)
    np.testing.assert_allclose(kernel, KERNEL - RATE * (steps[0][0] + steps[1][0]), rtol=1e-6)


def test_rmsprop_with_l2_has_its_epsilon_within_the_root():
    steps = gradients(3)
    asked = config(
        optimizer="rmsprop", weight_decay=0.02, decay="l2", rho=0.8, momentum=0.7, epsilon=0.001
    )
    kernel, bias, _ = run(asked, steps)
    w, b = KERNEL.copy(), BIAS.copy()
    s = m = r = n = 0.0
    for gradient, h in steps:
        g = gradient + 0.02 * w
        s, r = 0.8 * s + 0.2 * g**2, 0.8 * r + 0.2 * h**2
        m = 0.7 * m + RATE * g / np.sqrt(s + 0.001)
        n = 0.7 * n + RATE * h / np.sqrt(r + 0.001)
        w, b = w - m, b - n
    np.testing.assert_allclose(kernel, w, rtol=1e-5)
    np.testing.assert_allclose(bias, b, rtol=1e-5)


@pytest.mark.parametrize("decay", DECAYS)
def test_adam_decays_within_or_beside_the_gradient(decay):
    steps = gradients(3)
    kernel, bias, _ = run(config(weight_decay=0.5, decay=decay, epsilon=1e-3), steps)
    w, b = KERNEL.copy(), BIAS.copy()
    m = s = n = r = 0.0
    for t, (gradient, h) in enumerate(steps, 1):
        g = gradient + (0.5 * w if decay == "l2" else 0)
        w = w - (RATE * 0.5 * w if decay == "decoupled" else 0)
        m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g**2
        n, r = 0.9 * n + 0.1 * h, 0.999 * r + 0.001 * h**2
        rate = RATE * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        w, b = w - rate * m / (np.sqrt(s) + 1e-3), b - rate * n / (np.sqrt(r) + 1e-3)
    np.testing.assert_allclose(kernel, w, rtol=1e-4)
    np.testing.assert_allclose(bias, b, rtol=1e-4)


@pytest.mark.parametrize("optimizer", ["rmsprop", "sgd"])
def test_decoupled_decay_shrinks_kernels_beside_the_step(optimizer):
    zero = [(np.zeros((2, 2)), np.zeros(2))]
    kernel, bias, _ = run(config(optimizer=optimizer, weight_decay=0.5), 3 * zero)
    np.testing.assert_allclose(kernel, KERNEL * (1 - 0.1 * 0.5) ** 3, rtol=1e-6)
    np.testing.assert_allclose(bias, BIAS, rtol=1e-6)


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_only_kernels_are_decayed(optimizer, decay):
    network = keras.Sequential([
        keras.Input((8, 8, 2)),
        keras.layers.Conv2D(3, 3),
        keras.layers.BatchNormalization(),
        keras.layers.DepthwiseConv2D(3),
        keras.layers.Dense(2),
    ])  # fmt: skip
    for variable in network.trainable_variables:
        variable.assign(keras.ops.ones(variable.shape))
    made = optimizers.build(config(optimizer=optimizer, weight_decay=0.1, decay=decay), RATE)
    zeros = [keras.ops.zeros(v.shape) for v in network.trainable_variables]
    made.apply(zeros, network.trainable_variables)
    shrunk = {v.name for v in network.trainable_variables if np.all(v.numpy() < 1)}
    kept = {v.name for v in network.trainable_variables if np.all(v.numpy() == 1)}
    assert (shrunk, kept) == ({"kernel"}, {"bias", "gamma", "beta"})


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_accumulated_batches_are_one_large_batch(optimizer, decay):
    """With clipping, which sees the mean, and with decay, once an update."""
    steps = gradients(6)
    fields = {"optimizer": optimizer, "weight_decay": 0.1, "decay": decay, "clip_norm": 0.5}
    small = run(config(**fields, accumulate=3), steps)
    means = [
        tuple(np.mean([step[i] for step in steps[k : k + 3]], axis=0) for i in range(2))
        for k in (0, 3)
    ]
    large = run(config(**fields), means)
    np.testing.assert_allclose(small[0], large[0], rtol=1e-5)
    np.testing.assert_allclose(small[1], large[1], rtol=1e-5)


def test_clipping_is_by_the_norm_over_all_variables():
    step = (np.full((2, 2), 3.0), np.full(2, np.sqrt(14.0)))  # a norm of sqrt(36 + 28) = 8
    kernel, bias, _ = run(config(optimizer="sgd", clip_norm=2.0), [step])
    np.testing.assert_allclose(kernel, KERNEL - RATE * step[0] / 4, rtol=1e-6)
    np.testing.assert_allclose(bias, BIAS - RATE * step[1] / 4, rtol=1e-6)


@pytest.mark.parametrize("ema", [0.3, 0.9999])
def test_averages_follow_tensorflows_num_updates_and_leave_the_weights_alone(ema):
    steps = gradients(7)
    kernel, _, made = run(config(optimizer="sgd", momentum=0, ema=ema), steps)
    weights = KERNEL - RATE * np.cumsum([g for g, _ in steps], axis=0)
    average = weights[0]
    for n, w in enumerate(weights[1:], 1):
        decay = min(ema, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * w
    first, second = optimizers.averages(made)
    np.testing.assert_allclose(kernel, weights[-1], rtol=1e-6)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(first), average, rtol=1e-6)
    assert tuple(second.shape) == (2,)


@pytest.mark.parametrize("ema", [0.5, 0.999])
def test_an_average_with_accumulation_is_that_of_large_batches(ema):
    """Keras averages behind every batch; the last one here is of an update that is not yet."""
    steps = gradients(25)
    small = run(config(optimizer="sgd", momentum=0, ema=ema, accumulate=2), steps)[2]
    means = [
        tuple(np.mean([step[i] for step in steps[k : k + 2]], axis=0) for i in range(2))
        for k in range(0, 24, 2)
    ]
    large = run(config(optimizer="sgd", momentum=0, ema=ema), means)[2]
    for one, other in zip(optimizers.averages(small), optimizers.averages(large), strict=True):
        ours, theirs = map(keras.ops.convert_to_numpy, (one, other))
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_an_average_before_the_first_update_is_the_weights():
    _, _, made = run(config(ema=0.999, accumulate=4), gradients(3))
    np.testing.assert_allclose(optimizers.averages(made)[0], KERNEL, rtol=1e-6)


def test_an_average_of_sixty_pictures_has_forgotten_where_it_began():
    """60 epochs of 4 updates: with 0.999 from the start, 79% of the first weights were in it."""
    zero, one = ([(np.full((2, 2), value), np.zeros(2))] for value in (0.0, 1.0))
    _, _, made = run(config(optimizer="sgd", momentum=0, ema=0.999), zero + one + 238 * zero)
    found = keras.ops.convert_to_numpy(optimizers.averages(made)[0])
    np.testing.assert_allclose(found, KERNEL - RATE, rtol=1e-6)


_TRAIN = """
import json
import keras, numpy as np
from training.engine import optimizers, schedules
from training.engine.config import TrainConfig
keras.utils.set_random_seed(0)
found = {}
for optimizer in ("adamw", "rmsprop", "sgd"):
    for decay in ("decoupled", "l2"):
        for accumulate in (1, 2):
            config = TrainConfig(
                optimizer=optimizer, decay=decay, accumulate=accumulate, weight_decay=0.1,
                learning_rate=0.01, clip_norm=1.0, ema=0.3, schedule="exponential",
                decay_epochs=1, decay_rate=0.5, warmup_epochs=0.5, epsilon=1e-3,
            )
            inputs = keras.Input((4,))
            model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
            kernel = np.linspace(-1, 1, 8).reshape(4, 2).astype("float32")
            model.set_weights([kernel, np.zeros(2, "float32")])
            made = optimizers.build(config, schedules.schedule(config, 4, 2))
            model.compile(made, "mse", jit_compile=keras.backend.backend() == "jax")
            x = np.linspace(-1, 1, 32).reshape(8, 4).astype("float32")
            model.fit(x, x[:, :2] ** 2, batch_size=2, epochs=2, shuffle=False, verbose=0)
            averages = map(keras.ops.convert_to_numpy, optimizers.averages(made))
            values = [*model.get_weights(), *averages]
            name = f"{optimizer}/{decay}/{accumulate}"
            found[name] = [float(x) for v in values for x in np.ravel(v)]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_jax_and_tensorflow_step_alike():
    """Inside compiled training steps; the process for each backend is its own."""
    found = {}
    for backend in ("tensorflow", "jax"):
        environment = os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(
            [sys.executable, "-c", _TRAIN],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found[backend] = json.loads(done.stdout.splitlines()[-1])
    assert found["jax"].keys() == found["tensorflow"].keys()
    for name, values in found["jax"].items():
        np.testing.assert_allclose(values, found["tensorflow"][name], atol=2e-6, err_msg=name)
        assert len(values) == 20


def test_averages_are_found_where_half_precision_scales_the_loss():
    inner = optimizers.build(config(ema=0.9), RATE)
    outer = keras.optimizers.LossScaleOptimizer(inner)
    outer.build([keras.Variable(KERNEL, name="kernel")])
    assert [tuple(v.shape) for v in optimizers.averages(outer)] == [(2, 2)]


def test_an_average_counts_the_updates_that_half_precision_did_not_pass_over():
    inner = optimizers.build(config(optimizer="sgd", momentum=0, ema=0.999), RATE)
    outer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=1.0)
    variable = keras.Variable(np.zeros((2, 2), "float32"), name="kernel")
    outer.build([variable])
    for value in (0.0, math.inf, 1.0):  # the second is no update
        outer.apply([keras.ops.full((2, 2), value)], [variable])
    # That halves the scale, so that the third gradient is 2; it is the update behind one other.
    np.testing.assert_allclose(optimizers.averages(outer)[0], -2 * RATE * 9 / 11, rtol=1e-6)


def test_rates_rise_geometrically_from_the_first_layer_to_the_last():
    inputs = keras.Input((2,))
    x = keras.layers.Dense(3, name="first")(inputs)
    x = keras.layers.BatchNormalization(name="middle")(keras.layers.ReLU()(x))
    network = keras.Model(inputs, keras.layers.Dense(1, name="last")(x))
    assert optimizers.rate_factors(network, 1.0) is None
    expected = [0.0625, 0.0625, 0.25, 0.25, 1.0, 1.0]
    np.testing.assert_allclose(optimizers.rate_factors(network, 0.0625), expected)
    # A share below a twentieth is none.
    expected = [0.0, 0.0, 0.1, 0.1, 1.0, 1.0]
    np.testing.assert_allclose(optimizers.rate_factors(network, 0.01), expected)
    assert optimizers.layer_shares(network, 1e-4) == {"first": 0.0, "middle": 0.0, "last": 1.0}
    # As a loop freezes a batch norm's statistics.
    network.get_layer("middle").trainable = False
    network.get_layer("middle").gamma.trainable = True
    expected = [0.0, 0.0, 0.1, 1.0, 1.0]
    np.testing.assert_allclose(optimizers.rate_factors(network, 0.01), expected)


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_share_of_the_rate_is_a_smaller_rate(optimizer, decay):
    """The kernel has half the rate of the bias, and of its decay."""
    asked = config(optimizer=optimizer, weight_decay=0.1, decay=decay, momentum=0.5)
    steps = gradients(3)
    found = []
    for rate, factors in ((RATE, [0.5, 1.0]), (RATE / 2, None), (RATE, None)):
        kernel = keras.Variable(KERNEL.astype("float32"), name="kernel")
        bias = keras.Variable(BIAS.astype("float32"), name="bias")
        made = optimizers.build(asked, rate, factors)
        made.build([kernel, bias])
        for step in steps:
            made.apply([keras.ops.convert_to_tensor(g, "float32") for g in step], [kernel, bias])
        found.append([np.asarray(keras.ops.convert_to_numpy(v)) for v in (kernel, bias)])
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    np.testing.assert_allclose(found[0][1], found[2][1], rtol=1e-5)
    assert not np.allclose(found[0][0], found[2][0])
