"""Grey pictures of 16 bits whose values use 8, 10, 12 or all of them."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from kerascnn.preprocessing import Preprocessing
from training.datasets.bit_depth import bits_used, significant_bits, to_eight_bits
from training.datasets.decode import decode_split
from training.datasets.pictures import (
    read_picture,
    read_pixels,
    read_stored,
    read_window,
    shrunk,
)
from training.datasets.splits import Split

SEEN = Preprocessing(height=4, width=64, channels=1, resize="stretch")
WHOLE = np.array([0.0, 0.0, 1.0, 1.0])


def ramp(largest: int) -> np.ndarray:
    """(4, 64) uint16, from 0 to the largest."""
    return np.tile(np.linspace(0, largest, 64).round().astype(np.uint16), (4, 1))


def png(values: np.ndarray, sbit: int | None = None) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    data = stream.getvalue()
    if sbit is None:
        return data
    content = b"sBIT" + bytes([sbit])
    chunk = struct.pack(">I", 1) + content + struct.pack(">I", zlib.crc32(content))
    return data[:33] + chunk + data[33:]  # behind IHDR


@pytest.mark.parametrize(
    ("largest", "depth"),
    [(255, 8), (256, 10), (1023, 10), (1024, 12), (4095, 12), (4096, 16), (65535, 16)],
)
def test_the_largest_value_tells_the_depth(largest: int, depth: int) -> None:
    values = ramp(largest)
    wanted = np.round(values / (2**depth - 1) * 255).astype(np.uint8)
    found = read_picture(png(values), SEEN)[..., 0]
    np.testing.assert_array_equal(found, wanted)
    if largest == 2**depth - 1:
        assert found.max() == 255


def test_a_12_bit_picture_is_not_black() -> None:
    """It was 16 of 255 at most."""
    assert read_picture(png(ramp(4095)), SEEN).max() == 255
    assert read_pixels(png(ramp(1023))).max() == 255


def test_all_readers_have_one_rule() -> None:
    data = png(ramp(4000))
    wanted = np.round(ramp(4000) / 4095 * 255).astype(np.uint8)
    rgb = np.repeat(wanted[..., None], 3, axis=-1)
    np.testing.assert_array_equal(read_pixels(data), rgb)
    np.testing.assert_array_equal(read_window(data, WHOLE, SEEN)[..., 0], wanted)
    split = Split(
        labels=np.zeros(1, np.int32), names=("one",), read=lambda _place: data,
        places=np.zeros(1, np.int64),
    )  # fmt: skip
    decoded, _broken = decode_split(split, SEEN)
    assert decoded.pictures is not None
    np.testing.assert_array_equal(decoded.pictures[0, ..., 0], wanted)
    made = shrunk(data, 32, "one")
    assert made is not None
    assert np.asarray(Image.open(io.BytesIO(made[0]))).max() > 230


def test_a_mask_keeps_its_values() -> None:
    stored, _format = read_stored(png(ramp(4000)))
    np.testing.assert_array_equal(np.asarray(stored), ramp(4000))


@pytest.mark.parametrize(
    ("largest", "sbit", "depth"),
    [(1000, 12, 12), (900, 16, 16), (16000, 14, 14), (65535, 12, 16), (5000, 12, 16), (200, 8, 8)],
)
def test_an_sbit_chunk_goes_first_where_it_fits(largest: int, sbit: int, depth: int) -> None:
    data = png(ramp(largest), sbit)
    assert significant_bits(data) == sbit
    assert bits_used(largest, sbit) == depth
    wanted = np.round(ramp(largest) / (2**depth - 1) * 255).astype(np.uint8)
    np.testing.assert_array_equal(read_picture(data, SEEN)[..., 0], wanted)


@pytest.mark.parametrize("sbit", [0, 1, 17, 255])
def test_an_sbit_chunk_of_nonsense_is_none(sbit: int) -> None:
    assert significant_bits(png(ramp(4095), sbit)) is None
    assert read_picture(png(ramp(4095), sbit), SEEN).max() == 255


def test_damaged_files_have_no_significant_bits() -> None:
    data = png(ramp(4095), 12)
    for front in range(len(data)):
        assert significant_bits(data[:front]) in (None, 12)
    assert significant_bits(b"\xff\xd8 a JPEG") is None


def test_numbers_of_32_bits_are_read_as_16() -> None:
    picture = Image.fromarray(np.array([[-5, 0, 70000, 65535]], np.int32))
    assert np.asarray(to_eight_bits(picture, b"")).tolist() == [[0, 0, 255, 255]]


def test_black_stays_black() -> None:
    assert read_picture(png(np.zeros((4, 64), np.uint16)), SEEN).max() == 0
