"""Batches for detectors: a function of (seed, epoch, step), padded, each picture read once."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.box_augmentation import Augmented, to_network
from training.box_policies import BOX_POLICIES
from training.config import TrainConfig
from training.datasets.objects import Objects, ObjectSplit
from training.object_batches import (
    ObjectBatch,
    ObjectCourse,
    evaluation_pictures,
    object_batches,
    padded,
)

NETWORK = Preprocessing(height=32, width=48, channels=3, resize="stretch")
CONFIG = TrainConfig(epochs=3, batch_size=4, augmentation="scenes", seed=7)


def read(place: int) -> np.ndarray:
    rng = np.random.default_rng(place)
    return rng.integers(0, 256, (30 + place, 60 - place, 3), dtype=np.uint8)


def annotate(place: int) -> Objects:
    """Picture i has i % 4 objects, so that some are empty."""
    rng = np.random.default_rng(place)
    first, count = 0.5 * rng.random((place % 4, 2)), place % 4
    return Objects(
        boxes=np.concatenate([first, first + 0.4], axis=1).astype(np.float32),
        labels=np.full(count, place, np.int32),
        crowd=np.zeros(count, bool),
        areas=np.ones(count, np.float32),
        ids=np.arange(count),
    )


def split(count: int = 10) -> ObjectSplit:
    places = np.arange(count)
    return ObjectSplit(
        names=tuple(f"p{i}" for i in range(count)),
        places=places,
        sizes=np.stack([30 + places, 60 - places], axis=1).astype(np.int32),
        read=read,
        annotate=annotate,
    )


def course(**changes: object) -> ObjectCourse:
    course = ObjectCourse(
        split=split(), preprocessing=NETWORK, classes=10, config=CONFIG, most_objects=12
    )
    return dataclasses.replace(course, **changes)  # type: ignore[arg-type]


def assert_same(one: ObjectBatch, two: ObjectBatch) -> None:
    assert one.keys() == two.keys() == {"pictures", "gt_boxes", "gt_labels", "gt_crowd"}
    for key, values in one.items():
        np.testing.assert_array_equal(values, two[key], err_msg=key)


@pytest.fixture
def mosaics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every picture is a mosaic."""
    every = dataclasses.replace(BOX_POLICIES["scenes"], mosaic=1.0)
    monkeypatch.setitem(BOX_POLICIES, "scenes", every)  # type: ignore[arg-type]


def test_shapes_types_and_padding() -> None:
    batch = course().batch(0, 0)
    assert {key: (values.shape, values.dtype) for key, values in batch.items()} == {
        "pictures": ((4, 32, 48, 3), np.dtype(np.uint8)),
        "gt_boxes": ((4, 12, 4), np.dtype(np.float32)),
        "gt_labels": ((4, 12), np.dtype(np.int32)),
        "gt_crowd": ((4, 12), np.dtype(bool)),
    }
    real = batch["gt_labels"] >= 0
    assert real.any()
    assert (np.sort(~real, axis=1) == ~real).all()  # in front
    assert (batch["gt_labels"][~real] == -1).all()
    assert not batch["gt_boxes"][~real].any()
    assert not batch["gt_crowd"][~real].any()
    boxes = batch["gt_boxes"][real]
    assert boxes.min() >= 0
    assert boxes.max() <= 1
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_no_augmentation_gives_pictures_as_an_evaluation_sees_them() -> None:
    plain = course(config=dataclasses.replace(CONFIG, augmentation="none"))
    batch, names = plain.batch(2, 1), plain.names(2, 1)
    for row, name in enumerate(names):
        place = int(name[1:])
        np.testing.assert_array_equal(batch["pictures"][row], to_network(read(place), NETWORK))
        count = place % 4
        assert batch["gt_labels"][row].tolist() == [place] * count + [-1] * (12 - count)
        np.testing.assert_allclose(batch["gt_boxes"][row, :count], annotate(place).boxes, atol=1e-6)


def test_an_epoch_has_each_picture_once_in_full_batches() -> None:
    one = course()
    assert (one.steps, one.batch_size) == (2, 4)
    names = one.names(0, 0) + one.names(0, 1)
    assert len(set(names)) == 8
    assert names != one.names(1, 0) + one.names(1, 1)


def test_fewer_pictures_than_a_batch_are_one_batch() -> None:
    few = course(split=split(3))
    assert (few.steps, few.batch_size) == (1, 3)
    assert few.batch(0, 0)["pictures"].shape == (3, 32, 48, 3)


@pytest.mark.usefixtures("mosaics")
def test_a_training_goes_on_from_the_middle() -> None:
    whole = list(object_batches(course(), first_epoch=0, last_epoch=3))
    assert len(whole) == 6
    rest = list(object_batches(course(), first_epoch=1, last_epoch=3, first_step=1))
    for one, two in zip(whole[3:], rest, strict=True):
        assert_same(one, two)
    assert_same(whole[3], course().batch(1, 1))
    assert not np.array_equal(whole[0]["pictures"], whole[2]["pictures"])
    other = course(config=dataclasses.replace(CONFIG, seed=8)).batch(1, 1)
    assert not np.array_equal(whole[3]["pictures"], other["pictures"])


@pytest.mark.usefixtures("mosaics")
def test_hosts_share_a_batch() -> None:
    config = dataclasses.replace(CONFIG, batch_size=10)
    whole = course(config=config)
    parts = [course(config=config, shard=(index, 2)) for index in range(2)]
    assert [part.batch_size for part in parts] == [5, 5]
    for epoch in range(6):
        assert parts[0].names(epoch, 0) + parts[1].names(epoch, 0) == whole.names(epoch, 0)
        one, two = (part.batch(epoch, 0) for part in parts)
        joined = {key: np.concatenate([one[key], two[key]]) for key in one}
        assert_same(joined, whole.batch(epoch, 0))


@pytest.mark.usefixtures("mosaics")
def test_a_mosaic_reads_no_picture_twice() -> None:
    asked: list[int] = []

    def counted(place: int) -> np.ndarray:
        asked.append(place)
        return read(place)

    one = course(split=dataclasses.replace(split(), read=counted))
    batch = one.batch(0, 0)
    assert sorted(f"p{place}" for place in asked) == sorted(one.names(0, 0))
    assert {*batch["gt_labels"].ravel()} <= {-1, *asked}


def test_of_too_many_objects_the_largest_stay_in_order() -> None:
    sides = np.array([0.1, 0.4, 0.2, 0.3], np.float32)
    boxes = np.stack([0 * sides, 0 * sides, sides, sides], axis=1)
    many = Augmented(
        pixels=np.zeros((4, 4, 3), np.uint8),
        boxes=boxes,
        labels=np.arange(4, dtype=np.int32),
        crowd=np.array([True, False, False, True]),
    )
    batch = padded([many], 2)
    assert batch["gt_labels"].tolist() == [[1, 3]]
    assert batch["gt_crowd"].tolist() == [[False, True]]
    np.testing.assert_array_equal(batch["gt_boxes"][0], boxes[[1, 3]])


def test_a_broken_picture_is_named() -> None:
    def broken(place: int) -> np.ndarray:
        if place == 5:
            raise InputError("p5 is not a readable picture; replace or remove it")
        return read(place)

    bad = dataclasses.replace(split(), read=broken)
    with pytest.raises(InputError, match="p5"):
        list(object_batches(course(split=bad), first_epoch=0, last_epoch=20))
    with pytest.raises(InputError, match="p5"):
        list(evaluation_pictures(bad, NETWORK, 4))


def test_who_stops_early_leaves_no_threads() -> None:
    before = set(threading.enumerate())  # tqdm's monitor may be there, of another test
    stream = object_batches(course(), first_epoch=0, last_epoch=1000)
    next(stream)
    workers = set(threading.enumerate()) - before
    assert workers
    stream.close()  # type: ignore[attr-defined]
    for thread in workers:
        thread.join(10)
        assert not thread.is_alive()


def test_evaluation_pictures_come_in_order() -> None:
    blocks = list(evaluation_pictures(split(), NETWORK, 4))
    assert [len(block) for block in blocks] == [4, 4, 2]
    expected = np.stack([to_network(read(place), NETWORK) for place in range(10)])
    np.testing.assert_array_equal(np.concatenate(blocks), expected)
    assert list(evaluation_pictures(split(0), NETWORK, 4)) == []


def test_cropping_is_refused() -> None:
    crop = dataclasses.replace(NETWORK, resize="crop")
    with pytest.raises(InputError, match="not 'crop'"):
        course(preprocessing=crop)
    with pytest.raises(InputError, match="not 'crop'"):
        next(evaluation_pictures(split(), crop, 4))
