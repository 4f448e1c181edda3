"""Messages name what was given as the caller wrote it: arguments in Python, flags in a shell.

They are written with flags ("--image-size"), as most readers have typed a command. A function that
Python calls has its arguments' names put in their place, unless the command line is what calls it.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

from kerascnn.errors import InputError

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Of the same meaning under another name.
_OTHER = {
    "option": "options",
    "set": "settings",
    "list": "images",
    "calibration_pictures": "calibration_images",
}
_MAPPINGS = frozenset({"options", "settings", "detector"})
# A command to be typed as it stands, up to the end of its clause.
_COMMAND = re.compile(r"\b(?:kerascnn|pip|npm|tfds) [a-z][^;,)]*")
_FLAG = re.compile(
    r"(?<![\w-])--(?P<flag>[a-z]+(?:-[a-z]+)*)(?: (?P<key>[a-z]\w*)=(?P<value>[\w.-]*\w))?"
)
_known: set[str] = set()
_of_commands = False


@contextlib.contextmanager
def flags() -> Iterator[None]:
    """While open, the command line is what calls: messages stay as they are."""
    global _of_commands  # noqa: PLW0603  (of the process, as threads are begun in it)
    before, _of_commands = _of_commands, True
    try:
        yield
    finally:
        _of_commands = before


def named_in_python(*more: str) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """A decorator: an InputError of the function names arguments where it has flags.

    Args:
        more: names that the function takes by a dict of options.
    """

    def decorated(function: Callable[_P, _T]) -> Callable[_P, _T]:
        code = function.__code__
        _known.update(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount], more)

        @functools.wraps(function)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            try:
                return function(*args, **kwargs)
            except InputError as error:
                if not _of_commands and error.args:
                    error.args = (in_python(str(error.args[0])), *error.args[1:])
                raise

        return call

    return decorated


def in_python(message: str) -> str:
    """The message with names of arguments; commands that it quotes stay as they are."""
    parts, end = [], 0
    for command in _COMMAND.finditer(message):
        parts += [_FLAG.sub(_named, message[end : command.start()]), command.group()]
        end = command.end()
    return "".join([*parts, _FLAG.sub(_named, message[end:])])


def _named(found: re.Match[str]) -> str:
    plain = found["flag"].replace("-", "_")
    name = _OTHER.get(plain, plain)
    if name not in _known:
        return found.group()
    if found["key"] is None:
        return name
    if name not in _MAPPINGS:
        return f"{name} {found['key']}={found['value']}"
    return f"{name}={{{found['key']!r}: {_literal(found['value'])}}}"


def _literal(text: str) -> Any:
    """A value as Python has it: True, 0.9 or 'balanced'."""
    if text in ("true", "false"):
        return text.title()
    with contextlib.suppress(ValueError):
        float(text)
        return text
    return repr(text)
