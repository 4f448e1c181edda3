"""Weights files of other programs, made without them."""

from __future__ import annotations

import functools
import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_DATA = Path(__file__).parents[1] / "kerascnn" / "data"
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


def golden_values(name: str, shape: Sequence[int], gain: float) -> np.ndarray:
    """The tensor `name` of a golden network, as make_torch_goldens.py has it."""
    kind = name.rsplit(".", 1)[-1]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if kind == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if len(shape) >= 2:
        array = rng.normal(0, np.sqrt(gain / np.prod(shape[1:])), shape)
    elif kind in ("running_var", "weight", "gamma"):
        array = rng.uniform(0.5, 1.5, shape)
    else:
        array = rng.normal(0, 0.1, shape)
    return array.astype(np.float32)


@functools.cache
def goldens(file: str = "torch_goldens.json.gz") -> dict[str, Any]:
    """What reference networks answer, by their name there; the makers lie beside the file."""
    return json.loads(gzip.decompress((_DATA / file).read_bytes()))


@functools.cache
def golden_operations() -> dict[str, np.ndarray]:
    """Inputs and answers of torchvision's operations of two-stage detectors."""
    with np.load(_DATA / "rcnn_op_goldens.npz") as file:
        return dict(file)


def differing(model: Any, other: Any) -> set[str]:
    """Layers of `model` whose weights `other` has not."""
    theirs = {layer.name: layer.get_weights() for layer in other.layers}
    return {
        layer.name
        for layer in model.layers
        if layer.weights
        and not (
            layer.name in theirs
            and all(map(np.array_equal, layer.get_weights(), theirs[layer.name]))
        )
    }
