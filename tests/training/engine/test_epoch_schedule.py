"""Order and chance: a function of (seed, epoch), the same wherever a training begins."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from kerascnn.preprocessing import Preprocessing
from training.classification.batches import TrainingData, train_batches
from training.datasets.splits import Split
from training.engine import epoch_schedule as plan
from training.engine.config import TrainConfig

SQUARE = Preprocessing(height=8, width=8, channels=1, resize="pad")
CONFIG = TrainConfig(epochs=3, batch_size=4, augmentation="digits", mixup=0.2, cutmix=1.0)


def split(count: int = 10) -> Split:
    pictures = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, 8, 8, 1), np.uint8
    )
    labels = np.arange(count, dtype=np.int32) % 2
    return Split(labels=labels, names=tuple(f"p{i}" for i in range(count)), pictures=pictures)


def training_data(config: TrainConfig = CONFIG, shard: tuple[int, int] = (0, 1)) -> TrainingData:
    return TrainingData(
        split=split(), source=SQUARE, preprocessing=SQUARE, classes=2, config=config, shard=shard
    )


def rows(number: int, config: TrainConfig = CONFIG) -> dict[str, np.ndarray]:
    return plan.epoch(split(), source=SQUARE, target=SQUARE, config=config, number=number)


def test_batches_are_full_and_no_picture_comes_twice() -> None:
    index = rows(0)["index"]
    assert len(index) == 8  # of ten, in batches of four
    assert len(set(index.tolist())) == 8
    left_out = {tuple(sorted(set(range(10)) - set(rows(n)["index"].tolist()))) for n in range(9)}
    assert len(left_out) > 3  # others each time


def test_fewer_pictures_than_a_batch_are_one_batch() -> None:
    config = dataclasses.replace(CONFIG, batch_size=64)
    assert plan.batch_size(split(), config) == 10
    assert plan.steps_per_epoch(split(), config) == 1


@pytest.mark.parametrize(
    ("pictures", "size", "steps"), [(43, 5, 8), (20, 4, 5), (3, 3, 1), (100, 12, 8), (250, 16, 15)]
)
def test_few_pictures_have_smaller_batches_where_an_epoch_shall_have_more(
    pictures: int, size: int, steps: int
) -> None:
    config = dataclasses.replace(CONFIG, batch_size=16, min_steps=8)
    few = split(pictures)
    assert plan.batch_size(few, config) == size
    assert plan.steps_per_epoch(few, config) == steps
    real = plan.for_images(config, pictures)
    assert real.batch_size == size
    assert plan.for_images(real, pictures) == real
    training_data = TrainingData(
        split=few, source=SQUARE, preprocessing=SQUARE, classes=2, config=config
    )
    assert len(next(iter(train_batches(training_data, first_epoch=0, last_epoch=1)))[1]) == size


@pytest.mark.parametrize(
    ("images", "batch", "epochs"),
    [(40, 5, 26), (60, 7, 26), (500, 32, 15), (1772, 32, 5), (100_000, 32, 5)],
)
def test_few_images_have_more_epochs_where_a_training_shall_have_so_many_updates(
    images: int, batch: int, epochs: int
) -> None:
    """By hand: 1 frozen epoch, and 200 updates in epochs of 8 (8, 15, 55, 3125) batches."""
    config = dataclasses.replace(
        CONFIG, epochs=5, freeze_epochs=1, batch_size=32, min_steps=8, min_updates=200
    )
    real = plan.for_images(config, images)
    assert (real.batch_size, real.epochs) == (batch, epochs)
    assert plan.for_images(real, images) == real


@pytest.mark.parametrize(
    ("images", "frozen", "epochs"),
    [(60, 19, 60), (20, 30, 90), (500, 5, 60), (5000, 1, 60), (4, 150, 450)],
)
def test_few_images_have_more_frozen_epochs(images: int, frozen: int, epochs: int) -> None:
    """By hand: 150 frozen updates, 300 behind them, in epochs of 8 (5, 31, 312, 1) batches."""
    config = dataclasses.replace(
        CONFIG, epochs=60, freeze_epochs=1, freeze_updates=150, batch_size=16, min_steps=8,
        min_updates=300,
    )  # fmt: skip
    real = plan.for_images(config, images)
    assert (real.freeze_epochs, real.epochs) == (frozen, epochs)
    assert plan.for_images(real, images) == real


def test_no_epoch_is_frozen_where_none_is_asked_for() -> None:
    config = dataclasses.replace(CONFIG, epochs=5, freeze_epochs=0, freeze_updates=150)
    assert plan.for_images(config, 40).freeze_epochs == 0


def test_epochs_that_are_all_frozen_are_as_many_as_asked_for() -> None:
    config = dataclasses.replace(CONFIG, epochs=1, freeze_epochs=1, min_updates=200)
    assert plan.for_images(config, 40).epochs == 1


def test_updates_are_of_several_batches_where_these_are_gathered() -> None:
    config = dataclasses.replace(CONFIG, epochs=2, batch_size=10, accumulate=2, min_updates=30)
    assert plan.for_images(config, 100).epochs == 6


def test_an_epoch_repeats_and_differs_from_others() -> None:
    one, same, next_one = rows(1), rows(1), rows(2)
    assert one.keys() >= {"index", "mix"}
    for key in one:
        np.testing.assert_array_equal(one[key], same[key])
    other = rows(1, dataclasses.replace(CONFIG, seed=1))
    for different in (next_one, other):
        assert not np.array_equal(one["index"], different["index"])
        assert not np.array_equal(one["mix"], different["mix"])


def test_what_happens_to_a_picture_does_not_depend_on_its_batch() -> None:
    small = rows(1, dataclasses.replace(CONFIG, batch_size=2))
    large = rows(1, dataclasses.replace(CONFIG, batch_size=5))
    for key in small.keys() - {"index", "mix"}:
        by_picture = dict(zip(small["index"].tolist(), small[key], strict=True))
        for picture, row in zip(large["index"].tolist(), large[key], strict=True):
            np.testing.assert_array_equal(by_picture[picture], row)


def test_shards_are_shuffled_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_SHARDS_AT_ONCE", 2)
    blocks = np.repeat(np.arange(6), 5)
    order = plan.order(30, seed=0, epoch=0, blocks=blocks)
    assert sorted(order.tolist()) == list(range(30))
    thirds = [set(blocks[order[i : i + 10]].tolist()) for i in (0, 10, 20)]
    assert [len(third) for third in thirds] == [2, 2, 2]
    assert set.union(*thirds) == set(range(6))
    mixed = blocks[order[:10]]
    assert (np.diff(mixed) != 0).sum() > 2  # not one shard behind the other
    assert not np.array_equal(order, plan.order(30, seed=0, epoch=1, blocks=blocks))


def test_batches_begun_in_the_middle_equal_those_from_the_start() -> None:
    whole = list(train_batches(training_data(), first_epoch=0, last_epoch=3))
    late = list(train_batches(training_data(), first_epoch=1, last_epoch=3, first_step=1))
    assert (len(whole), len(late)) == (6, 3)
    for (batch, labels), (same, same_labels) in zip(whole[3:], late, strict=True):
        np.testing.assert_array_equal(labels, same_labels)
        np.testing.assert_array_equal(batch["pictures"], same["pictures"])
        np.testing.assert_array_equal(batch["mix"], same["mix"])
        for key in batch["drawn"]:
            np.testing.assert_array_equal(batch["drawn"][key], same["drawn"][key])


def test_hosts_share_each_batch() -> None:
    whole = list(train_batches(training_data(), first_epoch=0, last_epoch=1))
    halves = [
        list(train_batches(training_data(shard=(i, 2)), first_epoch=0, last_epoch=1))
        for i in range(2)
    ]
    for (batch, labels), *parts in zip(whole, *halves, strict=True):
        joined = np.concatenate([part["pictures"] for part, _labels in parts])
        np.testing.assert_array_equal(batch["pictures"], joined)
        np.testing.assert_array_equal(labels, np.concatenate([one for _part, one in parts]))


def test_a_batch_is_named() -> None:
    (batch, _labels), *_rest = train_batches(training_data(), first_epoch=2, last_epoch=3)
    names = training_data().names(2, 0)
    assert names == [f"p{value}" for value in batch["pictures"][:, 0, 0, 0]]


def test_an_error_while_making_batches_ahead_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: TrainingData, number: int) -> dict[str, np.ndarray]:
        raise RuntimeError("disk gone")

    monkeypatch.setattr(TrainingData, "epoch", broken)
    with pytest.raises(RuntimeError, match="disk gone"):
        next(train_batches(training_data(), first_epoch=0, last_epoch=1))
