"""A JPEG's window, decoded alone, is what Pillow cuts out of the whole picture."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from kerascnn.preprocessing import Preprocessing
from training.datasets.fused_decode import decode_window
from training.datasets.pictures import check_picture, read_picture, read_window

COLOUR = Preprocessing(height=24, width=32, channels=3, resize="stretch")
GREY = Preprocessing(height=24, width=32, channels=1, resize="stretch")


def scene(height: int, width: int) -> Image.Image:
    """Smooth, and different in all corners and channels."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(9 * x + 2 * y), np.cos(7 * y * (1 + x)), np.sin(5 * (x + y) ** 2)]
    return Image.fromarray(np.uint8(127.5 + 120 * np.stack(waves, axis=-1)))


def jpeg(picture: Image.Image, *, orientation: int = 1, **options) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    picture.save(stream, "JPEG", exif=exif, **({"quality": 95} | options))
    return stream.getvalue()


def expected(data: bytes, window: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """The whole picture, upright, of which Pillow resizes a box."""
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    upright = upright.convert("RGB" if preprocessing.channels == 3 else "L")
    top, left, height, width = (float(share) for share in window)
    box = (left * upright.width, top * upright.height,
           (left + width) * upright.width, (top + height) * upright.height)  # fmt: skip
    size = (preprocessing.width, preprocessing.height)
    how = Image.Resampling[preprocessing.interpolation.upper()]
    pixels = np.asarray(upright.resize(size, how, box))
    return pixels.reshape(preprocessing.input_shape)


def fused(data: bytes, window: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    kind = tf.constant(check_picture(data).kind, tf.uint8)
    return decode_window(tf.constant(data), tf.constant(window), kind, preprocessing).numpy()


def assert_close(one: np.ndarray, other: np.ndarray, mean: float = 1.0) -> None:
    assert one.shape == other.shape
    difference = np.abs(one.astype(int) - other.astype(int))
    assert difference.mean() < mean
    assert difference.max() < 16 * mean


WINDOW = np.float32([0.13, 0.4, 0.6, 0.55])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("preprocessing", [COLOUR, GREY])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_orientations_and_channels(orientation, preprocessing, mode) -> None:
    data = jpeg(scene(90, 131).convert(mode), orientation=orientation)
    checked = check_picture(data)
    assert checked.kind == orientation
    assert checked.size == ((90, 131) if orientation < 5 else (131, 90))
    wanted = expected(data, WINDOW, preprocessing)
    assert_close(fused(data, WINDOW, preprocessing), wanted)
    assert_close(read_window(data, WINDOW, preprocessing), wanted)


@pytest.mark.parametrize("preprocessing", [COLOUR, GREY])
@pytest.mark.parametrize("side", [20, 90, 300])
def test_bicubic_windows_are_pillows(side: int, preprocessing: Preprocessing) -> None:
    cubic = dataclasses.replace(preprocessing, interpolation="bicubic")
    data = jpeg(scene(side, side + 41), orientation=6, subsampling=0)
    wanted = expected(data, WINDOW, cubic)
    assert_close(fused(data, WINDOW, cubic), wanted, mean=1.5)
    assert_close(read_window(data, WINDOW, cubic), wanted, mean=1.5)


@pytest.mark.parametrize("orientation", [1, 7])
@pytest.mark.parametrize(("side", "ratio"), [(30, 1), (50, 1), (70, 2), (130, 4), (300, 8)])
def test_ratios(side: int, ratio: int, orientation: int) -> None:
    data = jpeg(scene(side, side + 9), orientation=orientation)
    window = np.float32([0.02, 0.03, 0.97, 0.95])
    assert ratio == max(r for r in (1, 2, 4, 8) if r == 1 or 0.95 * (side + 9) / 32 >= r)
    wanted = expected(data, window, COLOUR)
    assert_close(fused(data, window, COLOUR), wanted, mean=1.5)
    assert_close(read_window(data, window, COLOUR), wanted, mean=1.5)


@pytest.mark.parametrize(
    "window", [(0, 0, 1, 1), (0, 0, 0.1, 0.1), (0.9, 0.9, 0.1, 0.1), (0.5, 0.3, 0.004, 0.003)]
)
def test_windows_at_edges_and_of_a_few_pixels(window) -> None:
    data = jpeg(scene(300, 400), subsampling=0)
    found = fused(data, np.float32(window), COLOUR)
    assert_close(found, expected(data, np.float32(window), COLOUR))


def test_progressive_jpegs_and_ones_of_a_single_pixel() -> None:
    data = jpeg(scene(90, 131), progressive=True)
    assert_close(fused(data, WINDOW, COLOUR), expected(data, WINDOW, COLOUR))
    dot = jpeg(Image.new("RGB", (1, 1), (200, 30, 90)))
    assert_close(fused(dot, WINDOW, COLOUR), expected(dot, WINDOW, COLOUR))


@pytest.mark.parametrize(("mode", "form"), [("CMYK", "JPEG"), ("RGBA", "PNG"), ("L", "BMP")])
def test_what_is_no_plain_jpeg_goes_by_pillow(mode: str, form: str) -> None:
    stream = io.BytesIO()
    scene(90, 131).convert(mode).save(stream, form)
    data = stream.getvalue()
    assert check_picture(data).kind == 0
    np.testing.assert_array_equal(fused(data, WINDOW, COLOUR), read_window(data, WINDOW, COLOUR))


def test_a_png_that_lies_on_its_side_is_cut_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    scene(90, 131).save(stream, "PNG", exif=exif)
    data = stream.getvalue()
    assert check_picture(data).size == (131, 90)
    assert_close(read_window(data, WINDOW, COLOUR), expected(data, WINDOW, COLOUR), mean=0.1)


def test_without_a_window_it_is_read_picture() -> None:
    data = jpeg(scene(90, 131), orientation=6)
    crop = Preprocessing(height=24, width=32, channels=3)
    found = decode_window(tf.constant(data), None, tf.constant(6, tf.uint8), crop)
    np.testing.assert_array_equal(found.numpy(), read_picture(data, crop))


def test_in_a_parallel_map_it_is_the_same_every_time() -> None:
    files = [jpeg(scene(60 + i, 90), orientation=1 + i % 8) for i in range(12)]
    files[3] = jpeg(scene(63, 90))
    kinds = [check_picture(data).kind for data in files]
    kinds[3] = 0  # by Pillow
    windows = np.random.default_rng(0).uniform(0.1, 0.45, (12, 4)).astype(np.float32)

    def run() -> np.ndarray:
        rows = tf.data.Dataset.from_tensor_slices((files, windows, np.uint8(kinds)))
        decoded = rows.map(
            lambda data, window, kind: decode_window(data, window, kind, COLOUR),
            num_parallel_calls=4,
        )
        options = tf.data.Options()
        options.autotune.enabled = False
        return np.stack([picture.numpy() for picture in decoded.with_options(options)])

    first = run()
    np.testing.assert_array_equal(first, run())
    for data, window, found in zip(files, windows, first, strict=True):
        assert_close(found, expected(data, window, COLOUR))
