"""The last pass: what an .onnx file says of itself, among its properties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx

from export.artefacts.description import properties
from export.onnx.model import ONNXModel


def describe(model: ONNXModel, *, metadata: Mapping[str, Any]) -> None:
    """Describe an .onnx file inside itself, in place of any description that it has.

    Args:
        metadata: as `export.artefacts.description` has it.
    """
    described = properties(metadata)
    kept = {one.key: one.value for one in model.proto.metadata_props if one.key not in described}
    onnx.helper.set_model_props(model.proto, {**kept, **described})
