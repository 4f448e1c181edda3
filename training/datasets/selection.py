"""Which pictures a training uses: those that can be read, some set aside to choose the epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Any, TypeVar

import numpy as np

from kerascnn.errors import InputError
from training.common.parallel import in_order
from training.common.progress import say
from training.datasets import header
from training.datasets.splits import Dataset, SplitLike, stratified

_AnySplit = TypeVar("_AnySplit", bound=SplitLike)
_AnyDataset = TypeVar("_AnyDataset")


def with_sound_headers(dataset: _AnyDataset, *, strict: bool, skipped: list[str]) -> _AnyDataset:
    """A data set without pictures whose headers say that they are broken; they are named.

    What is odd, of another size than its annotations are for say, is read as a whole, and that
    decides.

    Args:
        dataset: an `DetectionDataset` or a `SegmentationDataset` of files.
        strict: a broken picture is an error.
        skipped: names of broken ones are appended.

    Raises:
        InputError: a broken picture, if `strict`.
    """
    given: Any = dataset
    splits = [s for s in (given.train, given.validation, given.held_out) if s is not None]
    headers = header.look([name for split in splits for name in split.names], root=given.name)
    first, looked = 0, {}
    for split in splits:
        looked[id(split)] = headers[first : first + len(split)]
        first += len(split)

    def sound(split: Any) -> Any:
        found = looked[id(split)]
        odd = (found.sizes != split.sizes).any(axis=1)
        odd[list(found.reasons)] = True
        return less_broken(split, np.flatnonzero(odd), split.picture, strict, skipped)

    changed: _AnyDataset = given.each(sound)
    return changed


def less_broken(
    split: Any,
    odd: np.ndarray,
    look: Callable[[int], object],
    strict: bool,
    skipped: list[str],
) -> Any:
    """A split without those of some places where `look` raises InputError; they are named.

    Args:
        split: an `DetectionSplit` or a `SegmentationSplit`.
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
    """The split less the pictures of these names."""
    found: _AnySplit = split.take([i for i, name in enumerate(split.names) if name not in names])
    return found


def choosing_by_class(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """With some pictures of each class set aside to choose the epoch, if it has none for that.

    Never the held-out ones.
    """
    if dataset.validation is not None or not fraction:
        return dataset
    labels, train = dataset.train.labels, dataset.train
    kept, aside = stratified(labels, dataset.classes, fraction=fraction, seed=seed)
    return dataclasses.replace(dataset, train=train.take(kept), validation=train.take(aside))


def choosing(dataset: _AnyDataset, fraction: float, seed: int) -> _AnyDataset:
    """With pictures that choose the epoch set aside, if it has none: never the held-out ones.

    Args:
        dataset: an `DetectionDataset` or a `SegmentationDataset`.
        fraction: of the pictures to learn from, of which one is left at least.
    """
    given: Any = dataset
    train, validation = given.train, given.validation
    count = min(round(fraction * len(train)), len(train) - 1)
    if validation or not count:  # one may be empty, of broken pictures alone
        return dataset
    order = np.random.default_rng(seed).permutation(len(train))
    changed: _AnyDataset = dataclasses.replace(
        given,
        train=train.take(np.sort(order[count:])),
        validation=train.take(np.sort(order[:count])),
    )
    return changed
