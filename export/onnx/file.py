"""Small edits and readings of ONNX files; `export/tflite/flatbuffer.py` has those of TFLite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)


def onnx_weight_sparsity(data: bytes) -> float:
    """Share of exact zeros among the weights with two or more dimensions, 0 to 1."""
    kernels = [weight for weight in _weights(data) if weight.ndim > 1]
    total = sum(kernel.size for kernel in kernels)
    return sum(int(np.count_nonzero(kernel == 0)) for kernel in kernels) / total if total else 0.0


def onnx_nonzero_weights(data: bytes) -> int:
    """Numbers that are not zero among the weights, biases included, of a float file."""
    return sum(int(np.count_nonzero(weight)) for weight in _weights(data))


def append_argmax(data: bytes, *, name: str) -> bytes:
    """Let a file end in the index of the largest along its output's last axis, the first of equals.

    Args:
        data: of one output (batch, ..., c), float32.
        name: of the new output, (batch, ...) int32.
    """
    model = onnx.load_from_string(data)
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
    onnx.checker.check_model(model, full_check=True)
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def with_properties(data: bytes, told: Mapping[str, str]) -> bytes:
    """A file with these properties, in their order, in place of any of the same names."""
    model = onnx.load_from_string(data)
    kept = {one.key: one.value for one in model.metadata_props if one.key not in told}
    onnx.helper.set_model_props(model, {**kept, **told})
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def _weights(data: bytes) -> Iterator[np.ndarray]:
    """Constants in floating point; integers are shapes and axes, lone numbers arithmetic."""
    for tensor in onnx.load_from_string(data).graph.initializer:
        if tensor.data_type in _FLOATS and tensor.dims:
            yield onnx.numpy_helper.to_array(tensor)
