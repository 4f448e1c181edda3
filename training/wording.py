"""Numbers with their nouns."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """ "1 class", "2 classes", "1,000 images": a number and the form of the noun that it takes."""
    return f"{count:,} {noun if count == 1 else plural or _plural(noun)}"


def skipped(count: int) -> str:
    """What is told of broken images that were passed over."""
    return f"{counted(count, 'broken image')} skipped; --strict makes broken images an error"


def _plural(noun: str) -> str:
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"
