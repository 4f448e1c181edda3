"""Which tensors of a float file quantisation treats in another way than the rest."""

from __future__ import annotations

from collections.abc import Sequence

from ai_edge_litert import schema_py_generated as schema

from export.graph import float_ends
from export.tflite.model import TFLiteModel
from export.tflite.weights import shape

_KINDS = {
    **dict.fromkeys(
        (
            *(schema.BuiltinOperator.ADD, schema.BuiltinOperator.SUB, schema.BuiltinOperator.MUL),
            *(schema.BuiltinOperator.MAXIMUM, schema.BuiltinOperator.LOG),
            *(schema.BuiltinOperator.SPLIT, schema.BuiltinOperator.STRIDED_SLICE),
        ),
        float_ends.ARITHMETIC,
    ),
    schema.BuiltinOperator.CONCATENATION: float_ends.CONCATENATION,
    schema.BuiltinOperator.LOGISTIC: float_ends.LOGISTIC,
    schema.BuiltinOperator.RESHAPE: float_ends.RESHAPE,
    schema.BuiltinOperator.SOFTMAX: float_ends.SOFTMAX,
}


def float_tensors(file: TFLiteModel) -> list[str]:
    """Names of tensors that stay float, see `export.graph.float_ends`."""
    graph, codes = file.graph, [code.builtinCode for code in file.unpacked.operatorCodes]
    makers = {int(t): operator for operator in graph.operators for t in operator.outputs}

    def made_by(index: int) -> tuple[str, Sequence[int]]:
        if index not in makers:
            return "", ()
        kind = _KINDS.get(codes[makers[index].opcodeIndex], "")
        return kind, [int(one) for one in makers[index].inputs]

    found = float_ends.float_ends(
        [int(index) for index in graph.outputs],
        made_by,
        rank=lambda index: len(shape(graph.tensors[index])),
    )
    return [graph.tensors[index].name.decode() for index in found]


def float_scopes(file: TFLiteModel) -> list[str]:
    """How litert-quantizer calls the operations that make `float_tensors`: by all their outputs."""
    names = [tensor.name.decode() for tensor in file.graph.tensors]
    found = dict[str, None]()
    made = {names[int(t)]: operator for operator in file.graph.operators for t in operator.outputs}
    for name in float_tensors(file):
        found["".join(f"{names[int(one)]};" for one in made[name].outputs)] = None
    return list(found)


def repeated_tensors(file: TFLiteModel) -> dict[str, str]:
    """Concatenations of a tensor with itself, with its name, in the order of the graph.

    Where that tensor is only reshaped or max-pooled from another, which keeps int8's scale, the
    other's name.
    """
    graph, codes = file.graph, [code.builtinCode for code in file.unpacked.operatorCodes]
    names = [tensor.name.decode() for tensor in graph.tensors]
    source: dict[int, int] = {}
    found = {}
    for operator in graph.operators:
        first, output = int(operator.inputs[0]), int(operator.outputs[0])
        origin = source.get(first, first)
        code = codes[operator.opcodeIndex]
        if code in (schema.BuiltinOperator.RESHAPE, schema.BuiltinOperator.MAX_POOL_2D):
            source[output] = origin
        if code == schema.BuiltinOperator.CONCATENATION and len(set(operator.inputs)) == 1:
            source[output] = origin
            found[names[output]] = names[origin]
    return found
