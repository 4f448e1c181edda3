"""What is made once while a command runs: a data set is scanned once for all its files and runs.

A scan of COCO takes minutes, and every file of every run wants to know its images. Outside of
`scope` nothing is kept: data that changes between two calls is read anew.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Hashable, Iterator
from typing import Any, ParamSpec, TypeVar

_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")
_kept: contextvars.ContextVar[dict[Hashable, Any] | None] = contextvars.ContextVar(
    "kept", default=None
)


@contextlib.contextmanager
def scope() -> Iterator[None]:
    """In here, and in what it calls, `kept` and `call` make each thing once; also a decorator.

    One inside of another keeps by the outer one.
    """
    if _kept.get() is not None:
        yield
        return
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def kept(key: Hashable, make: Callable[[], _Made]) -> _Made:
    """What `make` returned for this key in the present scope; made now if it was not yet."""
    made = _kept.get()
    if made is None:
        return make()
    if key not in made:
        made[key] = make()
    found: _Made = made[key]
    return found


def call(
    function: Callable[_Given, _Made], *args: _Given.args, **named: _Given.kwargs
) -> _Made:  # fmt: skip
    """What a function returned for these arguments, which are hashable, in the present scope."""
    key = (function, args, tuple(sorted(named.items())))
    return kept(key, lambda: function(*args, **named))
