"""The last pass: what a file says of itself, for clients that have it alone.

A .tflite file has TFLite Metadata, which MediaPipe and Android's Task library read: a flatbuffer of
its own in the model, under the name TFLITE_METADATA, and a zip behind the model. The numbers of
fields are those of metadata_schema.fbs (MediaPipe, Apache 2.0). What that schema has no words for
is in the zip, as kerascnn.json beside labels.txt; an .onnx file has the same among its properties.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.artefacts import description
from export.artefacts.description import DESCRIPTION
from export.tflite.model import TFLiteModel
from kerascnn.preprocessing import LETTERBOX_GREY

_NAME, _IDENTIFIER = b"TFLITE_METADATA", b"M001"
_LABELS_FILE = "labels.txt"
_PARSER = "1.0.0"  # the oldest reader of the schema that knows all fields written here

# Numbers of the schema's unions and enumerations.
_IMAGE, _BOUNDING_BOX = 2, 3
_NORMALISATION = 1
_RGB, _GREY, _UNKNOWN_COLOUR = 1, 2, 0
_LETTERBOXED = (
    "an image that keeps its aspect ratio, as large as it fits, in the middle of grey "
    f"{LETTERBOX_GREY}"
)
_ANY_FILE, _AXIS_LABELS, _VALUE_LABELS = 0, 2, 3
_BOUNDARIES = 1
_TYPES = {
    getattr(schema.TensorType, name.upper()): name
    for name in ("float32", "int32", "int64", "uint8")
}


def describe(model: TFLiteModel, *, metadata: Mapping[str, Any]) -> None:
    """Describe a .tflite file inside itself, in place of any description that it has.

    Args:
        model: a file, which gets TFLite Metadata, `labels.txt` and `kerascnn.json` inside.
        metadata: as `export.artefacts.description` has it; names of tensors, and shapes and types
            of outputs, are read off the file.

    Raises:
        InputError: labels of more than one line.
    """
    description.check_labels(metadata["labels"])
    metadata = _with_tensors(model.unpacked, metadata)
    plain = schema.BufferT()
    plain.data = np.frombuffer(_packed(_plain(model.unpacked, metadata)), np.uint8)
    known = model.unpacked.metadata or []
    entries = [one for one in known if one.name != _NAME]
    if len(entries) < len(known):
        # Buffers go by number: that of the earlier description is taken again.
        (index,) = (one.buffer for one in known if one.name == _NAME)
        model.unpacked.buffers[index] = plain
    else:
        index = len(model.unpacked.buffers)
        model.unpacked.buffers.append(plain)
    entry = schema.MetadataT()
    entry.name, entry.buffer = _NAME, index
    model.unpacked.metadata = [*entries, entry]
    model.stored = {
        _LABELS_FILE: description.lines(metadata["labels"]),
        DESCRIPTION: description.to_json(metadata),
    }


def _with_tensors(model: schema.ModelT, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The description with what the file says of its tensors, outputs in the file's order."""
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    meanings = {one["name"]: one["meaning"] for one in metadata["outputs"]}
    named = {int(one.tensorIndex): one.name.decode() for one in signature.outputs}
    outputs = []
    for index in map(int, graph.outputs):
        tensor = graph.tensors[index]
        outputs.append({
            "name": named[index],
            "shape": [int(side) for side in tensor.shape],
            "type": _TYPES[tensor.type],
            "meaning": meanings.get(named[index], ""),
            "tensor": tensor.name.decode(),
        })  # fmt: skip
    taken = graph.tensors[graph.inputs[0]].name.decode()
    return {**metadata, "input": {**metadata["input"], "tensor": taken}, "outputs": outputs}


def _plain(model: schema.ModelT, metadata: Mapping[str, Any]) -> Mapping[int, Any]:
    """ModelMetadata."""
    kind = metadata["decoding"]["kind"]
    outputs = [_output(one, kind) for one in metadata["outputs"]]
    root = {
        0: metadata["name"],
        1: metadata["description"],
        2: metadata["version"],
        3: [{2: [_image(model, metadata["input"])], 3: outputs}],
        4: metadata["author"],
        5: metadata["license"],
        6: [{0: DESCRIPTION, 1: "all of this, and what this has no words for", 2: _ANY_FILE}],
        7: _PARSER,
    }
    return {field: value for field, value in root.items() if value}


def _image(model: schema.ModelT, metadata: Mapping[str, Any]) -> Mapping[int, Any]:
    """TensorMetadata of the input."""
    mean, std = metadata["mean"], metadata["std"]
    if metadata["values"] == description.RAW:
        # Clients may normalise and then quantise as the tensor says: bytes come out as they were.
        tensor = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
        scale, zero = tensor.quantization.scale[0], tensor.quantization.zeroPoint[0]
        mean, std = [float(zero)] * len(mean), [1 / float(scale)] * len(std)
    numbers = {0: np.array(mean, np.float32), 1: np.array(std, np.float32)}
    colour = _GREY if metadata["colour"] == "grey" else _RGB
    if metadata["order"] != "rgb":
        # The schema knows no blue first; MediaPipe then refuses the file, which is better than
        # answers to pictures with red and blue exchanged.
        colour = _UNKNOWN_COLOUR
    # The schema has no field for it: MediaPipe stretches images whatever is said here.
    shape = {1: _LETTERBOXED} if metadata["resize"] == "letterbox" else {}
    return {
        0: metadata["name"],
        **shape,
        3: {0: _IMAGE, 1: {0: colour}},
        4: [{0: _NORMALISATION, 1: numbers}],
    }


def _output(metadata: Mapping[str, Any], kind: str) -> Mapping[int, Any]:
    """TensorMetadata of an output."""
    name = metadata["name"]
    plain = {0: name, 1: metadata["meaning"]}
    if kind == "detections" and name == "boxes":
        # Where left, top, right and bottom stand, as shares (which is the default).
        corners = {0: np.array([1, 0, 3, 2], np.uint32), 1: _BOUNDARIES}
        return {**plain, 3: {0: _BOUNDING_BOX, 1: corners}}
    # Of each index along the last axis, or of each value; raw scores may begin with a background.
    labelled = {"logits": _AXIS_LABELS, "labels": _VALUE_LABELS, "map": _VALUE_LABELS}
    if kind in ("probabilities", "scores"):
        labelled = {kind: _AXIS_LABELS}
    if name not in labelled:
        return plain
    return {**plain, 6: [{0: _LABELS_FILE, 2: labelled[name]}]}


def _packed(root: Mapping[int, Any]) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(_table(builder, root), _IDENTIFIER)
    return bytes(builder.Output())


def _table(builder: flatbuffers.Builder, fields: Mapping[int, Any]) -> int:
    """Write a table of values by field number; plain integers are bytes."""
    # What is inside comes before the table.
    written = {i: v if isinstance(v, int) else _offset(builder, v) for i, v in fields.items()}
    builder.StartObject(max(fields) + 1)
    for field, value in written.items():
        if isinstance(fields[field], int):
            builder.PrependUint8Slot(field, value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(field, value, 0)
    return int(builder.EndObject())


def _offset(builder: flatbuffers.Builder, value: Any) -> int:
    """Write a string, an array, a table or a list of tables."""
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, np.ndarray):
        return int(builder.CreateNumpyVector(value))
    if isinstance(value, Mapping):
        return _table(builder, value)
    offsets = [_table(builder, one) for one in value]
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())
