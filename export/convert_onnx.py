"""Keras -> ONNX, by Keras' own exporter (which drives tf2onnx)."""

from __future__ import annotations

import pathlib
import tempfile

import keras
import onnx

from export.convert_tflite import INPUT_NAME, OUTPUT_NAME
from training.quiet import quiet


def to_onnx(model: keras.Model) -> bytes:
    """Convert a functional classifier.

    Returns:
        A checked ONNX file, `image` (batch, height, width, channels) float32 ->
        `logits` (batch, classes) float32, any batch.
    """
    shape = (None, *model.input_shape[1:])
    picture = keras.InputSpec(shape=shape, dtype="float32", name=INPUT_NAME)
    with quiet(), tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.onnx"
        model.export(path, format="onnx", input_signature=[picture], verbose=False)
        converted = onnx.load(path)
    _rename(converted, converted.graph.output[0].name, OUTPUT_NAME)
    _rename(converted, converted.graph.input[0].name, INPUT_NAME)
    onnx.checker.check_model(converted, full_check=True)
    serialised: bytes = converted.SerializeToString(deterministic=True)
    return serialised


def _rename(model: onnx.ModelProto, old: str, new: str) -> None:
    """Rename an input or output; the exporter calls the output by its last layer."""
    for value in (*model.graph.input, *model.graph.output):
        if value.name == old:
            value.name = new
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
