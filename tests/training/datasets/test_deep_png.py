"""Colour PNGs of 16 bits a channel with values of 10 and 12 bits."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from kerascnn.errors import InputError
from training.datasets.pictures import read_pixels

HEIGHT, WIDTH = 11, 17
TYPES = {2: 4, 3: 2, 4: 6}  # colour types by channels


def values(channels: int, largest: int, seed: int = 0) -> np.ndarray:
    """Smooth ones and noise; with transparency, all of it opaque."""
    rng = np.random.default_rng(seed)
    found = rng.integers(0, largest + 1, (HEIGHT, WIDTH, channels))
    found[:6] = np.linspace(0, largest, WIDTH)[:, None]
    found[0, 0] = largest
    if channels in (2, 4):
        found[..., -1] = 65535
    return found.astype(np.uint16)


def filtered(pixels: np.ndarray, kinds: list[int]) -> bytes:
    """Rows as PNG 1.2, chapter 6, has them, pixel by pixel."""
    height, width, channels = pixels.shape
    step = 2 * channels
    raw = pixels.astype(">u2").tobytes()
    rows = [bytes(width * step)] + [
        raw[y * width * step : (y + 1) * width * step] for y in range(height)
    ]
    out = bytearray()
    for y, kind in enumerate(kinds):
        above, row = rows[y], rows[y + 1]
        out.append(kind)
        for i, value in enumerate(row):
            a, b = (row[i - step], above[i - step]) if i >= step else (0, 0)
            up = above[i]
            guess = a + up - b
            far = sorted((abs(guess - v), n, v) for n, v in enumerate((a, up, b)))
            predicted = (0, a, up, (a + up) // 2, far[0][2])[kind]
            out.append((value - predicted) & 255)
    return bytes(out)


def png(pixels: np.ndarray, kinds: list[int]) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, TYPES[channels], 0, 0, 0)
    stream = zlib.compress(filtered(pixels, kinds))
    parts = [stream[: len(stream) // 2], stream[len(stream) // 2 :]]
    front = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return front + b"".join(chunk(b"IDAT", part) for part in parts) + chunk(b"IEND", b"")


MIXED = [0, 1, 2, 3, 4, 4, 3, 2, 1, 4, 3]


@pytest.mark.parametrize("kinds", [[kind] * HEIGHT for kind in range(5)] + [MIXED])
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_values_of_12_bits_are_read_at_their_brightness(channels: int, kinds: list[int]) -> None:
    pixels = values(channels, 4095)
    found = read_pixels(png(pixels, kinds))
    colours = pixels[..., :1] if channels == 2 else pixels[..., :3]
    wanted = np.broadcast_to(np.round(colours / 4095 * 255), (HEIGHT, WIDTH, 3))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("largest", "top"), [(1023, 1023), (255, 255), (900, 1023)])
def test_fewer_bits(largest: int, top: int) -> None:
    pixels = values(3, largest)
    wanted = np.round(pixels / top * 255)
    np.testing.assert_array_equal(read_pixels(png(pixels, MIXED)), wanted)


def test_pictures_of_all_16_bits_are_pillows() -> None:
    pixels = values(3, 65535)
    np.testing.assert_array_equal(read_pixels(png(pixels, MIXED)), pixels >> 8)


def test_black_stays_black() -> None:
    assert read_pixels(png(values(3, 0), MIXED)).max() == 0


def test_what_cannot_be_read_is_refused() -> None:
    data = bytearray(png(values(3, 4095), MIXED))
    data[28] = 1
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(InputError):
        read_pixels(bytes(data))
