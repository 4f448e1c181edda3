"""An image far louder than the others decides neither ranges nor biases nor kernels."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from export.artefacts.variants import parse_variant
from export.compress.reconstruct.files import reconstructed
from export.compress.reconstruct.inputs import covariances
from export.compress.reconstruct.loud import are_ordinary, weights_of_images
from export.compress.reconstruct.measure import answers, noise
from export.compress.reconstruct.network import with_bare_layers
from export.compress.reconstruct.ranges import range_by_error, whole_range
from export.tflite.convert import to_tflite
from export.tflite.model import TFLiteModel
from export.tflite.quantise import quantise
from kerascnn.preprocessing import Preprocessing

SIDE = 12
PREPROCESSING = Preprocessing(height=SIDE, width=SIDE, channels=3, mean=127.0, std=128.0)


def test_images_beyond_sixteen_times_the_usual_energy_count_less() -> None:
    energies = np.array([1.0, 0.0, 2.0, 16.0, 320.0, 1.0, 1.0])
    x = np.sqrt(energies)[:, None, None] * np.array([[0.6], [0.8]])
    weights = weights_of_images(x)
    np.testing.assert_allclose(weights, [1, 1, 1, 1, 0.05**2, 1, 1])
    np.testing.assert_array_equal(are_ordinary(weights), energies < 320)
    # Where most images are zeros, the others are not the exception.
    np.testing.assert_array_equal(weights_of_images(x * (energies > 2)[:, None, None]), 1)


@pytest.mark.parametrize("groups", [None, np.arange(40) % 4])
def test_a_loud_image_does_not_set_the_range(groups: np.ndarray | None) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 500)).astype(np.float32)
    low, high = range_by_error(x, rng, groups)
    x[7] *= 100
    found = range_by_error(x, rng, groups)
    np.testing.assert_allclose(found, (low, high), rtol=0.25)
    # One that is a little louder is held, and so are all where half of them are loud.
    x[7] *= 0.02
    assert range_by_error(x, rng, groups)[1] > 1.2 * high
    x[::2] *= 100
    assert range_by_error(x, rng, groups)[1] > 0.5 * whole_range(x)[1]


def test_a_loud_image_does_not_say_what_a_kernel_meets() -> None:
    rng = np.random.default_rng(0)
    layer = layers.Conv2D(4, 1)
    layer.build((None, SIDE, SIDE, 3))
    x = rng.normal(size=(20, SIDE, SIDE, 3)).astype(np.float32)
    ordinary = covariances(layer, x, 0)
    x[3] = 50 * x[3, ..., :1]  # all channels as one
    np.testing.assert_allclose(covariances(layer, x, 0), ordinary, atol=0.3)


def test_files_are_as_good_for_the_others_as_without_it() -> None:
    """Nineteen images of little contrast, and one whose activations are sixty times as large."""
    rng = np.random.default_rng(0)
    image = keras.Input((SIDE, SIDE, 3), name="image")
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(image)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    model = keras.Model(image, layers.Dense(5, name="logits")(layers.GlobalAveragePooling2D()(x)))
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            size = np.sqrt(2 / np.prod(kernel.shape[:-1]))
            layer.set_weights([rng.normal(0, size, kernel.shape), bias])
    quiet = rng.integers(125, 130, (60, SIDE, SIDE, 3)).astype(np.uint8)
    calibration, test = quiet[:20], quiet[20:]
    calibration[0] = rng.choice(np.array([0, 255], np.uint8), calibration[0].shape)
    network, variant = with_bare_layers(model), parse_variant("int8")
    float_file = TFLiteModel.open(to_tflite(network))
    plain = quantise(float_file, variant, PREPROCESSING, calibration)
    file, told = reconstructed(network, variant, PREPROCESSING, calibration, plain=plain)
    wanted = answers(float_file.packed(), PREPROCESSING, test)
    before, after = (
        noise(answers(one.packed(), PREPROCESSING, test), wanted) for one in (plain, file)
    )
    assert told is not None
    assert told["written"] is True
    assert before < 15
    assert after > before + 10
