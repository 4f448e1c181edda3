"""Whether a .tflite file is whole: what its flatbuffer points to lies inside of it.

Nothing is unpacked. A file that was cut short still begins as it should, and its constants, its
graph or the zip behind it are missing.
"""

from __future__ import annotations

import mmap
import pathlib
import re
import struct
from collections.abc import Iterator

# Fields in the order of TensorFlow's schema.fbs: of a Model, and of a Buffer.
_OPERATOR_CODES, _SUBGRAPHS, _DESCRIPTION, _BUFFERS = 1, 2, 3, 4
_DATA, _OFFSET, _SIZE = 0, 1, 2
_ENTRY = re.compile(rb"PK\x03\x04.{26}[\w.-]+\.(?:json|txt)", re.DOTALL)  # of a zip


def is_cut_short(path: pathlib.Path) -> bool:
    """Whether a file with a TFLite model's first bytes ends before its model does."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return any(end > size for end in _ends(data))
    except (struct.error, ValueError, IndexError):  # an offset that lies behind the end
        return True


def has_zip_entry(tail: bytes) -> bool:
    """Whether the end of a file has a text of a zip, of which the directory may be missing."""
    return _ENTRY.search(tail) is not None


def _ends(data: mmap.mmap) -> Iterator[int]:
    """Where parts of a model end; raises struct.error where an offset is outside."""
    root = _number(data, 0)
    for field in (_OPERATOR_CODES, _SUBGRAPHS, _BUFFERS):
        for table in _tables(data, root, field):
            yield table + 4
            _number(data, _fields(data, table))
    if place := _vector(data, root, _DESCRIPTION):
        yield place + 4 + _number(data, place)
    for buffer in _tables(data, root, _BUFFERS):
        if place := _vector(data, buffer, _DATA):
            yield place + 4 + _number(data, place)
        # Writers of large files put constants behind the flatbuffer.
        offset, length = (_at(data, buffer, field) for field in (_OFFSET, _SIZE))
        if offset and length:
            yield sum(struct.unpack_from("<Q", data, place)[0] for place in (offset, length))


def _tables(data: mmap.mmap, table: int, field: int) -> Iterator[int]:
    """The places of a vector's tables."""
    if vector := _vector(data, table, field):
        for place in range(vector + 4, vector + 4 + 4 * _number(data, vector), 4):
            yield place + _number(data, place)


def _vector(data: mmap.mmap, table: int, field: int) -> int:
    """The place of a vector or a text; 0 of an absent one."""
    place = _at(data, table, field)
    return place and place + _number(data, place)


def _at(data: mmap.mmap, table: int, field: int) -> int:
    """The place of a table's field; 0 of an absent one."""
    fields = _fields(data, table)
    entry = 4 + 2 * field
    if entry + 2 > struct.unpack_from("<H", data, fields)[0]:
        return 0
    offset: int = struct.unpack_from("<H", data, fields + entry)[0]
    return table + offset if offset else 0


def _fields(data: mmap.mmap, table: int) -> int:
    """The place of the list of a table's fields."""
    back: int = struct.unpack_from("<i", data, table)[0]
    return table - back


def _number(data: mmap.mmap, place: int) -> int:
    found: int = struct.unpack_from("<I", data, place)[0]
    return found
