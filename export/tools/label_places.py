"""Which output of a network a class of some data means: by its name, or by ImageNet's synsets."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Sequence

import numpy as np

from kerascnn.errors import InputError, did_you_mean
from training.datasets.spelling import class_key

_NAMED = 5  # classes that a message lists
_SYNSET = re.compile(r"n\d{8}")
_SPACES = re.compile(r"[\s_-]+")
_CLASSES = 1000
_SURE = 0.95  # share of ImageNet's names that labels must have in its order, to be ImageNet's


def places_of(
    path: pathlib.Path, labels: Sequence[str], data: str, classes: Sequence[str]
) -> np.ndarray:
    """(c,) of each class of the data, its place among the labels of a file.

    Folders that are called by their synsets (n01440764) are ImageNet's classes: their labels are
    found by position where the labels are ImageNet's 1,000, with a background in front or
    without, however they are worded, and by their names elsewhere.

    Raises:
        InputError: classes that the file does not know.
    """
    known = {class_key(label): place for place, label in enumerate(labels)}
    strange = [name for name in classes if class_key(name) not in known]
    if strange and all(map(_SYNSET.fullmatch, strange)):
        known |= _of_synsets(labels, strange)
        strange = [name for name in strange if name not in known]
    if strange:
        hint = did_you_mean(strange[0], labels)
        raise InputError(
            f"{data} has classes that {path} does not know: {some(strange)}{hint or ';'} its "
            f"labels are {some(labels)}; take them out, or correct their names"
        )
    return np.array([known[class_key(name)] for name in classes], np.int32)


def some(names: Sequence[str]) -> str:
    """A few of many names."""
    more = f", ... ({len(names):,} in all)" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _of_synsets(labels: Sequence[str], synsets: Sequence[str]) -> dict[str, int]:
    """Places of those synsets that the labels have."""
    from training.importing import imagenet

    rows = dict(zip(imagenet.SYNSETS, imagenet.SYNONYMS, strict=True))
    order = {synset: place for place, synset in enumerate(imagenet.SYNSETS)}
    front = len(labels) - _CLASSES
    if front in (0, 1):
        pairs = zip(labels[front:], imagenet.SYNONYMS, strict=True)
        same = sum(_plain(label) in _spellings(names) for label, names in pairs)
        if same >= _SURE * _CLASSES:
            return {name: order[name] + front for name in synsets if name in order}
    places: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(_plain(label), []).append(place)
    found = {}
    for synset in synsets:
        spellings = _spellings(rows.get(synset, ()))
        fitting = {place for one in spellings for place in places.get(one, [])}
        if len(fitting) == 1:  # two that share a word are told apart by nothing here
            (found[synset],) = fitting
    return found


def _spellings(names: Sequence[str]) -> set[str]:
    return {_plain(name) for name in (*names, ", ".join(names))}


def _plain(name: str) -> str:
    return _SPACES.sub(" ", class_key(name)).strip().casefold()
