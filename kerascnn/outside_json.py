"""JSON from elsewhere: read within bounds, and looked at before it is believed.

Every .json file of ours may come from somebody else, cut short, edited, or made to do harm. What
is missing raises an InputError where it is asked for; what is there has the type that it should.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from kerascnn.errors import InputError

# What a field has to be: a test, or the fields of an object.
Shape = Callable[[Any], bool] | Mapping[str, Any]

_LARGEST = 2**53  # whole numbers that every reader of JSON has exactly
_LONGEST_SHOWN = 60
# A .json holds answers on held-out pictures, and maps of some of them.
_LONGEST_FILE = 2**28


class JsonObject(dict):
    """A JSON object of a file, which says of a field that is missing where it is missing."""

    source, remedy = "", ""

    def __missing__(self, key: object) -> Any:
        raise InputError(f"{self.source or 'the file'} lacks {key!r}; {self.remedy}".rstrip("; "))


def read_object(path: pathlib.Path, remedy: str) -> JsonObject:
    """The object in a .json file.

    Args:
        remedy: what to do where a field is missing, for messages.

    Raises:
        ValueError: no JSON, or no object; the message does not name the file.
        OSError: it cannot be read.
    """
    if path.stat().st_size > _LONGEST_FILE:
        raise ValueError(f"longer than {_LONGEST_FILE >> 20} MB")

    def with_source(plain: dict[str, Any]) -> JsonObject:
        one = JsonObject(plain)
        one.source, one.remedy = str(path), remedy
        return one

    try:
        found = json.loads(path.read_text("utf-8"), object_hook=with_source)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, JsonObject):
        raise ValueError("no object")
    return found


def check(values: Any, shape: Shape, name: str = "") -> None:
    """Raise ValueError for the first field that is there and is not what it should be."""
    if callable(shape):
        if not shape(values):
            raise ValueError(f"{name} is {_shown(values)}")
        return
    if not isinstance(values, dict):
        raise ValueError(f"{name or 'it'} is {_shown(values)}, no object")
    for field, inner in shape.items():
        if field in values:
            check(values[field], inner, f"{name}.{field}" if name else field)


def whole(value: Any) -> bool:
    """Of a count."""
    return _is_whole(value) and 0 <= value <= _LARGEST


def byte(value: Any) -> bool:
    """Of a colour's share."""
    return _is_whole(value) and 0 <= value <= 255


def number(value: Any) -> bool:
    """Of a figure, which may be no number (NaN) but is not endless."""
    if isinstance(value, float):
        return not math.isinf(value)
    return _is_whole(value) and abs(value) <= _LARGEST


def real(value: Any) -> bool:
    """Of a figure without bounds."""
    return isinstance(value, float) or number(value)


def text(value: Any) -> bool:
    """Of text that can be written as UTF-8."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def flag(value: Any) -> bool:
    """Of true and false."""
    return isinstance(value, bool)


def maybe(shape: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """The same, or null."""
    return lambda value: value is None or shape(value)


def items(
    shape: Callable[[Any], bool], *, least: int = 0, most: int = _LARGEST
) -> Callable[[Any], bool]:
    """Of a list with so many items."""
    return lambda value: (
        isinstance(value, list) and least <= len(value) <= most and all(map(shape, value))
    )


def values(shape: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Of an object with any fields."""
    return lambda value: (
        isinstance(value, dict) and all(map(text, value)) and all(map(shape, value.values()))
    )


def anything(_value: Any) -> bool:
    """Of what nobody looks into."""
    return True


def one_of(*choices: str) -> Callable[[Any], bool]:
    """Of some words."""
    return lambda value: isinstance(value, str) and value in choices


def check_types(instance: Any) -> None:
    """Raise ValueError for a field of a dataclass, at any depth, of another type than it says.

    A float may be a whole number, and has an end.
    """
    hints = typing.get_type_hints(type(instance))
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        if not _fits(value, hints[field.name]):
            raise ValueError(f"{field.name} is {_shown(value)}")


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, one) for one in inner)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        hints = (inner[0],) * len(value) if inner[1:] == (...,) else inner
        return len(value) == len(hints) and all(map(_fits, value, hints))
    if dataclasses.is_dataclass(value) and type(value) is hint:
        check_types(value)
        return True
    return hint in _PLAIN and _PLAIN[hint](value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    """A value for a message, without its depths."""
    if isinstance(value, (dict, list, tuple)):
        return f"a {type(value).__name__.lower()} of {len(value)}"
    shown = repr(value) if not isinstance(value, int) or abs(value) <= _LARGEST else "a huge number"
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}..."


_PLAIN: dict[Any, Callable[[Any], bool]] = {
    int: lambda value: _is_whole(value) and abs(value) <= _LARGEST,
    float: lambda value: number(value) and math.isfinite(value),
    bool: flag,
    str: text,
    type(None): lambda value: value is None,
}
