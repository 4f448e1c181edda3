"""Streams: a function of the seed, wherever they begin; each picture changed by itself."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import pytest
from marks import marks_of

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import recipes
from training.augment.policies import POLICIES
from training.classification.batches import EvaluationBatches, TrainingData, train_batches
from training.classification.tf_data import (
    evaluation_stream,
    train_stream,
    training_stream,
    with_teacher,
)
from training.datasets.splits import Split
from training.engine.config import TrainConfig
from training.engine.request import TrainRequest, request

SOURCE = Preprocessing(height=20, width=20, channels=3, resize="stretch")
TARGET = Preprocessing(height=16, width=16, channels=3)
RAMP = np.linspace(0, 255, 20 * 20 * 3).astype(np.uint8).reshape(20, 20, 3)
SPLIT = Split(
    labels=np.arange(10, dtype=np.int32) % 2,
    names=tuple("abcdefghij"),
    pictures=np.stack([RAMP] * 10),
)
GIVEN = {"source": SOURCE, "preprocessing": SOURCE, "classes": 2}


def cases(policies: Iterable[str]) -> list[Any]:
    """Of what "modern" does, two more policies do a part: tracing RandAugment takes seconds."""
    parts = {"randaugment", "inception_randaugment"}
    return [pytest.param(n, marks=marks_of(n, ci={"modern"}, slow=parts)) for n in policies]


def batches(augmentation: str, *, first_epoch: int = 0, seed: int = 0, **changes) -> list:
    config = TrainConfig(epochs=3, batch_size=5, augmentation=augmentation, seed=seed, **changes)
    target = TARGET if POLICIES[augmentation].crops else SOURCE
    stream = train_stream(
        SPLIT, **GIVEN | {"preprocessing": target}, config=config, first_epoch=first_epoch
    )
    return [(x.numpy(), y.numpy()) for x, y in stream]


@functools.cache
def whole_of(augmentation: str) -> list:
    return batches(augmentation)


@pytest.mark.parametrize("augmentation", cases(POLICIES))
def test_a_stream_begun_late_equals_one_from_the_start(augmentation: str) -> None:
    mixed = {"mixup": 0.2, "cutmix": 1.0} if augmentation == "modern" else {}
    whole = batches(augmentation, **mixed) if mixed else whole_of(augmentation)
    late = batches(augmentation, first_epoch=2, **mixed)
    assert len(whole) == 6
    for (x, y), (same_x, same_y) in zip(whole[4:], late, strict=True):
        np.testing.assert_array_equal(x, same_x)
        np.testing.assert_array_equal(y, same_y)


@pytest.mark.parametrize("augmentation", cases(name for name in POLICIES if name != "none"))
def test_changes_differ_by_picture_epoch_and_seed(augmentation: str) -> None:
    first = [x for x, _y in whole_of(augmentation)]
    pictures = np.concatenate(first[:2])
    # All are the same picture: what differs was drawn for each one.
    assert len(np.unique(pictures.reshape(10, -1), axis=0)) > 5
    assert not np.array_equal(first[0], first[2])
    assert not np.array_equal(first[0], batches(augmentation, seed=1)[0][0])
    assert np.isfinite(pictures).all()
    assert -1 <= pictures.min() < pictures.max() <= 1


def test_streams_of_tensorflow_and_of_numpy_are_the_same() -> None:
    config = TrainConfig(epochs=2, batch_size=4, augmentation="modern", mixup=0.2, cutmix=1.0)
    training_data = TrainingData(split=SPLIT, **GIVEN, config=config)
    for shard in ((0, 1), (1, 2)):
        part = dataclasses.replace(training_data, shard=shard)
        span = {"first_epoch": 0, "last_epoch": 2, "first_step": 1}
        one, other = list(training_stream(part, **span)), list(train_batches(part, **span))
        assert len(one) == len(other) == 3
        for (batch, labels), (same, same_labels) in zip(one, other, strict=True):
            keras.tree.map_structure(np.testing.assert_array_equal, dict(batch), same)
            np.testing.assert_array_equal(labels, same_labels)


def test_streams_are_never_tuned() -> None:
    """The end of a tuned one waits for its tuner to wake, up to a minute."""
    config = TrainConfig(epochs=1, augmentation="none")
    training_data = TrainingData(split=SPLIT, **GIVEN, config=config)
    given = {"preprocessing": SOURCE, "classes": 2}
    streams = [
        train_stream(SPLIT, **GIVEN, config=config, first_epoch=0),
        training_stream(training_data, first_epoch=0, last_epoch=1),
        evaluation_stream(SPLIT, batch_size=3, **given),
        with_teacher(
            train_stream(SPLIT, **GIVEN, config=config, first_epoch=0), lambda x: x[:, 0, 0, :2]
        ),
    ]
    assert [s.options().autotune.enabled for s in streams] == [False] * 4


def test_evaluation_keeps_the_order_and_all_pictures() -> None:
    stream = evaluation_stream(SPLIT, SOURCE, classes=2, batch_size=3)
    given = EvaluationBatches(SPLIT, SOURCE, classes=2, batch_size=3)
    labels = np.concatenate([y.numpy().argmax(axis=1) for _x, y in stream])
    np.testing.assert_array_equal(labels, SPLIT.labels)
    assert len(given) == 4
    for (x, y), (same_x, same_y) in zip(stream, (given[n] for n in range(4)), strict=True):
        np.testing.assert_array_equal(x["pictures"], same_x["pictures"])
        np.testing.assert_array_equal(y, same_y)


def test_requests_begin_as_a_recipe() -> None:
    asked = request("mobilenet_v2", data="mnist", epochs=2, model_options={"alpha": 0.5})
    assert asked.recipe == "digits"
    assert asked.config.epochs == 2
    assert asked.config.batch_size == recipes.load("digits").config.batch_size
    assert asked.model_options["alpha"] == 0.5
    assert asked.model_options["early_strides"] == 1
    assert request("efficientnet_lite0", data="x", weights="imagenet").recipe == "finetune"
    with pytest.raises(InputError, match="unknown recipe 'x'"):
        request("lenet5", data="mnist", recipe="x")
    with pytest.raises(InputError, match="unknown setting 'emma'; did you mean 'ema'"):
        request("lenet5", data="mnist", settings={"emma": 0.9})
    smaller = request("resnet18", data="x", recipe="resnet", settings={"schedule": "cosine"})
    assert (smaller.config.schedule, smaller.config.milestones) == ("cosine", ())
    again = TrainRequest.from_dict(json.loads(json.dumps(smaller.to_dict())))
    assert again == smaller


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"learning_rate": 0}, {"learning_rate": float("nan")}, {"optimizer": "x"},
     {"augmentation": "x"}, {"label_smoothing": 1}, {"freeze_epochs": 31}, {"seed": -1},
     {"epochs": "3"}, {"nesterov": 1}, {"schedule": "x"}, {"ema": 1.0}, {"momentum": True},
     {"milestones": ((1, 2),)}, {"milestones": [[3, 0.1], [2, 0.1]], "schedule": "steps"},
     {"milestones": 5, "schedule": "steps"}, {"warmup_epochs": 1, "schedule": "plateau"},
     {"patience": 3, "validation_fraction": 0}, {"class_weights": "some"}],
)  # fmt: skip
def test_impossible_configurations(wrong) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        TrainConfig(**wrong)
