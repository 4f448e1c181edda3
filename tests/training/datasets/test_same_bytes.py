"""Pictures that are in two splits under other names."""

from __future__ import annotations

import os
import pathlib

import numpy as np
import pytest

from training.datasets import folder, same_bytes
from training.datasets.contents import BLOCK, Contents
from training.datasets.same_bytes import notes, shared

LARGE = 20 * BLOCK


def write(place: pathlib.Path, contents: dict[str, bytes]) -> Contents:
    place.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (place / name).write_bytes(content)
    return Contents.of_files([str(place / name) for name in contents])


def noise(seed: int, size: int) -> bytes:
    return np.random.default_rng(seed).bytes(size)


@pytest.mark.parametrize("size", [1, 100, 3 * BLOCK, 3 * BLOCK + 1, LARGE])
def test_equal_bytes_are_found_whatever_the_name(tmp_path: pathlib.Path, size: int) -> None:
    train = write(tmp_path / "train", {"a": noise(1, size), "b": noise(2, size + 1)})
    held_out = write(
        tmp_path / "val", {"x": noise(2, size + 1), "y": noise(3, size), "z": noise(4, size + 7)}
    )
    found = shared(held_out, train)
    assert found.same.tolist() == [True, False, False]
    assert found.compared == 3


def test_files_that_differ_between_the_blocks_are_told_apart(tmp_path: pathlib.Path) -> None:
    one = noise(1, LARGE)
    other = bytearray(one)
    other[2 * BLOCK] ^= 1
    train = write(tmp_path / "train", {"a": one})
    held_out = write(tmp_path / "val", {"x": bytes(other), "y": one})
    assert held_out.blocks(0) == held_out.blocks(1)
    assert shared(held_out, train).same.tolist() == [False, True]


def test_files_of_other_sizes_are_not_opened(tmp_path: pathlib.Path, monkeypatch) -> None:
    train = write(tmp_path / "train", {"a": noise(1, 100)})
    held_out = write(tmp_path / "val", {"x": noise(1, 101)})
    monkeypatch.setattr(Contents, "blocks", lambda *_: pytest.fail("opened"))
    assert shared(held_out, train).same.tolist() == [False]


def test_links_need_no_reading(tmp_path: pathlib.Path, monkeypatch) -> None:
    train = write(tmp_path / "train", {"a": noise(1, 100)})
    (tmp_path / "hard").hardlink_to(tmp_path / "train" / "a")
    (tmp_path / "soft").symlink_to(tmp_path / "train" / "a")
    held_out = Contents.of_files([str(tmp_path / name) for name in ("hard", "soft")])
    monkeypatch.setattr(Contents, "blocks", lambda *_: pytest.fail("opened"))
    assert shared(held_out, train).same.tolist() == [True, True]


def test_each_file_is_read_once(tmp_path: pathlib.Path, monkeypatch) -> None:
    train = write(tmp_path / "train", {"a": noise(1, 100)})
    held_out = write(tmp_path / "val", {"x": noise(1, 100)})
    links = [tmp_path / "val" / str(number) for number in range(9)]
    for link in links:
        link.hardlink_to(tmp_path / "val" / "x")
    many = Contents.of_files([*held_out.paths, *map(str, links)])
    read = []
    blocks = Contents.blocks
    monkeypatch.setattr(
        Contents, "blocks", lambda self, i: read.append(self.paths[i]) or blocks(self, i)
    )
    assert shared(many, train).same.tolist() == [True] * 10
    assert len(read) == 2


def test_the_same_path_is_counted_or_not(tmp_path: pathlib.Path) -> None:
    train = write(tmp_path, {"a": noise(1, 100), "b": noise(2, 100)})
    held_out = Contents.of_files([train.paths[0]])
    assert shared(held_out, train).same.tolist() == [True]
    assert shared(held_out, train, other_names=True).same.tolist() == [False]
    assert notes({"train": train, "held-out": held_out}) == []


def test_what_is_gone_equals_nothing(tmp_path: pathlib.Path) -> None:
    train = Contents.of_files([str(tmp_path / "gone")])
    held_out = Contents.of_files([str(tmp_path / "gone too")])
    assert train.sizes.tolist() == [-1]
    assert shared(held_out, train).same.tolist() == [False]


def test_few_files_are_compared_where_there_is_a_limit(tmp_path: pathlib.Path) -> None:
    contents = {str(size): noise(size, size) for size in range(1, 41)}
    train, held_out = (write(tmp_path / name, contents) for name in ("train", "val"))
    found = shared(held_out, train, most_files=20)
    assert found.compared == found.same.sum() == 10
    again = shared(held_out, train, most_files=20)
    assert again.same.tolist() == found.same.tolist()
    assert shared(held_out, train, most_files=80).same.all()
    assert shared(held_out, train, most_files=1).compared == 1


def test_bytes_that_are_read_whole_have_a_limit(tmp_path: pathlib.Path) -> None:
    contents = {str(seed): noise(seed, LARGE + seed) for seed in range(4)}
    train, held_out = (write(tmp_path / name, contents) for name in ("train", "val"))
    assert shared(held_out, train, most_bytes=3 * LARGE).same.tolist() == [True, True, False, False]


def test_notes_count_and_name(tmp_path: pathlib.Path) -> None:
    names = [str(number) for number in range(7)]
    train = write(tmp_path / "train", {name: noise(int(name), 100) for name in names})
    copies = {f"copy of {name}": noise(int(name), 100) for name in names[:6]}
    held_out = write(tmp_path / "test", {**copies, "new": noise(9, 100)})
    chooses = write(tmp_path / "val", {"other": noise(10, 50)})
    (note,) = notes({"train": train, "validation": chooses, "held-out": held_out})
    assert (note.kind, note.count, note.finding) == ("same-bytes", 6, True)
    assert note.examples == held_out.paths[:5]
    assert note.text.startswith("6 held-out images have the same bytes as training ones, under")
    assert "by chance" not in note.text


def test_notes_tell_where_a_few_were_compared(tmp_path: pathlib.Path, monkeypatch) -> None:
    monkeypatch.setattr(same_bytes, "MOST_FILES", 2)
    sizes = range(98, 102)
    train = write(tmp_path / "train", {str(size): noise(size, size) for size in sizes})
    same = write(tmp_path / "same", {str(size): noise(size, size) for size in sizes})
    (note,) = notes({"train": train, "held-out": same})
    assert (note.count, note.finding) == (1, True)
    assert "(of 1 that were compared, chosen by chance among 4)" in note.text
    fresh = write(tmp_path / "fresh", {str(size): noise(size + 50, size) for size in sizes})
    (note,) = notes({"train": train, "held-out": fresh})
    assert (note.count, note.finding) == (0, False)
    assert note.text.startswith("no held-out image has the same bytes as a training one (of 1 ")


def test_a_folder_whose_splits_share_pictures_says_so(tmp_path: pathlib.Path) -> None:
    for split in ("train", "val"):
        for label, name in enumerate(("cats", "dogs")):
            write(tmp_path / split / name, {f"{split}.png": noise(label, 100 + label)})
    write(tmp_path / "val" / "cats", {"new.png": noise(7, 100)})
    found = same_bytes.noted(folder.scan(tmp_path, seed=0))
    (note,) = found.notes
    assert (note.kind, note.count) == ("same-bytes", 2)
    assert str(tmp_path / "val" / "cats" / "val.png") in note.examples


def test_files_that_did_not_change_are_compared_once(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("train", "val"):
        for label, name in enumerate(("cats", "dogs")):
            write(tmp_path / split / name, {f"{split}.png": noise(label, 100 + label)})
    asked = []
    compare = same_bytes.notes
    monkeypatch.setattr(same_bytes, "notes", lambda there: asked.append(1) or compare(there))
    first = same_bytes.noted(folder.scan(tmp_path, seed=0))
    assert same_bytes.noted(folder.scan(tmp_path, seed=0)).notes == first.notes
    assert [note.count for note in first.notes] == [2]
    assert len(asked) == 1
    path = tmp_path / "val" / "cats" / "val.png"
    known = path.stat()
    path.write_bytes(noise(9, 100))  # as long as before
    os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns + 1))
    assert [note.count for note in same_bytes.noted(folder.scan(tmp_path, seed=0)).notes] == [1]
    assert len(asked) == 2
