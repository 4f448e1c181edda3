"""Images with any number of labels each: tables whose cells or columns say several (`label_table`).

Hugging Face's .parquet files are such tables too, where their labels are lists (`parquet`).

    file,labels               image,cat,dog,red
    1.jpg,cat;red             1.jpg,1,0,1
    2.jpg,cat|dog             2.jpg,1,1,0
    3.jpg,                    3.jpg,0,0,0

Labels in one cell are separated by semicolons or bars; an image may have none. A file that is there
in several rows has the labels of all.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from kerascnn.errors import InputError
from training.common.reading import NOW
from training.datasets import label_table, parquet
from training.datasets.elsewhere import Use, joined, with_beside
from training.datasets.notes import Note
from training.datasets.splits import HELD_OUT_FRACTION, Dataset, Split, SplitDataset
from training.datasets.table_labels import named
from training.datasets.table_splits import assembled


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultilabelSplit(Split):
    """Images with labels.

    Attributes:
        labels: (n, classes) bool, which classes each image shows.
    """

    def relabelled(self, places: np.ndarray) -> MultilabelSplit:
        """The same, with (c,) other places of the classes."""
        wide = np.zeros((len(self.labels), int(places.max(initial=-1)) + 1), bool)
        wide[:, places] = self.labels
        return dataclasses.replace(self, labels=wide)

    def there(self) -> set[int]:
        """See `Split.there`."""
        return set(np.flatnonzero(self.labels.any(axis=0)).tolist())

    def counts(self, classes: int) -> np.ndarray:
        """See `Split.counts`; an image counts for each of its labels."""
        return self.widened(classes).labels.sum(axis=0)

    def alike(self, index: int) -> np.ndarray:
        """Any image stands in for one: few have just its labels."""
        return np.arange(len(self))

    def label_text(self, index: int) -> str:
        """See `Split.label_text`."""
        return " ".join(map(str, np.flatnonzero(self.labels[index])))

    def widened(self, classes: int) -> MultilabelSplit:
        """The same with so many classes, the first of which are its own."""
        more = classes - self.labels.shape[1]
        return dataclasses.replace(self, labels=np.pad(self.labels, ((0, 0), (0, more))))


class MultilabelDataset(Dataset):
    """Images with labels; see `SplitDataset`."""

    def with_validation(self, fraction: float, seed: int) -> MultilabelDataset:
        """Some of the images, by chance."""
        return SplitDataset.with_validation(self, fraction, seed)


def recognises(spec: str) -> bool:
    """Whether a table gives several labels to an image; False of what cannot be read."""
    path = pathlib.Path(spec).resolve()  # as a request has it: what was read is found again
    try:
        reader = _reader(path)
        return reader is not None and reader.gives_several(path)
    except (InputError, OSError):
        return False


def _reader(path: pathlib.Path) -> Any:
    """The module that reads a table, or None."""
    return next((one for one in (label_table, parquet) if one.recognises(path)), None)


def require(spec: str) -> None:
    """Raise InputError for what `scan` finds nothing in; nothing is read."""
    path = pathlib.Path(spec)
    if not path.exists():
        raise InputError(f"{spec}: no such file or folder; give a table of images and their labels")
    if _reader(path) is None:
        raise InputError(
            f"{spec} is not a table of images and their labels; give a .csv, .tsv or .parquet "
            "file, or a folder with metadata.csv or .parquet files"
        )


def scan(
    spec: str,
    *,
    seed: int,
    strict: bool = False,
    val_data: str | None = None,
    reading: int = NOW,
) -> Dataset:
    """Find images with any number of labels.

    Args:
        spec: a table, see `label_table`.
        seed: chooses the held-out images where the table names none.
        strict: a broken row is an error; else it is left out, and a note counts it.
        val_data: another one, whose images are held out instead (see `elsewhere`).
        reading: as of `training.datasets.scan`.

    Raises:
        InputError: it cannot be read, or is not clear.
    """
    if val_data is None:
        return with_beside(_scan(spec, seed, strict, Use.SPLIT), spec)
    found = joined(_scan(spec, seed, strict, Use.LEARN), _scan(val_data, seed, strict, Use.MEASURE))
    return found.each(lambda split: split.widened(len(found.classes)))  # type: ignore[attr-defined]


def measured(spec: str) -> Dataset:
    """A data set that nothing is learnt from: its test split, else its validation split, else all.

    Raises:
        InputError: as of `scan`.
    """
    return _scan(spec, 0, False, Use.MEASURE)


def learnt(spec: str) -> Dataset:
    """A data set that nothing is measured on: `train` has its training split, or all of it.

    Raises:
        InputError: as of `scan`.
    """
    return _scan(spec, 0, False, Use.LEARN)


def _scan(spec: str, seed: int, strict: bool, use: Use) -> Dataset:
    require(spec)
    path = pathlib.Path(spec)
    found = _of_parquet(path, strict) if _reader(path) is parquet else _of_table(path, strict)
    rows = found.rows
    flat = [label for row in rows for label in row.labels]
    labelling = named(path, [*flat, *found.classes], order=found.order)
    labels = np.zeros((len(rows), len(labelling.classes)), bool)
    counts = [len(row.labels) for row in rows]
    labels[np.repeat(np.arange(len(counts)), counts), labelling.indices[: len(flat)]] = True
    return assembled(
        str(path),
        labelling.classes,
        MultilabelSplit(labels=labels, **found.images),
        [row.part for row in rows],
        [row.key for row in rows],
        seed=seed,
        use=use,
        notes=(*found.notes, *labelling.notes),
        draw=_fifth,
        kind=MultilabelDataset,
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Found:
    """What a table says.

    Attributes:
        rows: one an image.
        images: fields of `Split` that say where they are.
        notes: of what was left out.
        classes: named by the table even where no image has them.
        order: of all classes, where the table says it.
    """

    rows: Sequence[label_table.Row] | Sequence[parquet.Row]
    images: dict[str, Any]
    notes: Sequence[Note]
    classes: tuple[str, ...] = ()
    order: tuple[str, ...] = ()


def _of_table(path: pathlib.Path, strict: bool) -> _Found:
    table = label_table.read(path, strict=strict, several=True)
    names = tuple(row.file for row in table.rows)
    return _Found(
        rows=table.rows,
        images={"names": names, "file_sizes": table.sizes},
        notes=table.notes,
        classes=table.classes,
    )


def _of_parquet(path: pathlib.Path, strict: bool) -> _Found:
    if (total := parquet.size(path)) > parquet.MOST_BYTES:
        raise InputError(
            f"{path} has {total / 1e9:.1f} GB, too much to read at every start; write the images "
            "into files, and their labels into a .csv"
        )
    table = parquet.read(path, strict=strict, several=True)
    return _Found(
        rows=table.rows,
        images={
            "names": tuple(row.key for row in table.rows),
            "read": table.reader,
            "places": np.arange(len(table.rows)),
            "blocks": table.reader.groups.astype(np.int32),
        },
        notes=table.notes,
        order=table.names,
    )


def _fifth(
    whole: Split, seed: int, _classes: Sequence[str], _sparse: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Places of the images that are kept, and of a fifth that is held out, by chance.

    Each class keeps an image to learn from: one that is held out alone comes back.
    """
    order = np.random.default_rng(seed).permutation(len(whole))
    count = max(1, round(HELD_OUT_FRACTION * len(whole)))
    aside, kept = order[:count], order[count:]
    lost = whole.labels.any(axis=0) & ~whole.labels[kept].any(axis=0)
    back = whole.labels[aside][:, lost].any(axis=1)
    return np.sort(np.concatenate([kept, aside[back]])), np.sort(aside[~back])
