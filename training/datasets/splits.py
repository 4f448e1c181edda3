"""What every data set is: named splits of pictures with integer labels."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from kerascnn.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """Pictures with labels; either files or an array already in memory.

    Attributes:
        labels: (n,) int32, indices into `Dataset.classes`.
        names: n names to show a person: paths, or "mnist[17]".
        pictures: (n, height, width, channels) uint8, or None where `names` are files to read.
    """

    labels: np.ndarray
    names: tuple[str, ...]
    pictures: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Sequence[int] | np.ndarray) -> Split:
        """The pictures at `indices`, in that order."""
        indices = np.asarray(indices, np.int64)
        return Split(
            labels=self.labels[indices],
            names=tuple(self.names[i] for i in indices),
            pictures=None if self.pictures is None else self.pictures[indices],
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """Named splits.

    Attributes:
        name: as asked for.
        classes: label texts in index order.
        train: pictures to learn from.
        validation: pictures that choose the best epoch, or None: then `fit` sets some of
            `train` aside, because the held-out split must not choose.
        held_out: pictures that every reported figure is measured on.
        resize: how pictures meet the network's size (see Preprocessing).
        fingerprint: of the pixels and labels, or of the names, sizes and labels of files.
        ignored: how many files lie among the pictures that are none by their ending, by ending.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split | None
    held_out: Split
    resize: str
    fingerprint: str
    ignored: Mapping[str, int] = dataclasses.field(default_factory=dict)


def stratified(
    labels: np.ndarray, classes: Sequence[str], *, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split indices so that every class gives about `fraction` of its pictures, at least one.

    Returns:
        Sorted index arrays (kept, set_aside); neither lacks a class.

    Raises:
        InputError: a class has a single picture.
    """
    rng = np.random.default_rng(seed)
    kept, aside = [], []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        if len(members) < 2:
            raise InputError(
                f"class {classes[label]!r} has a single picture to learn from, of which none can "
                "be set aside; add pictures"
            )
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        aside.append(members[:count])
        kept.append(members[count:])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(aside))


def digest(parts: Sequence[bytes]) -> str:
    """Short fingerprint of byte strings in order."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.hexdigest()[:16]
