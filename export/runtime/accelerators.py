"""Which accelerators take a .tflite file whole, and which of its operations stop those that do not.

Nothing is run: the file is read, and held against rules.

- GPUs: what TensorFlow Lite's GPU delegate asks of operations, as far as converters write them
  (tensorflow/lite/tools/versioning/gpu_compatibility.cc), and of tensors (delegates/gpu/common/
  model_builder_helper.cc). The analysers that are installed (tf.lite.experimental.Analyzer of
  TensorFlow 2.21, ai_edge_litert 2.3's) have that check left out of their build: they find every
  file compatible, one with a custom operation too.
- NPUs: what all of them have in common, so that a compiler cuts nothing out: integers of 8 bits
  from end to end (floats at the ends alone), kernels of 8 bits with scales and no offset, shapes
  that are known, no branch and no custom operation. A compiler for one chip may take more.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kerascnn.errors import InputError

WHOLE = "whole"
_NAMED = 3  # kinds of operations that are named for one reason
_MOST = 100_000  # operations; see `export.runtime.info`


@dataclasses.dataclass(frozen=True)
class Stop:
    """Operations of one kind that an accelerator leaves to the processor, for one reason."""

    operation: str
    reason: str
    count: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accelerators:
    """What stops each of them, in the order of the file; nothing where it takes the file whole."""

    gpu: tuple[Stop, ...]
    npu: tuple[Stop, ...]


def accelerators(path: pathlib.Path) -> Accelerators:
    """Of a .tflite file, from anywhere.

    Raises:
        InputError: more operations than any network has. What else a broken file raises is of
            any kind.
    """
    graphs = _Graphs(path)
    operations = list(graphs.operations())
    return Accelerators(
        gpu=_counted(operations, _not_on_gpus), npu=_counted(operations, _not_on_npus)
    )


def text(stops: Sequence[Stop]) -> str:
    """For a person: "whole", or as in "CONV_2D, ADD and 2 more: computes in float32"."""
    by_reason: dict[str, list[str]] = {}
    for stop in stops:
        by_reason.setdefault(stop.reason, []).append(stop.operation)
    return "; ".join(f"{_kinds(names)}: {why}" for why, names in by_reason.items()) or WHOLE


def _kinds(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Tensor:
    """Of a graph.

    Attributes:
        shape: -1 where a side is known while running alone.
        constant: its values are in the file.
    """

    type: str
    shape: tuple[int, ...]
    constant: bool
    scales: int
    has_offset: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Operation:
    """With its tensors; of inputs that are left out there is None."""

    kind: str
    custom: bool
    inputs: tuple[_Tensor | None, ...]
    outputs: tuple[_Tensor, ...]
    options: Callable[[str], Any]

    @property
    def computed(self) -> list[_Tensor]:
        """Inputs and outputs that are no constants."""
        return [one for one in (*self.inputs, *self.outputs) if one and not one.constant]

    @property
    def constants(self) -> list[_Tensor]:
        return [one for one in self.inputs if one and one.constant]


def _counted(
    operations: Sequence[_Operation], reasons: Callable[[_Operation], Iterator[str]]
) -> tuple[Stop, ...]:
    """By the first reason that there is for each."""
    firsts = ((one.kind, next(reasons(one), None)) for one in operations)
    counts = collections.Counter((kind, why) for kind, why in firsts if why is not None)
    return tuple(Stop(kind, why, count) for (kind, why), count in counts.items())


def _not_on_gpus(one: _Operation) -> Iterator[str]:
    """What keeps the GPU delegate from an operation."""
    if one.custom:
        yield "custom operation"
    elif one.kind not in _ON_GPUS:
        yield "not supported"
    for tensor in one.computed:
        if tensor.type not in _GPU_TYPES:
            yield f"computes in {tensor.type.lower()}"
        if len(tensor.shape) > _GPU_SIDES:
            yield f"tensor of {len(tensor.shape)} dimensions"
        if min(tensor.shape, default=0) < 0:
            yield _ANY_SIZE
    for tensor in one.constants:
        if tensor.type not in _GPU_TYPES:
            yield f"constant of {tensor.type.lower()}"
    condition = _GPU_CONDITIONS.get(one.kind)
    if condition is not None and (why := condition(one)) is not None:
        yield why


def _not_on_npus(one: _Operation) -> Iterator[str]:
    """What makes a compiler for NPUs cut an operation out."""
    if one.custom:
        yield "custom operation"
    if one.kind in _BRANCHES:
        yield "branch or loop"
    if any(min(tensor.shape, default=0) < 0 for tensor in one.computed):
        yield _ANY_SIZE
    if one.kind in _BORDERS:  # of an end, or of floats whose operations are named themselves
        return
    for tensor in one.computed:
        if tensor.type not in _NPU_TYPES:
            yield f"computes in {tensor.type.lower()}"
    kernel = one.inputs[1] if one.kind in _KERNELS and len(one.inputs) > 1 else None
    if kernel is None:
        return
    if kernel.type != "INT8":
        yield f"kernel of {kernel.type.lower()}"
    if not kernel.scales:
        yield "kernel without a scale"
    if kernel.has_offset:
        yield "kernel with an offset"


def _sides_of_slice(one: _Operation) -> str | None:
    given = one.inputs[0]
    if given is not None and len(given.shape) not in (3, 4):
        return f"of {len(given.shape)} dimensions, not 3 or 4"
    return None


def _strided_slice(one: _Operation) -> str | None:
    options = one.options("StridedSliceOptions")
    if options.EllipsisMask() or options.NewAxisMask() or options.ShrinkAxisMask():
        return "a mask that adds or takes away a dimension"
    return _sides_of_slice(one)


def _depthwise(one: _Operation) -> str | None:
    given = one.inputs[0]
    channels = given.shape[-1] if given is not None and given.shape else 1
    if one.options("DepthwiseConv2DOptions").DepthMultiplier() != 1 and channels != 1:
        return "several outputs per channel"
    return None


def _gather(one: _Operation) -> str | None:
    values, places = (*one.inputs, None, None)[:2]
    if values is not None and values.type == "INT32":
        return "gathers int32"
    if places is not None and (places.type != "INT32" or len(places.shape) != 1):
        return "by places that are no list of int32"
    return None


def _cast(one: _Operation) -> str | None:
    (given, *_), (made, *_) = one.inputs, one.outputs
    between = {given.type if given else "?", made.type}
    if between <= {"FLOAT32", "INT32"} or between in ({"BOOL", "FLOAT32"}, {"BOOL", "FLOAT16"}):
        return None
    return f"from {given.type.lower() if given else 'nothing'} to {made.type.lower()}"


def _reduction(one: _Operation) -> str | None:
    axes = one.inputs[1] if len(one.inputs) > 1 else None
    return "over axes that are computed" if axes is None or not axes.constant else None


def _softmax(one: _Operation) -> str | None:
    return "beta is not 1" if one.options("SoftmaxOptions").Beta() != 1 else None


def _padding(one: _Operation) -> str | None:
    sides = one.inputs[1] if len(one.inputs) > 1 else None
    shape = () if sides is None else sides.shape
    return None if shape in ((3, 2), (4, 2)) else f"of {shape[0] if shape else 'no'} dimensions"


class _Graphs:
    """The graphs of a file, read where they lie: see `export.runtime.info`."""

    def __init__(self, path: pathlib.Path) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._path, self._schema = path, schema
        self._model = schema.Model.GetRootAs(path.read_bytes(), 0)
        self._types = _names(schema.TensorType)
        self._builtins = _names(schema.BuiltinOperator)
        self._kinds = [
            self._kind(number) for number in range(self._bounded(self._model.OperatorCodesLength()))
        ]

    def operations(self) -> Iterator[_Operation]:
        """All of them, in order."""
        for number in range(self._bounded(self._model.SubgraphsLength())):
            graph = self._model.Subgraphs(number)
            for index in range(self._bounded(graph.OperatorsLength())):
                yield self._operation(graph, graph.Operators(index))

    def _operation(self, graph: Any, operator: Any) -> _Operation:
        def tensor(place: int) -> _Tensor | None:
            return None if place < 0 else self._tensor(graph.Tensors(place))

        kind, custom = self._kinds[operator.OpcodeIndex()]
        inputs = [operator.Inputs(i) for i in range(self._bounded(operator.InputsLength()))]
        outputs = [operator.Outputs(i) for i in range(self._bounded(operator.OutputsLength()))]
        return _Operation(
            kind=kind,
            custom=custom,
            inputs=tuple(map(tensor, inputs)),
            outputs=tuple(one for one in map(tensor, outputs) if one is not None),
            options=functools.partial(self._options, operator),
        )

    def _tensor(self, tensor: Any) -> _Tensor:
        params = tensor.Quantization()
        buffer = self._model.Buffers(tensor.Buffer())
        signature = tensor.ShapeSignatureLength()
        sides = tensor.ShapeSignature if signature else tensor.Shape
        count = self._bounded(signature or tensor.ShapeLength())
        return _Tensor(
            type=self._types.get(tensor.Type(), "?"),
            shape=tuple(int(sides(i)) for i in range(count)),
            constant=bool(buffer.DataLength() or buffer.Size()),
            scales=params.ScaleLength() if params else 0,
            has_offset=bool(
                params and params.ZeroPointLength() and params.ZeroPointAsNumpy().any()
            ),
        )

    def _options(self, operator: Any, name: str) -> Any:
        """The options of an operation; defaults where it has none."""
        options, table = getattr(self._schema, name)(), operator.BuiltinOptions()
        if table is None:
            made = getattr(self._schema, f"{name}T")()
            return _Defaults(made)
        options.Init(table.Bytes, table.Pos)
        return options

    def _kind(self, number: int) -> tuple[str, bool]:
        code = self._model.OperatorCodes(number)
        # Old files have the first field alone, new ones both, of which it is the smaller one.
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if builtin == self._schema.BuiltinOperator.CUSTOM:
            return code.CustomCode().decode(errors="replace"), True
        return self._builtins.get(builtin, f"operation {builtin}"), False

    def _bounded(self, count: int) -> int:
        if count > _MOST:
            raise InputError(f"{self._path} is broken: it counts more than {_MOST:,} operations")
        return int(count)


class _Defaults:
    """Options that a file leaves out, asked as those that it has."""

    def __init__(self, made: Any) -> None:
        self._made = made

    def __getattr__(self, name: str) -> Callable[[], Any]:
        value = getattr(self._made, name[0].lower() + name[1:])
        return lambda: value


def _names(enumeration: Any) -> dict[int, str]:
    return {code: name for name, code in vars(enumeration).items() if name[0] != "_"}


_ANY_SIZE = "dynamic shape"
_GPU_SIDES = 4
_GPU_TYPES = {"FLOAT32", "FLOAT16", "INT8", "UINT8", "INT32", "BOOL"}
_ON_GPUS = {
    *("ABS", "ADD", "ADD_N", "ATAN2", "AVERAGE_POOL_2D", "BATCH_MATMUL", "CAST", "CEIL"),
    *("CONCATENATION", "CONV_2D", "COS", "CUMSUM", "DENSIFY", "DEPTH_TO_SPACE"),
    *("DEPTHWISE_CONV_2D", "DEQUANTIZE", "DIV", "DYNAMIC_UPDATE_SLICE", "ELU"),
    *("EMBEDDING_LOOKUP", "EQUAL", "EXP", "FLOOR", "FLOOR_DIV", "FLOOR_MOD", "FULLY_CONNECTED"),
    *("GATHER", "GELU", "GREATER", "GREATER_EQUAL", "HARD_SWISH", "LEAKY_RELU", "LESS"),
    *("LESS_EQUAL", "LOG", "LOGICAL_AND", "LOGISTIC", "LSTM", "MAX_POOL_2D", "MAXIMUM", "MEAN"),
    *("MINIMUM", "MIRROR_PAD", "MUL", "NEG", "NOT_EQUAL", "ONE_HOT", "PACK", "PAD", "PADV2"),
    *("POW", "PRELU", "QUANTIZE", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "RELU", "RELU6"),
    *("RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "RSQRT"),
    *("SELECT", "SELECT_V2", "SIGN", "SIN", "SLICE", "SOFTMAX", "SPACE_TO_DEPTH", "SPLIT"),
    *("SPLIT_V", "SQRT", "SQUARE", "SQUARED_DIFFERENCE", "STRIDED_SLICE", "SUB", "SUM", "TANH"),
    *("TILE", "TRANSPOSE", "TRANSPOSE_CONV"),
}
_GPU_CONDITIONS: dict[str, Callable[[_Operation], str | None]] = {
    "CAST": _cast,
    "DEPTHWISE_CONV_2D": _depthwise,
    "GATHER": _gather,
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"), _reduction),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), _padding),
    "SLICE": _sides_of_slice,
    "SOFTMAX": _softmax,
    "STRIDED_SLICE": _strided_slice,
}
# Those of 32 bits are indices, as of the likeliest class.
_NPU_TYPES = {"INT8", "UINT8", "INT32", "BOOL"}
_BRANCHES = ("IF", "WHILE", "CALL_ONCE", "STABLEHLO_WHILE")
_BORDERS = ("QUANTIZE", "DEQUANTIZE")
_KERNELS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
