"""Batches for detectors: a function of (seed, epoch, step), padded, each picture read once."""

from __future__ import annotations

import dataclasses
import functools
import threading

import numpy as np
import pytest

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.augment.box_policies import BOX_POLICIES
from training.augment.boxes import Augmented, to_network
from training.datasets.broken import BrokenPictures
from training.datasets.detection import DetectionSplit, Objects
from training.datasets.mask_bits import unpacked
from training.datasets.pictures import read_pixels
from training.detection.batches import DetectionBatch, DetectionTrainingData, padded
from training.engine.config import TrainConfig
from training.engine.evaluation import image_blocks
from training.engine.tiled_batches import tiled_batches

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


def split(count: int = 10) -> DetectionSplit:
    places = np.arange(count)
    return DetectionSplit(
        names=tuple(f"p{i}" for i in range(count)),
        places=places,
        sizes=np.stack([30 + places, 60 - places], axis=1).astype(np.int32),
        read=read,
        annotate=annotate,
    )


def training_data(**changes: object) -> DetectionTrainingData:
    training_data = DetectionTrainingData(
        split=split(), preprocessing=NETWORK, classes=10, config=CONFIG, most_objects=12
    )
    return dataclasses.replace(training_data, **changes)  # type: ignore[arg-type]


def assert_same(one: DetectionBatch, two: DetectionBatch) -> None:
    assert one.keys() == two.keys() == {"pictures", "gt_boxes", "gt_labels", "gt_crowd"}
    for key, values in one.items():
        np.testing.assert_array_equal(values, two[key], err_msg=key)


@pytest.fixture
def mosaics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every picture is a mosaic."""
    every = dataclasses.replace(BOX_POLICIES["scenes"], mosaic=1.0)
    monkeypatch.setitem(BOX_POLICIES, "scenes", every)  # type: ignore[arg-type]


def test_shapes_types_and_padding() -> None:
    batch = training_data().batch(0, 0)
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
    plain = training_data(config=dataclasses.replace(CONFIG, augmentation="none"))
    batch, names = plain.batch(2, 1), plain.names(2, 1)
    for row, name in enumerate(names):
        place = int(name[1:])
        np.testing.assert_array_equal(batch["pictures"][row], to_network(read(place), NETWORK))
        count = place % 4
        assert batch["gt_labels"][row].tolist() == [place] * count + [-1] * (12 - count)
        np.testing.assert_allclose(batch["gt_boxes"][row, :count], annotate(place).boxes, atol=1e-6)


def test_an_epoch_has_each_picture_once_in_full_batches() -> None:
    one = training_data()
    assert (one.steps, one.batch_size) == (2, 4)
    names = one.names(0, 0) + one.names(0, 1)
    assert len(set(names)) == 8
    assert names != one.names(1, 0) + one.names(1, 1)


def test_fewer_pictures_than_a_batch_are_one_batch() -> None:
    few = training_data(split=split(3))
    assert (few.steps, few.batch_size) == (1, 3)
    assert few.batch(0, 0)["pictures"].shape == (3, 32, 48, 3)


@pytest.mark.usefixtures("mosaics")
def test_a_training_goes_on_from_the_middle() -> None:
    whole = list(tiled_batches(training_data(), first_epoch=0, last_epoch=3))
    assert len(whole) == 6
    rest = list(tiled_batches(training_data(), first_epoch=1, last_epoch=3, first_step=1))
    for one, two in zip(whole[3:], rest, strict=True):
        assert_same(one, two)
    assert_same(whole[3], training_data().batch(1, 1))
    assert not np.array_equal(whole[0]["pictures"], whole[2]["pictures"])
    other = training_data(config=dataclasses.replace(CONFIG, seed=8)).batch(1, 1)
    assert not np.array_equal(whole[3]["pictures"], other["pictures"])


@pytest.mark.usefixtures("mosaics")
def test_hosts_share_a_batch() -> None:
    config = dataclasses.replace(CONFIG, batch_size=10)
    whole = training_data(config=config)
    parts = [training_data(config=config, shard=(index, 2)) for index in range(2)]
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

    one = training_data(split=dataclasses.replace(split(), read=counted))
    batch = one.batch(0, 0)
    assert sorted(f"p{place}" for place in asked) == sorted(one.names(0, 0))
    assert {*batch["gt_labels"].ravel()} <= {-1, *asked}


def drawn_masks(place: int) -> Objects:
    """Those of `annotate`, each with the left half of its box as mask."""
    found, (height, width) = annotate(place), read(place).shape[:2]

    def mask(box: np.ndarray) -> np.ndarray:
        top, left, bottom, right = (box * [height, width, height, width]).round().astype(int)
        plane = np.zeros((height, width), bool)
        plane[top:bottom, left : (left + right) // 2] = True
        return plane

    return dataclasses.replace(found, masks=tuple(functools.partial(mask, b) for b in found.boxes))


@pytest.mark.usefixtures("mosaics")
def test_masks_come_in_the_order_of_boxes() -> None:
    with_masks = dataclasses.replace(split(), annotate=drawn_masks)
    met = 0
    for most in (12, 2):  # two are fewer than there are
        plain = training_data(most_objects=most).batch(1, 1)
        batch = training_data(split=with_masks, masks=True, most_objects=most).batch(1, 1)
        bits = batch.pop("gt_masks")
        assert (bits.shape, bits.dtype) == ((4, most, 32, 6), np.uint8)
        masks = unpacked(bits, 48)
        assert (masks.shape, masks.dtype) == ((4, most, 32, 48), np.uint8)
        for key in ("pictures", "gt_boxes", "gt_labels"):
            np.testing.assert_array_equal(batch[key], plain[key])
        assert (batch["gt_crowd"] >= plain["gt_crowd"]).all()
        assert not masks[batch["gt_labels"] < 0].any()
        for row, number in np.argwhere(batch["gt_labels"] >= 0):
            own = masks[row, number]
            if not own.any():
                assert batch["gt_crowd"][row, number]
                continue
            y, x = np.nonzero(own)
            top, left, bottom, right = batch["gt_boxes"][row, number] * [32, 48, 32, 48]
            assert top - 1 <= y.min() <= y.max() + 1 <= bottom + 1
            assert left - 1 <= x.min() <= x.max() + 1 <= right + 1
            met += 1
    assert met > 5


def test_masks_are_those_of_the_picture() -> None:
    same_size = Preprocessing(height=35, width=55, channels=3, resize="stretch")
    one = dataclasses.replace(split(6), annotate=drawn_masks).take([5])
    config = dataclasses.replace(CONFIG, augmentation="none")
    batch = training_data(split=one, preprocessing=same_size, config=config, masks=True).batch(0, 0)
    masks = drawn_masks(5).masks
    assert masks is not None
    found = unpacked(batch["gt_masks"], 55)  # no whole number of bytes
    np.testing.assert_array_equal(found[0, :1], [mask() for mask in masks])


@pytest.mark.parametrize("count", [0, 1, 200])
def test_none_one_pixel_and_200_objects_have_masks(count: int) -> None:
    first = np.stack([np.arange(count) // 20 / 10, np.arange(count) % 20 / 20], axis=1)
    side = 0.04 if count > 1 else 0.01
    boxes = np.concatenate([first, first + side], axis=1).astype(np.float32)

    def mask(box: np.ndarray) -> np.ndarray:
        plane = np.zeros((100, 100), bool)
        top, left, bottom, right = (100 * box).round().astype(int)
        plane[top:bottom, left:right] = True
        return plane

    many = Objects(
        boxes=boxes,
        labels=np.zeros(count, np.int32),
        crowd=np.zeros(count, bool),
        areas=np.ones(count, np.float32),
        ids=np.arange(count),
        masks=tuple(functools.partial(mask, box) for box in boxes),
    )
    some = dataclasses.replace(
        split(4),
        read=lambda _place: np.zeros((100, 100, 3), np.uint8),
        annotate=lambda _place: many,
    )
    square = Preprocessing(height=100, width=100, channels=3, resize="stretch")
    for name in BOX_POLICIES:
        config = dataclasses.replace(CONFIG, augmentation=name)
        one = training_data(
            split=some, preprocessing=square, config=config, masks=True, most_objects=50
        )
        batch = one.batch(0, 0)
        masks = unpacked(batch["gt_masks"], 100)
        assert masks.shape == (4, 50, 100, 100)
        assert not masks[batch["gt_labels"] < 0].any()
        found = masks.any(axis=(2, 3)) | batch["gt_crowd"]
        assert found[batch["gt_labels"] >= 0].all()
        if name == "none":
            pixels = masks.sum(axis=(1, 2, 3)).tolist()
            assert pixels == [{0: 0, 1: 1, 200: 50 * 16}[count]] * 4


def test_masks_of_boxes_alone_are_refused() -> None:
    with pytest.raises(InputError, match="p0: objects have boxes alone, and no masks"):
        training_data(masks=True)


def test_chance_is_of_seed_epoch_and_picture() -> None:
    one = training_data(random_numbers=1000)
    batch, names = one.batch(1, 1), one.names(1, 1)
    drawn = batch.pop("chance")
    assert_same(batch, training_data().batch(1, 1))
    assert (drawn.shape, drawn.dtype) == ((4, 1000), np.float32)
    assert 0 <= drawn.min() < 0.01
    assert 0.99 < drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 0.02
    assert len(np.unique(drawn[:, 0])) == 4
    whole = training_data(config=dataclasses.replace(CONFIG, batch_size=10), random_numbers=1000)
    everything = dict(zip(whole.names(1, 0), whole.batch(1, 0)["chance"], strict=True))
    for name, row in zip(names, drawn, strict=True):
        np.testing.assert_array_equal(row, everything[name])
    parts = [dataclasses.replace(whole, shard=(index, 2)).batch(1, 0) for index in range(2)]
    joined = np.concatenate([part["chance"] for part in parts])
    np.testing.assert_array_equal(joined, whole.batch(1, 0)["chance"])
    other = dict(zip(whole.names(2, 0), whole.batch(2, 0)["chance"], strict=True))
    assert not np.array_equal(other[names[0]], everything[names[0]])
    seeded = dataclasses.replace(whole, config=dataclasses.replace(whole.config, seed=8))
    again = dict(zip(seeded.names(1, 0), seeded.batch(1, 0)["chance"], strict=True))
    assert not np.array_equal(again[names[0]], everything[names[0]])


def test_tf_data_gives_masks_and_chance_too() -> None:
    from training.engine.pipeline import tiled_stream

    with_masks = dataclasses.replace(split(), annotate=drawn_masks)
    for options in ({}, {"split": with_masks, "masks": True, "random_numbers": 7}):
        one = training_data(**options)
        stream = tiled_stream(one, first_epoch=1, last_epoch=3, first_step=1)
        batches = tiled_batches(one, first_epoch=1, last_epoch=3, first_step=1)
        for (found,), expected in zip(stream, batches, strict=True):
            assert found.keys() == expected.keys()
            for key, values in expected.items():
                np.testing.assert_array_equal(found[key], values)


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


def test_the_next_picture_stands_in_for_a_broken_one(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(place: int) -> np.ndarray:
        if place == 5:
            raise InputError("p5 is not a readable picture; replace or remove it")
        return read(place)

    bad = dataclasses.replace(split(), read=broken)
    # As if the sixth picture, and its objects, were the seventh.
    places = np.where(split().places == 5, 6, split().places)
    mended = dataclasses.replace(split(), places=places)
    found = list(tiled_batches(training_data(split=bad), first_epoch=0, last_epoch=3))
    wanted = list(tiled_batches(training_data(split=mended), first_epoch=0, last_epoch=3))
    for one, other in zip(found, wanted, strict=True):
        for key, values in one.items():
            np.testing.assert_array_equal(values, other[key])
    assert capsys.readouterr().err.count("broken, left out: p5 is not a readable") == 1
    strict = training_data(split=bad, broken=BrokenPictures(strict=True))
    with pytest.raises(InputError, match="p5"):
        list(tiled_batches(strict, first_epoch=0, last_epoch=20))
    with pytest.raises(InputError, match="p5"):
        list(image_blocks(bad, NETWORK, 4))


def test_without_any_picture_that_can_be_read_training_ends() -> None:
    def broken(place: int) -> np.ndarray:
        raise InputError(f"p{place} is not a readable picture; replace or remove it")

    bad = dataclasses.replace(split(), read=broken)
    with pytest.raises(InputError, match="no image can stand in for it"):
        next(tiled_batches(training_data(split=bad), first_epoch=0, last_epoch=1))


def test_a_picture_that_is_gone_is_an_error_and_not_broken() -> None:
    """It comes back with its disk, and the training goes on exactly."""

    def gone(place: int) -> np.ndarray:
        return read_pixels(f"/nowhere/{place}.png") if place == 5 else read(place)

    lost = training_data(split=dataclasses.replace(split(), read=gone))
    with pytest.raises(InputError, match=r"/nowhere/5\.png: no such image"):
        list(tiled_batches(lost, first_epoch=0, last_epoch=20))
    assert lost.broken.reasons == {}


def test_who_stops_early_leaves_no_threads() -> None:
    before = set(threading.enumerate())  # tqdm's monitor may be there, of another test
    stream = tiled_batches(training_data(), first_epoch=0, last_epoch=1000)
    next(stream)
    workers = set(threading.enumerate()) - before
    assert workers
    stream.close()  # type: ignore[attr-defined]
    for thread in workers:
        thread.join(10)
        assert not thread.is_alive()


def test_evaluation_pictures_come_in_order() -> None:
    blocks = list(image_blocks(split(), NETWORK, 4))
    assert [len(block) for block in blocks] == [4, 4, 2]
    expected = np.stack([to_network(read(place), NETWORK) for place in range(10)])
    np.testing.assert_array_equal(np.concatenate(blocks), expected)
    assert list(image_blocks(split(0), NETWORK, 4)) == []


def test_cropping_is_refused() -> None:
    crop = dataclasses.replace(NETWORK, resize="crop")
    with pytest.raises(InputError, match="not 'crop'"):
        training_data(preprocessing=crop)
    with pytest.raises(InputError, match="not 'crop'"):
        next(image_blocks(split(), crop, 4))
