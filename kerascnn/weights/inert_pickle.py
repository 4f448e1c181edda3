"""Read the pickles that PyTorch writes as data: no class is looked up, nothing is called.

A pickle is a program for a stack machine that imports and calls what it names. This machine has
only the instructions that build plain values; a name becomes an opaque token, and the one call is
of a token that the reader knows. Each instruction makes a constant number of objects, so that
memory goes with the length of the pickle: memos have no size of their own, lengths beyond the end
are refused, and containers are freed without recursion.
"""

from __future__ import annotations

import dataclasses
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO

from kerascnn.errors import InputError

# What a key of a dict may be; others are hashed recursively, or on purpose alike.
_LARGEST_KEY = 2**32
_LONGEST_NAME = 200


@dataclasses.dataclass(frozen=True)
class Name:
    """What a pickle would import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"[:_LONGEST_NAME]


def load(
    stream: BinaryIO,
    *,
    known: Callable[[Name], bool] = lambda _name: False,
    call: Callable[[Name, tuple], Any] | None = None,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Run one pickle, from the stream's place to behind its end.

    Args:
        stream: of bytes in memory, which hands out no more than there is.
        known: whether a name may be used.
        call: makes the value of a call of a known name; the result is never changed by the pickle.
        persistent: makes the value of a persistent id.

    Raises:
        InputError: a name that is not known, or an instruction that does more than build values.
        ValueError, IndexError, KeyError, TypeError: no pickle, or one that is damaged.
    """
    return _Machine(known, call, persistent).run(stream)


class _Machine:
    def __init__(
        self,
        known: Callable[[Name], bool],
        call: Callable[[Name, tuple], Any] | None,
        persistent: Callable[[Any], Any] | None,
    ) -> None:
        self._known, self._call, self._persistent = known, call, persistent
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # stacks under marks
        self._memo: dict[int, Any] = {}

    def run(self, stream: BinaryIO) -> Any:
        for instruction, argument, _place in pickletools.genops(stream):
            name = instruction.name
            if name in _PUSHED:
                self._stack.append(argument)
            elif name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name])
            elif (step := _STEPS.get(name)) is not None:
                step(self, argument)
            elif name == "STOP":
                return self._stack.pop()
            elif name not in ("PROTO", "FRAME"):
                raise InputError(
                    f"the checkpoint asks for the instruction {name}, which is refused"
                )
        raise ValueError("no end of the pickle")

    def mark(self, _argument: Any) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _marked(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def pop(self, _argument: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._marked()

    def pop_mark(self, _argument: Any) -> None:
        self._marked()

    def duplicate(self, _argument: Any) -> None:
        self._stack.append(self._stack[-1])

    def empty_list(self, _argument: Any) -> None:
        self._stack.append([])

    def empty_dict(self, _argument: Any) -> None:
        self._stack.append({})

    def list(self, _argument: Any) -> None:
        items = self._marked()
        self._stack.append(items)

    def tuple(self, _argument: Any) -> None:
        items = self._marked()
        self._stack.append(tuple(items))

    def small_tuple(self, length: int) -> None:
        items = [self._stack.pop() for _ in range(length)]
        self._stack.append(tuple(reversed(items)))

    def dict(self, _argument: Any) -> None:
        items = self._marked()
        found: dict[Any, Any] = {}
        _put(found, items)
        self._stack.append(found)

    def append(self, _argument: Any) -> None:
        item = self._stack.pop()
        _of(list, self._stack[-1]).append(item)

    def appends(self, _argument: Any) -> None:
        items = self._marked()
        _of(list, self._stack[-1]).extend(items)

    def set_item(self, _argument: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        _put(_of(dict, self._stack[-1]), [key, value])

    def set_items(self, _argument: Any) -> None:
        items = self._marked()
        _put(_of(dict, self._stack[-1]), items)

    def put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def memoize(self, _argument: Any) -> None:
        self.put(len(self._memo))

    def get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def import_(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(self._checked(Name(module, name)))

    def import_of_stack(self, _argument: Any) -> None:
        name, module = _of(str, self._stack.pop()), _of(str, self._stack.pop())
        self._stack.append(self._checked(Name(module, name)))

    def _checked(self, name: Name) -> Name:
        if not self._known(name):
            raise InputError(f"the checkpoint asks for {name}, which is refused")
        return name

    def reduce(self, _argument: Any) -> None:
        arguments, name = _of(tuple, self._stack.pop()), _of(Name, self._stack.pop())
        if name == Name("collections", "OrderedDict") and self._known(name):
            self._stack.append(_ordered(*arguments))
        elif self._call is None:
            raise InputError(f"the checkpoint calls {name}, which is refused")
        else:
            self._stack.append(self._call(name, arguments))

    def build(self, _argument: Any) -> None:
        """Attributes of a dict, as state dicts' `_metadata`, are dropped; nothing else has any."""
        self._stack.pop()
        _of(dict, self._stack[-1])

    def persistent_id(self, _argument: Any) -> None:
        if self._persistent is None:
            raise InputError("the checkpoint refers to data where it has none")
        self._stack.append(self._persistent(self._stack.pop()))


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise ValueError(f"a {kind.__name__} was due, not a {type(value).__name__}")
    return value


def _put(target: dict, items: list) -> None:
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) is str or (type(key) is int and abs(key) < _LARGEST_KEY):
            target[key] = value


def _ordered(pairs: list | tuple = ()) -> dict:
    """`OrderedDict()` and, as Python 2 wrote it, `OrderedDict([[key, value], ...])`."""
    found: dict = {}
    for pair in pairs:
        key, value = pair
        _put(found, [key, value])
    return found


_PUSHED = frozenset((
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT"),
    *("SHORT_BINSTRING", "BINSTRING", "STRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"),
))  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "DUP": _Machine.duplicate,
    "EMPTY_LIST": _Machine.empty_list,
    "EMPTY_DICT": _Machine.empty_dict,
    "LIST": _Machine.list,
    "TUPLE": _Machine.tuple,
    **{f"TUPLE{n}": lambda machine, _argument, n=n: machine.small_tuple(n) for n in (1, 2, 3)},  # type: ignore[misc]
    "DICT": _Machine.dict,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.put),
    "MEMOIZE": _Machine.memoize,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    "GLOBAL": _Machine.import_,
    "STACK_GLOBAL": _Machine.import_of_stack,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent_id,
}
