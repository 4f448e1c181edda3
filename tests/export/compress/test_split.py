"""Dead channels that become copies of those whose rounding errs most."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from dead_channels import SIDE, pictures_of
from keras import layers
from marks import IN_CI

from export.artefacts.variants import parse_variant
from export.compress.reconstruct import Format, Parts, reconstruct
from export.compress.reconstruct.files import reconstructed
from export.compress.reconstruct.measure import answers, noise
from export.compress.reconstruct.network import NEAREST
from export.compress.reconstruct.split import split
from export.tflite.convert import to_tflite
from kerascnn.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(height=SIDE, width=SIDE, channels=3, mean=127.0, std=128.0)
BETWEEN = (-127 / 128, 1.0)
NOISY, DEAD, DEAD_TAPS = 3, 5, 6


def differences(*, read_twice: bool = False) -> keras.Model:
    """One channel of eight is read by its curvature; two are dead, one by its taps alone."""
    rng = np.random.default_rng(0)
    image = keras.Input((SIDE, SIDE, 3), name="image")
    act = layers.ReLU(6.0, name="act")(layers.Conv2D(8, 1, name="stem")(image))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(act)
    x = layers.Conv2D(6, 1, name="project")(layers.ReLU(6.0, name="last")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    if read_twice:
        x = layers.Concatenate()([x, layers.GlobalAveragePooling2D()(act)])
    model = keras.Model(image, layers.Dense(5, name="logits")(x))
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([rng.normal(0, 0.4, kernel.shape), rng.normal(1, 0.1, bias.shape)])
    kernel, bias = model.get_layer("stem").get_weights()
    kernel *= 0.5
    kernel[..., DEAD] *= 1e-7
    bias[:] = 3
    bias[DEAD] = -2
    taps, offset = model.get_layer("depthwise").get_weights()
    taps[:, :, NOISY, 0] = 5 * np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])
    taps[:, :, DEAD_TAPS] *= 1e-7
    offset[DEAD], offset[DEAD_TAPS], offset[NOISY] = 0.5, 1.5, 3.0
    model.get_layer("stem").set_weights([kernel, bias])
    model.get_layer("depthwise").set_weights([taps, offset])
    return model


def images() -> np.ndarray:
    """(12, SIDE, SIDE, 3): slopes, so that little is left of differences but their rounding."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    slopes, levels = rng.uniform(-0.3, 0.3, (12, 1, 1, 3, 2)), rng.uniform(-0.3, 0.3, (12, 1, 1, 3))
    planes = slopes[..., 0] * y[..., None] + slopes[..., 1] * x[..., None] + levels
    return planes.astype(np.float32)


def test_dead_channels_become_copies_that_are_a_part_of_a_step_apart() -> None:
    model, x = differences(), images()
    twin = split(model, x, BETWEEN)
    assert twin is not model
    members = [NOISY, DEAD, DEAD_TAPS]
    (kernel, bias), (own, own_bias) = (one.get_layer("stem").get_weights() for one in (twin, model))
    largest = np.asarray(keras.Model(model.inputs[0], model.get_layer("act").output)(x)).max()
    step = largest / 255
    for channel, moved in zip(members, (-step / 3, 0, step / 3), strict=True):
        np.testing.assert_array_equal(kernel[..., channel], own[..., NOISY])
        assert bias[channel] == pytest.approx(own_bias[NOISY] + moved, abs=1e-6)
    rows, end = twin.get_layer("project").get_weights()
    own_rows, own_end = model.get_layer("project").get_weights()
    for channel in members:
        np.testing.assert_allclose(rows[0, 0, channel], own_rows[0, 0, NOISY] / 3, rtol=1e-6)
    constant = 0.5 * own_rows[0, 0, DEAD] + 1.5 * own_rows[0, 0, DEAD_TAPS]
    np.testing.assert_allclose(end, own_end + constant, rtol=1e-5)
    others = [one for one in range(8) if one not in members]
    np.testing.assert_array_equal(kernel[..., others], own[..., others])
    np.testing.assert_allclose(np.asarray(twin(x)), np.asarray(model(x)), atol=2e-4)


def test_copies_round_as_finer_steps_would() -> None:
    """Three copies of the channel that causes nearly all noise: some 9.5 dB less of it."""
    model, x = differences(), images()
    model = keras.Model(model.inputs, model.get_layer("project").output)
    alone = Format(
        bits=lambda _layer: None,
        activations="int8",
        has_scale=lambda layer: layer.name == "act",
    )
    twin = split(model, x, BETWEEN)
    found = [reconstruct(one, alone, x, parts=NEAREST).decibels for one in (model, twin)]
    assert found[1] > found[0] + 6


@pytest.mark.parametrize("layer", ["stem", "depthwise", "project"])
def test_kernels_that_are_kept_are_not_changed(layer: str) -> None:
    model = differences()
    assert split(model, images(), BETWEEN, kept=(layer,)) is model


def test_channels_that_others_read_are_not_changed() -> None:
    model = differences(read_twice=True)
    assert split(model, images(), BETWEEN) is model


def test_what_is_dead_on_these_images_alone_is_not_dead() -> None:
    """A channel that another image would wake, and no other."""
    model = differences()
    kernel, bias = model.get_layer("stem").get_weights()
    kernel[..., DEAD] = 0.8
    taps, offset = model.get_layer("depthwise").get_weights()
    taps[:, :, DEAD_TAPS] = 0.1
    model.get_layer("stem").set_weights([kernel, bias])
    model.get_layer("depthwise").set_weights([taps, offset])
    x = images()
    inside = keras.Model(model.inputs[0], model.get_layer("act").output)
    assert np.asarray(inside(x))[..., DEAD].max() == 0
    assert np.asarray(inside(np.ones_like(x)))[..., DEAD].max() > 0
    assert split(model, x, BETWEEN) is model


def test_what_pruning_made_zero_stays_zero() -> None:
    model = differences()
    kernel, bias = model.get_layer("stem").get_weights()
    kernel[..., 0, 0] = kernel[..., DEAD] = 0
    model.get_layer("stem").set_weights([kernel, bias])
    assert split(model, images(), BETWEEN) is model


@IN_CI
def test_the_file_is_as_large_and_answers_more_like_the_network() -> None:
    model, variant = differences(), parse_variant("int8")
    pictures = np.concatenate([pictures_of(2, 20, SIDE), to_bytes(images())])
    other = to_bytes(images()[:, ::-1])
    wanted = answers(to_tflite(model), PREPROCESSING, other)
    without = dataclasses.replace(Parts(), splitting=False)
    files = [
        reconstructed(model, variant, PREPROCESSING, pictures, parts=parts)[0].packed()
        for parts in (without, Parts())
    ]
    assert len(files[1]) == pytest.approx(len(files[0]), rel=0.01)
    decibels = [noise(answers(one, PREPROCESSING, other), wanted) for one in files]
    assert decibels[1] > decibels[0] + 1


def to_bytes(x: np.ndarray) -> np.ndarray:
    """Normalised images -> uint8."""
    return np.rint(x * 128 + 127).clip(0, 255).astype(np.uint8)
