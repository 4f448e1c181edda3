"""A pass: a file ends in the index of the largest, where it ended in logits."""

from __future__ import annotations

import onnx

from export.onnx.model import ONNXModel


def append_argmax(model: ONNXModel, *, name: str) -> None:
    """Let a file end in the index of the largest along its output's last axis, the first of equals.

    Args:
        model: of one output (batch, ..., c), float32.
        name: of the new output, (batch, ...) int32.
    """
    graph = model.graph
    (logits,) = graph.output
    sides = logits.type.tensor_type.shape.dim
    shape = [side.dim_param or side.dim_value for side in sides][:-1]
    wide = f"{name}_int64"
    graph.node.extend(
        [
            onnx.helper.make_node(
                "ArgMax", [logits.name], [wide], name="ArgMax", axis=len(shape), keepdims=0
            ),
            onnx.helper.make_node("Cast", [wide], [name], name="Cast", to=onnx.TensorProto.INT32),
        ]
    )
    graph.ClearField("output")
    graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT32, shape))
    onnx.checker.check_model(model.proto, full_check=True)
