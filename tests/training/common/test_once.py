"""What is made once in a scope, and each time outside of one."""

from __future__ import annotations

import pytest

from training.common import once

MADE: list[tuple[int, int]] = []


def made(one: int, *, other: int = 0) -> tuple[int, int]:
    MADE.append((one, other))
    return MADE[-1]


@pytest.fixture(autouse=True)
def nothing_made() -> None:
    MADE.clear()


def test_once_in_a_scope_for_each_argument() -> None:
    with once.scope():
        with once.scope():  # keeps by the outer one
            first = once.call(made, 1, other=2)
        assert once.call(made, 1, other=2) is first
        once.call(made, 1, other=3)
        once.call(made, 1)
    assert MADE == [(1, 2), (1, 3), (1, 0)]


def test_nothing_is_kept_outside() -> None:
    once.call(made, 1)
    once.call(made, 1)
    for _ in range(2):
        with once.scope():
            once.call(made, 1)
    assert len(MADE) == 4


def fails() -> None:
    with once.scope():
        once.call(made, 1)
        raise ZeroDivisionError


def test_a_scope_that_fails_ends() -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            fails()
    once.call(made, 1)
    assert len(MADE) == 3
    with once.scope():
        with pytest.raises(StopIteration):
            once.kept("key", lambda: next(iter([])))
        assert once.kept("key", lambda: 3) == 3, "a failure is nothing to keep"


def test_as_a_decorator_each_call_has_its_own() -> None:
    @once.scope()
    def twice() -> bool:
        return once.call(made, 1) is once.call(made, 1)

    assert twice()
    assert twice()
    assert len(MADE) == 2
