"""ImageNet's 1,000 classes: what networks of that many outputs mean by them.

    LABELS      "tench", "goldfish", ...; no two are the same
    SYNSETS     "n01440764", ...: the folders of the data set, which are in alphabetic order
    SYNONYMS    ("tench", "Tinca tinca"), ...: all names of a class, the label first

All are in the order of the outputs, and are read when they are first asked for.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kerascnn.errors import InputError

if TYPE_CHECKING:
    LABELS: tuple[str, ...]
    SYNSETS: tuple[str, ...]
    SYNONYMS: tuple[tuple[str, ...], ...]

_FILE = "imagenet.txt"


def __getattr__(name: str) -> Any:
    if name == "SYNSETS":
        return tuple(_rows())
    if name == "SYNONYMS":
        return tuple(_rows().values())
    if name == "LABELS":
        return tuple(names[0] for names in _rows().values())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def names_of(folders: Iterable[str]) -> tuple[str, ...]:
    """The labels of folders that are called by their synsets, in the order of the folders.

    Raises:
        InputError: a folder that is none of ImageNet's 1,000.
    """
    rows = _rows()
    folders = list(folders)
    strange = [one for one in folders if one not in rows]
    if strange:
        raise InputError(
            f"{strange[0]!r} is not a folder of ImageNet's 1,000 classes, which are called by "
            "their synsets, as in n01440764"
        )
    return tuple(rows[one][0] for one in folders)


@functools.cache
def _rows() -> dict[str, tuple[str, ...]]:
    """The names of a class by its synset."""
    text = importlib.resources.files(__package__).joinpath(_FILE).read_text("utf-8")
    lines = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    return {synset: tuple(names.split(", ")) for synset, names in lines}
