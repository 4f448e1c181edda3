"""A pass: kernels rounded to half precision, as the float16 file widens them again."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.tflite.model import TFLiteModel
from export.tflite.weights import kernel_buffers


def round_to_half(model: TFLiteModel) -> None:
    """Let the kernels of a float32 file go through half precision and back."""
    for tensor, data in kernel_buffers(model.unpacked):
        if tensor.type == schema.TensorType.FLOAT32:
            rounded = data.view(np.float32).astype(np.float16).astype(np.float32)
            model.unpacked.buffers[tensor.buffer].data = rounded.view(np.uint8)
