"""Boxes move with pixels: painted rectangles are found again where the boxes say."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.augment import boxes as augmentation
from training.augment.box_policies import (
    BOX_POLICIES,
    OVERLAPS,
    BoxPolicy,
    Part,
    SampledParameters,
    draw,
)
from training.augment.boxes import (
    Placement,
    Rectangle,
    Tile,
    boxes_from_network,
    boxes_to_network,
    evaluation_placement,
    make_tile,
    recoloured,
    rectangles,
    to_network,
)
from training.datasets.detection import Objects
from training.datasets.mask_bits import unpacked
from training.datasets.pictures import fit_array

NAMES = sorted(BOX_POLICIES)
STRETCH = Preprocessing(height=96, width=128, channels=3, resize="stretch")
PAD = dataclasses.replace(STRETCH, resize="pad")
# Taller, wider, larger and smaller than the network's input, and odd.
SIZES = ((140, 90), (60, 200), (301, 257), (81, 75), (96, 128))
STILL = Part(
    picture=0, flip=False, scale=(1.0, 1.0), place=(0.5, 0.5), zoom=1.0, overlap=None,
    tries=np.zeros((0, 4)), brightness=1.0, contrast=1.0, saturation=1.0, gains=(1.0, 1.0, 1.0),
    distractors=np.zeros((0, 13)),
)  # fmt: skip


def objects(boxes: Any, crowd: Any = None) -> Objects:
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    count = len(boxes)
    return Objects(
        boxes=boxes,
        labels=np.arange(count, dtype=np.int32),
        crowd=np.zeros(count, bool) if crowd is None else np.asarray(crowd, bool),
        areas=np.ones(count, np.float32),
        ids=np.arange(count),
    )


def painted(index: int) -> tuple[np.ndarray, Objects]:
    """A black picture with one red rectangle, labelled with the picture's number."""
    rng = np.random.default_rng(index)
    height, width = SIZES[index]
    top, left = rng.integers(0, height // 2), rng.integers(0, width // 2)
    bottom, right = rng.integers(top + height // 3, height), rng.integers(left + width // 3, width)
    picture = np.zeros((height, width, 3), np.uint8)
    picture[top:bottom, left:right, 0] = 255
    found = objects([[top / height, left / width, bottom / height, right / width]])
    return picture, dataclasses.replace(found, labels=np.array([index], np.int32))


def red_in(pixels: np.ndarray, area: Rectangle) -> np.ndarray | None:
    """(4,) what bounds the red pixels of an area, or None."""
    part = pixels[area.slices].astype(int)
    red = part[..., 0] - part[..., 1:].max(axis=-1)
    if red.max(initial=0) < 20:
        return None
    y, x = np.nonzero(red > red.max() / 2)
    corner = np.array([area.top, area.left] * 2)
    return np.array([y.min(), x.min(), y.max() + 1, x.max() + 1]) + corner


def tile(
    part: Part,
    found: Objects,
    policy: BoxPolicy | None = None,
    side: int = 100,
    *,
    masks: bool = False,
) -> Tile:
    """All of a square network's input, from a picture of its size."""
    square = Preprocessing(height=side, width=side, channels=3, resize="stretch")
    picture = np.zeros((side, side, 3), np.uint8)
    area = Rectangle(top=0, left=0, bottom=side, right=side)
    return make_tile(policy or BoxPolicy(), part, area, picture, found, square, masks=masks)


# --- Chance ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_what_is_drawn_repeats(name: str) -> None:
    batch = np.array([4, 9, 2, 7, 1])
    one, same = (draw(BOX_POLICIES[name], batch, 3, seed=5, epoch=2) for _ in range(2))
    assert str(one) == str(same)
    assert any(part.picture == 7 for part in one.parts)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "none"])
def test_pictures_epochs_and_seeds_differ(name: str) -> None:
    def drawn(seed: int, epoch: int) -> list[str]:
        batch = np.arange(20)
        return [str(draw(BOX_POLICIES[name], batch, i, seed=seed, epoch=epoch)) for i in batch]

    first = drawn(0, 0)
    assert first != drawn(0, 1)
    assert first != drawn(1, 0)
    changes = {text.split("flip=", 1)[1] for text in first}
    assert len(changes) > 1


def test_a_picture_is_changed_alike_beside_any_others() -> None:
    policy = BOX_POLICIES["detection"]
    one = draw(policy, np.array([1, 2, 3]), 1, seed=0, epoch=0)
    other = draw(policy, np.array([2, 9, 8, 7]), 0, seed=0, epoch=0)
    assert str(one) == str(other)


def test_what_one_policy_draws_another_draws_too() -> None:
    batch = np.arange(8)
    for row in range(8):
        one, more = (
            draw(BOX_POLICIES[name], batch, row, seed=0, epoch=0) for name in ("detection", "ssd")
        )
        assert one.parts[0].flip == more.parts[0].flip
        assert one.parts[0].gains == more.parts[0].gains


def test_ranges_are_the_policys() -> None:
    policy = dataclasses.replace(BOX_POLICIES["ssd"], scale=(0.5, 2.0), aspect=(0.8, 1.25))
    batch = np.arange(600)
    parts = [draw(policy, batch, row, seed=0, epoch=0).parts[0] for row in batch]
    scale = np.array([part.scale for part in parts])
    sides, aspect = np.sqrt(scale.prod(axis=1)), scale[:, 1] / scale[:, 0]
    np.testing.assert_allclose((sides.min(), sides.max()), (0.5, 2), rtol=0.02)
    np.testing.assert_allclose((aspect.min(), aspect.max()), (0.8, 1.25), rtol=0.02)
    assert abs(np.median(np.log(sides))) < 0.1
    assert abs(np.mean([part.flip for part in parts]) - 0.5) < 0.06
    zoom = np.array([part.zoom for part in parts])
    assert abs((zoom > 1).mean() - 0.5) < 0.06
    assert 3.9 < zoom.max() <= 4
    assert {part.overlap for part in parts} == set(OVERLAPS)
    contrast = np.array([part.contrast for part in parts])
    assert abs((contrast != 1).mean() - 0.5) < 0.06
    np.testing.assert_allclose((contrast.min(), contrast.max()), (0.5, 1.5), rtol=0.02)


def test_contrast_that_stays_may_be_turned_round() -> None:
    batch = np.arange(600)
    plain = BoxPolicy(contrast=0.4)
    turned = dataclasses.replace(plain, negative=0.3)
    contrast, other = (
        np.array([draw(policy, batch, row, seed=0, epoch=0).parts[0].contrast for row in batch])
        for policy in (turned, plain)
    )
    assert abs((contrast == -1).mean() - 0.3) < 0.06
    assert set(other[contrast == -1]) == {1.0}
    np.testing.assert_array_equal(contrast[contrast != -1], other[contrast != -1])


def test_a_negative_keeps_the_mean() -> None:
    picture = np.full((2, 2, 3), 90, np.uint8)
    picture[0] = 130
    made = recoloured(picture, dataclasses.replace(STILL, contrast=-1.0))
    np.testing.assert_array_equal(made[:, :, 1], [[90, 90], [130, 130]])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 20])
def test_a_mosaic_is_of_the_batch_and_has_its_own_picture_once(count: int) -> None:
    policy = dataclasses.replace(BOX_POLICIES["mosaic"], mosaic=1.0)
    batch = np.arange(100, 100 + count)
    places = set()
    for row in range(count):
        for epoch in range(40 // count):
            pictures = [p.picture for p in draw(policy, batch, row, seed=0, epoch=epoch).parts]
            assert set(pictures) <= set(batch.tolist())
            assert len(set(pictures)) == min(count, 4)
            assert count == 1 or pictures.count(100 + row) == 1
            places.add(pictures.index(100 + row))
    assert count == 1 or places == {0, 1, 2, 3}


def test_half_of_the_pictures_are_mosaics() -> None:
    batch = np.arange(400)
    drawn = [draw(BOX_POLICIES["mosaic"], batch, row, seed=0, epoch=0) for row in batch]
    centres = np.array([one.centre for one in drawn if one.centre is not None])
    assert abs(len(centres) / 400 - 0.5) < 0.08
    assert 0.25 <= centres.min() < 0.27
    assert 0.73 < centres.max() <= 0.75


# --- Boxes and pixels -----------------------------------------------------------------------------


@pytest.mark.parametrize("preprocessing", [STRETCH, PAD], ids=["stretch", "pad"])
@pytest.mark.parametrize("name", NAMES)
def test_a_box_lies_on_the_pixels_that_it_bounds(name: str, preprocessing: Preprocessing) -> None:
    # What is red stays red but in a negative.
    policy = dataclasses.replace(BOX_POLICIES[name], negative=0.0)
    batch, met = np.arange(len(SIZES)), 0
    for epoch in range(8):
        for row in range(len(batch)):
            drawn = draw(policy, batch, row, seed=1, epoch=epoch)
            made = augmentation.augment(policy, drawn, painted, preprocessing)
            assert made.pixels.shape == preprocessing.input_shape
            assert made.pixels.dtype == np.uint8
            assert made.boxes.dtype == np.float32
            met += _check_rectangles(drawn, made, preprocessing)
    assert met > 25


def _check_rectangles(
    drawn: SampledParameters, made: augmentation.Augmented, preprocessing: Preprocessing
) -> int:
    """Compare what is painted in each part with its box; how many there were."""
    pixels = made.boxes * np.tile([preprocessing.height, preprocessing.width], 2)
    met = 0
    for part, area in zip(drawn.parts, rectangles(drawn, preprocessing), strict=True):
        seen = red_in(made.pixels, area)
        boxes = pixels[made.labels == part.picture]
        if not len(boxes):
            continue  # less than a tenth of it is left
        assert len(boxes) == 1
        assert seen is not None
        np.testing.assert_allclose(boxes[0], seen, atol=1.5, err_msg=str(part))
        met += 1
    return met


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ssd"])
def test_pixels_of_boxless_parts_are_few(name: str) -> None:
    """Nothing is lost that could be seen: what has no box is a sliver of it."""
    policy, batch = BOX_POLICIES[name], np.arange(len(SIZES))
    for epoch in range(8):
        for row in range(len(batch)):
            drawn = draw(policy, batch, row, seed=2, epoch=epoch)
            made = augmentation.augment(policy, drawn, painted, STRETCH)
            for part, area in zip(drawn.parts, rectangles(drawn, STRETCH), strict=True):
                if part.picture not in made.labels.tolist():
                    shares = painted(part.picture)[1].boxes[0]
                    whole = np.prod((shares[2:] - shares[:2]) * (96, 128) * part.scale)
                    seen = red_in(made.pixels, area)
                    left = 0 if seen is None else np.prod(seen[2:] - seen[:2])
                    assert left < 0.15 * whole * max(1, 4 * (drawn.centre is not None))


def test_a_placement_by_hand() -> None:
    place = Placement(top=-10, left=20, height=40, width=80)
    boxes = np.array([[0.25, 0.5, 0.5, 0.75]])
    np.testing.assert_allclose(place.boxes(boxes), [[0, 60, 10, 80]])
    mirrored = dataclasses.replace(place, flip=True)
    np.testing.assert_allclose(mirrored.boxes(boxes), [[0, 40, 10, 60]])
    for one in (place, mirrored):
        np.testing.assert_allclose(one.shares(one.boxes(boxes)), boxes)


def test_a_flip_is_exact() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    part = dataclasses.replace(STILL, flip=True)
    area = Rectangle(top=0, left=0, bottom=96, right=128)
    found = objects([[0.1, 0.2, 0.3, 0.4]])
    made = make_tile(BoxPolicy(flip=True), part, area, picture, found, STRETCH)
    np.testing.assert_array_equal(made.pixels, picture[:, ::-1])
    expected = np.array([[0.1, 0.6, 0.3, 0.8]]) * [96, 128, 96, 128]
    np.testing.assert_allclose(made.boxes, expected, rtol=1e-6)


def test_twice_as_large_is_cropped_and_half_as_large_is_surrounded() -> None:
    found = objects([[0.0, 0.0, 0.5, 0.5]])
    large = tile(dataclasses.replace(STILL, scale=(2.0, 2.0), place=(0.0, 0.25)), found)
    np.testing.assert_allclose(large.boxes, [[0, 0, 100, 75]])  # 25 of its 100 to the left are out
    assert large.seen == Rectangle(top=0, left=0, bottom=100, right=100)
    small = tile(dataclasses.replace(STILL, zoom=2.0, place=(1.0, 0.5)), found)
    np.testing.assert_allclose(small.boxes, [[50, 25, 75, 50]])
    assert small.seen == Rectangle(top=50, left=25, bottom=100, right=75)


@pytest.mark.parametrize(("preprocessing", "outside"), [(STRETCH, 127), (PAD, 0)])
def test_outside_is_grey_or_what_an_evaluation_pads_with(
    preprocessing: Preprocessing, outside: int
) -> None:
    part = dataclasses.replace(STILL, zoom=2.0)
    picture = np.full((96, 128, 3), 200, np.uint8)
    made = augmentation.augment(
        BoxPolicy(),
        SampledParameters(parts=(part,), centre=None),
        lambda _: (picture, objects([])),
        preprocessing,
    )
    assert (made.pixels[24:72, 32:96] == 200).all()
    assert (made.pixels == 200).sum() == 48 * 64 * 3
    assert (made.pixels == outside).sum() == (96 * 128 - 48 * 64) * 3
    assert made.boxes.shape == (0, 4)


def test_a_mosaic_fills_its_rectangles() -> None:
    policy = dataclasses.replace(BOX_POLICIES["mosaic"], mosaic=1.0, recolour=0.0)
    grey = [np.full((*size, 3), 10 + 40 * i, np.uint8) for i, size in enumerate(SIZES)]
    for preprocessing in (STRETCH, PAD):
        for row in range(5):
            drawn = draw(policy, np.arange(5), row, seed=0, epoch=0)
            made = augmentation.augment(
                policy, drawn, lambda i: (grey[i], objects([])), preprocessing
            )
            for part, area in zip(drawn.parts, rectangles(drawn, preprocessing), strict=True):
                assert (made.pixels[area.slices] == 10 + 40 * part.picture).all()


def test_shrinking_is_antialiased() -> None:
    board = (np.indices((400, 400)).sum(axis=0) % 2 * 255).astype(np.uint8)
    picture = np.repeat(board[..., None], 3, axis=-1)
    area = Rectangle(top=0, left=0, bottom=100, right=100)
    square = Preprocessing(height=100, width=100, channels=3, resize="stretch")
    made = make_tile(BoxPolicy(), STILL, area, picture, objects([]), square)
    assert 126 <= made.pixels.min() <= made.pixels.max() <= 129


# --- What is left of objects ----------------------------------------------------------------------


def test_what_is_cut_is_kept_ignored_or_dropped_by_its_share() -> None:
    # Twice as large, from the middle: 25 to 75 of 100 pixels are left.
    boxes = np.array([[40, 0, 60, 40], [40, 0, 60, 30], [40, 0, 60, 26], [40, 0, 60, 20]]) / 100
    part = dataclasses.replace(STILL, scale=(2.0, 2.0))
    policy = BoxPolicy(kept=0.3, ignored=0.1)
    made = tile(part, objects(boxes), policy)
    assert made.labels.tolist() == [0, 1]  # 15/40, 5/30; 1/26 and nothing
    assert made.crowd.tolist() == [False, True]
    np.testing.assert_allclose(made.boxes, [[30, 0, 70, 30], [30, 0, 70, 10]], atol=1e-4)


def test_a_crowd_stays_one_as_long_as_any_of_it_is_left() -> None:
    boxes = np.array([[40, 0, 60, 26], [40, 0, 60, 20]]) / 100
    part = dataclasses.replace(STILL, scale=(2.0, 2.0))
    made = tile(part, objects(boxes, crowd=[True, True]))
    assert made.labels.tolist() == [0]
    assert made.crowd.tolist() == [True]


def test_what_has_become_too_small_is_ignored() -> None:
    boxes = np.array([[10, 10, 12.1, 50], [10, 10, 11.9, 50], [10, 10, 50, 11], [20, 20, 20, 40]])
    made = tile(STILL, objects(boxes / 100))
    assert made.labels.tolist() == [0, 1, 2]  # the last one has no area
    assert made.crowd.tolist() == [False, True, True]


def test_a_mosaic_cuts_boxes_at_its_seams() -> None:
    square = Preprocessing(height=100, width=100, channels=3, resize="stretch")
    parts = tuple(dataclasses.replace(STILL, place=(0.0, 0.0), picture=i) for i in range(4))
    drawn = SampledParameters(parts=parts, centre=(0.4, 0.5))
    found = objects([[0.1, 0.2, 0.3, 0.6]])
    picture = np.zeros((100, 100, 3), np.uint8)
    made = augmentation.augment(BoxPolicy(), drawn, lambda _: (picture, found), square)
    expected = [[10, 20, 30, 50], [10, 70, 30, 100], [50, 20, 70, 50], [50, 70, 70, 100]]
    np.testing.assert_allclose(made.boxes * 100, expected, rtol=1e-5)
    assert not made.crowd.any()


# --- Masks ----------------------------------------------------------------------------------------


def masked(found: Objects, *planes: np.ndarray) -> Objects:
    return dataclasses.replace(found, masks=tuple(lambda plane=plane: plane for plane in planes))


def painted_mask(index: int) -> tuple[np.ndarray, Objects]:
    picture, found = painted(index)
    return picture, masked(found, picture[..., 0] > 0)


@pytest.mark.parametrize("preprocessing", [STRETCH, PAD], ids=["stretch", "pad"])
@pytest.mark.parametrize("name", NAMES)
def test_masks_move_with_pixels(name: str, preprocessing: Preprocessing) -> None:
    policy, batch, met = BOX_POLICIES[name], np.arange(len(SIZES)), 0
    for epoch in range(6):
        for row in range(len(batch)):
            drawn = draw(policy, batch, row, seed=1, epoch=epoch)
            plain = augmentation.augment(policy, drawn, painted, preprocessing)
            made = augmentation.augment(policy, drawn, painted_mask, preprocessing, masks=True)
            assert plain.masks is None
            assert made.masks is not None
            for key in ("pixels", "boxes", "labels"):
                np.testing.assert_array_equal(getattr(plain, key), getattr(made, key))
            assert made.masks.dtype == np.uint8
            masks = unpacked(made.masks, preprocessing.width)
            assert masks.shape == (len(made.labels), *preprocessing.input_shape[:2])
            sides = np.tile([preprocessing.height, preprocessing.width], 2)
            for box, own, crowd in zip(made.boxes * sides, masks, made.crowd, strict=True):
                if not own.any():
                    assert crowd
                    continue
                y, x = np.nonzero(own)
                found = [y.min(), x.min(), y.max() + 1, x.max() + 1]
                np.testing.assert_allclose(found, box, atol=1.01)
                assert own.sum() == (found[2] - found[0]) * (found[3] - found[1])
                met += 1
    assert met > 25


def test_a_mask_is_the_nearest_pixels() -> None:
    plane = np.random.default_rng(0).random((100, 100)) < 0.5
    found = masked(objects([[0, 0, 1, 1]]), plane)
    whole = tile(STILL, found, masks=True)
    assert whole.masks is not None
    np.testing.assert_array_equal(unpacked(whole.masks, 100), plane[None])
    small = tile(dataclasses.replace(STILL, scale=(0.5, 0.2)), found, masks=True)
    assert small.masks is not None
    np.testing.assert_array_equal(unpacked(small.masks[0], 20), plane[1::2, 2::5])
    double = dataclasses.replace(STILL, scale=(2.0, 2.0), place=(1.0, 0.0), flip=True)
    part = tile(double, found, masks=True)
    assert part.masks is not None
    expected = plane[50:, 50:].repeat(2, axis=0).repeat(2, axis=1)[:, ::-1]
    np.testing.assert_array_equal(unpacked(part.masks[0], 100), expected)


def test_a_mask_of_which_nothing_is_left_is_ignored_and_others_are_not_looked_at() -> None:
    corner = np.zeros((100, 100), bool)
    corner[:10, :10] = True
    asked = []

    def plane(number: int) -> np.ndarray:
        asked.append(number)
        return corner if number else ~corner

    boxes = np.array([[20, 20, 80, 80], [0, 0, 80, 80], [0, 0, 20, 20]]) / 100
    found = dataclasses.replace(objects(boxes), masks=tuple(lambda n=n: plane(n) for n in range(3)))
    part = dataclasses.replace(STILL, scale=(2.0, 2.0))  # 25 to 75 are left
    made = tile(part, found, masks=True)
    assert made.labels.tolist() == [0, 1]
    assert made.crowd.tolist() == [False, True]
    assert made.masks is not None
    assert unpacked(made.masks, 100).sum(axis=(1, 2)).tolist() == [10_000, 0]
    assert asked == [0, 1]


def test_masks_of_boxes_alone_are_refused_and_none_are_no_object() -> None:
    with pytest.raises(InputError, match="boxes alone"):
        tile(STILL, objects([[0, 0, 1, 1]]), masks=True)
    made = tile(STILL, masked(objects([])), masks=True)
    assert made.masks is not None
    assert unpacked(made.masks, 100).shape == (0, 100, 100)


# --- SSD's windows --------------------------------------------------------------------------------


def test_the_first_window_that_overlaps_enough_is_taken() -> None:
    # (height, width, top, left) from 0 to 1; a side is 0.3 + 0.7 of it.
    tries = np.array([[0, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0], [2 / 7, 2 / 7, 0, 0]])
    found = objects([[0.0, 0.0, 0.4, 0.4]])
    part = dataclasses.replace(STILL, tries=tries)
    cases = {
        0.0: [[0, 0, 100, 100]],  # the third, 0.3 wide; the second is too flat
        0.5: [[0, 0, 100, 100]],  # likewise, 9/16
        0.6: [[0, 0, 80, 80]],  # the fourth, 0.5 wide, 16/25
        0.7: [[0, 0, 40, 40]],  # none: all of the picture
    }
    for overlap, expected in cases.items():
        made = tile(dataclasses.replace(part, overlap=overlap), found)
        np.testing.assert_allclose(made.boxes, expected, atol=1, err_msg=str(overlap))
    assert tile(dataclasses.replace(part, overlap=0.6), objects([])).boxes.shape == (0, 4)
    crowd = tile(dataclasses.replace(part, overlap=0.6), objects(found.boxes, crowd=[True]))
    np.testing.assert_allclose(crowd.boxes, [[0, 0, 40, 40]], atol=1e-4)


def test_a_window_is_sought_in_the_mirrored_picture() -> None:
    tries = np.array([[0.0, 0, 0, 0]])
    found = objects([[0.0, 0.7, 0.3, 1.0]])
    part = dataclasses.replace(STILL, tries=tries, overlap=0.9)
    np.testing.assert_allclose(tile(part, found).boxes, [[0, 70, 30, 100]], atol=1e-4)
    mirrored = tile(dataclasses.replace(part, flip=True), found)
    np.testing.assert_allclose(mirrored.boxes, [[0, 0, 100, 100]], atol=1)


# --- Colours --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Brightness", "Contrast", "Color"])
@pytest.mark.parametrize("factor", [0.5, 0.8, 1.4])
def test_colours_are_pillows(name: str, factor: float) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    changes: dict[str, Any] = {name.lower().replace("color", "saturation"): factor}
    made = recoloured(picture, dataclasses.replace(STILL, **changes))
    expected = getattr(ImageEnhance, name)(Image.fromarray(picture)).enhance(factor)
    np.testing.assert_allclose(made.astype(int), np.asarray(expected, int), atol=1)
    assert not np.array_equal(made, picture)


def test_gains_are_factors_and_clipped() -> None:
    picture = np.full((2, 3, 3), 100, np.uint8)
    part = dataclasses.replace(STILL, gains=(0.5, 1.0, 3.0))
    np.testing.assert_array_equal(recoloured(picture, part)[1, 2], [50, 100, 255])
    assert recoloured(picture, STILL) is picture


# --- As an evaluation sees pictures ---------------------------------------------------------------


@pytest.mark.parametrize("preprocessing", [STRETCH, PAD], ids=["stretch", "pad"])
@pytest.mark.parametrize("size", SIZES)
def test_nothing_drawn_is_what_an_evaluation_sees(
    size: tuple[int, int], preprocessing: Preprocessing
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = objects([[0.1, 0.2, 0.6, 0.9], [0.3, 0.0, 1.0, 0.5]])
    drawn = draw(BOX_POLICIES["none"], np.array([0]), 0, seed=0, epoch=0)
    made = augmentation.augment(
        BOX_POLICIES["none"], drawn, lambda _: (picture, found), preprocessing
    )
    np.testing.assert_array_equal(made.pixels, fit_array(picture, preprocessing))
    np.testing.assert_array_equal(made.pixels, to_network(picture, preprocessing))
    expected = boxes_to_network(found.boxes, size, preprocessing)
    np.testing.assert_allclose(made.boxes, expected, atol=1e-6)


@pytest.mark.parametrize("preprocessing", [STRETCH, PAD], ids=["stretch", "pad"])
@pytest.mark.parametrize("size", SIZES)
def test_boxes_go_to_the_network_and_back(
    size: tuple[int, int], preprocessing: Preprocessing
) -> None:
    boxes = np.random.default_rng(0).random((2, 5, 4)).astype(np.float32)
    there = boxes_to_network(boxes, size, preprocessing)
    assert there.shape == boxes.shape
    assert there.dtype == np.float32
    np.testing.assert_allclose(boxes_from_network(there, size, preprocessing), boxes, atol=1e-6)
    if preprocessing is STRETCH:
        np.testing.assert_allclose(there, boxes, atol=1e-6)


def test_a_small_picture_lies_in_the_middle_of_padding() -> None:
    assert evaluation_placement((81, 75), PAD) == Placement(top=7, left=26, height=81, width=75)
    box = boxes_to_network(np.array([0, 0, 1, 1]), (48, 64), PAD)
    np.testing.assert_allclose(box, [0.25, 0.25, 0.75, 0.75])
    assert evaluation_placement((97, 75), PAD) == Placement(top=0, left=0, height=96, width=128)


def test_cropped_and_grey_pictures_are_refused() -> None:
    crop = dataclasses.replace(STRETCH, resize="crop")
    with pytest.raises(InputError, match="not 'crop'"):
        to_network(np.zeros((9, 9, 3), np.uint8), crop)
    with pytest.raises(InputError, match="not 'crop'"):
        boxes_to_network(np.zeros((1, 4)), (9, 9), crop)
    with pytest.raises(InputError, match="3 channels"):
        evaluation_placement((9, 9), dataclasses.replace(STRETCH, channels=1))
