"""A pass: a file ends in the index of the largest, where it ended in logits."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.tflite.model import TFLiteModel
from export.tflite.weights import shape


def append_argmax(model: TFLiteModel, *, name: str) -> None:
    """Let a file end in the index of the largest along its output's last axis, the first of equals.

    Args:
        model: of one output (1, ..., c), float32.
        name: of the new output, (1, ...) int32.
    """
    (source,) = map(int, model.graph.outputs)
    *sides, _classes = shape(model.graph.tensors[source])
    last = np.array(len(sides), "<i4")
    axis = model.tensor(f"{name}_axis", (), schema.TensorType.INT32, last)
    index = model.tensor(name, tuple(sides), schema.TensorType.INT32)
    options = schema.ArgMaxOptionsT()
    options.outputType = schema.TensorType.INT32
    kind = schema.BuiltinOperator.ARG_MAX
    model.graph.operators.append(model.operator(kind, [source, axis], [index], options))
    model.end_in({name: index})


def network_ends(model: TFLiteModel, *, name: str) -> dict[str, int]:
    """The tensor that the network of a file of `append_argmax` ends in, as `name`."""
    (index,) = map(int, model.graph.outputs)
    return {name: int(model.maker(index).inputs[0])}
