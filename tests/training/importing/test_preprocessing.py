"""Preprocessing by name, and by what a network knows of its input."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from kerascnn.errors import InputError
from kerascnn.preprocessing import NORMALISATIONS
from training.importing.preprocessing import guess, named


def photos(count: int = 8) -> np.ndarray:
    """Images of a smooth colour each, with noise."""
    rng = np.random.default_rng(0)
    base = rng.uniform(40, 200, (count, 1, 1, 3)) + rng.normal(0, 30, (count, 16, 16, 3))
    return np.clip(base, 0, 255).astype(np.uint8)


def trained_on(name: str, *, norms: bool = True) -> keras.Model:
    """A network whose first norm has the statistics of photos under a preprocessing."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, name="conv")(inputs)
    if norms:
        x = layers.BatchNormalization(momentum=0.0, name="norm")(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    model = keras.Model(inputs, layers.Dense(5, name="logits")(x))
    model(named(name, 16, 16, 3).normalise(photos()), training=True)
    return model


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_the_first_norm_tells_what_a_network_was_fed_with(name):
    found = guess(trained_on(name), photos())
    assert (found.name, found.sure) == (name, True)
    assert set(found.scores) == set(NORMALISATIONS)
    assert f"preprocessing {name!r}: what reaches 'norm' is nearest" in found.sentence


def test_images_of_another_kind_make_it_unsure():
    found = guess(trained_on("imagenet"), np.zeros((2, 16, 16, 3), np.uint8))
    assert not found.sure
    assert "not surely" in found.sentence


def test_without_norms_it_is_never_sure():
    found = guess(trained_on("-1-1", norms=False), photos())
    assert not found.sure
    assert "has no batch norms" in found.sentence


def test_names_and_what_is_none():
    assert named("-1-1", 8, 9, 3).normalise(np.uint8([255])).tolist() == [1.0]
    assert named("caffe", 8, 9, 3).order == "bgr"
    assert named("0-1", 8, 9, 1).input_shape == (8, 9, 1)
    with pytest.raises(InputError, match="did you mean 'imagenet'"):
        named("imagnet", 8, 8, 3)
    with pytest.raises(InputError, match="'imagenet' is of colours"):
        named("imagenet", 8, 8, 1)
    with pytest.raises(InputError, match="without images"):
        guess(trained_on("0-1"), np.zeros((0, 16, 16, 3), np.uint8))
