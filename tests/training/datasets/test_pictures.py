"""Pictures of many megapixels: decoded at reduced size or within a limit of memory."""

from __future__ import annotations

import dataclasses
import io
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.datasets import decode_memory
from training.datasets.header import read_header
from training.datasets.pictures import (
    check_picture,
    covering,
    fit,
    read_decoded,
    read_picture,
    read_pixels,
    read_size,
    read_window,
    shrunk,
)

SEEN = Preprocessing(height=24, width=24, channels=3, resize="stretch")
CROP = Preprocessing(height=24, width=24, channels=3)
WINDOW = np.array([0.25, 0.5, 0.5, 0.25])
SMALL = 10_000


def scene(height: int = 240, width: int = 320) -> np.ndarray:
    """Soft colours with a bright corner."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    found = np.stack([255 * y / height, 255 * x / width, 128 + 100 * np.sin(y / 30)], axis=-1)
    found[: height // 4, : width // 4] = 255
    return found.astype(np.uint8)


def encoded(form: str, mode: str = "RGB", turned: int = 1, **how) -> bytes:
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = turned
    picture = Image.fromarray(scene())
    picture = picture.quantize(256) if mode == "P" else picture.convert(mode)
    if form != "BMP":
        how["exif"] = exif
    if form == "WEBP":
        how["lossless"] = True
    picture.save(stream, form, **how)
    return stream.getvalue()


FILES = [
    ("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"),
    ("PNG", "L"), ("WEBP", "RGB"), ("BMP", "RGB"),
]  # fmt: skip


@pytest.fixture
def few_pixels(monkeypatch) -> None:
    """What has more than 10,000 pixels is large."""
    monkeypatch.setattr(decode_memory, "LARGE_PIXELS", SMALL)
    monkeypatch.setattr(decode_memory, "_FREE_BYTES", 4 * SMALL)


@pytest.mark.parametrize("turned", [1, 6])
@pytest.mark.parametrize(("form", "mode"), FILES)
def test_reduced_pictures_are_nearly_those_of_whole_ones(
    form: str, mode: str, turned: int, monkeypatch
) -> None:
    data = encoded(form, mode, turned)
    geometries = (SEEN, CROP)
    whole = [read_decoded(data, one) for one in geometries]
    windows = read_window(data, WINDOW, SEEN)
    pixels, checked = read_pixels(data), check_picture(data)
    monkeypatch.setattr(decode_memory, "LARGE_PIXELS", SMALL)
    monkeypatch.setattr(decode_memory, "_FREE_BYTES", 4 * SMALL)
    for one, before in zip(geometries, whole, strict=True):
        found = read_decoded(data, one)
        assert found.size == before.size == ((320, 240) if turned == 6 and form != "BMP" else
                                             (240, 320))  # fmt: skip
        difference = np.abs(found.pixels.astype(int) - before.pixels)
        assert difference.mean() < 1.5
        assert found.kind == 0
    assert np.abs(read_window(data, WINDOW, SEEN).astype(int) - windows).mean() < 1.5
    np.testing.assert_array_equal(read_pixels(data), pixels)  # these are never reduced
    assert check_picture(data).size == checked.size


def test_large_jpegs_are_not_decoded_whole(few_pixels, monkeypatch) -> None:
    sides: list[tuple[int, int]] = []
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", _watched(sides))
    read_picture(encoded("JPEG"), SEEN)
    assert max(width * height for width, height in sides) <= SMALL


def _watched(sides: list[tuple[int, int]]):
    from PIL import ImageFile

    load = ImageFile.ImageFile.load

    def watched(self):
        sides.append(self.size)
        return load(self)

    return watched


def test_pictures_of_200_megapixels_are_read(tmp_path: Path) -> None:
    """As a phone takes them; only the numbers of its front are large in this one."""
    path = tmp_path / "phone.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = Image.new("L", (16320, 12240), 90)
    grey.save(path, quality=50, exif=exif)
    del grey
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_size(path) == (16320, 12240)
        found = read_decoded(path, SEEN)
        assert check_picture(path).size == found.size == (16320, 12240)
    assert np.abs(found.pixels.astype(int) - 90).max() <= 1


def png_of(width: int, height: int) -> bytes:
    """One that claims to be so large, without the pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    front = b"\x89PNG\r\n\x1a\n"
    return front + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "read", [check_picture, read_pixels, lambda data: read_picture(data, SEEN)]
)
def test_bombs_are_refused_before_they_are_decoded(read, monkeypatch) -> None:
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _self: pytest.fail("decoded"))
    with pytest.raises(InputError, match=r"100,000 x 100,000 pixels, which take") as refused:
        read(png_of(100_000, 100_000))
    assert "make it smaller" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_decoding_takes_is_known_beforehand(monkeypatch) -> None:
    """Measured on pictures of 30 megapixels: 4.1, 7.1, 10.1, 4.1, 16.2 and 1.1 bytes a pixel."""

    def taken(data: bytes, **how) -> float:
        opened = decode_memory.open_image(io.BytesIO(data))
        cost = decode_memory.refuse_too_large(opened, 0, **how)
        return cost / (opened.width * opened.height)

    assert taken(encoded("JPEG")) == 4
    assert taken(encoded("JPEG", progressive=True)) == 7
    assert taken(encoded("JPEG", progressive=True, subsampling=0)) == 10
    assert taken(encoded("JPEG", progressive=True), divisor=2) == 4
    assert taken(encoded("PNG")) == 4
    assert taken(encoded("WEBP")) == 16
    assert taken(encoded("PNG", "L"), more=3) == 4


def test_threads_wait_for_the_memory_of_others(monkeypatch) -> None:
    monkeypatch.setattr(decode_memory, "MOST_BYTES", 100)
    monkeypatch.setattr(decode_memory, "_FREE_BYTES", 10)
    begun = threading.Event()

    def second() -> None:
        with decode_memory.taken(60):
            begun.set()

    thread = threading.Thread(target=second)
    with decode_memory.taken(60):
        thread.start()
        with decode_memory.taken(10):  # small ones never wait
            assert not begun.is_set()
    thread.join()
    assert begun.is_set()
    with decode_memory.taken(1000):  # alone, whatever it takes
        pass


def test_large_pictures_of_a_pack_are_made_smaller(few_pixels) -> None:
    for form, mode in FILES:
        made = shrunk(encoded(form, mode, 6), 60, "one")
        assert made is not None
        assert made[1].size == ((45, 60) if form == "BMP" else (60, 45))
        again = read_picture(made[0], SEEN).astype(int)
        wanted = read_picture(encoded(form, mode, 6), SEEN)
        assert np.abs(again - wanted).mean() < 4


def test_pillows_own_limit_stays_as_it_is() -> None:
    before = Image.MAX_IMAGE_PIXELS
    read_picture(encoded("JPEG"), SEEN)
    assert before == Image.MAX_IMAGE_PIXELS
    assert decode_memory.FORMATS == ("JPEG", "PNG", "WEBP", "BMP")


def test_a_header_tells_what_would_be_refused(monkeypatch) -> None:
    data = encoded("JPEG", turned=6)
    assert read_header(data).kind == 6
    monkeypatch.setattr(decode_memory, "LARGE_PIXELS", SMALL)
    assert (read_header(data).kind, read_header(data).size) == (0, (320, 240))
    with pytest.raises(InputError, match="100,000 x 100,000 pixels"):
        read_header(png_of(100_000, 100_000))


# Crops by torchvision 0.29.2's own `_compute_resized_output_size`, `resize` and `center_crop` on
# Pillow 13 images, of which timm 1.0.31's `transforms_imagenet_eval` is made too: size of
# `waves`, the network's side, the shorter side before the cut, the filter, and the CRC-32 of the
# bytes.
TORCHVISION = [
    ((50, 67), 28, 32, "bilinear", 911792685),
    ((50, 67), 28, 29, "bicubic", 3240415555),
    ((50, 67), 24, 27, "bilinear", 1403101921),
    ((50, 67), 32, 32, "bicubic", 628200594),
    ((67, 50), 28, 32, "bilinear", 4035144419),
    ((67, 50), 28, 29, "bicubic", 1289217576),
    ((67, 50), 24, 27, "bilinear", 1563203255),
    ((67, 50), 32, 32, "bicubic", 1742402794),
    ((48, 48), 28, 32, "bilinear", 4249430932),
    ((48, 48), 24, 27, "bilinear", 2536554781),
    ((31, 90), 28, 32, "bilinear", 464592658),
    ((31, 90), 28, 29, "bicubic", 231573224),
    ((31, 90), 24, 27, "bilinear", 1854128547),
    ((40, 41), 28, 32, "bilinear", 2199055597),
    ((40, 41), 28, 29, "bicubic", 813162860),
    ((40, 41), 32, 32, "bicubic", 1785069042),
]


def waves(height: int, width: int) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    values = [(x * 7 + y * y) % 256, (x * y) // 3 % 256, (255 - x * x // 5 + 3 * y) % 256]
    return Image.fromarray(np.stack(values, axis=-1).astype(np.uint8))


@pytest.mark.parametrize(("size", "side", "resized", "interpolation", "crc"), TORCHVISION)
def test_centres_are_torchvisions(
    size: tuple[int, int], side: int, resized: int, interpolation: str, crc: int
) -> None:
    preprocessing = Preprocessing(
        height=side, width=side, channels=3, resize="centre", crop_fraction=side / resized,
        interpolation=interpolation,
    )  # fmt: skip
    assert zlib.crc32(fit(waves(*size), preprocessing).tobytes()) == crc


def test_crops_are_nearly_torchvisions() -> None:
    """ "crop" cuts between pixels, so that it is the same of square images alone."""
    crop = Preprocessing(height=28, width=28, channels=3, crop_fraction=28 / 32)
    centre = dataclasses.replace(crop, resize="centre")
    smooth = Image.fromarray(scene(200, 270).astype(np.uint8))
    one, other = (fit(smooth, each).astype(int) for each in (crop, centre))
    assert 0 < np.abs(one - other).mean() < 3
    square = waves(48, 48)
    assert (fit(square, crop) == fit(square, centre)).all()


def test_a_wide_network_sees_a_centre_of_its_own_shape() -> None:
    wide = Preprocessing(height=20, width=40, channels=3, resize="centre", crop_fraction=0.8)
    for size in ((31, 90), (90, 31), (25, 50), (3, 3)):
        width, height = covering((size[1], size[0]), wide)
        assert width >= 50
        assert height >= 25
        assert width == 50 or height == 25
        assert fit(waves(*size), wide).shape == (20, 40, 3)


def test_windows_are_resized_by_the_filter_that_is_asked_for() -> None:
    stream = io.BytesIO()
    waves(40, 60).save(stream, "PNG")
    window = np.float32([0.1, 0.2, 0.5, 0.5])
    cubic = Preprocessing(height=9, width=9, channels=3, interpolation="bicubic")
    found = read_window(stream.getvalue(), window, cubic)
    box = tuple(np.float32([0.2, 0.1, 0.7, 0.6]) * np.float32([60, 40, 60, 40]))
    wanted = waves(40, 60).resize((9, 9), Image.Resampling.BICUBIC, box)
    assert np.abs(found.astype(int) - np.asarray(wanted).astype(int)).max() <= 1


def test_bilinear_is_not_named_in_what_travels() -> None:
    plain = Preprocessing(height=9, width=9, channels=3)
    assert "interpolation" not in plain.to_dict()
    cubic = dataclasses.replace(plain, interpolation="bicubic")
    assert cubic.to_dict()["interpolation"] == "bicubic"
    for one in (plain, cubic):
        assert Preprocessing.from_dict(one.to_dict()) == one
    with pytest.raises(ValueError, match="interpolation is 'bilinear' or 'bicubic'"):
        Preprocessing.from_dict({**plain.to_dict(), "interpolation": "nearest"})
