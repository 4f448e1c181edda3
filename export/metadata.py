"""TFLite metadata: what MediaPipe and Android's Task library have to be told of a file.

A flatbuffer of its own lies in the model under the name TFLITE_METADATA, and the labels are a zip
behind the model. The numbers of fields are those of metadata_schema.fbs (MediaPipe, Apache 2.0).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export import flatbuffer
from export.detection_tflite import BOXES, DETECTIONS, LABELS, MASKS
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing

_NAME, _IDENTIFIER = "TFLITE_METADATA", b"M001"
_LABELS_FILE = "labels.txt"
_OLDEST_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the file's bytes must not depend on the day

# Numbers of the schema's unions and enumerations.
_IMAGE, _BOUNDING_BOX = 2, 3
_NORMALISATION = 1
_COLOURS = {1: 2, 3: 1}  # channels: GRAYSCALE, RGB
_AXIS_LABELS, _VALUE_LABELS = 2, 3
_BOUNDARIES = 1


def with_metadata(
    file: bytes,
    *,
    name: str,
    description: str,
    preprocessing: Preprocessing,
    labels: Sequence[str],
) -> bytes:
    """Describe a file inside itself; the last thing that is done to it.

    Args:
        file: of a detector with its post-processing, or of a classifier.
        name, description: for people.
        preprocessing: of the network, whatever type the file's input has.
        labels: class names in order.

    Returns:
        The file, with the metadata and `labels.txt` inside.

    Raises:
        InputError: what metadata cannot say: blue first, or labels of more than one line.
    """
    if preprocessing.order != "rgb":
        raise InputError("metadata knows pictures with red first alone, not bgr")
    if any(len(label.splitlines()) != 1 for label in labels):
        raise InputError("a label of a file with metadata is one line of text, not empty")
    model = flatbuffer.read(file)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(
        _packed({
            0: name,
            1: description,
            3: [{
                2: [_picture(preprocessing)],
                3: [_output(output.name.decode()) for output in model.signatureDefs[0].outputs],
            }],
        }),
        np.uint8,
    )  # fmt: skip
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = _NAME.encode(), len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    return _with_labels(flatbuffer.write(model), labels)


def _picture(preprocessing: Preprocessing) -> Mapping[int, Any]:
    """TensorMetadata of the input."""
    numbers = {
        i: np.broadcast_to(np.asarray(values, np.float32), preprocessing.channels)
        for i, values in enumerate((preprocessing.mean, preprocessing.std))
    }
    return {
        0: "image",
        3: {0: _IMAGE, 1: {0: _COLOURS[preprocessing.channels]}},
        4: [{0: _NORMALISATION, 1: numbers}],
    }


def _output(name: str) -> Mapping[int, Any]:
    """TensorMetadata of an output, by its name."""
    if name == BOXES:
        # Where left, top, right and bottom stand, as shares (which is the default).
        corners = {0: np.array([1, 0, 3, 2], np.uint32), 1: _BOUNDARIES}
        return {0: name, 3: {0: _BOUNDING_BOX, 1: corners}}
    if name in (*DETECTIONS, MASKS) and name != LABELS:
        return {0: name}
    kind = _VALUE_LABELS if name == LABELS else _AXIS_LABELS
    return {0: name, 6: [{0: _LABELS_FILE, 2: kind}]}


def _with_labels(file: bytes, labels: Sequence[str]) -> bytes:
    whole = io.BytesIO(file)
    with zipfile.ZipFile(whole, "a") as archive:
        listed = zipfile.ZipInfo(_LABELS_FILE, _OLDEST_ZIP_DATE)
        archive.writestr(listed, "".join(f"{label}\n" for label in labels))
    return whole.getvalue()


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
