"""What a .tflite file of another program says of itself: TFLite Metadata, and the operation behind.

TFLite Metadata is a flatbuffer in the model, under the name TFLITE_METADATA, and a zip behind the
model with its associated files. Numbers of fields are those of metadata_schema.fbs (MediaPipe,
Apache 2.0); `export.tflite.metadata` writes the same. Files come from anywhere, so that whatever is
broken in one is taken for not being there.
"""

from __future__ import annotations

import dataclasses
import io
import pathlib
import struct
import zipfile

from flatbuffers import number_types, table

_NAME = b"TFLITE_METADATA"
_NORMALISATION = 1  # in the union of process units
_LABELS = (2, 3)  # kinds of associated files: of an axis, of values
_POSTPROCESS = b"TFLite_Detection_PostProcess"
_MOST = 100_000  # operations, labels
_MOST_BYTES = 1 << 24

_Numbers = tuple[float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metadata:
    """What the file's metadata says.

    Attributes:
        normalisation: mean and standard deviation, of all channels or of each.
        labels: of the outputs, in their order.
    """

    normalisation: tuple[_Numbers, _Numbers] | None = None
    labels: tuple[str, ...] | None = None


Nothing = Metadata()


def read(path: pathlib.Path) -> Metadata:
    """What a .tflite file tells; nothing where it has no metadata, or broken ones."""
    data = path.read_bytes()
    try:
        packed = _packed(data)
        if packed is None:
            return Nothing
        model = _root(packed)
        graph = _tables(model, 3)[0]
        given, answers = _tables(graph, 2), _tables(graph, 3)
        files = [file for one in answers for file in _tables(one, 6)] + _tables(model, 6)
        names = [_text(file, 0) for file in files if _byte(file, 2) in _LABELS]
        return Metadata(
            normalisation=_normalisation(given[0]) if given else None,
            labels=_labels(data, names[0]) if names else None,
        )
    except (IndexError, ValueError, TypeError, struct.error, UnicodeDecodeError, OSError):
        return Nothing


def detections(path: pathlib.Path) -> tuple[int, int, int, int] | None:
    """Tensors with boxes, labels, scores and count, as TFLite_Detection_PostProcess gives them.

    Returns:
        Numbers of tensors; None of a file that does not end in that operation.
    """
    from ai_edge_litert import schema_py_generated as schema

    try:
        model = schema.Model.GetRootAs(path.read_bytes(), 0)
        graph = model.Subgraphs(0)
        for place in range(min(graph.OperatorsLength(), _MOST)):
            operator = graph.Operators(place)
            code = model.OperatorCodes(operator.OpcodeIndex())
            if code.CustomCode() == _POSTPROCESS and operator.OutputsLength() == 4:
                boxes, labels, scores, count = (int(operator.Outputs(i)) for i in range(4))
                return boxes, labels, scores, count
    except (IndexError, ValueError, TypeError, AttributeError, struct.error):
        return None
    return None


def _packed(data: bytes) -> bytes | None:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(data, 0)
    for place in range(min(model.MetadataLength(), _MOST)):
        entry = model.Metadata(place)
        if entry.Name() == _NAME:
            return bytes(model.Buffers(entry.Buffer()).DataAsNumpy())
    return None


def _root(packed: bytes) -> table.Table:
    (start,) = struct.unpack_from("<I", packed)
    return table.Table(bytearray(packed), start)


def _at(one: table.Table, field: int) -> int:
    """Where a field is; 0 where it is not."""
    offset = one.Offset(4 + 2 * field)
    return offset + one.Pos if offset else 0


def _tables(one: table.Table, field: int) -> list[table.Table]:
    if not _at(one, field):
        return []
    offset = one.Offset(4 + 2 * field)
    begin, count = one.Vector(offset), one.VectorLen(offset)
    if count > _MOST:
        raise ValueError("too many")
    return [table.Table(one.Bytes, one.Indirect(begin + 4 * i)) for i in range(count)]


def _byte(one: table.Table, field: int) -> int:
    place = _at(one, field)
    return int(one.Get(number_types.Int8Flags, place)) if place else 0


def _text(one: table.Table, field: int) -> str:
    place = _at(one, field)
    return one.String(place).decode() if place else ""


def _floats(one: table.Table, field: int) -> _Numbers:
    if not _at(one, field):
        return ()
    offset = one.Offset(4 + 2 * field)
    begin, count = one.Vector(offset), one.VectorLen(offset)
    if count > _MOST:
        raise ValueError("too many")
    return tuple(float(one.Get(number_types.Float32Flags, begin + 4 * i)) for i in range(count))


def _normalisation(tensor: table.Table) -> tuple[_Numbers, _Numbers] | None:
    for unit in _tables(tensor, 4):
        if _byte(unit, 0) == _NORMALISATION and (place := _at(unit, 1)):
            options = table.Table(unit.Bytes, unit.Indirect(place))
            mean, std = _floats(options, 0), _floats(options, 1)
            if mean and std:
                return mean, std
    return None


def _labels(data: bytes, name: str) -> tuple[str, ...] | None:
    """Lines of an associated file."""
    end = io.BytesIO(data)
    if not zipfile.is_zipfile(end):
        return None
    with zipfile.ZipFile(end) as archive:
        if name not in archive.namelist() or archive.getinfo(name).file_size > _MOST_BYTES:
            return None
        lines = archive.read(name).decode().splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    return tuple(line.strip() for line in lines) or None
