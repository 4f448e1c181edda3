"""A two-stage detector's float file: its operations before the choice of regions."""

from __future__ import annotations

import re

from ai_edge_litert import schema_py_generated as schema

from export.graph.regions import Operation, before_regions
from export.tflite.kernel_operations import KERNEL_OPERATIONS
from export.tflite.model import TFLiteModel

_SUPPRESSION = frozenset({
    schema.BuiltinOperator.NON_MAX_SUPPRESSION_V4,
    schema.BuiltinOperator.NON_MAX_SUPPRESSION_V5,
})  # fmt: skip
_CHOOSING = _SUPPRESSION | {schema.BuiltinOperator.TOPK_V2}
_NONE = -1  # of an input that an operation does without


def integer_operations(file: TFLiteModel) -> list[schema.OperatorT]:
    """Those that `export.graph.regions` has in integers; none of other networks' files."""
    codes = [code.builtinCode for code in file.unpacked.operatorCodes]
    operators = file.graph.operators
    kinds = [codes[operator.opcodeIndex] for operator in operators]
    if _SUPPRESSION.isdisjoint(kinds):
        return []
    found = before_regions([
        Operation(
            reads=[int(one) for one in operator.inputs],
            makes=[int(one) for one in operator.outputs],
            has_kernel=kind in KERNEL_OPERATIONS,
            chooses=kind in _CHOOSING,
        )
        for operator, kind in zip(operators, kinds, strict=True)
    ])  # fmt: skip
    return [operator for operator, early in zip(operators, found, strict=True) if early]


def integer_scope(file: TFLiteModel) -> str | None:
    """A pattern of what litert-quantizer calls `integer_operations`; None where there are none."""
    names = [tensor.name.decode() for tensor in file.graph.tensors]
    scopes = [
        re.escape("".join(f"{names[int(one)]};" for one in operator.outputs))
        for operator in integer_operations(file)
    ]
    return f"^(?:{'|'.join(scopes)})$" if scopes else None


def without_regions(file: TFLiteModel) -> TFLiteModel:
    """The same file up to what `integer_operations` give others; other networks' as it is.

    Ranges of what is in integers are asked for on hundreds of images, and no region is needed.
    """
    integers = integer_operations(file)
    if not integers:
        return file
    cut = TFLiteModel.open(file.packed())
    cut.apply(_keep, operations=integer_operations(cut))
    return cut


def _keep(model: TFLiteModel, operations: list[schema.OperatorT]) -> None:
    graph, (signature,) = model.graph, model.unpacked.signatureDefs
    made = {int(one) for operator in operations for one in operator.outputs}
    others = [one for one in graph.operators if one not in operations]
    ends = sorted({int(one) for operator in others for one in operator.inputs} & made)
    used = {int(one) for operator in operations for one in (*operator.inputs, *operator.outputs)}
    kept = sorted(used.union(map(int, graph.inputs)) - {_NONE})
    place = {_NONE: _NONE, **{tensor: number for number, tensor in enumerate(kept)}}
    graph.tensors = [graph.tensors[tensor] for tensor in kept]
    graph.operators = operations
    graph.inputs = [place[int(one)] for one in graph.inputs]
    for operator in operations:
        operator.inputs = [place[int(one)] for one in operator.inputs]
        operator.outputs = [place[int(one)] for one in operator.outputs]
    for given in signature.inputs:
        given.tensorIndex = place[int(given.tensorIndex)]
    model.end_in({f"end{number}": place[tensor] for number, tensor in enumerate(ends)})
