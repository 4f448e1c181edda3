"""What a check has found: each thing counted, with what to do about it and images that show it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from training.datasets.notes import Note
from training.engine.inspection import Place

# Kinds in the order in which they are reported: what makes figures wrong comes first.
ORDER = (
    *("same-across-splits", "alike-across-splits", "same-image-two-classes"),
    *("alike-image-two-classes", "broken-images", "broken-masks", "other-size"),
    "class-without-training",
    *("class-without-measure", "tiny-objects", "unreached-objects", "repeated-boxes"),
    "unbalanced-classes",
    *("few-images", "alike-class-names", "same-images", "alike-images", "blank-images"),
    *("unread-files", "wrong-extension", "animated", "16-bit", "cmyk", "transparent"),
    *("small-images", "long-images"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found.

    Attributes:
        note: what and how often.
        remedy: what to do.
        shown: images that show it; those of one tuple belong side by side.
    """

    note: Note
    remedy: str = ""
    shown: tuple[tuple[Place, ...], ...] = ()

    @property
    def further(self) -> list[str]:
        """Examples, if the text names none already."""
        named = any(one in self.note.text for one in self.note.examples)
        return [] if named else list(self.note.examples)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        fields = dataclasses.asdict(self.note)
        del fields["finding"]
        return {**fields, "examples": list(self.note.examples), "remedy": self.remedy}


def finding(
    kind: str,
    text: str,
    count: int,
    examples: Iterable[str] = (),
    *,
    remedy: str = "",
    shown: Iterable[tuple[Place, ...]] = (),
    serious: bool = True,
) -> Finding:
    """A `Finding`; with `serious` False it only says how things are."""
    some = Note.of(kind, printable(text), map(printable, examples), finding=serious)
    note = dataclasses.replace(some, count=count)
    return Finding(note=note, remedy=remedy, shown=tuple(shown))


def printable(text: str) -> str:
    """Without commands to a terminal and halves of letters, which names of files may hold."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def in_order(found: Iterable[Finding]) -> list[Finding]:
    """The most serious first; what readers said, whose kinds are their own, behind the rest."""
    return sorted(found, key=lambda one: _place(one.note.kind))


def _place(kind: str) -> int:
    return ORDER.index(kind) if kind in ORDER else len(ORDER)


def listed(names: Sequence[str], most: int = 3) -> str:
    """Some names in a line, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
