"""Listing folders: links, hidden parts, natural order."""

from __future__ import annotations

import os
import pathlib

import numpy as np
import pytest

from training.datasets.paths import (
    is_hidden_below,
    listing,
    natural_key,
    notes_of,
    suffix_of,
    walk,
)


def touch(path: pathlib.Path, size: int = 1) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def below(root: pathlib.Path, found: list[pathlib.Path]) -> list[str]:
    return [file.relative_to(root).as_posix() for file in found]


def test_a_walk_finds_files_at_any_depth_in_the_order_of_their_text(
    tmp_path: pathlib.Path,
) -> None:
    for name in ("b.jpg", "a/z.jpg", "a/deep/er/y.txt", "a-1.jpg"):
        touch(tmp_path / name)
    found = walk(tmp_path)
    assert below(tmp_path, found) == ["a-1.jpg", "a/deep/er/y.txt", "a/z.jpg", "b.jpg"]
    assert list(map(str, found)) == sorted(map(str, found))


@pytest.mark.parametrize(
    "name",
    [
        ".ipynb_checkpoints/a-checkpoint.jpg",
        "@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg",
        "deep/@eadir/a.jpg",
        "__MACOSX/cats/a.jpg",
        "._a.jpg",
        ".git/deep/a.jpg",
        "$RECYCLE.BIN/a.jpg",
    ],
)
def test_hidden_parts_are_left_out_and_counted(tmp_path: pathlib.Path, name: str) -> None:
    touch(tmp_path / "seen.jpg")
    touch(tmp_path / name)
    assert is_hidden_below(tmp_path / name, tmp_path)
    found = listing(tmp_path, {".jpg"})
    assert found.files == (str(tmp_path / "seen.jpg"),)
    assert len(found.hidden) == 1
    (note,) = notes_of([found])
    assert (note.kind, note.count, note.finding) == ("hidden", 1, False)


def test_a_hidden_root_is_read(tmp_path: pathlib.Path) -> None:
    root = tmp_path / ".cache" / "@eaDir"
    touch(root / "a.jpg")
    assert below(root, walk(root)) == ["a.jpg"]
    assert not is_hidden_below(root / "a.jpg", root)


def test_hidden_files_that_are_no_pictures_are_no_news(tmp_path: pathlib.Path) -> None:
    touch(tmp_path / ".DS_Store")
    assert notes_of([listing(tmp_path, {".jpg"})]) == []


def test_linked_folders_are_read_and_each_folder_once(tmp_path: pathlib.Path) -> None:
    root, elsewhere = tmp_path / "cats", tmp_path / "elsewhere"
    touch(root / "2024" / "a.jpg")
    touch(elsewhere / "more" / "b.jpg")
    (root / "linked").symlink_to(elsewhere)
    (elsewhere / "up").symlink_to(elsewhere)
    (root / "again").symlink_to(root / "2024")
    (root / "file.jpg").symlink_to(elsewhere / "more" / "b.jpg")
    found = listing(root, {".jpg"})
    assert [os.path.relpath(file, root) for file in found.files] == [
        "2024/a.jpg",
        "file.jpg",
        "linked/more/b.jpg",
    ]
    assert [os.path.relpath(link, root) for link in found.repeated] == ["again", "linked/up"]
    (note,) = notes_of([found])
    assert (note.kind, note.count, note.finding) == ("repeated-links", 2, True)


def test_a_link_to_a_folder_above_brings_in_no_other_class(tmp_path: pathlib.Path) -> None:
    touch(tmp_path / "cats" / "a.jpg")
    touch(tmp_path / "dogs" / "b.jpg")
    (tmp_path / "cats" / "all").symlink_to(tmp_path)
    assert below(tmp_path, walk(tmp_path / "cats")) == ["cats/a.jpg"]


def test_links_to_nothing_are_counted(tmp_path: pathlib.Path) -> None:
    touch(tmp_path / "a.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    found = listing(tmp_path, {".jpg"})
    assert below(tmp_path, list(map(pathlib.Path, found.files))) == ["a.jpg"]
    (note,) = notes_of([found])
    assert (note.kind, note.count) == ("dangling-links", 1)
    assert note.examples == (str(tmp_path / "gone.jpg"),)


def test_sizes_are_those_of_the_files(tmp_path: pathlib.Path) -> None:
    touch(tmp_path / "b.jpg", 30)
    touch(tmp_path / "a.jpg", 7)
    (tmp_path / "c.jpg").symlink_to(tmp_path / "b.jpg")
    np.testing.assert_array_equal(listing(tmp_path, sizes=True).sizes, [7, 30, 30])


def test_a_folder_that_is_not_there_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        walk(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["a.jpg", "a.b.JPG", ".jpg", "a.", "a", "..jpg", "a..jpg"])
def test_endings_are_as_pathlib_has_them(name: str) -> None:
    assert suffix_of(name) == pathlib.PurePath(name).suffix.lower()


def test_natural_order() -> None:
    names = ["10", "b2", "1", "b10", "2", "a", "01", "b"]
    assert sorted(names, key=natural_key) == ["01", "1", "2", "10", "a", "b", "b2", "b10"]
    synsets = ["n01440764", "n01443537", "n15075141"]
    assert sorted(synsets, key=natural_key) == synsets
