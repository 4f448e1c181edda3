"""Read a .safetensors file with NumPy; the format's own library checks header, sizes and overlaps.

Source: github.com/huggingface/safetensors.
"""

from __future__ import annotations

import pathlib

import numpy as np
import safetensors

from kerascnn.errors import InputError

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1", "U8": "<u1", "BOOL": "?",
}  # fmt: skip


def read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Return the tensors by name; bfloat16 is widened to float32.

    Raises:
        InputError: not such a file, damaged, cut short, or with numbers of an unknown type.
    """
    try:
        rows = safetensors.deserialize(path.read_bytes())
        return {name: _array(path, name, **row) for name, row in rows}
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except (safetensors.SafetensorError, ValueError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is not a safetensors file, or is cut short ({error}); get it again"
        ) from None


def _array(path: pathlib.Path, name: str, dtype: str, shape: list[int], data: bytes) -> np.ndarray:
    if dtype not in _DTYPES:
        raise InputError(f"{path}: tensor {name} is of type {dtype}; save it as F32, F16 or BF16")
    array = np.frombuffer(data, _DTYPES[dtype]).reshape(shape)
    return (array.astype("<u4") << 16).view("<f4") if dtype == "BF16" else array
