"""Damaged and hostile files: read, or refused in one line; see `fuzz`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import fuzz
import pytest
from marks import IN_CI, all_but

_LIGHT = [name for name, kind in fuzz.KINDS.items() if not kind.heavy]
_HEAVY = [name for name, kind in fuzz.KINDS.items() if kind.heavy]


def _run(folder: Path, seed: int, count: int, names: list[str]) -> None:
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, fuzz.__file__, str(folder), str(seed), str(count), *names],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "0"},
    )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2_000:]
    assert done.stdout.splitlines()[-1] == f"{count} inputs, 0 wrong"


@IN_CI
@pytest.mark.parametrize("seed", all_but({0}, range(2)))
def test_a_few_of_what_is_quickly_read(seed: int, tmp_path: Path) -> None:
    _run(tmp_path, seed, len(_LIGHT), _LIGHT)


@pytest.mark.slow
def test_thousands_of_damaged_files(tmp_path: Path) -> None:
    """1,200 inputs; some seven minutes of a processor, for each is read in a fork."""
    _run(tmp_path, 2, 600, _LIGHT)
    _run(tmp_path, 2, 600, _HEAVY)
