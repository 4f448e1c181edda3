"""A table of images and their labels: `file,label[,split]` as .csv or .tsv, and its relatives.

    file,label,split          id,breed            image,cat,dog         0001.jpg;cat
    a/1.jpg,cat,train         000bec,beagle       1.jpg,1,0             0002.jpg;dog

| rows say                  | train       | validation       | held out           |
|---------------------------|-------------|------------------|--------------------|
| train, val and test       | train       | val              | test               |
| train and another one     | train       | set aside by fit | the other          |
| train, or nothing         | four fifths | set aside by fit | a stratified fifth |

Headings and columns are read by `table_columns`, files are found by `table_files`. Also a folder of
Hugging Face's `imagefolder` form: `metadata.csv` or `metadata.jsonl`, with a column `file_name`,
beside images or in each of train/, validation/ and test/
(https://huggingface.co/docs/datasets/image_dataset).
"""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from kerascnn.errors import InputError
from training.common import once
from training.datasets import delimited
from training.datasets.detection_table import ALL, TEST
from training.datasets.elsewhere import Use
from training.datasets.faults import HANDFUL, MOST_SHARE, Faults, weigh
from training.datasets.notes import Note
from training.datasets.paths import is_hidden
from training.datasets.spelling import class_key
from training.datasets.splits import Dataset, Split
from training.datasets.table_columns import PARTS, columns
from training.datasets.table_files import TableFiles
from training.datasets.table_labels import named, one_each
from training.datasets.table_splits import assembled

METADATA = tuple(f"metadata{suffix}" for suffix in (".csv", ".jsonl"))
SEVERAL = (";", "|")
_YES = frozenset({"1", "1.0", "true"})


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Row:
    """An image of a table.

    Attributes:
        table, line: where it says so.
        key: the file as the table has it, for the fingerprint.
        file: absolute path.
        labels: what the row says it is.
        part: what it is for, or `ALL`.
    """

    table: pathlib.Path
    line: int
    key: str
    file: str
    labels: tuple[str, ...]
    part: str

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.table}, line {self.line}"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """What tables say, of images that are there.

    Attributes:
        rows: of them all; no file twice.
        sizes: (n,) int64 bytes of the files.
        classes: of columns of 0 and 1, in their order; else none.
        notes: of what was left out.
        listed: images to which one row gives several labels.
        merged: images to which several rows give different ones.
    """

    rows: Sequence[Row]
    sizes: np.ndarray
    classes: tuple[str, ...]
    notes: tuple[Note, ...]
    listed: int = 0
    merged: int = 0


def recognises(path: pathlib.Path) -> bool:
    """Whether a place is a table of labels, or a folder with a table that Hugging Face reads."""
    return path.suffix.lower() in delimited.SUFFIXES if path.is_file() else bool(_tables(path))


def scan(
    path: pathlib.Path,
    *,
    seed: int,
    strict: bool = False,
    use: Use = Use.SPLIT,
    sparse: bool = False,
) -> Dataset:
    """Find images of one label each; none is opened.

    Args:
        path: a table, or a folder of `imagefolder`'s form.
        seed: chooses the held-out images where the table names none.
        strict: what is broken is an error; else it is left out, and a note counts it.
        use: what the images are for.
        sparse: as of `table_splits.assembled`.

    Raises:
        InputError: it cannot be read, is not clear, or has images of several labels.
    """
    table = read(path, strict=strict)
    labels = one_each(path, table.rows)
    name = named(path, labels)
    whole = Split(
        labels=name.indices.astype(np.int32),
        names=tuple(row.file for row in table.rows),
        file_sizes=table.sizes,
    )
    return assembled(
        str(path),
        name.classes,
        whole,
        [row.part for row in table.rows],
        [row.key for row in table.rows],
        seed=seed,
        use=use,
        sparse=sparse,
        notes=(*table.notes, *name.notes),
    )


def read(path: pathlib.Path, *, strict: bool, several: bool = False) -> Table:
    """Read a table, or those of a folder.

    Args:
        strict: as of `scan`.
        several: whether a row may have any number of labels, and files several rows.

    Raises:
        InputError: as of `scan`.
    """
    table = _read_tables(path, strict, several)
    sizes = weigh([row.file for row in table.rows])
    gone = Faults("missing-images", "images are missing", strict=strict)
    for at in np.flatnonzero(sizes < 0).tolist():
        gone.add(f"{table.rows[at].place}: {table.rows[at].file} is not a file", "restore it")
    there = np.flatnonzero(sizes >= 0)
    return dataclasses.replace(
        table,
        rows=[table.rows[at] for at in there.tolist()],
        sizes=sizes[there],
        notes=(*table.notes, *gone.settle(str(path), len(table.rows))),
    )


def gives_several(path: pathlib.Path) -> bool:
    """Whether tables give several labels to an image; no image is looked at.

    A file in several rows is several labels only where more are than slips may be.

    Raises:
        InputError: as of `scan`.
    """
    table = _read_tables(path, strict=False, several=True)
    return table.listed > 0 or table.merged > max(HANDFUL, MOST_SHARE * len(table.rows))


def _read_tables(path: pathlib.Path, strict: bool, several: bool) -> Table:
    """What tables say, each row of which names a file; their sizes are not known yet."""
    rows: list[Row] = []
    notes: list[Note] = []
    classes = []
    for file in [path] if path.is_file() else _tables(path):
        found = _Reading(_written(file, path), strict, several)
        rows += found.rows
        notes += found.notes
        classes.append(found.classes)
    if any(one != classes[0] for one in classes):
        raise InputError(f"{path}: its tables have different columns of classes; make them alike")
    listed = sum(len(row.labels) > 1 for row in rows)
    rows, more = _each_once(str(path), rows, strict, several)
    return Table(
        rows=rows,
        sizes=np.zeros(len(rows), np.int64),
        classes=classes[0],
        notes=(*notes, *more),
        listed=listed,
        merged=sum(len(row.labels) > 1 for row in rows) - listed,
    )


def _tables(root: pathlib.Path) -> list[pathlib.Path]:
    """The metadata files of a folder that has no folders of classes."""
    below = _folders(root)
    parts = [one for one in below if one.name.lower() in PARTS]
    train = next((one for one in parts if one.name.lower() == "train"), None)
    classes = [one for one in (_folders(train) if train else below) if one not in parts]
    if len(classes) > 1:
        return []
    for places in ([root], parts):
        named = [place / name for place in places for name in METADATA]
        if found := [file for file in named if file.is_file()]:
            return found
    return []


def _folders(root: pathlib.Path) -> list[pathlib.Path]:
    """Those in a folder, without hidden ones."""
    try:
        return [one for one in sorted(root.iterdir()) if one.is_dir() and not is_hidden(one.name)]
    except OSError:
        return []


def _part_of(name: str) -> str:
    return PARTS.get(name.lower(), ALL)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Fault:
    """A row that is left out.

    Attributes:
        missing: its image is not there; else the row itself is broken.
        reason, remedy: as of `Faults.add`.
    """

    missing: bool
    reason: str
    remedy: str


def _written(file: pathlib.Path, root: pathlib.Path) -> _Written:
    """The table, read once in each `training.common.once.scope`.

    The command asks first whether an image has several labels, then for the data.
    """
    return once.kept(("table", file, root), lambda: _Written(file, root))


class _Written:
    """One table as it is written, whatever it is read for.

    Attributes:
        file: of it.
        rows: of images that are there; files may be there twice.
        faults: the other rows, in the table's order.
        total: of all rows.
        classes: as of `Table`.
        notes: of how it was read.
    """

    def __init__(self, file: pathlib.Path, root: pathlib.Path) -> None:
        self.file = file
        self._part = _part_of(file.parent.name) if file.parent != root != file else ALL
        self._files = TableFiles(file)
        table = delimited.read(file)
        self._columns = columns(table, self._files.find, self._files.places)
        self.classes = tuple(class_key(self._columns.names[at]) for at in self._columns.flags)
        below = file.parent.relative_to(root).as_posix() if root.is_dir() else "."
        self._front = "" if below == "." else f"{below}/"
        self.faults: list[_Fault] = []
        first = self._columns.first
        lines = zip(table.lines[first:], table.rows[first:], strict=True)
        self.rows = [row for line, cells in lines if (row := self._row(line, cells))]
        self.total, self.notes = len(table.rows) - first, table.notes

    def _row(self, line: int, cells: list[str]) -> Row | None:
        where, columns = f"{self.file}, line {line}", self._columns
        if len(cells) < columns.width:
            self._fault(f"{where}: {len(cells)} cells", f"write {columns.width} at least")
            return None
        name = cells[columns.file]
        if (part := self._part_of(cells)) is None:
            self._fault(f"{where}: it says not what it is for", "write train, val or test")
            return None
        if (file := self._files.find(name)) is None:
            why = "nothing is downloaded" if "://" in name else f"looked in {self._files.places}"
            reason = f"{where}: {name!r:.120} is not there ({why})"
            self._fault(reason, "restore it, or remove the row", missing=True)
            return None
        return Row(
            table=self.file, line=line, key=self._front + name, file=file,
            labels=self._labels(cells), part=part,
        )  # fmt: skip

    def _fault(self, reason: str, remedy: str, *, missing: bool = False) -> None:
        self.faults.append(_Fault(missing=missing, reason=reason, remedy=remedy))

    def _part_of(self, cells: Sequence[str]) -> str | None:
        """What an image is for: by its column, else in Hugging Face's form by its folder."""
        columns = self._columns
        if columns.split is not None:
            return columns.parts.get(
                cells[columns.split].lower() if len(cells) > columns.split else ""
            )
        first, slash, _rest = cells[columns.file].partition("/")
        if slash and self._part == ALL and self.file.name.lower() in METADATA:
            return _part_of(first)
        return self._part

    def _labels(self, cells: Sequence[str]) -> tuple[str, ...]:
        """What a row says of its image."""
        columns = self._columns
        if columns.label is None:
            pairs = zip(columns.flags, self.classes, strict=True)
            return tuple(name for at, name in pairs if cells[at].lower() in _YES)
        return labels_of(cells[columns.label])


class _Reading:
    """What one table says, for a number of labels an image.

    Attributes:
        rows, notes, classes: as of `Table`; files may be there twice.
    """

    def __init__(self, written: _Written, strict: bool, several: bool) -> None:
        self._file, self._several = written.file, several
        self.classes = written.classes
        broken = Faults("broken-rows", "rows are broken", strict=strict)
        self._unlabelled = Faults("rows-without-label", "rows have no label", strict=strict)
        missing = Faults("missing-images", "images are missing", strict=strict)
        for fault in written.faults:
            (missing if fault.missing else broken).add(fault.reason, fault.remedy)
        self.rows, notes = self._labelled(written.rows)
        faults = (broken, self._unlabelled, missing)
        notes += [note for fault in faults for note in fault.settle(str(self._file), written.total)]
        self.notes = [*written.notes, *notes]

    def _labelled(self, rows: list[Row]) -> tuple[list[Row], list[Note]]:
        """Those with a label, where each must have one; a test split without any is none."""
        if self._several:
            return rows, []
        with_label = {row.part for row in rows if row.labels}
        blind = [row for row in rows if row.part == TEST and TEST not in with_label]
        kept = []
        for row in rows:
            if row.labels:
                kept.append(row)
            elif row.part in with_label or not blind:
                self._unlabelled.add(
                    f"{row.place}: {row.key!r:.120} has no label", "add it, or remove the row"
                )
        if not blind:
            return kept, []
        text = f"{self._file}: the {len(blind):,} images of its test split have no labels: left out"
        return kept, [Note.of("unlabelled-split", text, [row.key for row in blind], finding=False)]


def labels_of(cell: str) -> tuple[str, ...]:
    """The labels in a cell, each once, in its order."""
    for other in SEVERAL[1:]:
        cell = cell.replace(other, SEVERAL[0])
    found = (class_key(" ".join(part.split())) for part in cell.split(SEVERAL[0]))
    return tuple(dict.fromkeys(filter(None, found)))


def _each_once(
    source: str, rows: Sequence[Row], strict: bool, several: bool
) -> tuple[list[Row], list[Note]]:
    """One row of each file; what contradicts itself is left out."""
    groups: dict[str, list[Row]] = collections.defaultdict(list)
    for row in rows:
        groups[row.file].append(row)
    kept, repeated = [], []
    other = Faults("contradictory-rows", "images have contradictory rows", strict=strict)
    for file, group in groups.items():
        first = group[0]
        if len(group) > 1:
            repeated.append(os.path.basename(file))  # noqa: PTH119 - of a million files
            if len({row.part for row in group}) > 1:
                other.add(f"{first.place}: {first.key} is in two splits", "leave one of the rows")
                continue
            labels = tuple(dict.fromkeys(label for row in group for label in row.labels))
            if set(labels) != set(first.labels) and not several:
                other.add(
                    f"{first.place}: {first.key} is {first.labels[0]!r} and {labels[-1]!r}",
                    "leave one of the rows",
                )
                continue
            first = dataclasses.replace(first, labels=labels)
        kept.append(first)
    notes = other.settle(source, len(groups))
    if not several and len(repeated) > len(other):
        text = f"{source}: {len(repeated):,} images are there more than once: each is taken once"
        notes.append(Note.of("repeated-rows", text, repeated))
    return kept, notes
