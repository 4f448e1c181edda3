"""What `make setup` installs, by kind of machine; nothing is installed here."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[1]
LOCKS = {
    "": "requirements.lock",
    "0": "requirements.lock",
    "1": "requirements-cuda.lock",
    "jax": "requirements-jax-cuda.lock",
}


def planned(folder: pathlib.Path, *words: str) -> str:
    """What make would run in a checkout."""
    done = subprocess.run(
        ["make", "--dry-run", "setup", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    for name in ("Makefile", "pyproject.toml", *LOCKS.values()):
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("kind", LOCKS)
def test_the_lock_goes_by_the_gpu(checkout: pathlib.Path, kind: str) -> None:
    assert f"-r {LOCKS[kind]}\n" in planned(checkout, *([f"GPU={kind}"] if kind else []))


def test_the_kind_is_remembered_until_another_is_asked_for(checkout: pathlib.Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv/.gpu").write_text("1\n")
    (checkout / ".venv/.ready").touch()
    assert "pip install" not in planned(checkout)
    assert "pip install" not in planned(checkout, "GPU=1")
    assert "-r requirements.lock\n" in planned(checkout, "GPU=0")
    assert "-r requirements-jax-cuda.lock\n" in planned(checkout, "GPU=jax")


def pins(name: str) -> set[str]:
    lines = (ROOT / name).read_text().splitlines()
    return {line for line in lines if "==" in line and not line.lstrip().startswith("#")}


@pytest.mark.parametrize("name", ["requirements-cuda.lock", "requirements-jax-cuda.lock"])
def test_locks_for_gpus_differ_by_what_cuda_needs(name: str) -> None:
    assert pins(name) > pins("requirements.lock")
    more = pins(name) - pins("requirements.lock")
    assert all(line.startswith(("nvidia-", "jax-cuda")) for line in more)
