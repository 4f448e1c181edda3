"""Fields of a Protocol Buffers message, read where they lie: no library, no schema, no copy.

The onnx package takes longer to import than a network to run, and parses all weights for a line of
text. Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types; groups (3, 4) are of another age
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10


def byte_fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of each field that has bytes: texts, and messages inside.

    Raises:
        ValueError: the data is no message.
    """
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        number, wire = tag >> 3, tag & 7
        if not number:
            raise ValueError("a field without a number")
        if wire == _VARINT:
            _, place = _varint(data, place)
            continue
        if wire == _BYTES:
            length, place = _varint(data, place)
        elif wire in _FIXED:
            length = _FIXED[wire]
        else:
            raise ValueError(f"a field of wire type {wire}")
        if place + length > len(data):
            raise ValueError("it is cut off")
        if wire == _BYTES:
            yield number, data[place : place + length]
        place += length


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """A whole number in base 128, the lowest digit first, and where the next field begins."""
    value = 0
    for digit in range(_LONGEST_VARINT):
        if place >= len(data):
            raise ValueError("it is cut off")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << (7 * digit)
        if byte < 0x80:
            return value, place
    raise ValueError("a number without end")
