"""Which images a training uses: those that can be read."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

import numpy as np

from kerascnn.errors import InputError
from training.common.parallel import in_order
from training.common.progress import say
from training.datasets import header
from training.datasets.splits import SplitDataset, SplitLike

_AnySplit = TypeVar("_AnySplit", bound=SplitLike)
_AnyDataset = TypeVar("_AnyDataset", bound=SplitDataset[Any])


def with_sound_headers(dataset: _AnyDataset, *, strict: bool, skipped: list[str]) -> _AnyDataset:
    """A data set without images whose headers say that they are broken; they are named.

    What is odd, of another size than its annotations are for say, is read as a whole, and that
    decides.

    Args:
        dataset: of files, whose splits are `PlacedSplit`s.
        strict: a broken image is an error.
        skipped: names of broken ones are appended.

    Raises:
        InputError: a broken image, if `strict`.
    """
    splits = dataset.splits
    headers = header.look([name for split in splits for name in split.names], root=dataset.name)
    first, looked = 0, {}
    for split in splits:
        looked[id(split)] = headers[first : first + len(split)]
        first += len(split)

    def sound(split: Any) -> Any:
        found = looked[id(split)]
        odd = (found.sizes != split.sizes).any(axis=1)
        odd[list(found.reasons)] = True
        return less_broken(split, np.flatnonzero(odd), split.picture, strict, skipped)

    return dataset.each(sound)


def less_broken(
    split: Any,
    odd: np.ndarray,
    look: Callable[[int], object],
    strict: bool,
    skipped: list[str],
) -> Any:
    """A split without those of some places where `look` raises InputError; they are named.

    Args:
        split: a `PlacedSplit`.
        odd: the places to look at.
        strict, skipped: as in `with_sound_headers`.
    """

    def reason(row: int) -> str | None:
        try:
            look(int(odd[row]))
        except InputError as error:
            return str(error)
        return None

    lost = set()
    for place, broken in zip(odd.tolist(), in_order(reason, len(odd)), strict=True):
        if broken is None:
            continue
        if strict:
            raise InputError(broken)
        say(f"skipped: {broken}")
        skipped.append(split.names[place])
        lost.add(place)
    return split.take([i for i in range(len(split)) if i not in lost]) if lost else split


def without(split: _AnySplit, names: Collection[str]) -> _AnySplit:
    """The split less the images of these names."""
    return split.take([i for i, name in enumerate(split.names) if name not in names])
