"""The mean of a map in two steps, rows first, so that no sum on the way is as large.

An accelerator that adds in half precision has infinity beyond 65,504: 112 x 112 values of 6 add up
to 75,264, a column of them to 672 and a row of means to 672 again. The second step's input is one
row: nothing that takes time.
"""

from __future__ import annotations

from collections.abc import Container

from ai_edge_litert import schema_py_generated as schema

from export.tflite.model import TFLiteModel

_ROWS, _COLUMNS = 1, 2  # of (1, height, width, channels)


def is_of_maps(file: TFLiteModel, operator: schema.OperatorT) -> bool:
    """Whether an operation is the mean over the places of maps of floats."""
    code = file.unpacked.operatorCodes[operator.opcodeIndex].builtinCode
    if code != schema.BuiltinOperator.MEAN:
        return False
    given, axes = (file.graph.tensors[place] for place in operator.inputs)
    known = file.unpacked.buffers[axes.buffer].data
    return (
        given.type == schema.TensorType.FLOAT32
        and len(given.shape) == 4
        and known is not None
        and sorted(known.view("<i4").tolist()) == [_ROWS, _COLUMNS]
    )


def means_of_maps(file: TFLiteModel) -> set[str]:
    """The tensors that such means give, by name."""
    found = (one.outputs[0] for one in file.graph.operators if is_of_maps(file, one))
    return {file.graph.tensors[place].name.decode() for place in found}


def in_two_steps(file: TFLiteModel, *, outputs: Container[str]) -> None:
    """Edit the means of an open file whose outputs have these names."""
    operators: list[schema.OperatorT] = []
    for operator in file.graph.operators:
        name = file.graph.tensors[operator.outputs[0]].name.decode()
        if name in outputs and is_of_maps(file, operator):
            operators.append(_first_step(file, operator, name))
        operators.append(operator)
    file.graph.operators = operators


def _first_step(file: TFLiteModel, operator: schema.OperatorT, name: str) -> schema.OperatorT:
    """The mean over rows, which the operation takes from now on."""
    given = file.graph.tensors[operator.inputs[0]]
    shape = [int(side) for side in given.shape]
    shape[_ROWS] = 1
    made = file.tensor(f"{name};rows", shape, schema.TensorType.FLOAT32)
    first = schema.OperatorT()
    first.opcodeIndex = operator.opcodeIndex
    first.inputs, first.outputs = [operator.inputs[0], file.constant([_ROWS])], [made]
    first.builtinOptionsType = schema.BuiltinOptions.ReducerOptions
    first.builtinOptions = schema.ReducerOptionsT()
    first.builtinOptions.keepDims = True
    operator.inputs = [made, operator.inputs[1]]
    return first
