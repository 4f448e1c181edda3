"""The images that a command line names."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from export.runtime.picture_args import seconds, sources
from export.runtime.sources import Camera, Clip, Still, Turns, Video
from kerascnn.errors import InputError


def touch(*places: Path) -> None:
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()


def names(*arguments: str, **options: object) -> dict[str, str]:
    return {one.path: one.name for one in sources(arguments, **options)}  # type: ignore[arg-type]


def test_folders_are_read_as_data_sets_are(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "photos", tmp_path / "elsewhere"
    touch(
        *(root / "b.jpg", root / "a" / "c.PNG", root / "notes.txt", elsewhere / "d.webp"),
        *(root / "@eaDir" / "b.jpg", root / ".thumbs" / "b.jpg", root / "._b.jpg"),
    )
    (root / "linked").symlink_to(elsewhere)
    (root / "linked again").symlink_to(elsewhere)
    found = names(str(root))
    assert list(found.values()) == ["a/c.PNG", "b.jpg", "linked/d.webp"]
    assert all(Path(path).is_file() for path in found)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no images"):
        names(str(root / "@eaDir" / "empty"), str(tmp_path / "empty"))


def test_videos_of_a_folder_are_left_out_aloud(tmp_path: Path) -> None:
    touch(tmp_path / "trip" / "a.jpg", tmp_path / "trip" / "b.MOV", tmp_path / "films" / "c.mp4")
    said: list[str] = []
    assert list(names(str(tmp_path / "trip"), warn=said.append).values()) == ["a.jpg"]
    (line,) = said
    assert "trip: 1 video left out" in line
    touch(tmp_path / "still" / "a.jpg", tmp_path / "still" / "b.gif")
    names(str(tmp_path / "still"), warn=said.append)
    assert "still: 1 GIF left out" in said[1]
    with pytest.raises(InputError, match=r"films has no images .*it has 1 video; name them"):
        names(str(tmp_path / "films"))


def test_patterns_are_ours_where_the_shell_left_them(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    touch(
        *(root / "a.jpg", root / "cat" / "a.jpg", root / "cat" / "b.png", root / "cat" / "n.txt"),
        *(root / "@eaDir" / "a.jpg", root / ".hidden" / "a.jpg", root / "c.mp4"),
    )
    (root / "cat" / "back").symlink_to(root)
    every = sources([str(root / "**" / "*")])
    assert sorted({one.name for one in every}) == ["a.jpg", "c.mp4", "cat/a.jpg", "cat/b.png"]
    assert len(every) == 4
    assert {type(one) for one in every} == {Still, Video}
    jpegs = names(str(root / "**" / "*.jpg"))
    assert jpegs == {str(root / "a.jpg"): "a.jpg", str(root / "cat" / "a.jpg"): "cat/a.jpg"}
    assert list(names(str(root / "c*")).values()) == ["c.mp4", "cat/a.jpg", "cat/b.png"]
    with pytest.raises(InputError, match=r"\*\.webp matches no image or video"):
        names(str(root / "*.webp"))
    touch(root / "odd[1].jpg")  # a name that looks like a pattern
    assert list(names(str(root / "odd[1].jpg")).values()) == ["odd[1].jpg"]


@pytest.mark.parametrize("between", ["\n", "\r\n", "\0"])
def test_lists_come_from_a_file_or_the_standard_input(
    between: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "x" / "cat" / "1.jpg", tmp_path / "x" / "dog" / "1.jpg")
    monkeypatch.chdir(tmp_path)
    text = between.join(["x/cat/1.jpg", "", "x/dog/1.jpg", "x/cat/1.jpg", "camera:2", ""])
    wanted = {"x/cat/1.jpg": "cat/1.jpg", "x/dog/1.jpg": "dog/1.jpg", "camera:2": "camera-2"}
    Path("list.txt").write_text(text, newline="")
    assert names(lists=["list.txt"]) == wanted
    # Answered line by line, so that rows stand beside those of the list.
    paths = [one.path for one in sources([], lists=["list.txt"])]
    assert paths == ["x/cat/1.jpg", "x/dog/1.jpg", "x/cat/1.jpg", "camera:2"]
    assert len(sources(["x/cat/1.jpg", "x/cat/1.jpg"])) == 1
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(os.fsencode(text))))
    assert names("-") == wanted
    Path("none.txt").write_text("\n")
    with pytest.raises(InputError, match=r"none\.txt names no images"):
        names(lists=["none.txt"])
    with pytest.raises(InputError, match=r"--list gone\.txt: No such file"):
        names(lists=["gone.txt"])


def test_a_long_list_takes_no_square_of_its_length(tmp_path: Path) -> None:
    touch(tmp_path / "0.jpg")
    (tmp_path / "list").write_text("".join(f"{tmp_path}/{i}.jpg\n" for i in range(20_000)))
    found = sources([], lists=[str(tmp_path / "list")])
    assert len(found) == 20_000
    assert found[-1].name == "19999.jpg"


def test_cameras_are_named_by_number() -> None:
    (one,) = sources(["camera:1"])
    assert isinstance(one, Camera)
    assert (one.number, one.name) == (1, "camera-1")


@pytest.mark.parametrize(
    ("text", "wanted"), [("90", 90), ("1:30", 90), ("0:01:30.5", 90.5), ("1:00:00", 3600)]
)
def test_times_are_seconds_or_clocks(text: str, wanted: float) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "-1", "1:2:3:4", "soon", "nan"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a time"):
        seconds(text)


def wanted(clip: Clip, times: list[float]) -> list[int]:
    turns = Turns(clip)
    return [number for number, time in enumerate(times) if turns.wants(number, time)]


def test_frames_are_chosen_by_number_and_by_time() -> None:
    even = [number / 30 for number in range(31)]
    assert wanted(Clip(every=10), even) == [0, 10, 20, 30]
    assert wanted(Clip(fps=10), even) == [*range(0, 31, 3)]
    assert wanted(Clip(fps=4), even) == [0, 8, 15, 23, 30]  # the first at or after each quarter
    assert wanted(Clip(start=0.5, fps=2), even) == [15, 30]
    assert wanted(Clip(fps=100), even) == [*range(31)]
    # A gap of two seconds is not made up for.
    assert wanted(Clip(fps=2), [0.0, 0.1, 2.2, 2.3, 2.5]) == [0, 2, 4]
