"""Read a .safetensors file with NumPy: a length, a JSON header, and the tensors' bytes.

Source: github.com/huggingface/safetensors, section "Format". The safetensors package would do the
same, and need to be installed.
"""

from __future__ import annotations

import json
import math
import pathlib

import numpy as np

from kerascnn.errors import InputError

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1", "U8": "<u1", "BOOL": "?",
}  # fmt: skip


def read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Return the tensors by name; bfloat16 is widened to float32.

    Raises:
        InputError: not such a file, or cut short; the message names the first tensor that is.
    """
    if not path.stat().st_size:
        raise InputError(f"{path} is empty")
    data = np.memmap(path, np.uint8, mode="r")
    length = int.from_bytes(data[:8].tobytes(), "little")
    if len(data) < 8 + length:
        raise InputError(f"{path} is cut short: its header is not whole")
    try:
        header = json.loads(data[8 : 8 + length].tobytes())
        header.pop("__metadata__", None)
        rows = {name: _row(entry) for name, entry in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} has no readable safetensors header ({error})") from None
    body = data[8 + length :]
    tensors = {}
    for name, (kind, shape, begin, end) in sorted(rows.items(), key=lambda row: row[1][2]):
        dtype = np.dtype(_DTYPES[kind])
        if (
            begin < 0
            or min(shape, default=0) < 0
            or end - begin != math.prod(shape) * dtype.itemsize
        ):
            raise InputError(f"{path}: tensor {name} has another size than its shape {shape}")
        if end > len(body):
            raise InputError(f"{path} is cut short: tensor {name} is not whole")
        array = body[begin:end].view(dtype).reshape(shape)
        tensors[name] = _widened(array) if kind == "BF16" else array
    return tensors


def _row(entry) -> tuple[str, tuple[int, ...], int, int]:
    begin, end = entry["data_offsets"]
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"unknown type {entry['dtype']!r}")
    return entry["dtype"], tuple(map(int, entry["shape"])), int(begin), int(end)


def _widened(bfloat16: np.ndarray) -> np.ndarray:
    return (bfloat16.astype("<u4") << 16).view("<f4")
