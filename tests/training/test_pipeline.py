"""Streams: a function of the seed, wherever they begin; each picture changed by itself."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import recipes
from training.config import TrainConfig
from training.datasets.decode import decoded_stream
from training.datasets.splits import Split
from training.pipeline import evaluation_stream, train_stream
from training.train import request

SOURCE = Preprocessing(height=20, width=20, channels=3)
TARGET = Preprocessing(height=16, width=16, channels=3)
RAMP = np.linspace(0, 255, 20 * 20 * 3).astype(np.uint8).reshape(20, 20, 3)
SPLIT = Split(
    labels=np.arange(10, dtype=np.int32) % 2,
    names=tuple("abcdefghij"),
    pictures=np.stack([RAMP] * 10),
)


def batches(augmentation: str, *, first_epoch: int = 0, seed: int = 0) -> list[np.ndarray]:
    config = TrainConfig(epochs=3, batch_size=4, augmentation=augmentation, seed=seed)
    own = augmentation in ("none", "digits")
    stream = train_stream(
        SPLIT,
        source=SOURCE,
        preprocessing=SOURCE if own else TARGET,
        classes=2,
        config=config,
        first_epoch=first_epoch,
    )
    return [x.numpy() for x, _y in stream]


@pytest.mark.parametrize("augmentation", ["none", "digits", "pictures", "randaugment"])
def test_a_stream_begun_late_equals_one_from_the_start(augmentation: str) -> None:
    whole, late = batches(augmentation), batches(augmentation, first_epoch=2)
    assert len(whole) == 9
    for a, b in zip(whole[6:], late, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("augmentation", ["digits", "pictures", "randaugment"])
def test_changes_differ_by_picture_epoch_and_seed(augmentation: str) -> None:
    first = batches(augmentation)
    pictures = np.concatenate(first[:3])
    # All are the same picture: what differs was drawn for each one.
    assert len(np.unique(pictures.reshape(10, -1), axis=0)) > 5
    assert not np.array_equal(first[0], first[3])
    assert not np.array_equal(first[0], batches(augmentation, seed=1)[0])
    assert np.isfinite(pictures).all()
    assert -1 <= pictures.min() < pictures.max() <= 1


def test_every_picture_comes_once_an_epoch() -> None:
    marked = dataclasses.replace(
        SPLIT, pictures=np.stack([np.full((20, 20, 3), i, np.uint8) for i in range(10)])
    )
    config = TrainConfig(epochs=2, batch_size=4, augmentation="none")
    stream = train_stream(
        marked, source=SOURCE, preprocessing=SOURCE, classes=2, config=config, first_epoch=0
    )
    found = [(x.numpy()[:, 0, 0, 0] * 128 + 127, y.numpy()) for x, y in stream]
    orders = [np.concatenate([x for x, _ in found[i : i + 3]]) for i in (0, 3)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(10))
    assert list(orders[0]) != list(orders[1])
    for values, one_hot in found:
        np.testing.assert_array_equal(one_hot.argmax(axis=1), values.astype(int) % 2)


def test_streams_are_never_tuned() -> None:
    """The end of a tuned one waits for its tuner to wake, up to a minute."""
    config = TrainConfig(epochs=1, augmentation="none")
    given = {"preprocessing": SOURCE, "classes": 2}
    streams = [
        train_stream(SPLIT, source=SOURCE, config=config, first_epoch=0, **given),
        evaluation_stream(SPLIT, batch_size=3, **given),
        decoded_stream(("x.png",), SOURCE),
    ]
    assert [s.options().autotune.enabled for s in streams] == [False] * 3


def test_evaluation_keeps_the_order() -> None:
    stream = evaluation_stream(SPLIT, SOURCE, classes=2, batch_size=3)
    labels = np.concatenate([y.numpy().argmax(axis=1) for _x, y in stream])
    np.testing.assert_array_equal(labels, SPLIT.labels)


@pytest.mark.parametrize("name", recipes.NAMES)
def test_recipes_are_complete(name: str) -> None:
    recipe = recipes.load(name)
    assert recipe.config_for("mobilenet_v2").epochs > 1
    assert recipes.load(name).config == recipe.config


def test_requests_begin_as_a_recipe() -> None:
    asked = request("mobilenet_v2", data="mnist", epochs=2, model_options={"alpha": 0.5})
    assert asked.recipe == "digits"
    assert asked.config.epochs == 2
    assert asked.config.batch_size == recipes.load("digits").config.batch_size
    assert asked.model_options["alpha"] == 0.5
    assert asked.model_options["early_strides"] == 1
    assert request("efficientnet_lite0", data="x", weights="imagenet").recipe == "finetune"
    with pytest.raises(InputError, match="no recipe 'x'"):
        request("lenet5", data="mnist", recipe="x")


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"learning_rate": 0}, {"learning_rate": float("nan")}, {"optimizer": "x"},
     {"augmentation": "x"}, {"label_smoothing": 1}, {"freeze_epochs": 31}, {"seed": -1}],
)  # fmt: skip
def test_impossible_configurations(wrong) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        TrainConfig(**wrong)
