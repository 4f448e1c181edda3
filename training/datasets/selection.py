"""Which pictures a training uses: those that can be read, some set aside to choose the epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from kerascnn.errors import InputError
from training.datasets.decode import in_order
from training.datasets.splits import Dataset, stratified
from training.progress import Progress, say


class _Split(Protocol):
    """Pictures of any kind: an `ObjectSplit` or a `MapSplit`."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def take(self, indices: Sequence[int] | np.ndarray) -> Any: ...


_AnySplit = TypeVar("_AnySplit", bound=_Split)
_AnyDataset = TypeVar("_AnyDataset")


def readable(
    split: _AnySplit, look: Callable[[int], object], *, strict: bool, skipped: list[str]
) -> _AnySplit:
    """The pictures of a split that can be read; the others are named to the user.

    Args:
        look: reads what belongs to the picture at an index; raises InputError where it is broken.
        strict: a broken one is an error.
        skipped: their names are appended.

    Raises:
        InputError: a broken picture, if `strict`.
    """

    def reason(index: int) -> str | None:
        try:
            look(index)
        except InputError as error:
            return str(error)
        return None

    good = []
    with Progress("reading pictures", len(split), unit="picture") as progress:
        for index, broken in enumerate(in_order(reason, len(split))):
            progress.step()
            if broken is None:
                good.append(index)
            elif strict:
                raise InputError(broken)
            else:
                say(f"skipped: {broken}")
                skipped.append(split.names[index])
    found: _AnySplit = split.take(good)
    return found


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
        dataset: an `ObjectDataset` or a `MapDataset`.
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
