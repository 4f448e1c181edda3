"""Small text files from elsewhere, as lists of classes."""

from __future__ import annotations

import pathlib

from kerascnn.errors import InputError


def read_text(path: pathlib.Path, *, most_bytes: int, what: str) -> str:
    """A file in UTF-8, with or without a byte order mark.

    Args:
        most_bytes: more are not read.
        what: the file should be, for the message: "a list of classes".

    Raises:
        InputError: it cannot be read, is no text, or is longer.
    """
    try:
        with path.open("rb") as opened:
            data = opened.read(most_bytes + 1)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text ({error}); replace it") from None
    if len(data) > most_bytes:
        raise InputError(f"{path} has more than {most_bytes >> 20} MB; it is not {what}")
    return text
