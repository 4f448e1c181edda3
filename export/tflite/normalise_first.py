"""A pass: a float file takes the values of bytes, and normalises them itself."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.tflite.model import TFLiteModel

_LAYER = "normalise"


def normalise_first(model: TFLiteModel, *, kernel: np.ndarray, bias: np.ndarray) -> None:
    """Put a convolution of single pixels in front.

    Args:
        kernel: (channels, channels), from those of the image to those of the network.
        bias: (channels,).
    """
    graph = model.graph
    (old,) = map(int, graph.inputs)
    shape = [int(side) for side in graph.tensors[old].shape]
    image = model.tensor(f"{_LAYER}_image", shape, schema.TensorType.FLOAT32)
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    options.padding = schema.Padding.VALID
    weights = model.constant(kernel.T[:, None, None].astype(np.float32))
    given = [image, weights, model.constant(bias.astype(np.float32))]
    graph.operators.insert(0, model.operator(schema.BuiltinOperator.CONV_2D, given, [old], options))
    graph.inputs = [image]
    for signature in model.unpacked.signatureDefs:
        for tensor in signature.inputs:
            tensor.tensorIndex = image
