"""What a reader has to say of a data set: each thing with its count and some examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

MOST_EXAMPLES = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Note:
    """One thing that was seen, counted.

    Attributes:
        kind: a word for programs, such as "clipped-boxes".
        text: one line for people, with the count.
        count: of how many it was seen.
        examples: names of some of them, five at most.
        finding: someone should look at it; else it only says how the data was understood.
    """

    kind: str
    text: str
    count: int
    examples: tuple[str, ...] = ()
    finding: bool = True

    @classmethod
    def of(cls, kind: str, text: str, names: Iterable[str], *, finding: bool = True) -> Note:
        """Of named things; `text` has their count already."""
        listed = list(names)
        examples = tuple(listed[:MOST_EXAMPLES])
        return cls(kind=kind, text=text, count=len(listed), examples=examples, finding=finding)

    def __str__(self) -> str:
        return self.text
