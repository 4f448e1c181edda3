"""TFLite files unpacked and packed, through LiteRT's own generated schema."""

from __future__ import annotations

import zlib
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from training.common.tflite_file import read

__all__ = ["Sharing", "read", "settle", "skeleton", "write"]

_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # bytes, as the schema demands of constants


def write(model: schema.ModelT) -> bytes:
    """Pack a model into a file, in which equal arrays of numbers are there once.

    A quantised network has thousands of equal ones: the zero points of every layer of a width.
    """
    builder = Sharing(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


class Sharing(flatbuffers.Builder):
    """A builder that writes equal arrays once; the format lets tables share them."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            if x.dtype == np.uint8:
                # Constants; what is inside may be read as wider numbers, which some processors
                # want aligned.
                self.Prep(_ALIGNMENT, x.nbytes)
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


def settle(model: schema.ModelT) -> None:
    """Make arrays of the lists that an edit left, as unpacking would: only arrays are shared."""
    for graph in model.subgraphs:
        for one in (graph, *graph.operators):
            one.inputs, one.outputs = _array(one.inputs, np.int32), _array(one.outputs, np.int32)
        for tensor in graph.tensors:
            if tensor.quantization is not None:
                points = _array(tensor.quantization.zeroPoint, np.int64)
                tensor.quantization.zeroPoint = points


def _array(values: Any, kind: type[np.generic]) -> Any:
    return np.array(values, kind) if isinstance(values, list) else values


def skeleton(file: bytes, *, compressed: bool = False) -> int:
    """Bytes of a file's graph alone, without any constant; after zlib -9 if `compressed`."""
    model = read(file)
    for buffer in model.buffers:
        buffer.data = None
    data = write(model)
    return len(zlib.compress(data, 9)) if compressed else len(data)
