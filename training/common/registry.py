"""What is found by a name and imported when it is asked for: registries of strings."""

from __future__ import annotations

import importlib
from typing import Any, Generic, TypeVar

_Found = TypeVar("_Found")


def loaded(where: str) -> Any:
    """What "package.module:name" names; imports its module."""
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


class Registry(Generic[_Found]):
    """One object of a class for each name, made when it is asked for first."""

    def __init__(self) -> None:
        self._places: dict[str, str] = {}
        self._made: dict[str, _Found] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def names(self) -> tuple[str, ...]:
        """All names, in the order of their registration."""
        return tuple(self._places)

    def register(self, name: str, where: str) -> None:
        """Add "package.module:Class", or put it in another one's place; nothing is imported."""
        self._places[name] = where
        self._made.pop(name, None)

    def unregister(self, name: str) -> None:
        """Take a name out, as a test does with its own."""
        self._places.pop(name, None)
        self._made.pop(name, None)

    def of(self, name: str) -> _Found:
        """The object of a name; raises KeyError where there is no such name."""
        if name not in self._made:
            self._made[name] = loaded(self._places[name])()
        return self._made[name]
