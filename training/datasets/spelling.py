"""When two names of classes are one."""

from __future__ import annotations

import unicodedata


def class_key(name: str) -> str:
    """What two spellings of a class have in common: macOS takes accents apart, others do not."""
    return unicodedata.normalize("NFC", name)
