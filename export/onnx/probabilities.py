"""A pass: a file ends in probabilities, where it ended in logits."""

from __future__ import annotations

import onnx

from export.onnx.model import ONNXModel


def append_probabilities(model: ONNXModel, *, name: str, each: bool) -> None:
    """As `export.tflite.probabilities.append_probabilities`.

    Args:
        model: of one output (batch, c), float32.
        name: of the new output, of that shape and type.
        each: whether each class has a probability of its own (sigmoid); otherwise their sum is one.
    """
    graph = model.graph
    (logits,) = graph.output
    sides = [side.dim_param or side.dim_value for side in logits.type.tensor_type.shape.dim]
    given, made = [logits.name], [name]
    if each:
        node = onnx.helper.make_node("Sigmoid", given, made, name="Sigmoid")
    else:
        node = onnx.helper.make_node("Softmax", given, made, name="Softmax", axis=1)
    graph.node.append(node)
    graph.ClearField("output")
    graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sides))
    onnx.checker.check_model(model.proto, full_check=True)
