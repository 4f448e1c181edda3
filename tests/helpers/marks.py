"""Which tests and cases `make test` leaves out; see `markers` in pyproject.toml."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

import pytest

# `make test-ci` runs it: continuous integration does, beside `make test`.
IN_CI = pytest.mark.slow(ci=True)


def all_but(
    fast: Container[Any], names: Iterable[Any], mark: pytest.MarkDecorator = IN_CI
) -> list[Any]:
    """Cases by name, all but those of `fast` under `mark`."""
    return [pytest.param(name, marks=() if name in fast else mark) for name in names]


def marks_of(name: Any, *, ci: Container[Any] = (), slow: Container[Any] = ()) -> Any:
    """What a case has by its name: nothing, `IN_CI`, or a plain "slow"."""
    return pytest.mark.slow if name in slow else IN_CI if name in ci else ()
