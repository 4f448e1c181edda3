"""What every data set is: named splits of images with their truth; and those with labels."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Protocol, Self, TypeVar

import numpy as np

from kerascnn.errors import InputError
from training.datasets.contents import FILES, PIXELS, Contents
from training.datasets.notes import Note
from training.datasets.records import Placed

HELD_OUT_FRACTION = 0.2  # of data that has no splits of its own
VALIDATION_NAMES = ("val", "validation", "valid")  # of a split's folder


class SplitLike(Protocol):
    """Images of any task with their truth: a `Split`, or a `PlacedSplit`."""

    @property
    def names(self) -> tuple[str, ...]:
        """To show a person: paths, or "mnist[17]"."""

    @property
    def sizes(self) -> np.ndarray | None:
        """(n, 2) heights and widths, as far as they are known."""

    def __len__(self) -> int: ...

    def take(self, indices: Sequence[int] | np.ndarray) -> Self:
        """The images at `indices`, in that order."""

    def relabelled(self, places: np.ndarray) -> Self:
        """The same, with (c,) other places of the classes."""

    def contents(self) -> Contents:
        """What the images hold, as far as it can be compared."""

    def stored(self, index: int) -> bytes | np.ndarray:
        """An encoded image, or its pixels where it lies in memory or is made; raises InputError."""

    @property
    def in_files(self) -> bool:
        """Whether `names` are paths of files that hold one image each."""


_Truth = TypeVar("_Truth")
_Split = TypeVar("_Split", bound=SplitLike)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PlacedSplit(Generic[_Truth]):
    """Images with their truth, both read or made when they are asked for.

    Attributes:
        names: n names to show a person: paths, or "scenes[17]".
        places: (n,) int64, what `read` and `annotate` are asked for.
        sizes: (n, 2) int32 heights and widths of the upright images.
        read: gives the (height, width, 3) uint8 pixels at a place, red first, upright; raises
            InputError for an image that is broken.
        annotate: gives the truth at a place.
        encoded: gives the bytes of the encoded image at a place, where many lie in one file.
    """

    names: tuple[str, ...]
    places: np.ndarray
    sizes: np.ndarray
    read: Callable[[int], np.ndarray]
    annotate: Callable[[int], _Truth]
    encoded: Placed | None = None

    def __len__(self) -> int:
        return len(self.places)

    def picture(self, index: int) -> np.ndarray:
        """(height, width, 3) uint8; raises InputError if it is broken."""
        return self.read(int(self.places[index]))

    def truth(self, index: int) -> _Truth:
        """What is to be found in it."""
        return self.annotate(int(self.places[index]))

    def take(self, indices: Sequence[int] | np.ndarray) -> Self:
        """The images at `indices`, in that order."""
        indices = np.asarray(indices, np.int64)
        return dataclasses.replace(
            self,
            names=tuple(self.names[i] for i in indices),
            places=self.places[indices],
            sizes=self.sizes[indices],
        )

    def relabelled(self, places: np.ndarray) -> Self:
        """The same, with (c,) other places of the classes."""
        raise NotImplementedError

    def contents(self) -> Contents:
        """What the images hold, as far as it can be compared."""
        if (encoded := self.encoded) is not None:
            places = self.places
            sizes = np.asarray(encoded.lengths)[places]
            return Contents(kind=FILES, sizes=sizes, read=lambda i: encoded(int(places[i])))
        return Contents.of_files(self.names)

    def stored(self, index: int) -> bytes | np.ndarray:
        """An encoded image, else as `picture`; raises InputError."""
        if self.encoded is None:
            return self.picture(index)
        try:
            return self.encoded(int(self.places[index]))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InputError(f"{error.filename} cannot be read ({reason}); restore it") from error

    @property
    def in_files(self) -> bool:
        """Whether `names` are paths of files: where images are neither packed nor generated."""
        return self.encoded is None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SplitDataset(Generic[_Split]):
    """Named splits.

    Attributes:
        name: as asked for.
        classes: names in index order.
        train: images to learn from.
        validation: images that choose the best epoch, or None: then `with_validation` sets some
            of `train` aside, because the held-out split must not choose.
        held_out: images that every reported figure is measured on.
        fingerprint: of names, sizes and truth, or of what generates them.
        notes: what was converted, left out or set aside, counted.
        generated: images are made, not read, so that none can be broken.
        ignored: how many files lie among the images that are none by their ending, by ending.
    """

    name: str
    classes: tuple[str, ...]
    train: _Split
    validation: _Split | None
    held_out: _Split
    fingerprint: str
    notes: tuple[Note, ...] = ()
    generated: bool = False
    ignored: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def splits(self) -> tuple[_Split, ...]:
        """Those that there are, in this order: to learn from, to choose, held out."""
        found = (self.train, self.validation, self.held_out)
        return tuple(split for split in found if split is not None)

    def each(self, change: Callable[[_Split], _Split]) -> Self:
        """The same with every split changed."""
        return dataclasses.replace(
            self,
            train=change(self.train),
            validation=None if self.validation is None else change(self.validation),
            held_out=change(self.held_out),
        )

    def with_validation(self, fraction: float, seed: int) -> Self:
        """With images that choose the epoch set aside, if it has none: never the held-out ones.

        Args:
            fraction: of the images to learn from, of which one is left at least.
            seed: chooses them.
        """
        train = self.train
        count = min(round(fraction * len(train)), len(train) - 1)
        if self.validation or not count:  # one may be empty, of broken images alone
            return self
        order = np.random.default_rng(seed).permutation(len(train))
        return dataclasses.replace(
            self,
            train=train.take(np.sort(order[count:])),
            validation=train.take(np.sort(order[:count])),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """Images with labels: encoded ones at their places, or an array already in memory.

    Attributes:
        labels: (n,) int32, indices into `Dataset.classes`.
        names: n names to show a person: paths, or "mnist[17]".
        pictures: (n, height, width, channels) uint8, or None where they are decoded when needed.
        read: gives the bytes of the encoded image at a place; None: `names` are files.
        places: (n,) int64, what `read` is asked for.
        sizes: (n, 2) int32, original heights and widths, upright; known once decoded.
        kinds: (n,) uint8, 1 to 8 for an ordinary JPEG by its EXIF orientation, 0 for all that
            Pillow alone should decode; known once decoded.
        blocks: (n,) int32 number of the file that holds each image, where many share one.
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
        """The images at `indices`, in that order."""
        indices = np.asarray(indices, np.int64)
        rows = {name: getattr(self, name) for name in _ROWS}
        return dataclasses.replace(
            self,
            labels=self.labels[indices],
            names=tuple(self.names[i] for i in indices),
            **{name: values[indices] for name, values in rows.items() if values is not None},
        )

    def relabelled(self, places: np.ndarray) -> Split:
        """The same, with (c,) other places of the classes."""
        known = self.labels >= 0  # of images without labels it is -1
        labels = np.where(known, places[self.labels], self.labels).astype(places.dtype)
        return dataclasses.replace(self, labels=labels)

    def there(self) -> set[int]:
        """The classes that have images."""
        return set(self.labels.tolist())

    def counts(self, classes: int) -> np.ndarray:
        """(classes,) int64, images of each class."""
        return np.bincount(self.labels, minlength=classes)

    def alike(self, index: int) -> np.ndarray:
        """Ascending places of the images that may stand in for one: those of its class."""
        return np.flatnonzero(self.labels == self.labels[index])

    def label_text(self, index: int) -> str:
        """The label of an image, for a fingerprint."""
        return str(self.labels[index])

    def contents(self) -> Contents:
        """What the images hold, as far as it can be compared."""
        if (pictures := self.pictures) is not None:
            size = pictures[0].nbytes if len(pictures) else 0
            sizes = np.full(len(pictures), size, np.int64)
            return Contents(kind=PIXELS, sizes=sizes, read=lambda i: pictures[i].tobytes())
        if isinstance(self.read, Placed) and self.places is not None:
            sizes = np.asarray(self.read.lengths)[self.places]
            return Contents(kind=FILES, sizes=sizes, read=self.encoded)
        return Contents.of_files(self.names, self.file_sizes)

    def stored(self, index: int) -> bytes | np.ndarray:
        """An encoded image, or its pixels where it lies in memory; raises InputError."""
        return self.encoded(index) if self.pictures is None else self.pictures[index]

    @property
    def in_files(self) -> bool:
        """Whether `names` are paths of files that hold one image each."""
        return self.pictures is None and self.read is None

    def encoded(self, index: int) -> bytes:
        """The encoded image, as it lies there.

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
class Dataset(SplitDataset[Split]):
    """Images with labels; see `SplitDataset`.

    Attributes:
        resize: how images meet the network's size (see Preprocessing).
        fingerprint: of the pixels and labels, or of the names, sizes and labels of files.
    """

    resize: str

    def with_validation(self, fraction: float, seed: int) -> Dataset:
        """Some images of each class; see `SplitDataset.with_validation`."""
        if self.validation is not None or not fraction:
            return self
        labels, train = self.train.labels, self.train
        kept, aside = stratified(labels, self.classes, fraction=fraction, seed=seed)
        return dataclasses.replace(self, train=train.take(kept), validation=train.take(aside))


def stratified(
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    fraction: float,
    seed: int,
    sparse: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Split indices so that every class gives about `fraction` of its images, at least one.

    Args:
        sparse: classes may have a single image: those are split as if they were one class.

    Returns:
        Sorted index arrays (kept, set_aside); neither lacks a class, unless `sparse`.

    Raises:
        InputError: a class has a single image; with `sparse`, there is one image in all.
    """
    rng = np.random.default_rng(seed)
    kept, aside = [], []
    groups = places_by_class(labels)
    if sparse:
        if len(labels) < 2:
            raise InputError("there is a single image, so that none can be held out; add images")
        alone = [places for places in groups if len(places) == 1]
        groups = [places for places in groups if len(places) > 1]
        if len(alone) == 1 and groups:
            kept += alone
        elif alone:
            groups.append(np.concatenate(alone))
    for places in groups:
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
    """Where each class that occurs has its images, in ascending order; classes by index.

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
    """The same with fewer images to learn from; the other splits are as they were.

    Args:
        per_class: training images that are left of each class, at most.
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
