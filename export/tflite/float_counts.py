"""A pass: two-stage detectors give what other detectors' files give, in their order."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from export.graph.signature import COUNT, DETECTIONS, LABELS, MASKS
from export.tflite.model import TFLiteModel


def give_float_counts(model: TFLiteModel) -> None:
    """Put the outputs into the order and the types of other detectors' files.

    Args:
        model: of `export.graph.two_stage.with_suppression`, quantised or not; afterwards it gives,
            float32: `boxes` (1, d, 4), `labels` (1, d), `scores` (1, d), `count` (1,), and `masks`
            (1, d, 28, 28) if it has them.
    """
    given = model.outputs()
    outputs = {name: model.named(name) for name in (*DETECTIONS, MASKS) if name in given}
    for name in (LABELS, COUNT):
        sides = tuple(int(n) for n in given[name].shape)
        (outputs[name],) = model.add(
            schema.BuiltinOperator.CAST, [outputs[name]], [(f"float_{name}", sides)], _to_float()
        )
    model.end_in(outputs)


def _to_float() -> schema.CastOptionsT:
    options = schema.CastOptionsT()
    options.inDataType, options.outDataType = schema.TensorType.INT32, schema.TensorType.FLOAT32
    return options
