"""Numbers with their nouns and units."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """ "1 class", "2 classes", "1,000 images": a number and the form of the noun that it takes."""
    return f"{count:,} {noun if count == 1 else plural or _plural(noun)}"


def enumerated(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def skipped(count: int) -> str:
    """The message on broken images that were passed over."""
    return f"{counted(count, 'broken image')} skipped; --strict makes broken images an error"


def _plural(noun: str) -> str:
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


@dataclasses.dataclass(frozen=True)
class SizeUnit:
    """The unit of sizes that are shown together, so that they compare at a glance.

    Attributes:
        name: "KB" or "MB".
        bytes: that it stands for.
    """

    name: str
    bytes: int

    def figure(self, count: int) -> str:
        """As in "62.4" or "1,240.0"; of MB with two decimals."""
        return f"{count / self.bytes:,.{1 if self.name == 'KB' else 2}f}"

    def text(self, count: int) -> str:
        """The same with the unit."""
        return f"{self.figure(count)} {self.name}"


def unit_of(counts: Sequence[int]) -> SizeUnit:
    """MB where even the smallest of so many bytes has one, else KB; 1 KB is 1000 bytes."""
    return SizeUnit("MB", 10**6) if min(counts, default=0) >= 10**6 else SizeUnit("KB", 1000)
