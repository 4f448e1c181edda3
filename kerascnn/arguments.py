"""What the Python interface was given: values of a wrong type or range are refused by name."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable, Mapping
from typing import Any

from kerascnn.errors import InputError
from kerascnn.preprocessing import MOST_OVERLAP


def path(value: object, name: str, *, what: str = "a path") -> str:
    """The text of a path; raises InputError for what is none, or is of bytes.

    Args:
        name: of the argument.
        what: it is to be, for the message.
    """
    try:
        text = os.fspath(value)  # type: ignore[call-overload]
    except TypeError:
        text = None
    if not isinstance(text, str) or not text or "\0" in text:
        raise wrong(name, what, value)
    return text


def optional_path(value: object, name: str, *, what: str = "a path") -> str | None:
    """As `path`; None stays None."""
    return None if value is None else path(value, name, what=what)


def word(value: object, name: str) -> None:
    """Raise InputError for what is no text."""
    if not isinstance(value, str):
        raise wrong(name, "a word", value)


def words(value: object, name: str) -> list[str]:
    """A list of words, of one word or of several; raises InputError for anything else."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, Iterable) or isinstance(found, bytes):
        raise wrong(name, "a list of words", value)
    found = list(found)
    for one in found:
        word(one, name)
    return found


def flag(value: object, name: str) -> None:
    """Raise InputError for what is neither True nor False; "no" would be taken for yes."""
    if not isinstance(value, bool):
        raise wrong(name, "True or False", value)


def number(value: object, name: str, *, least: float = -math.inf, most: float = math.inf) -> None:
    """Raise InputError for what is no number from `least` to `most`."""
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    if not (fits and least <= float(value) <= most):  # type: ignore[arg-type]
        limits = f" from {least:g}" if least > -math.inf else ""
        limits += f" to {most:g}" if most < math.inf else ""
        raise wrong(name, f"a number{limits}", value)


def whole(value: object, name: str, *, least: int | None = None) -> int:
    """A whole number, NumPy's too; raises InputError for anything else, or one below `least`."""
    try:
        found = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        found = None
    if found is None or (least is not None and found < least):
        limit = "" if least is None else f" of {least} or more"
        raise wrong(name, f"a whole number{limit}", value)
    return found


def mapping(value: object, name: str, *, example: str) -> None:
    """Raise InputError for what has no values by name; None has none."""
    if value is None or (isinstance(value, Mapping) and all(isinstance(k, str) for k in value)):
        return
    raise wrong(name, f"a dictionary, as {example}", value)


def image_size(value: object) -> tuple[int, int] | None:
    """(height, width) of pixels of a side, or of both; raises InputError for anything else."""
    if value is None:
        return None
    sides: Any = list(value) if isinstance(value, tuple | list) else [value, value]
    try:
        height, width = (whole(side, "image_size", least=1) for side in sides)
    except ValueError:  # an InputError is one: a side is none, or there are not two
        raise wrong("image_size", "pixels of a side, or (height, width)", value) from None
    return height, width


def tiles(side: object, overlap: object) -> tuple[int | None, float | None]:
    """Pixels of a tile's side and its overlap; None stays None, and other types are refused."""
    if overlap is not None:
        number(overlap, "overlap", least=0, most=MOST_OVERLAP)
    found = None if side is None else whole(side, "tiles", least=0)
    return found, None if overlap is None else float(overlap)  # type: ignore[arg-type]


def wrong(name: str, wanted: str, value: object) -> InputError:
    """That an argument is not what it must be."""
    shown = repr(value)
    return InputError(f"{name} must be {wanted}, not {shown if len(shown) < 200 else type(value)}")
