"""Weights files of other programs, made without them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

_TYPES = {"float32": "F32", "float16": "F16", "int64": "I64", "uint16": "BF16"}


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray]) -> Path:
    """Write arrays as safetensors; uint16 ones are the bits of bfloat16."""
    header, offset = {}, 0
    for name, array in tensors.items():
        end = offset + array.nbytes
        kind = _TYPES[str(array.dtype)]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as stream:
        stream.write(len(encoded).to_bytes(8, "little") + encoded)
        for array in tensors.values():
            stream.write(np.ascontiguousarray(array).tobytes())
    return path
