"""Headers tell what a whole decode tells, but for what is broken between front and end."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from kerascnn.errors import InputError
from training.datasets import header, kept
from training.datasets.decode import decode_split
from training.datasets.header import look, read_header
from training.datasets.pictures import check_picture
from training.datasets.splits import Split

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


def encoded(form: str, mode: str = "RGB", orientation: int = 1, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(stream, form, exif=exif, **options)
    return stream.getvalue()


def with_late_exif(png: bytes, orientation: int) -> bytes:
    """The orientation behind the pixels, where PNG allows it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = b"eXIf" + exif.tobytes()[6:]
    chunk = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    return png[:-12] + chunk + png[-12:]


def thumbnailed() -> bytes:
    """A JPEG whose EXIF data hold another one, with an end of its own."""
    small = io.BytesIO()
    Image.fromarray(PIXELS).resize((8, 6)).save(small, "JPEG")
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "JPEG", comment=small.getvalue())
    return stream.getvalue()


SOUND = {
    "plain.jpg": encoded("JPEG"),
    "progressive.jpg": encoded("JPEG", progressive=True),
    "grey.jpg": encoded("JPEG", "L"),
    "cmyk.jpg": encoded("JPEG", "CMYK"),
    "turned.jpg": encoded("JPEG", orientation=6),
    "mirrored.jpg": encoded("JPEG", orientation=2),
    "padded.jpg": encoded("JPEG") + bytes(100),
    "thumbnail.jpg": thumbnailed(),
    "plain.png": encoded("PNG"),
    "palette.png": encoded("PNG", "P"),
    "turned.png": encoded("PNG", orientation=8),
    "late.png": with_late_exif(encoded("PNG"), 6),
    "lossy.webp": encoded("WEBP"),
    "turned.webp": encoded("WEBP", orientation=6, lossless=True),
    "plain.bmp": encoded("BMP"),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_header_tells_what_a_decode_tells(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(SOUND[name])
    checked = check_picture(path)
    for found in (read_header(path), read_header(SOUND[name], name)):
        assert (found.size, found.kind) == (checked.size, checked.kind)
        assert found.format.lower() == {"jpg": "jpeg"}.get(name[-3:], name.partition(".")[2])
    with Image.open(path) as picture:
        assert found.mode == picture.mode
    assert found.orientation == {"turned.png": 8, "mirrored.jpg": 2}.get(
        name, 6 if name.startswith(("turned", "late")) else 1
    )


@pytest.mark.parametrize("name", SOUND)
def test_what_is_whole_is_not_decoded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_arguments: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(header, "check_picture", never)
    if name != "late.png" and not name.endswith("webp"):  # Pillow reads all of these at once
        monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    (tmp_path / name).write_bytes(SOUND[name])
    read_header(tmp_path / name)


@pytest.mark.parametrize("name", [*SOUND, "text.jpg", "empty.png"])
@pytest.mark.parametrize("left", [0.3, 0.9, -1])
def test_what_is_cut_short_is_as_broken_as_for_a_decode(
    name: str, left: float, tmp_path: Path
) -> None:
    path = tmp_path / name
    data = {**SOUND, "text.jpg": b"no picture at all", "empty.png": b""}[name]
    path.write_bytes(data[: int(left * len(data)) if left > 0 else -1])

    def outcome(read: Any) -> str:
        try:
            read(path)
        except InputError as error:
            return str(error)
        return ""

    assert outcome(read_header) == outcome(check_picture)


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.jpg: no such image"):
        read_header(tmp_path / "x.jpg")
    with pytest.raises(InputError, match="is a folder"):
        read_header(tmp_path)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    sound = {name: SOUND[name] for name in ("turned.jpg", "plain.png", "plain.jpg")}
    for name, data in {**sound, "bad.jpg": b"bad"}.items():
        (tmp_path / name).write_bytes(data)
    return [str(tmp_path / name) for name in ("turned.jpg", "bad.jpg", "plain.png", "plain.jpg")]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were opened for their headers."""
    seen: list[str] = []

    def read(source: Any, name: str = "") -> header.Header:
        seen.append(name or Path(source).name)
        return read_header(source, name)

    monkeypatch.setattr(header, "read_header", read)
    return seen


def assert_right(found: header.Headers) -> None:
    assert found.sizes.tolist() == [[40, 30], [0, 0], [30, 40], [30, 40]]
    assert found.kinds.tolist() == [6, 0, 0, 1]
    assert list(found.reasons) == [1]
    assert "bad.jpg is not a readable" in found.reasons[1]


def test_verdicts_are_kept_until_a_file_changes(files: list[str], opened: list[str]) -> None:
    root = str(Path(files[0]).parent)
    assert_right(look(files, root=root))
    assert len(opened) == 4
    assert_right(look(files, root=root))
    assert len(opened) == 4
    # Other files, another order.
    assert look(files[:1:-1], root=root).kinds.tolist() == [1, 0]
    assert look(files[:1], root=root).sizes.tolist() == [[40, 30]]
    assert len(opened) == 4
    # The same size and another time; another size and the same time; gone.
    known = Path(files[2]).stat()
    os.utime(files[2], ns=(known.st_atime_ns, known.st_mtime_ns + 1))
    Path(files[1]).write_bytes(SOUND["plain.bmp"])
    Path(files[3]).unlink()
    found = look(files, root=root)
    assert sorted(opened[4:]) == ["bad.jpg", "plain.jpg", "plain.png"]
    assert list(found.reasons) == [3]
    assert found.sizes[:3].tolist() == [[40, 30], [30, 40], [30, 40]]
    # What is gone has no verdict that holds.
    Path(files[3]).write_bytes(SOUND["plain.jpg"])
    assert look(files, root=root).reasons == {}
    assert opened[7:] == ["plain.jpg"]


def test_verdicts_of_a_part_do_not_drive_out_those_of_the_whole(
    files: list[str], opened: list[str]
) -> None:
    look(files[:3], root="r")
    look(files[3:], root="r")
    assert len(opened) == 4
    assert_right(look(files, root="r"))
    assert len(opened) == 4


def test_an_interrupted_look_is_kept(
    files: list[str], opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_table: Any, place: int, _found: Any, put: Any = header._Table.put) -> None:
        put(_table, place, _found)
        if place == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(header._Table, "put", stop)
        with pytest.raises(KeyboardInterrupt):
            look(files, root="r")
    opened.clear()
    assert_right(look(files, root="r"))
    assert sorted(opened) == ["plain.jpg", "plain.png"]


@pytest.mark.parametrize("change", ["stats", "reasons", "broken", "names"])
def test_a_damaged_table_is_none(
    files: list[str], opened: list[str], change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(files, root="r")
    key = header._key("r")
    arrays = kept.load(key)
    assert arrays is not None
    kept.save(key, {**arrays, change: arrays[change][:-1]})
    assert_right(look(files, root="r"))
    assert len(opened) == 8


def test_names_that_are_no_utf_8_are_kept(tmp_path: Path, opened: list[str]) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")
    Path(name).write_bytes(SOUND["plain.jpg"])
    for _ in range(2):
        assert look([name], root="r").kinds.tolist() == [1]
    assert len(opened) == 1


def test_pictures_without_files_are_looked_at_too(opened: list[str]) -> None:
    data = [SOUND["turned.jpg"], b"bad", SOUND["plain.png"], SOUND["plain.jpg"]]
    split = Split(
        labels=np.zeros(4, np.int32), names=("a", "bad.jpg", "c", "d"), read=data.__getitem__,
        places=np.arange(4),
    )  # fmt: skip
    found = header.look_at_encoded(split.names, split.encoded)
    assert_right(found)
    whole, broken = decode_split(split, header_shape(), cache_bytes=0)
    assert [one.name for one in broken] == ["bad.jpg"]
    assert whole.names == ("a", "c", "d")
    assert whole.kinds is not None
    assert whole.kinds.tolist() == [6, 0, 1]


def header_shape() -> Any:
    from kerascnn.preprocessing import Preprocessing

    return Preprocessing(height=8, width=8, channels=3)
