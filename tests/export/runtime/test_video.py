"""Frames out of videos and into them; `kerascnn predict` on both, and on a camera."""

from __future__ import annotations

import csv
import json
import sys
import types
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import known_files
import numpy as np
import pytest
from commands import assert_refused, here
from PIL import Image

import kerascnn
from export.runtime import predict as predicting
from export.runtime import video
from export.runtime.picture_args import sources
from export.runtime.sources import Clip
from kerascnn.errors import InputError

av = pytest.importorskip("av", reason="PyAV is not installed: pip install 'kerascnn[video]'")

HIGH, WIDE, RATE = 48, 64, 10
GREYS = tuple(range(0, 250, 10))  # 25 frames, each darker than the next


def film(path: Path, frames: Sequence[np.ndarray], **turned: Any) -> Path:
    """A video of (h, w, 3) uint8 frames, 10 per second, a key frame every 5."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = {".gif": "gif", ".webm": "libvpx-vp9"}.get(path.suffix, "libx264")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        stream.gop_size = 5
        if turned:
            stream.set_display_rotation(**turned)
        for pixels in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path


def greys() -> list[np.ndarray]:
    return [np.full((HIGH, WIDE, 3), value, np.uint8) for value in GREYS]


def marked() -> np.ndarray:
    """Grey, with a red corner above on the left, and a blue one above on the right."""
    pixels = np.full((HIGH, WIDE, 3), 128, np.uint8)
    pixels[:16, :16], pixels[:16, -16:] = (250, 0, 0), (0, 0, 250)
    return pixels


def read(path: Path, **clip: Any) -> list[video.Frame]:
    return list(video.Frames(str(path), Clip(**clip)))


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".webm", ".mov", ".avi", ".gif"])
def test_frames_have_their_numbers_and_times(ending: str, tmp_path: Path) -> None:
    found = read(film(tmp_path / f"a{ending}", greys()))
    assert [frame.number for frame in found] == list(range(25))
    np.testing.assert_allclose([frame.time for frame in found], np.arange(25) / RATE, atol=0.011)
    for frame, value in zip(found, GREYS, strict=True):
        assert frame.pixels.shape == (HIGH, WIDE, 3)
        off = abs(frame.pixels.astype(int) - value)
        assert off.mean() <= 30 if ending == ".gif" else off.max() <= 6  # of 8 bits, dithered


def test_a_part_of_a_video_is_the_same_part_of_the_whole(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", greys())
    whole = read(path)
    for begin in (0.0, 0.05, 0.5, 0.7, 1.0, 1.9):
        part = read(path, start=begin, end=2.0)
        wanted = [frame for frame in whole if begin - 1e-6 <= frame.time < 2.0]
        assert [frame.number for frame in part] == [frame.number for frame in wanted]
        for one, other in zip(part, wanted, strict=True):
            np.testing.assert_array_equal(one.pixels, other.pixels)
    assert [frame.number for frame in read(path, every=10)] == [0, 10, 20]
    assert [frame.number for frame in read(path, fps=2)] == [0, 5, 10, 15, 20]
    for part, said in (
        ({"start": 60}, r"a\.mp4 starts after the end \(0:02\.50\): --start 1:00\.00"),
        ({"start": 2.45}, "has no frame in the part"),
        ({"start": 2.0, "end": 1.0}, "has no frame in the part"),
    ):
        with pytest.raises(video.UnreadableError, match=said):
            read(path, **part)


@pytest.mark.parametrize(
    ("degrees", "mirrored"), [(0, False), (90, False), (180, False), (270, False), (90, True)]
)
def test_a_phone_s_video_is_upright(degrees: int, mirrored: bool, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", [marked()] * 3, degrees=degrees, hflip=mirrored)
    wanted = np.rot90(marked(), degrees // 90)  # degrees are against the clock
    if mirrored:
        wanted = wanted[:, ::-1]
    for frame in read(path):
        assert frame.pixels.shape == wanted.shape
        for name, channel in (("red", 0), ("blue", 2)):
            found = np.argwhere(frame.pixels[..., channel].astype(int) - 128 > 60).mean(axis=0)
            there = np.argwhere(wanted[..., channel].astype(int) - 128 > 60).mean(axis=0)
            np.testing.assert_allclose(found, there, atol=1.5, err_msg=name)


def test_broken_frames_are_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (25, HIGH, WIDE, 3), np.uint8)
    path = film(tmp_path / "a.mkv", list(noise))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    path.write_bytes(data)
    frames = video.Frames(str(path), Clip())
    found = list(frames)
    assert frames.broken > 0
    assert 10 < len(found) < 25
    path.write_bytes(data[: len(data) // 3])  # a download that was cut
    assert 3 < len(read(path)) < 20


@pytest.mark.parametrize("data", [b"", b"no video" * 99])
def test_what_is_no_video_is_refused_by_name(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    with pytest.raises(video.UnreadableError, match=r"a\.mp4 is not a readable video"):
        read(path)
    with pytest.raises(video.UnreadableError, match=r"gone\.mp4: no such video"):
        read(tmp_path / "gone.mp4")


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".webm"])
def test_written_frames_come_back_at_their_times(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{ending}"
    times, colours = [2.0, 2.1, 2.5, 4.0], [(200, 40, 40), (40, 200, 40), (40, 40, 200), (9, 9, 9)]
    with video.writing(path, 10) as to:
        for time, colour in zip(times, colours, strict=True):
            to.write(np.full((47, 63, 3), colour, np.uint8), time)
        assert not path.exists()
    found = read(path)
    np.testing.assert_allclose([frame.time for frame in found], [0, 0.1, 0.5, 2.0], atol=2e-3)
    for frame, colour in zip(found, colours, strict=True):
        assert frame.pixels.shape == (48, 64, 3)
        assert abs(frame.pixels.astype(int) - colour).max() <= 12
    assert list(tmp_path.iterdir()) == [path]


def half_written(path: Path) -> None:
    with video.writing(path, 10) as to:
        to.write(marked(), 0.0)
        raise RuntimeError


def test_a_video_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        half_written(tmp_path / "out.mp4")
    with video.writing(tmp_path / "none.mp4", 10):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match=r"videos are written as \.mp4"):
        half_written(tmp_path / "out.gif")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("files")
    tasks = ("classification", "detection", "segmentation")
    return {task: known_files.files(root / task, task)[0] for task in tasks}


def test_a_frame_is_answered_as_an_image_is(files: dict[str, Path], tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", [marked(), *greys()])
    for file in files.values():
        (frame, *_rest) = kerascnn.predict(file, path, end=0.05)
        Image.fromarray(read(path)[0].pixels).save(tmp_path / "a.png")
        (image,) = kerascnn.predict(file, tmp_path / "a.png")
        place = {"image": str(path), "frame": 0, "time": 0.0}
        assert frame == {**image, **place}


@pytest.mark.parametrize("task", ["classification", "detection", "segmentation"])
def test_videos_are_drawn_beside_a_table(task: str, files: dict[str, Path], tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", [marked(), *greys()])
    Image.fromarray(marked()).save(tmp_path / "b.png")
    out, table = tmp_path / "drawn", tmp_path / "found.csv"
    asked = (path, tmp_path / "b.png", "--every", 5, "-o", out, "--csv", table, "--jsonl")
    done = here("predict", files[task], *asked)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line.get("frame") for line in lines] == [0, 5, 10, 15, 20, 25, None]
    assert f"{path} -> {out / 'a.mp4'}" in done.stderr
    assert "1 image and 6 frames in " in done.stderr
    drawn = read(out / "a.mp4")
    assert len(drawn) == 6
    np.testing.assert_allclose([one.time for one in drawn], np.arange(6) / 2, atol=2e-3)
    assert drawn[0].pixels.shape == (HIGH, WIDE, 3)
    assert abs(drawn[0].pixels.astype(int) - marked()).max() > 60
    with Image.open(out / "b.png") as image:
        assert image.width == WIDE
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0])[:3] == ["image", "frame", "time"]
    assert {row["frame"] for row in rows} == {"0", "5", "10", "15", "20", "25", ""}
    assert {row["time"] for row in rows if row["frame"] == "25"} == {"2.5"}
    kinds = {"classification": "labels", "detection": "objects", "segmentation": "classes"}
    assert len(rows) == sum(max(1, len(line[kinds[task]])) for line in lines)


def test_one_video_is_drawn_into_one_file(files: dict[str, Path], tmp_path: Path) -> None:
    path, file = film(tmp_path / "a.mp4", greys()), files["classification"]
    done = here("predict", file, path, "-o", tmp_path / "out.mp4", "--start", "0:01", "--end", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith(f"{path} at 0:01.00: dark ")
    assert len(read(tmp_path / "out.mp4")) == 10
    refused = (
        ((path, "-o", path), "would be replaced by its own drawing"),
        ((path, "-o", tmp_path), "would be replaced by its own drawing"),
        ((path, path.with_name("b.png"), "-o", "x.mp4"), "is for one video"),
        ((path, "-o", "x.gif"), "videos are written as"),
        ((path.with_name("b.png"), "--every", "2"), "--every chooses frames of a video"),
        ((path, "--start", "soon"), "is not a time"),
        ((path, "--start", "0:09"), "starts after the end (0:02.50)"),
    )
    Image.fromarray(marked()).save(tmp_path / "b.png")
    for asked, words in refused:
        assert_refused(here("predict", file, *asked), words)


def test_sound_alone_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))
    with pytest.raises(video.UnreadableError) as refused:
        read(path)
    assert str(refused.value) == (
        f"{path} has no video in it, or is cut short; replace or remove it"
    )


def test_a_broken_video_is_skipped(files: dict[str, Path], tmp_path: Path) -> None:
    broken, file = tmp_path / "b.mp4", files["classification"]
    broken.write_bytes(b"no video" * 99)
    whole = film(tmp_path / "a.mp4", greys())
    done = here("predict", file, broken, whole, "--jsonl")
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 25
    assert f"warning: {broken} is not a readable video" in done.stderr
    assert "1 source of 2 could not be read" in done.stderr
    assert_refused(here("predict", file, broken), f"{broken} is not a readable video")


def test_without_the_extra_one_line_says_what_to_install(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "a.mp4", greys())
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setitem(sys.modules, "cv2", None)
    for asked, words in ((path, "kerascnn[video]"), ("camera:0", "kerascnn[camera]")):
        assert_refused(here("predict", files["classification"], asked), words)


class Capture:
    """What `cv2.VideoCapture` is: three frames, the second broken."""

    there: bool = True

    def __init__(self, number: int) -> None:
        self.left = [True, False, True] if number == 0 else []

    def isOpened(self) -> bool:
        return self.there

    def get(self, _what: int) -> float:
        return 0.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        fine = self.left.pop(0) if self.left else False
        return fine, marked()[..., ::-1] if fine else None

    def release(self) -> None:
        pass


def test_a_camera_is_answered_until_it_is_gone(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2 = types.SimpleNamespace(
        VideoCapture=Capture,
        CAP_PROP_FPS=5,
        COLOR_BGR2RGB=4,
        cvtColor=lambda image, _code: np.ascontiguousarray(image[..., ::-1]),
    )
    monkeypatch.setitem(sys.modules, "cv2", cv2)
    file = files["classification"]
    done = here("predict", file, "camera:0", "--jsonl", "-o", tmp_path)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["frame"] for one in found] == [0, 1]
    Image.fromarray(marked()).save(tmp_path / "a.png")
    (image,) = kerascnn.predict(file, tmp_path / "a.png")
    assert found[0]["labels"] == image["labels"]
    assert done.returncode == 2
    assert "camera:0 gives no more images" in done.stderr
    monkeypatch.setattr(Capture, "there", False)
    assert_refused(here("predict", file, "camera:1"), "camera:1 cannot be opened")


def test_an_interruption_leaves_whole_files(files: dict[str, Path], tmp_path: Path) -> None:
    path, seen = film(tmp_path / "a.mp4", greys()), []
    order = predicting.Order(out=tmp_path / "out.mp4", stop=lambda: len(seen) >= 3)
    (source,) = sources([str(path)])
    for one in predicting.answers(files["classification"], [source], order=order):
        seen.append(one)
    assert len(seen) == 3
    assert len(read(tmp_path / "out.mp4")) == 3
