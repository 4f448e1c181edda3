from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from training.datasets import kept


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERASCNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_is_kept_comes_back(cache: Path) -> None:
    kept.save(
        "boxes of /data/a", {"sizes": np.arange(3), "names": np.frombuffer(b"a\0b", np.uint8)}
    )
    found = kept.load("boxes of /data/a")
    assert found is not None
    np.testing.assert_array_equal(found["sizes"], [0, 1, 2])
    assert found["names"].tobytes() == b"a\0b"
    assert set(found) == {"sizes", "names"}
    assert kept.load("boxes of /data/b") is None
    assert [path.suffix for path in cache.iterdir()] == [".npz"]  # and nothing half written


def test_a_second_save_replaces_the_first(cache: Path) -> None:
    for value in (1, 2):
        kept.save("k", {"a": np.array(value)})
    assert kept.load("k") == {"a": np.array(2)}
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 and then nothing", None])
def test_a_damaged_file_is_no_cache(cache: Path, damage: bytes | None) -> None:
    kept.save("k", {"a": np.arange(1000)})
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:900] if damage is None else damage)
    assert kept.load("k") is None
    kept.save("k", {"a": np.arange(2)})
    assert kept.load("k") is not None


def test_a_file_of_another_key_is_not_taken(cache: Path) -> None:
    kept.save("k", {"a": np.arange(2)})
    (file,) = cache.iterdir()
    kept.save("l", {"a": np.arange(3)})
    (other,) = set(cache.iterdir()) - {file}
    file.replace(other)
    assert kept.load("l") is None


def test_a_folder_that_cannot_be_made_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERASCNN_CACHE", str(tmp_path / "file" / "cache"))
    kept.save("k", {"a": np.arange(2)})
    assert kept.load("k") is None


def test_the_folder_is_chosen_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERASCNN_CACHE", "")
    assert kept.folder() is None
    kept.save("k", {"a": np.arange(2)})
    assert kept.load("k") is None
    monkeypatch.delenv("KERASCNN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kept.folder() == tmp_path / "kerascnn"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kept.folder() == tmp_path / ".cache" / "kerascnn"


def test_those_not_used_for_longest_go(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST_FILES", 2)
    for age, key in enumerate(("old", "older", "used")):
        kept.save(key, {"a": np.arange(2)})
        if age < 2:
            newest = max(cache.iterdir(), key=lambda path: path.stat().st_mtime_ns)
            os.utime(newest, (1000 - age, 1000 - age))
    # "old" and "older" were there, and one of them had to go for "used".
    assert [kept.load(key) is not None for key in ("old", "older", "used")] == [True, False, True]
    monkeypatch.setattr(kept, "MOST_BYTES", 100)  # the newest one stays, however large
    kept.save("last", {"a": np.arange(200)})
    assert [kept.load(key) is not None for key in ("old", "used", "last")] == [False, False, True]
