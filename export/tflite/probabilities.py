"""A pass: a file ends in probabilities, where it ended in logits."""

from __future__ import annotations

from typing import Any

from ai_edge_litert import schema_py_generated as schema

from export.tflite.model import TFLiteModel
from export.tflite.weights import shape


def append_probabilities(model: TFLiteModel, *, name: str, each: bool) -> None:
    """Let a file end in probabilities of its logits.

    They are floats in every file, also behind integers: of 8 bits, most of a thousand classes would
    be 0, and the order of the others another one.

    Args:
        model: of one output (1, c), float32.
        name: of the new output, of that shape and type.
        each: whether each class has a probability of its own (sigmoid); otherwise their sum is one.
    """
    (source,) = map(int, model.graph.outputs)
    sides = tuple(shape(model.graph.tensors[source]))
    found = model.tensor(name, sides, schema.TensorType.FLOAT32)
    if each:
        kind, options = schema.BuiltinOperator.LOGISTIC, None
    else:
        kind, options = schema.BuiltinOperator.SOFTMAX, _softmax()
    model.graph.operators.append(model.operator(kind, [source], [found], options))
    model.end_in({name: found})


def _softmax() -> Any:
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    return options
