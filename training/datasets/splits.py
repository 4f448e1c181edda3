"""What every data set is: named splits of pictures with integer labels."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from kerascnn.errors import InputError
from training.datasets.notes import Note


class SplitLike(Protocol):
    """Pictures of any task: a `Split`, an `DetectionSplit` or a `SegmentationSplit`."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def take(self, indices: Sequence[int] | np.ndarray) -> Any: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """Pictures with labels: encoded ones at their places, or an array already in memory.

    Attributes:
        labels: (n,) int32, indices into `Dataset.classes`.
        names: n names to show a person: paths, or "mnist[17]".
        pictures: (n, height, width, channels) uint8, or None where they are decoded when needed.
        read: gives the bytes of the encoded picture at a place; None: `names` are files.
        places: (n,) int64, what `read` is asked for.
        sizes: (n, 2) int32, original heights and widths, upright; known once decoded.
        kinds: (n,) uint8, 1 to 8 for an ordinary JPEG by its EXIF orientation, 0 for all that
            Pillow alone should decode; known once decoded.
        blocks: (n,) int32 number of the file that holds each picture, where many share one.
        file_sizes: (n,) int64 bytes of the files `names`; known where folders were listed.
    """

    labels: np.ndarray
    names: tuple[str, ...]
    pictures: np.ndarray | None = None
    read: Callable[[int], bytes] | None = None
    places: np.ndarray | None = None
    sizes: np.ndarray | None = None
    kinds: np.ndarray | None = None
    blocks: np.ndarray | None = None
    file_sizes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Sequence[int] | np.ndarray) -> Split:
        """The pictures at `indices`, in that order."""
        indices = np.asarray(indices, np.int64)
        rows = {name: getattr(self, name) for name in _ROWS}
        return dataclasses.replace(
            self,
            labels=self.labels[indices],
            names=tuple(self.names[i] for i in indices),
            **{name: values[indices] for name, values in rows.items() if values is not None},
        )

    def encoded(self, index: int) -> bytes:
        """The encoded picture, as it lies there.

        Raises:
            InputError: it cannot be read.
        """
        try:
            if self.read is None or self.places is None:
                return pathlib.Path(self.names[index]).read_bytes()
            return self.read(int(self.places[index]))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            where = error.filename or self.names[index]
            raise InputError(f"{where} cannot be read ({reason}); restore it") from error


_ROWS = ("pictures", "places", "sizes", "kinds", "blocks", "file_sizes")


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
        notes: what else the reader has to say.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split | None
    held_out: Split
    resize: str
    fingerprint: str
    ignored: Mapping[str, int] = dataclasses.field(default_factory=dict)
    notes: tuple[Note, ...] = ()


def each(dataset: Dataset, change: Callable[[Split], Split]) -> Dataset:
    """The same with every split changed."""
    return dataclasses.replace(
        dataset,
        train=change(dataset.train),
        validation=None if dataset.validation is None else change(dataset.validation),
        held_out=change(dataset.held_out),
    )


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
    for places in places_by_class(labels):
        members = rng.permutation(places)
        if len(members) < 2:
            name = classes[labels[places[0]]]
            raise InputError(
                f"class {name!r} has a single training image, so none can be set aside for "
                "validation; add images"
            )
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        aside.append(members[:count])
        kept.append(members[count:])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(aside))


def places_by_class(labels: np.ndarray) -> list[np.ndarray]:
    """Where each class that occurs has its pictures, in ascending order; classes by index.

    One sort: a look through all labels for each class takes minutes of 14 million in 21,841.

    Args:
        labels: (n,) class indices.

    Returns:
        An int64 array a class.
    """
    if not len(labels):
        return []
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order])) + 1
    return np.split(order, starts)


def few(dataset: Dataset, per_class: int, *, seed: int) -> Dataset:
    """The same with fewer pictures to learn from; the other splits are as they were.

    Args:
        per_class: training pictures that are left of each class, at most.
        seed: chooses them.
    """
    rng = np.random.default_rng(seed)
    labels = dataset.train.labels
    chosen = [rng.permutation(places)[:per_class] for places in places_by_class(labels)]
    train = dataset.train.take(np.sort(np.concatenate(chosen)))
    return dataclasses.replace(dataset, train=train)


def digest(parts: Sequence[bytes]) -> str:
    """Short fingerprint of byte strings in order."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.hexdigest()[:16]


def refuse_odd_names(name: str, classes: Sequence[str]) -> None:
    """Raise InputError for a class of data set `name` that cannot be written into labels.txt."""
    for text in classes:
        if len(text.splitlines()) != 1 or text != text.encode("utf-8", "replace").decode():
            raise InputError(f"{name}: the class {text!r:.60} is not a line of text; rename it")
