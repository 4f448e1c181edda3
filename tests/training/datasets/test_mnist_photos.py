"""`mnist-photos`: fixed, apart from what is held out, and blended as MNIST-M is."""

from __future__ import annotations

import numpy as np
import pytest

from training import datasets
from training.datasets import mnist


@pytest.fixture(scope="module")
def whole() -> datasets.Dataset:
    return datasets.scan("mnist-photos", seed=0)


def test_it_is_fixed_and_balanced(whole: datasets.Dataset) -> None:
    for split, each in ((whole.train, 400), (whole.held_out, 100)):
        assert split.pictures is not None
        assert split.pictures.shape == (10 * each, 28, 28, 3)
        assert split.pictures.dtype == np.uint8
        assert np.bincount(split.labels).tolist() == [each] * 10
    assert whole.fingerprint == datasets.scan("mnist-photos", seed=7).fingerprint
    assert whole.fingerprint == "8aa5648eeadef0dd"


def test_a_digit_is_the_negative_of_what_lies_behind_it(whole: datasets.Dataset) -> None:
    digits = mnist.scan()
    for blended, plain in ((whole.train, digits.train), (whole.held_out, digits.held_out)):
        assert blended.names[0] == plain.names[0].replace("mnist", "mnist-photos")
        np.testing.assert_array_equal(blended.labels, plain.labels)
        assert blended.pictures is not None
        assert plain.pictures is not None
        strokes = plain.pictures[..., 0] == 255
        ground = plain.pictures[..., 0] == 0
        # |photo - 255| where a stroke is full, the photo where none is: as bright on average.
        inside = 255 - blended.pictures[strokes].mean()
        assert inside == pytest.approx(blended.pictures[ground].mean(), abs=6)
