"""A pass: a file with an int8 input takes uint8 bytes instead."""

from __future__ import annotations

import copy

from ai_edge_litert import schema_py_generated as schema

from export.tflite.model import TFLiteModel


def take_uint8(model: TFLiteModel, *, name: str) -> None:
    """Put a QUANTIZE operation in front.

    It changes no value: the two integer types differ by 128 in the zero point alone.

    Args:
        name: of the input.
    """
    graph = model.graph
    (old,) = graph.inputs
    raw = copy.deepcopy(graph.tensors[old])
    raw.name = f"{name}_bytes".encode()
    raw.type = schema.TensorType.UINT8
    raw.quantization.zeroPoint = [int(z) + 128 for z in raw.quantization.zeroPoint]
    graph.tensors.append(raw)
    index = len(graph.tensors) - 1
    operator = model.operator(
        schema.BuiltinOperator.QUANTIZE, [index], [int(old)], schema.QuantizeOptionsT()
    )
    graph.operators.insert(0, operator)
    graph.inputs = [index]
    for signature in model.unpacked.signatureDefs:
        for tensor in signature.inputs:
            tensor.tensorIndex = index
