"""Arrays in files, and checkpoints of them: damaged ones are told by one kind of error."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.common.arrays import read_npz
from training.engine import checkpoint

STATE: dict[str, Any] = {"history": [{"loss": 0.5}], "seconds": 1.0, "step": 3, "metrics": [0.5]}


def array(shape: Any, data: bytes = bytes(8), descr: str = "<f4") -> bytes:
    """A .npy with any header."""
    out = io.BytesIO()
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    out.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data)
    return out.getvalue()


def archive(path: Path, content: bytes, kind: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as out:
        out.writestr("v0.npy", content)
    return path


def test_sound_arrays_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", v0=np.arange(3), v1=np.float32(2.5), v2=np.zeros((0, 4)))
    read = read_npz(tmp_path / "a.npz")
    np.testing.assert_array_equal(read["v0"], [0, 1, 2])
    assert read["v1"] == 2.5
    assert read["v2"].shape == (0, 4)


HOSTILE = {
    "a terabyte": array((2**38,)),
    "more than numbers go": array((2**40, 2**40)),
    "less than nothing": array((-2,)),
    "objects": array((1,), descr="|O"),
    "a header without end": array("(" * 100),
    "a version of another time": b"\x93NUMPY\x07\x00" + bytes(100),
    "no array": b"anything",
    "nothing": b"",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_arrays(case: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of NumPy's or of ours
        read_npz(archive(tmp_path / "a.npz", HOSTILE[case]))


def test_compressed_arrays_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", array((2,)), zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="compressed"):
        read_npz(path)


def test_another_compression_is_an_error_of_the_same_kind(tmp_path: Path) -> None:
    """It was a NotImplementedError, which no reader of checkpoints expects."""
    path = archive(tmp_path / "a.npz", array((2,)))
    data = path.read_bytes()
    place = data.index(b"PK\x01\x02") + 10
    path.write_bytes(data[:place] + b"\x63" + data[place + 1 :])
    with pytest.raises(ValueError):  # noqa: PT011
        checkpoint.read(path)


@pytest.mark.parametrize(
    "change",
    [
        {"history": None}, {"history": [1]}, {"history": [{"loss": "x"}]}, {"seconds": "1"},
        {"step": -1}, {"step": 1.5}, {"metrics": 1}, {"metrics": [None]},
    ],
)  # fmt: skip
def test_states_of_strangers(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "epoch-00001.npz"
    checkpoint.save(path, [np.ones(3)], STATE)
    arrays, state = checkpoint.read(path)
    assert (len(arrays), state) == (1, STATE)
    checkpoint.save(path, [np.ones(3)], STATE | change)
    with pytest.raises(ValueError, match=r"epoch-00001\.npz is damaged"):
        checkpoint.read(path)


def test_damage_anywhere(tmp_path: Path) -> None:
    """Bytes changed with the check sums made right, and without: read, or a ValueError."""
    path, rng = tmp_path / "epoch-00001.npz", np.random.default_rng(0)
    checkpoint.save(path, [np.ones(3)], STATE)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as opened:
        entries = {name: opened.read(name) for name in opened.namelist()}
    refused = 0
    for number in range(400):
        if number % 2:
            damaged = bytearray(whole)
            damaged[rng.integers(len(whole))] = rng.integers(256)
            path.write_bytes(damaged)
        else:
            victim = bytearray(entries["state.npy"])
            victim[rng.integers(len(victim))] = rng.integers(256)
            with zipfile.ZipFile(path, "w") as out:
                for name, content in {**entries, "state.npy": bytes(victim)}.items():
                    out.writestr(name, content)
        try:
            json.dumps(checkpoint.read(path)[1])
        except ValueError:
            refused += 1
    assert 100 < refused < 400
