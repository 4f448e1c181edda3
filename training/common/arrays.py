"""Read a .npz of ours: no pickle, and no array larger than its bytes in the file."""

from __future__ import annotations

import math
import pathlib
import zipfile
from typing import IO

import numpy as np


def read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Return the arrays by name.

    Raises:
        ValueError: cut short, damaged, or made to ask for more memory than the file has bytes; the
            message does not name the file.
    """
    try:
        _check_entries(path)
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # NumPy and zipfile end in any, NotImplementedError too
        raise ValueError(f"{type(error).__name__} {error}") from error


def _check_entries(path: pathlib.Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("it is compressed")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("its arrays overlap")
        for entry in entries:
            with archive.open(entry) as stream:
                _check_size(stream, entry.file_size)


def _check_size(stream: IO[bytes], size: int) -> None:
    """Raise ValueError for an array of another size than its bytes; NumPy makes room at once."""
    version = np.lib.format.read_magic(stream)
    form = np.lib.format
    headers = {(1, 0): form.read_array_header_1_0, (2, 0): form.read_array_header_2_0}
    if version not in headers:
        raise ValueError(f"an array of version {version}")
    shape, _order, dtype = headers[version](stream)
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size - stream.tell():
        raise ValueError(f"an array of {shape} in {size} bytes")
