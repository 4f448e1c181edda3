"""What a training is refused for before anything is read or written."""

from __future__ import annotations

from pathlib import Path

import known_files
import pytest
from commands import assert_refused, here

import kerascnn
from kerascnn.errors import InputError


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Images in a folder of each class."""
    return known_files.class_folders(tmp_path / "digits", dark=(1, 2), bright=(250, 251))


def _all_below(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("digits", "--out digits is --data digits"),
        ("digits/", "is --data digits"),
        ("digits/runs/first", "--out digits/runs/first lies inside --data digits"),
        ("link/run", "--out link/run lies inside --data digits"),
        ("other/../digits/dark", "lies inside --data digits"),
    ],
)
def test_a_run_is_not_written_into_data(out: str, words: str, digits: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(digits)
    (tmp_path / "other").mkdir()
    before = _all_below(tmp_path)
    grid = ("sweep", "--models", "lenet5", "--recipes", "digits")
    done = here("train", "lenet5", "--data", "digits", "--out", out, cwd=tmp_path)
    assert_refused(done, words, "name a folder outside")
    done = here(*grid, "--data", "digits", "--out", out, cwd=tmp_path)
    assert_refused(done, "lies inside --data digits")
    done = here("pack", "digits", "-o", out, cwd=tmp_path)
    assert_refused(done, words.replace("--data ", ""))
    assert _all_below(tmp_path) == before


def test_nor_into_held_out_data_nor_from_python(digits: Path, tmp_path: Path) -> None:
    given = ("--data", "mnist", "--val-data", "digits", "--out", "digits/run")
    done = here("train", "lenet5", *given, cwd=tmp_path)
    assert_refused(done, "--out digits/run lies inside --val-data digits")
    with pytest.raises(InputError, match=r"^out .*run lies inside data .*digits"):
        kerascnn.train("lenet5", data=digits, out=digits / "run")
    done = here("train", "lenet5", "--data", ".", cwd=digits)
    assert_refused(done, "--out runs/lenet5-digits lies inside --data .")


def test_a_folder_beside_or_above_data_is_fine(digits: Path, tmp_path: Path) -> None:
    from training.engine.refusals import checked

    for folder in (tmp_path / "digits-run", tmp_path / "run", tmp_path):
        assert checked("lenet5", data=str(digits), folder=folder).data == str(digits)
    # A name is no folder, even where there is one of that name.
    (tmp_path / "mnist").mkdir()
    checked("lenet5", data="mnist", folder=Path("mnist"))
