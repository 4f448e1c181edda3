"""The one kind of error that the caller can correct, and what its messages have in common."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST_WORD = 60  # nobody misspells more, and comparing takes the square of it
# So many letters that are the beginning of so few words are meant as one of them.
_BEGINNING, _FEW = 3, 3


class InputError(ValueError):
    """Bad input; the message is one line that names the culprit and the remedy.

    The command line prints it and exits with 2; anything else that escapes is a defect.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ "; did you mean 'accuracy'?" behind a message about a word; empty where none is like it.

    Of words that it is the beginning of all are offered, if they are few; else the closest one.
    """
    if len(word) > _LONGEST_WORD:
        return ""
    # A word of another case is the same word to whoever types it.
    by_lower = {one.lower(): one for one in known}
    begun = [one for lower, one in by_lower.items() if lower.startswith(word.lower())]
    if len(word) >= _BEGINNING and 1 <= len(begun) <= _FEW:
        return f"; did you mean {' or '.join(map(repr, begun))}?"
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.5)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""


def reason(error: Exception) -> str:
    """The first line of what a library says of an error, or the error's kind if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
