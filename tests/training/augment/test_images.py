"""Augmentation: what is drawn, what it does to pixels, Pillow's operations, other backends."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from backends import Backends
from marks import IN_CI
from PIL import Image, ImageEnhance, ImageOps

from kerascnn.errors import InputError
from training.augment import policies
from training.augment.images import augment
from training.augment.policies import (
    OPERATIONS,
    POLICIES,
    Policy,
    draw,
)

NAMES = sorted(POLICIES)


def pictures(count: int, height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    """Bytes as floats: a slope of low contrast under noise, so that tables have work to do."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(30, 180, width)[None, None, :, None]
    noise = rng.integers(0, 50, (count, height, width, channels))
    return np.floor(slope + noise).astype(np.float32)


def drawn(policy: Policy, sizes: Any, target: tuple[int, int], seed: int = 0) -> dict[str, Any]:
    return draw(policy, np.random.default_rng(seed), np.array(sizes), target)


def changed(
    policy: Policy, batch: np.ndarray, rows: Mapping[str, Any], size: tuple[int, int]
) -> np.ndarray:
    rows = {key: np.asarray(value) for key, value in rows.items()}
    return keras.ops.convert_to_numpy(augment(policy, batch, rows, size))


# --- What is drawn --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_row_depends_on_the_generator_and_its_number_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = np.random.default_rng(3).integers(200, 500, (7, 2))
    whole = drawn(POLICIES[name], sizes, (64, 64))
    others = np.where(np.arange(7)[:, None] == 4, sizes, 333)
    monkeypatch.setattr(policies, "_ROWS_AT_ONCE", 2)
    fewer = drawn(POLICIES[name], others[:5], (64, 64))
    assert whole.keys() == fewer.keys()
    for key, rows in whole.items():
        assert len(rows) == 7, key
        np.testing.assert_array_equal(fewer[key][4], rows[4], err_msg=key)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "none"])
def test_pictures_and_seeds_differ(name: str) -> None:
    rows = drawn(POLICIES[name], np.full((40, 2), 300), (64, 64))
    again = drawn(POLICIES[name], np.full((40, 2), 300), (64, 64), seed=1)
    for key, values in rows.items():
        assert len(np.unique(values, axis=0)) > 1, key
        assert not np.array_equal(values, again[key]), key


def test_what_one_policy_draws_for_a_window_another_draws_too() -> None:
    plain, more = (
        drawn(POLICIES[name], np.full((9, 2), 300), (64, 64)) for name in ("inception", "modern")
    )
    np.testing.assert_array_equal(plain["window"], more["window"])
    np.testing.assert_array_equal(plain["flip"], more["flip"])


def test_no_pictures_draw_empty_rows() -> None:
    rows = drawn(POLICIES["modern"], np.zeros((0, 2)), (64, 64))
    assert rows["window"].shape == (0, 4)
    assert rows["operations"].shape == (0, 2)


@pytest.mark.parametrize("sizes", [[3, 4], [[3, 4, 3]], [[0, 4]]])
def test_sizes_that_are_none_are_refused(sizes: Any) -> None:
    with pytest.raises(InputError, match="heights and widths"):
        drawn(POLICIES["pictures"], sizes, (64, 64))


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("pictures", 256, 256), ("alexnet", 256, 256), ("vgg", 256, 512), ("resnet", 256, 480)],
)
def test_a_window_of_a_resized_picture(name: str, low: int, high: int) -> None:
    count = 2000
    window = drawn(POLICIES[name], np.tile([500, 1000], (count, 1)), (224, 224))["window"]
    top, left, height, width = window.T
    side = 224 / height  # the shorter one; the window is square in pixels
    np.testing.assert_allclose(height, 2 * width, rtol=1e-6)
    np.testing.assert_allclose((side.min(), side.max()), (low, high), rtol=0.01)
    np.testing.assert_allclose(side, np.round(side), rtol=1e-6)
    np.testing.assert_allclose(side.mean(), (low + high) / 2, rtol=0.02)
    for first, share, length in ((top, height, side), (left, width, 2 * side)):
        assert first.min() >= 0
        assert (first + share).max() <= 1 + 1e-6
        np.testing.assert_allclose(first * length, np.round(first * length), atol=1e-3)
        assert (first * length).max() > 0.9 * (length - 224).max()


def test_windows_of_a_share_of_the_area() -> None:
    window = drawn(POLICIES["inception"], np.tile([500, 500], (3000, 1)), (224, 224))["window"]
    height, width = window[:, 2] * 500, window[:, 3] * 500
    np.testing.assert_allclose(height, np.round(height), atol=1e-3)
    np.testing.assert_allclose(width, np.round(width), atol=1e-3)
    area = window[:, 2] * window[:, 3]
    assert 0.078 < area.min() < 0.1
    assert 0.95 < area.max() <= 1
    aspect = width / height
    assert 0.74 < aspect.min() < 0.78
    assert 1.29 < aspect.max() < 1.35
    assert abs(np.median(np.log(aspect))) < 0.03
    assert window[:, :2].min() == 0
    assert (window[:, :2] + window[:, 2:]).max() <= 1 + 1e-6


def test_where_no_window_fits_the_middle_is_taken() -> None:
    window = drawn(POLICIES["inception"], [[30, 3000], [3000, 30]], (224, 224))["window"]
    wide = np.array([0, (3000 - 40) // 2 / 3000, 1, 40 / 3000])
    np.testing.assert_allclose(window, [wide, wide[[1, 0, 3, 2]]], rtol=1e-6)


def test_shapes_are_held_against_the_networks() -> None:
    window = drawn(POLICIES["inception"], np.tile([300, 300], (500, 1)), (100, 200))["window"]
    aspect = window[:, 3] / window[:, 2] / 2
    assert 0.73 < aspect.min() < 0.8
    assert 1.25 < aspect.max() < 1.37


def test_colours_have_the_spread_of_imagenets() -> None:
    rows = drawn(POLICIES["alexnet"], np.full((20000, 2), 300), (224, 224))
    vectors, values = policies._PCA_DIRECTIONS, policies._PCA_DEVIATIONS
    expected = 25.5**2 * vectors @ np.diag(values**2) @ vectors.T
    np.testing.assert_allclose(np.cov(rows["colour"].T), expected, rtol=0.05, atol=0.3)
    np.testing.assert_allclose(rows["colour"].mean(axis=0), 0, atol=0.1)


def test_operations_come_equally_often() -> None:
    codes = drawn(POLICIES["modern"], np.full((28000, 2), 300), (224, 224))["operations"]
    assert codes.shape == (28000, 2)
    counts = np.stack([np.bincount(slot, minlength=28) for slot in codes.T])
    assert counts.shape == (2, 28)
    np.testing.assert_allclose(counts, 1000, rtol=0.15)


def test_one_of_four_pictures_loses_a_box() -> None:
    rows = drawn(POLICIES["modern"], np.full((8000, 2), 300), (100, 100))
    top, left, bottom, right = rows["erased"].T
    hit = bottom > top
    assert abs(hit.mean() - 0.25) < 0.02
    area = ((bottom - top) * (right - left))[hit] / 1e4
    assert 0.018 < area.min() < 0.03
    assert 0.38 < area.max() < 0.41
    assert rows["erased"].min() == 0
    assert rows["erased"].max() == 100


# --- What is done to pixels -----------------------------------------------------------------------


def test_nothing_is_untouched() -> None:
    batch = pictures(2, 8, 8, 3)
    assert draw(POLICIES["none"], np.random.default_rng(0), np.full((2, 2), 8), (8, 8)) == {}
    assert augment(POLICIES["none"], batch, {}, (8, 8)) is batch


@pytest.mark.parametrize("channels", [1, 3])
def test_a_window_at_whole_pixels_is_a_slice(channels: int) -> None:
    batch = pictures(3, 16, 20, channels)
    places = np.array([[0, 0], [8, 12], [3, 5]])
    window = np.concatenate([places / [16, 20], np.full((3, 2), 8) / [16, 20]], axis=1)
    rows = {"window": window.astype(np.float32), "flip": np.array([0, 0, 1], np.float32)}
    result = changed(POLICIES["pictures"], batch, rows, (8, 8))
    for i, (top, left) in enumerate(places):
        cut = batch[i, top : top + 8, left : left + 8]
        expected = cut[:, ::-1] if i == 2 else cut
        np.testing.assert_allclose(result[i], expected, atol=1e-3)


def test_a_picture_cut_already_is_flipped_alone() -> None:
    batch = pictures(2, 8, 8, 3)
    flip = np.array([0, 1], np.float32)
    expected = np.stack([batch[0], batch[1, :, ::-1]])
    np.testing.assert_array_equal(
        changed(POLICIES["pictures"], batch, {"flip": flip}, (8, 8)), expected
    )
    whole = np.tile(np.array([0, 0, 1, 1], np.float32), (2, 1))
    rows = {"flip": flip, "window": whole}
    np.testing.assert_allclose(
        changed(POLICIES["pictures"], batch, rows, (8, 8)), expected, atol=1e-4
    )


def test_a_shift_is_a_crop_of_the_padded_picture() -> None:
    batch = pictures(40, 32, 32, 3)
    rows = drawn(POLICIES["cifar"], np.full((40, 2), 32), (32, 32))
    assert {*rows} == {"flip", "shift"}
    assert {*rows["shift"].ravel()} == set(range(-4, 5))
    result = changed(POLICIES["cifar"], batch, rows, (32, 32))
    padded = np.pad(batch, ((0, 0), (4, 4), (4, 4), (0, 0)))
    for i, (down, right) in enumerate(rows["shift"].astype(int)):
        cut = padded[i, 4 - down : 36 - down, 4 - right : 36 - right]
        np.testing.assert_array_equal(result[i], cut[:, ::-1] if rows["flip"][i] else cut)


@pytest.mark.parametrize("size", [(8, 8), (40, 31), (7, 64)])
def test_a_whole_picture_is_resized_as_by_keras(size: tuple[int, int]) -> None:
    batch = pictures(2, 16, 20, 3)
    expected = keras.ops.image.resize(batch, size, "bilinear", antialias=False)
    result = changed(POLICIES["none"], batch, {}, size)
    np.testing.assert_allclose(result, keras.ops.convert_to_numpy(expected), atol=1e-3)


def test_a_window_is_resized_by_half_pixel_centres() -> None:
    batch = np.arange(8, dtype=np.float32).reshape(1, 1, 8, 1)
    rows = {"window": np.array([[0, 0.25, 1, 0.5]], np.float32)}  # pixels 2 to 6
    result = changed(POLICIES["pictures"], batch, rows, (1, 8))
    np.testing.assert_allclose(result.ravel(), [1.75, 2.25, 2.75, 3.25, 3.75, 4.25, 4.75, 5.25])


@pytest.mark.parametrize(
    ("outside", "keras_name"), [("black", "constant"), ("mirrored", "reflect"), ("edge", "nearest")]
)
def test_resampling_is_keras_affine_transform(outside: str, keras_name: str) -> None:
    rng = np.random.default_rng(0)
    batch = pictures(6, 20, 24, 3)
    matrices = np.tile([1.0, 0, 0, 0, 1, 0], (6, 1)) + rng.normal(0, 0.4, (6, 6))
    matrices[:, [2, 5]] += rng.uniform(-30, 30, (6, 2))
    matrices = matrices.astype(np.float32)
    eight = np.concatenate([matrices, np.zeros((6, 2), np.float32)], axis=1)
    expected = keras.ops.image.affine_transform(batch, eight, "bilinear", fill_mode=keras_name)
    rows = {"matrix": matrices.reshape(-1, 2, 3)}
    result = changed(Policy(outside=outside), batch, rows, (20, 24))
    expected = keras.ops.convert_to_numpy(expected)
    assert expected.std() > 10
    np.testing.assert_allclose(result, expected, atol=1e-3)


@pytest.mark.parametrize("outside", ["black", "mirrored", "edge"])
def test_a_matrix_comes_before_the_window(outside: str) -> None:
    """The way by rows and columns, and the general one, agree."""
    policy = dataclasses.replace(POLICIES["vgg"], pca=0.0, outside=outside)
    batch = pictures(5, 30, 40, 3)
    rows = drawn(policy, np.full((5, 2), 300), (24, 24))
    still = np.tile(np.eye(3, dtype=np.float32)[:2], (5, 1, 1))
    one, two = (changed(policy, batch, r, (24, 24)) for r in (rows, rows | {"matrix": still}))
    np.testing.assert_allclose(one, two, atol=2e-3)


@pytest.mark.parametrize(("name", "strength"), [("digits", 1.0), ("scenes", 0.5)])
def test_how_far_digits_are_moved(name: str, strength: float) -> None:
    matrix = drawn(POLICIES[name], np.full((4000, 2), 28), (28, 28))["matrix"]
    angle = np.degrees(np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    np.testing.assert_allclose(np.abs(angle).max(), 15 * strength, rtol=0.01)
    zoom = np.hypot(matrix[:, 0, 0], matrix[:, 1, 0])
    np.testing.assert_allclose(
        (zoom.min(), zoom.max()), (1 - 0.15 * strength, 1 + 0.15 * strength), rtol=0.01
    )
    middle = matrix @ [13.5, 13.5, 1] - 13.5
    np.testing.assert_allclose(np.abs(middle).max(axis=0), 0.09 * 28 * strength, rtol=0.01)
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    shear = matrix[:, 0, 1] / (matrix[:, 1, 1] / cos) + sin
    np.testing.assert_allclose(np.abs(shear).max(), 0.2 * strength, rtol=0.01)


def test_outside_of_a_digit_is_black_and_of_a_scene_itself() -> None:
    batch = np.full((2, 28, 28, 1), 200, np.float32)
    matrix = np.array([[[1, 0, 5], [0, 1, 0]], [[1, 0, -5], [0, 1, 0]]], np.float32)
    result = changed(POLICIES["digits"], batch, {"matrix": matrix}, (28, 28))
    assert (result[0, :, :23] == 200).all()
    assert (result[0, :, 23:] == 0).all()
    assert (result[1, :, :5] == 0).all()
    result = changed(POLICIES["scenes"], batch, {"matrix": matrix}, (28, 28))
    np.testing.assert_array_equal(result, batch)


@pytest.mark.parametrize("channels", [1, 3])
def test_negatives_gains_and_colours(channels: int) -> None:
    batch = pictures(2, 6, 6, channels)
    rows = {
        "negative": np.array([0, 1], np.float32),
        "gains": np.array([[0.7, 1, 1.3], [1.3, 0.9, 0.8]], np.float32),
    }
    expected = np.stack([batch[0], 255 - batch[1]]) * rows["gains"][:, None, None, :channels]
    result = changed(POLICIES["scenes"], batch, rows, (6, 6))
    np.testing.assert_allclose(result, expected.clip(0, 255), rtol=1e-6)
    colour = np.array([[3, 6, -12], [100, 300, 200]], np.float32)
    added = colour if channels == 3 else np.array([[-1], [200]])
    result = changed(POLICIES["alexnet"], batch, {"colour": colour}, (6, 6))
    np.testing.assert_allclose(result, (batch + added[:, None, None]).clip(0, 255), rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_erased_box_is_noise_and_the_rest_untouched(channels: int) -> None:
    batch = np.full((3, 32, 24, channels), 300, np.float32)  # no byte
    boxes = np.array([[2, 3, 30, 20], [0, 0, 0, 0], [2, 3, 30, 20]], np.int32)
    rows = {"erased": boxes, "noise": np.array([0, 5, 9], np.int32)}
    result = changed(Policy(), batch, rows, (32, 24))
    inside = np.zeros((32, 24), bool)
    inside[2:30, 3:20] = True
    np.testing.assert_array_equal((result != 300).all(axis=-1), [inside, inside & False, inside])
    noise = result[[0, 2]][:, inside]
    assert noise.min() >= 0
    assert noise.max() <= 255
    np.testing.assert_allclose((noise.mean(), noise.std()), (127.5, 73.6), rtol=0.1)
    assert (noise[0] != noise[1]).mean() > 0.9


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_every_policy_gives_pictures(name: str, channels: int) -> None:
    stored = (36, 40) if POLICIES[name].crops else (32, 32)
    batch = pictures(8, *stored, channels)
    rows = drawn(POLICIES[name], np.tile([300, 400], (8, 1)), (32, 32))
    result = changed(POLICIES[name], batch, rows, (32, 32))
    assert result.shape == (8, 32, 32, channels)
    assert result.dtype == np.float32
    assert result.min() >= 0
    assert result.max() <= 255.001
    assert name == "none" or not np.array_equal(result[0], result[1])


# --- RandAugment ----------------------------------------------------------------------------------


def by_pillow(picture: np.ndarray, name: str, sign: int, magnitude: float) -> np.ndarray:
    """One operation by Pillow, with AutoAugment's ranges."""
    image = Image.fromarray(picture.astype(np.uint8).squeeze())
    share = magnitude / 10
    grey = 128 if image.mode == "L" else (128, 128, 128)

    def affine(*matrix: float) -> Image.Image:
        return image.transform(
            image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=grey
        )

    enhanced = 1 + sign * 0.9 * share
    bits = 8 - round(4 * share)
    made = {
        "identity": lambda: image,
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "rotate": lambda: image.rotate(-sign * 30 * share, fillcolor=grey),
        "solarize": lambda: ImageOps.solarize(image, 256 - round(256 * share)),
        "color": lambda: ImageEnhance.Color(image).enhance(enhanced),
        "posterize": lambda: ImageOps.posterize(image, bits),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(enhanced),
        "brightness": lambda: ImageEnhance.Brightness(image).enhance(enhanced),
        "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(enhanced),
        "shear_x": lambda: affine(1, sign * 0.3 * share, 0, 0, 1, 0),
        "shear_y": lambda: affine(1, 0, 0, sign * 0.3 * share, 1, 0),
        "translate_x": lambda: affine(1, 0, sign * share * 150 / 331 * image.width, 0, 1, 0),
        "translate_y": lambda: affine(1, 0, 0, 0, 1, sign * share * 150 / 331 * image.height),
    }[name]()
    return np.asarray(made, np.float32).reshape(picture.shape)


@pytest.mark.parametrize("magnitude", [3, 9])
@pytest.mark.parametrize("channels", [1, 3])
def test_operations_are_pillows(channels: int, magnitude: float) -> None:
    codes = np.arange(2 * len(OPERATIONS), dtype=np.int32)
    batch = pictures(len(codes), 37, 46, channels)
    policy = Policy(operations=1, magnitude=magnitude)
    result = changed(policy, batch, {"operations": codes[:, None]}, (37, 46))
    np.testing.assert_array_equal(result, np.round(result))
    for code, picture, made in zip(codes, batch, result, strict=True):
        name, sign = OPERATIONS[code // 2], 1 - 2 * (code % 2)
        expected = by_pillow(picture, name, sign, magnitude)
        assert name == "identity" or channels == 1 or not np.array_equal(expected, picture)
        level = 2 if name in ("color", "contrast", "sharpness") else 1
        np.testing.assert_allclose(made, expected, atol=level, err_msg=f"{name} {sign}")


def test_extreme_pictures_are_equalised_and_stretched_as_pillows() -> None:
    rng = np.random.default_rng(0)
    batch = np.stack(
        [
            np.zeros((12, 12, 3)),
            np.full((12, 12, 3), 255),
            rng.integers(0, 2, (12, 12, 3)) * 255,
            rng.integers(100, 103, (12, 12, 3)),
            np.arange(12 * 12 * 3).reshape(12, 12, 3) % 256,
        ]
    ).astype(np.float32)
    for name in ("equalize", "autocontrast"):
        code = np.full((len(batch), 1), 2 * OPERATIONS.index(name), np.int32)
        result = changed(Policy(operations=1), batch, {"operations": code}, (12, 12))
        for picture, made in zip(batch, result, strict=True):
            np.testing.assert_allclose(made, by_pillow(picture, name, 1, 0), atol=1)


def test_operations_follow_each_other() -> None:
    batch = pictures(1, 24, 24, 3)
    pair = ("solarize", "shear_x")
    codes = np.array([[2 * OPERATIONS.index(name) for name in pair]], np.int32)
    result = changed(Policy(operations=2, magnitude=9), batch, {"operations": codes}, (24, 24))
    expected = by_pillow(by_pillow(batch[0], pair[0], 1, 9), pair[1], 1, 9)
    np.testing.assert_array_equal(result[0], expected)


def test_a_magnitude_of_nothing_changes_little() -> None:
    batch = pictures(28, 24, 24, 3)
    codes = np.arange(28, dtype=np.int32)[:, None]
    result = changed(Policy(operations=1, magnitude=0), batch, {"operations": codes}, (24, 24))
    same = [i for i in range(28) if OPERATIONS[i // 2] not in ("autocontrast", "equalize")]
    np.testing.assert_array_equal(result[same], batch[same])


# --- Elsewhere ------------------------------------------------------------------------------------

_ELSEWHERE = ("digits", "scenes", "cifar", "resnet", "modern")
_SCRIPT = """
import sys
import jax, keras, numpy as np
from training.augment.images import augment
from training.augment.policies import POLICIES
assert keras.backend.backend() == "jax"
given = np.load(sys.argv[1])
made = {}
for name in sys.argv[3:]:
    policy = POLICIES[name]
    rows = {k.split("/")[1]: given[k] for k in given.files if k.startswith(name + "/")}
    step = jax.jit(lambda pictures, rows: augment(policy, pictures, rows, (24, 24)))
    made[name] = np.asarray(step(given[name], rows))
np.savez(sys.argv[2], **made)
"""


def elsewhere(name: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Many operations each, so that all are met."""
    policy = POLICIES[name]
    side = 29 if policy.crops else 24
    return pictures(32, side, side, 3), drawn(policy, np.tile([300, 400], (32, 1)), (24, 24))


def assert_alike(one: np.ndarray, two: np.ndarray, name: str) -> None:
    """To float rounding of positions; of whole numbers, but for a few that were all but ties."""
    differ = np.abs(one - two) > 2e-3
    assert differ.mean() <= (0.002 if POLICIES[name].operations else 0), name


# XLA takes its time for many operations; under jax it compiles them below.
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "modern")) for n in _ELSEWHERE]
)
def test_xla_and_a_stream_give_the_same(name: str) -> None:
    batch, rows = elsewhere(name)

    def change(batch: Any, rows: Mapping[str, Any]) -> Any:
        return augment(POLICIES[name], batch, rows, (24, 24))

    eager = changed(POLICIES[name], batch, rows, (24, 24))
    assert_alike(tf.function(change, jit_compile=True)(batch, rows).numpy(), eager, name)
    stream = tf.data.Dataset.from_tensor_slices((batch, rows)).batch(8).map(change)
    assert_alike(np.concatenate(list(stream.as_numpy_iterator())), eager, name)


@IN_CI
def test_jax_gives_the_same(on_backend: Backends, tmp_path: Path) -> None:
    given = {}
    for name in _ELSEWHERE:
        batch, rows = elsewhere(name)
        given |= {name: batch, **{f"{name}/{key}": value for key, value in rows.items()}}
    np.savez(tmp_path / "given.npz", **given)
    on_backend("jax", _SCRIPT, tmp_path / "given.npz", tmp_path / "made.npz", *_ELSEWHERE)
    made = np.load(tmp_path / "made.npz")
    for name in _ELSEWHERE:
        batch, rows = elsewhere(name)
        assert_alike(made[name], changed(POLICIES[name], batch, rows, (24, 24)), name)
