"""A TFLite file, open; see `export.artefacts.open_file`."""

from __future__ import annotations

import functools
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.artefacts.open_file import OpenFile
from export.tflite import flatbuffer, weights

_OLDEST_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the file's bytes must not depend on the day


class TFLiteModel(OpenFile):
    """A file of one graph and one signature, unpacked when it is first looked into.

    Attributes:
        stored: texts that lie in a zip behind the model, by name.
    """

    def __init__(self, file: bytes) -> None:
        self._file, self._packed = file, file
        self.stored: Mapping[str, str] = {}

    @classmethod
    def open(cls, file: bytes) -> Self:
        """Of the bytes of a file; what lies behind its model is left out once it is edited."""
        return cls(file)

    @functools.cached_property
    def unpacked(self) -> schema.ModelT:
        """The model, with all constants inside the object; passes alone change it."""
        return flatbuffer.read(self._file)

    @property
    def graph(self) -> schema.SubGraphT:
        """Its only graph."""
        return self.unpacked.subgraphs[0]

    def apply(self, edit: Callable[..., None], **given: Any) -> None:
        """See `OpenFile.apply`."""
        flatbuffer.settle(self.unpacked)
        edit(self, **given)
        self._packed = b""

    def compact(self) -> None:
        """Pack anew, where others packed: see `flatbuffer.write`."""
        self._packed = b""

    def packed(self) -> bytes:
        """Those that were opened, until something is edited."""
        if not self._packed:
            self._packed = _with_files(flatbuffer.write(self.unpacked), self.stored)
        return self._packed

    def weight_sparsity(self) -> float:
        """See `OpenFile.weight_sparsity`."""
        return weights.weight_sparsity(self.unpacked)

    def nonzero_weights(self) -> int:
        """See `weights.nonzero_weights`."""
        return weights.nonzero_weights(self.unpacked)

    def outputs(self) -> dict[str, schema.TensorT]:
        """The tensors that the signature names."""
        return {
            output.name.decode(): self.graph.tensors[output.tensorIndex]
            for output in self.unpacked.signatureDefs[0].outputs
        }

    def output_places(self) -> dict[str, int]:
        """Indices of the tensors that the signature names."""
        return {
            output.name.decode(): int(output.tensorIndex)
            for output in self.unpacked.signatureDefs[0].outputs
        }

    def maker(self, tensor: int) -> schema.OperatorT:
        """The operator that gives a tensor; raises LookupError for one that none gives."""
        for operator in self.graph.operators:
            if tensor in map(int, operator.outputs):
                return operator
        raise LookupError(f"no operator gives tensor {tensor}")

    def named(self, name: str) -> int:
        """Index of the output of that name."""
        outputs = self.unpacked.signatureDefs[0].outputs
        (index,) = (one.tensorIndex for one in outputs if one.name.decode() == name)
        return int(index)

    def tensor(
        self, name: str, shape: Sequence[int], kind: int, values: np.ndarray | None = None
    ) -> int:
        """Index of a new tensor: a constant of these values, or one that is computed."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name.encode(), np.array(shape, np.int32), kind
        tensor.buffer = 0  # which is empty in every file
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            self.unpacked.buffers.append(buffer)
            tensor.buffer = len(self.unpacked.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, values: Any) -> int:
        """Index of a new constant, float32 if its values are, else int32."""
        array = np.asarray(values)
        array = array.astype("<f4" if array.dtype == np.float32 else "<i4")
        kind = schema.TensorType.FLOAT32 if array.dtype.kind == "f" else schema.TensorType.INT32
        name = f"postprocess_constant_{len(self.unpacked.buffers)}"
        return self.tensor(name, array.shape, kind, array)

    def operator(
        self,
        kind: int,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Any,
        custom: str = "",
    ) -> schema.OperatorT:
        """An operation of a new code; it has no place in the graph yet.

        Args:
            options: of a builtin its object, or None where it has none; of a custom operation
                bytes.
            custom: name of a custom operation.
        """
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = kind
        code.version = 1
        operator = schema.OperatorT()
        if custom:
            code.customCode = custom.encode()
            operator.customOptions = np.frombuffer(options, np.uint8)
        elif options is not None:
            name = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            operator.builtinOptions = options
        self.unpacked.operatorCodes.append(code)
        operator.opcodeIndex = len(self.unpacked.operatorCodes) - 1
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        return operator

    def add(
        self,
        kind: int,
        inputs: Sequence[int],
        outputs: Sequence[tuple[str, tuple[int, ...]]],
        options: Any,
        custom: str = "",
    ) -> list[int]:
        """Add an operation at the end.

        Args:
            outputs: name and shape of each, float32.
            options, custom: as of `operator`.

        Returns:
            Indices of its outputs.
        """
        made = [self.tensor(name, sides, schema.TensorType.FLOAT32) for name, sides in outputs]
        self.graph.operators.append(self.operator(kind, inputs, made, options, custom))
        return made

    def end_in(self, outputs: Mapping[str, int]) -> None:
        """Give these tensors as outputs, in this order."""
        self.graph.outputs = list(outputs.values())
        self.unpacked.signatureDefs[0].outputs = []
        for name, index in outputs.items():
            named = schema.TensorMapT()
            named.name, named.tensorIndex = name.encode(), index
            self.unpacked.signatureDefs[0].outputs.append(named)


def _with_files(file: bytes, stored: Mapping[str, str]) -> bytes:
    """A file with a zip behind it, uncompressed: clients read texts where they lie."""
    if not stored:
        return file
    whole = io.BytesIO(file)
    with zipfile.ZipFile(whole, "a") as archive:
        for name, text in stored.items():
            archive.writestr(zipfile.ZipInfo(name, _OLDEST_ZIP_DATE), text)
    return whole.getvalue()
