"""An ONNX file, open; see `export.artefacts.open_file`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
import onnx

from export.artefacts.open_file import OpenFile

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)


class ONNXModel(OpenFile):
    """A file, parsed.

    Args:
        proto: that it is made of; passes alone change it.
    """

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.proto = proto

    @classmethod
    def open(cls, file: bytes) -> Self:
        """Of the bytes of a file."""
        return cls(onnx.load_from_string(file))

    @property
    def graph(self) -> onnx.GraphProto:
        """Its graph."""
        return self.proto.graph

    def apply(self, edit: Callable[..., None], **given: Any) -> None:
        """See `OpenFile.apply`."""
        edit(self, **given)

    def packed(self) -> bytes:
        """See `OpenFile.packed`; equal files give equal bytes."""
        serialised: bytes = self.proto.SerializeToString(deterministic=True)
        return serialised

    def weight_sparsity(self) -> float:
        """See `OpenFile.weight_sparsity`."""
        kernels = [weight for weight in self._weights() if weight.ndim > 1]
        total = sum(kernel.size for kernel in kernels)
        zeros = sum(int(np.count_nonzero(kernel == 0)) for kernel in kernels)
        return zeros / total if total else 0.0

    def nonzero_weights(self) -> int:
        """See `OpenFile.nonzero_weights`; of a float file."""
        return sum(int(np.count_nonzero(weight)) for weight in self._weights())

    def _weights(self) -> Iterator[np.ndarray]:
        """Constants in floating point; integers are shapes and axes, lone numbers arithmetic."""
        for tensor in self.graph.initializer:
            if tensor.data_type in _FLOATS and tensor.dims:
                yield onnx.numpy_helper.to_array(tensor)
