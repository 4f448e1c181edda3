"""Label maps in batches: classes move with pixels, and a batch is a function of epoch and step."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.augment.box_policies import BOX_POLICIES, draw
from training.augment.boxes import rectangles, to_network
from training.augment.masks import assembled_map, make_map_tile, map_to_network
from training.datasets.broken import BrokenPictures
from training.datasets.segmentation import VOID, SegmentationSplit
from training.engine.config import TrainConfig
from training.engine.tiled_batches import tiled_batches
from training.segmentation.batches import SegmentationBatch, SegmentationTrainingData
from training.segmentation.border_weights import border_weights

NETWORK = Preprocessing(height=32, width=48, channels=3, resize="stretch")
PAD = dataclasses.replace(NETWORK, resize="pad")
CONFIG = TrainConfig(epochs=3, batch_size=4, augmentation="scenes", seed=7)
NAMES = sorted(BOX_POLICIES)
# Of classes, each in its own channel and unlike what surrounds a picture.
COLOURS = np.array([[0, 60, 60], [255, 60, 60], [0, 255, 60], [0, 60, 255]], np.uint8)


def label_map(place: int) -> np.ndarray:
    """Blocks of 15 pixels of four classes, in pictures of other sizes."""
    blocks = np.random.default_rng(place).integers(0, 4, (6, 6)).astype(np.uint8)
    return blocks.repeat(15, axis=0).repeat(15, axis=1)[: 40 + 4 * place, : 88 - 4 * place]


def split(count: int = 10) -> SegmentationSplit:
    places = np.arange(count)
    return SegmentationSplit(
        names=tuple(f"p{i}" for i in range(count)),
        places=places,
        sizes=np.stack([40 + 4 * places, 88 - 4 * places], axis=1).astype(np.int32),
        read=lambda place: COLOURS[label_map(place)],
        annotate=label_map,
    )


def training_data(**changes: Any) -> SegmentationTrainingData:
    training_data = SegmentationTrainingData(
        split=split(), preprocessing=NETWORK, classes=4, config=CONFIG
    )
    return dataclasses.replace(training_data, **changes)


def assert_same(one: SegmentationBatch, two: SegmentationBatch) -> None:
    assert one.keys() == two.keys()
    for key, values in one.items():
        assert values.dtype == two[key].dtype
        np.testing.assert_array_equal(values, two[key], err_msg=key)


@pytest.fixture
def mosaics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every picture is a mosaic."""
    every = dataclasses.replace(BOX_POLICIES["scenes"], mosaic=1.0)
    monkeypatch.setitem(BOX_POLICIES, "scenes", every)  # type: ignore[arg-type]


# --- Where classes come to lie --------------------------------------------------------------------


@pytest.mark.parametrize("preprocessing", [NETWORK, PAD], ids=["stretch", "pad"])
@pytest.mark.parametrize("name", NAMES)
def test_classes_lie_on_their_pixels(name: str, preprocessing: Preprocessing) -> None:
    policy = dataclasses.replace(BOX_POLICIES[name], recolour=0.0, negative=0.0, distractors=0.0)
    batch, pictures = np.arange(4, 10), split()
    sure = outside = 0
    for row in range(len(batch)):
        drawn = draw(policy, batch, row, seed=3, epoch=1)
        areas = rectangles(drawn, preprocessing)
        tiles = [
            make_map_tile(
                part, area, pictures.picture(part.picture), label_map(part.picture), preprocessing
            )
            for part, area in zip(drawn.parts, areas, strict=True)
        ]
        made = assembled_map(tiles, preprocessing)
        assert (made.pixels.shape, made.label_map.shape) == ((32, 48, 3), (32, 48))
        assert made.pixels.dtype == made.label_map.dtype == np.uint8
        around = made.label_map == VOID
        assert (made.pixels[around] == (0 if preprocessing is PAD else 127)).all()
        distance = np.abs(made.pixels[..., None, :].astype(int) - COLOURS).max(axis=-1)
        clear = ~around & (distance.min(axis=-1) < 8)  # others are between two classes
        np.testing.assert_array_equal(made.label_map[clear], distance.argmin(axis=-1)[clear])
        assert clear.sum() > 0.2 * (~around).sum()
        sure, outside = sure + clear.sum(), outside + around.sum()
    assert sure > 500
    assert (outside > 0) == (name not in ("none", "flip"))


@pytest.mark.parametrize("preprocessing", [NETWORK, PAD], ids=["stretch", "pad"])
def test_no_augmentation_is_what_an_evaluation_sees(preprocessing: Preprocessing) -> None:
    config = dataclasses.replace(CONFIG, augmentation="none")
    plain = training_data(config=config, preprocessing=preprocessing)
    batch, names = plain.batch(2, 1), plain.names(2, 1)
    for row, name in enumerate(names):
        place = int(name[1:])
        expected = to_network(COLOURS[label_map(place)], preprocessing)
        np.testing.assert_array_equal(batch["pictures"][row], expected)
        found = map_to_network(label_map(place), preprocessing)
        np.testing.assert_array_equal(batch["gt_map"][row], found)


def test_an_evaluations_map_by_hand() -> None:
    some = np.random.default_rng(0).integers(0, 9, (96, 240)).astype(np.uint8)
    np.testing.assert_array_equal(map_to_network(some, NETWORK), some[1::3, 2::5])
    small = some[:16, :12]
    doubled = small.repeat(2, axis=0).repeat(4, axis=1)
    np.testing.assert_array_equal(map_to_network(small, NETWORK), doubled)
    padded = map_to_network(small, PAD)
    np.testing.assert_array_equal(padded[8:24, 18:30], small)
    assert (padded == VOID).sum() == 32 * 48 - 16 * 12
    with pytest.raises(InputError, match="not 'crop'"):
        map_to_network(some, dataclasses.replace(NETWORK, resize="crop"))


def test_a_mirrored_map_is_exact() -> None:
    flipped = training_data(config=dataclasses.replace(CONFIG, augmentation="flip"))
    plain = training_data(config=dataclasses.replace(CONFIG, augmentation="none"))
    met = set()
    for epoch in range(3):
        one, two = (c.batch(epoch, 0)["gt_map"] for c in (flipped, plain))
        for mine, other in zip(one, two, strict=True):
            mirrored = not np.array_equal(mine, other)
            np.testing.assert_array_equal(mine, other[:, ::-1] if mirrored else other)
            met.add(mirrored)
    assert met == {True, False}


# --- Batches --------------------------------------------------------------------------------------


def test_shapes_types_and_keys() -> None:
    batch = training_data().batch(0, 0)
    assert {key: (values.shape, values.dtype) for key, values in batch.items()} == {
        "pictures": ((4, 32, 48, 3), np.dtype(np.uint8)),
        "gt_map": ((4, 32, 48), np.dtype(np.uint8)),
    }
    assert set(np.unique(batch["gt_map"])) == {0, 1, 2, 3, VOID}


def test_a_smaller_answer_is_the_middle() -> None:
    config = dataclasses.replace(CONFIG, border_weight=10.0)
    whole = training_data(config=config).batch(0, 1)
    part = training_data(config=config, output_size=(20, 31)).batch(0, 1)
    np.testing.assert_array_equal(whole["pictures"], part["pictures"])
    for key in ("gt_map", "gt_weights"):
        assert part[key].shape == (4, 20, 31)
        np.testing.assert_array_equal(whole[key][:, 6:26, 8:39], part[key])
    assert part["gt_weights"].dtype == np.float32
    for own, weights in zip(whole["gt_map"], whole["gt_weights"], strict=True):
        np.testing.assert_array_equal(weights, border_weights(own, weight=10))
    assert whole["gt_weights"].max() > 5
    for size in ((33, 48), (32, 49), (0, 4)):
        with pytest.raises(InputError, match="is not part of an input of 32 x 48"):
            training_data(output_size=size)


@pytest.mark.usefixtures("mosaics")
def test_a_training_goes_on_from_the_middle() -> None:
    whole = list(tiled_batches(training_data(), first_epoch=0, last_epoch=3))
    assert len(whole) == 6
    rest = list(tiled_batches(training_data(), first_epoch=1, last_epoch=3, first_step=1))
    for one, two in zip(whole[3:], rest, strict=True):
        assert_same(one, two)
    assert_same(whole[3], training_data().batch(1, 1))
    assert not np.array_equal(whole[0]["gt_map"], whole[2]["gt_map"])
    other = training_data(config=dataclasses.replace(CONFIG, seed=8)).batch(1, 1)
    assert not np.array_equal(whole[3]["gt_map"], other["gt_map"])


@pytest.mark.usefixtures("mosaics")
def test_hosts_share_a_batch() -> None:
    config = dataclasses.replace(CONFIG, batch_size=10, border_weight=2.0)
    whole = training_data(config=config)
    parts = [training_data(config=config, shard=(index, 2)) for index in range(2)]
    for epoch in range(3):
        assert parts[0].names(epoch, 0) + parts[1].names(epoch, 0) == whole.names(epoch, 0)
        one, two = (part.batch(epoch, 0) for part in parts)
        assert_same(
            {key: np.concatenate([one[key], two[key]]) for key in one}, whole.batch(epoch, 0)
        )


def test_tf_data_gives_the_same() -> None:
    from training.engine.pipeline import tiled_stream

    for weight in (0.0, 10.0):
        config = dataclasses.replace(CONFIG, border_weight=weight)
        one = training_data(config=config, output_size=(16, 16))
        stream = tiled_stream(one, first_epoch=1, last_epoch=3, first_step=1)
        batches = tiled_batches(one, first_epoch=1, last_epoch=3, first_step=1)
        for (found,), expected in zip(stream, batches, strict=True):
            assert_same({key: np.asarray(values) for key, values in found.items()}, expected)


@pytest.mark.parametrize("kind", ["nothing", "all void", "one pixel", "200 objects"])
def test_odd_maps_are_numbers(kind: str) -> None:
    odd = np.zeros((64, 96), np.uint8)
    if kind == "all void":
        odd[:] = VOID
    elif kind == "one pixel":
        odd[40, 17] = 3
    elif kind == "200 objects":
        for number in range(200):
            y, x = 6 * (number // 20), 4 * (number % 20)
            odd[y : y + 3, x : x + 3] = 1 + number % 3
    same = dataclasses.replace(
        split(), read=lambda _place: COLOURS[odd % 4], annotate=lambda _place: odd
    )
    for name in NAMES:
        config = dataclasses.replace(CONFIG, augmentation=name, border_weight=10.0)
        batch = training_data(split=same, config=config).batch(0, 0)
        assert np.isfinite(batch["gt_weights"]).all()
        assert batch["gt_weights"].min() >= 1
        assert set(np.unique(batch["gt_map"])) <= {*np.unique(odd), VOID}
        if kind in ("nothing", "all void", "one pixel"):
            # Two of four in a mosaic may be near each other.
            assert name in ("scenes", "mosaic") or (batch["gt_weights"] == 1).all()


def test_the_next_picture_stands_in_for_one_whose_mask_is_broken(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(place: int) -> np.ndarray:
        if place == 5:
            raise InputError("p5.png is not a readable picture; replace or remove it")
        return label_map(place)

    bad = dataclasses.replace(split(), annotate=broken)
    mended = dataclasses.replace(split(), places=np.where(split().places == 5, 6, split().places))
    found = list(tiled_batches(training_data(split=bad), first_epoch=0, last_epoch=3))
    wanted = list(tiled_batches(training_data(split=mended), first_epoch=0, last_epoch=3))
    for one, other in zip(found, wanted, strict=True):
        for key, values in one.items():
            np.testing.assert_array_equal(values, other[key])
    assert capsys.readouterr().err.count("broken, left out: p5.png is not") == 1
    strict = training_data(split=bad, broken=BrokenPictures(strict=True))
    with pytest.raises(InputError, match=r"p5\.png"):
        list(tiled_batches(strict, first_epoch=0, last_epoch=20))


def test_cropping_is_refused() -> None:
    with pytest.raises(InputError, match="not 'crop'"):
        training_data(preprocessing=dataclasses.replace(NETWORK, resize="crop"))
