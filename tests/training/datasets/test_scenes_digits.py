"""`scenes-digits`: fixed, apart from what is held out, and readable."""

from __future__ import annotations

import numpy as np
import pytest

from training import datasets, recipes, tasks
from training.augment.images import augment
from training.augment.policies import POLICIES, draw
from training.classification.tf_data import train_stream
from training.datasets import mnist, painting, scenes_digits
from training.engine.config import TrainConfig
from training.engine.request import request

LUMA = np.array([0.299, 0.587, 0.114])


@pytest.fixture(scope="module")
def whole() -> datasets.Dataset:
    return datasets.scan("scenes-digits", seed=0)


def test_it_is_fixed_and_balanced(whole) -> None:
    assert whole.train.pictures.shape == (4000, 96, 96, 3)
    assert whole.held_out.pictures.shape == (1000, 96, 96, 3)
    assert whole.train.pictures.dtype == np.uint8
    assert np.bincount(whole.train.labels).tolist() == [400] * 10
    assert np.bincount(whole.held_out.labels).tolist() == [100] * 10
    assert whole.fingerprint == datasets.scan("scenes-digits", seed=7).fingerprint
    assert whole.fingerprint == "c8d17da2945f1a57"


def test_what_is_held_out_is_new_in_digit_and_photo(whole) -> None:
    digits = mnist.scan()
    for painted, plain in ((whole.train, digits.train), (whole.held_out, digits.held_out)):
        assert painted.names[0] == plain.names[0].replace("mnist", "scenes-digits")
        np.testing.assert_array_equal(painted.labels, plain.labels)
    assert not set(whole.train.names) & set(whole.held_out.names)
    assert not set(scenes_digits.TRAIN_PHOTOS) & set(scenes_digits.HELD_OUT_PHOTOS)
    pictures = np.concatenate([whole.train.pictures[:500], whole.held_out.pictures])
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


@pytest.mark.parametrize("part", ["train", "held_out"])
def test_digits_are_readable(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A digit's brightness is far from the average around it, and that is not too restless."""
    photos = scenes_digits.TRAIN_PHOTOS if part == "train" else scenes_digits.HELD_OUT_PHOTOS
    digits = getattr(mnist.scan(), part).take(range(0, 1000, 10))
    painted = scenes_digits._paint(digits, photos, part=0)[1].astype(int)
    marks = np.array([255, 0, 255])
    monkeypatch.setattr(painting, "colour", lambda *_args, **_options: tuple(marks.tolist()))
    marked = scenes_digits._paint(digits, photos, part=0)[1].astype(int)
    for picture, other in zip(painted, marked, strict=True):
        stroke = (other == marks).all(axis=-1)
        rows, columns = np.flatnonzero(stroke.any(axis=1)), np.flatnonzero(stroke.any(axis=0))
        frame = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert 18 < max(stroke[frame].shape) <= 96
        around = (picture[frame] @ LUMA)[(other == picture).all(axis=-1)[frame]]
        if len(around) > 50:
            gap = abs((picture[stroke] @ LUMA).mean() - around.mean())
            assert gap > max(40, around.std())


def test_training_sees_colour_and_no_black_corners() -> None:
    policy = POLICIES["scenes"]
    pictures = datasets.scan("scenes-digits", seed=0).train.pictures[:64].astype(np.float32)
    drawn = draw(policy, np.random.default_rng(0), np.full((64, 2), 96), (96, 96))
    changed = np.asarray(augment(policy, pictures, drawn, (96, 96)))
    assert changed.shape == (64, 96, 96, 3)
    assert changed.min() >= 0
    assert changed.max() <= 255
    white = np.full((64, 96, 96, 3), 255, np.float32)
    moved = {"matrix": drawn["matrix"]}
    assert np.asarray(augment(policy, white, moved, (96, 96))).min() > 254


def test_its_recipe_sees_it_as_it_is(whole) -> None:
    asked = request("mobilenet_v2", data="scenes-digits")
    assert asked.recipe == "scenes_digits"
    assert recipes.default_name("mobilenet_v2", "scenes-digits", "imagenet") == "finetune"
    assert asked.config.augmentation == "scenes"
    geometry = tasks.of("classification").preprocessing(asked, whole)
    assert (geometry.input_shape, geometry.resize) == ((96, 96, 3), "pad")


def test_a_stream_begun_late_equals_one_from_the_start(whole) -> None:
    config = TrainConfig(epochs=2, batch_size=4, augmentation="scenes")
    split = whole.train.take(range(8))
    geometry = tasks.of("classification").preprocessing(
        request("mobilenet_v2", data="scenes-digits"), whole
    )

    def stream(first: int) -> list[np.ndarray]:
        given = train_stream(
            split, source=geometry, preprocessing=geometry, classes=10, config=config,
            first_epoch=first,
        )  # fmt: skip
        return [x.numpy() for x, _y in given]

    for a, b in zip(stream(0)[2:], stream(1), strict=True):
        np.testing.assert_array_equal(a, b)
