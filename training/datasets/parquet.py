"""Hugging Face's image data sets: .parquet files with encoded images and labels in their rows.

    data/train-00000-of-00002.parquet        the files of a repository of the hub, or what
    data/train-00001-of-00002.parquet        `Dataset.to_parquet` wrote; splits are in their names
    data/test-00000-of-00001.parquet         (https://huggingface.co/docs/datasets/image_dataset)

Labels are gone through once; an image's bytes are read from its row group when they are needed. The
column of images is one of {bytes, path} or of bytes; names of classes are in the files' own schema
(`ClassLabel`). pyarrow reads them; the library `datasets` is not needed.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import pathlib
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kerascnn.errors import InputError
from training.common import once
from training.common.progress import Progress
from training.datasets.detection_table import ALL
from training.datasets.elsewhere import Use
from training.datasets.faults import Faults
from training.datasets.label_table import labels_of
from training.datasets.notes import Note
from training.datasets.paths import is_hidden, natural_key
from training.datasets.records import Placed
from training.datasets.splits import Dataset, Split
from training.datasets.table_columns import LABEL_WORDS, PARTS
from training.datasets.table_labels import named, one_each
from training.datasets.table_splits import assembled

SUFFIX = ".parquet"
# More than this is not gone through at the start of every training.
MOST_BYTES = 4 << 30
# Row groups are kept for the next image in them, as many as this.
_KEPT_BYTES = 512 << 20
_BELOW = ("data", "default")
_WORD = re.compile(r"[^a-z]+")


def recognises(path: pathlib.Path) -> bool:
    """Whether a place is such a file, or a folder of them."""
    return path.suffix.lower() == SUFFIX if path.is_file() else bool(_files(path))


def scan(
    path: pathlib.Path,
    *,
    seed: int,
    strict: bool = False,
    use: Use = Use.SPLIT,
    sparse: bool = False,
    most_bytes: int | None = MOST_BYTES,
) -> Dataset:
    """Find images of one label each; none is decoded.

    Args:
        path: a file, or a folder of them (or with a folder data/ of them).
        seed: chooses the held-out images where files name no such split.
        strict: a row without an image or a label is an error; else it is left out and counted.
        use: what the images are for.
        sparse: as of `table_splits.assembled`.
        most_bytes: refuse larger ones; None: any.

    Raises:
        InputError: pyarrow is not installed, a file is damaged, or has no images with labels.
    """
    if most_bytes is not None and (total := size(path)) > most_bytes:
        raise InputError(
            f"{path} has {total / 1e9:.1f} GB, too much to read at every start; pack it once "
            f"(kerascnn pack {path} -o DIR), then --data DIR"
        )
    table = read(path, strict=strict)
    labelling = named(path, one_each(path, table.rows), order=table.names)
    whole = Split(
        labels=labelling.indices.astype(np.int32),
        names=tuple(row.key for row in table.rows),
        read=table.reader,
        places=np.arange(len(table.rows)),
        blocks=table.reader.groups.astype(np.int32),
    )
    parts = [row.part for row in table.rows]
    keys = [row.key for row in table.rows]
    return assembled(
        str(path), labelling.classes, whole, parts, keys,
        seed=seed, use=use, sparse=sparse, notes=(*table.notes, *labelling.notes),
    )  # fmt: skip


def size(path: pathlib.Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    return sum(file.stat().st_size for file in _files_of(path))


def read(path: pathlib.Path, *, strict: bool, several: bool = False) -> Table:
    """Read the labels of a file, or of a folder of them; no image is read.

    Args:
        strict: as of `scan`.
        several: whether a row may have any number of labels.

    Raises:
        InputError: as of `scan`.
    """
    return _Scan(path, _files_of(path), strict, several).run()


def gives_several(path: pathlib.Path) -> bool:
    """Whether rows give several labels to an image; only columns of labels are read.

    Raises:
        InputError: as of `scan`.
    """
    return once.call(_gives_several, path)


def _gives_several(path: pathlib.Path) -> bool:
    pq = _pyarrow(path)
    import pyarrow.types as kinds

    for file in _files_of(path):
        with _reading(file), pq.ParquetFile(file) as opened:
            columns = _columns_of(file, opened.schema_arrow)
            if kinds.is_integer(opened.schema_arrow.field(columns.label).type):
                continue  # one number a row
            for at in range(opened.num_row_groups):
                values = opened.read_row_group(at, columns=[columns.label])[
                    columns.label
                ].to_pylist()
                if any(len(_labels(value, columns.names)) > 1 for value in values):
                    return True
    return False


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """What files say of their images.

    Attributes:
        rows: those with an image and a label.
        reader: of their bytes.
        names: of the classes, where the files' schema has them.
        notes: of what was left out.
    """

    rows: Sequence[Row]
    reader: RowGroups
    names: tuple[str, ...]
    notes: Sequence[Note]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Row:
    """An image: see `label_table.Row`."""

    key: str
    labels: tuple[str, ...]
    part: str

    @property
    def place(self) -> str:
        return self.key


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Columns:
    """What to read of a file.

    Attributes:
        image: the column, or the part of it, with the bytes.
        paths: that with the images' names, if there is one.
        label: the column.
        names: of its numbers, or empty.
    """

    image: str
    paths: tuple[str, ...]
    label: str
    names: tuple[str, ...]


class RowGroups(Placed):
    """`Split.read` of images in row groups; any thread may call it.

    Args:
        image: the column with the bytes, "image.bytes" say.
        files: paths.
        group_files, group_numbers: (g,) the file of each row group, and its number there.
        groups, rows, lengths: (n,) of each image: the row group, its row in it, and bytes.
    """

    def __init__(
        self,
        image: str,
        files: Sequence[pathlib.Path],
        group_files: np.ndarray,
        group_numbers: np.ndarray,
        groups: np.ndarray,
        rows: np.ndarray,
        lengths: np.ndarray,
    ) -> None:
        self._image, self._files = image, tuple(files)
        self._group_files, self._group_numbers = group_files, group_numbers
        self.groups, self._rows, self.lengths = groups, rows, lengths
        self._lock = threading.Lock()
        self._kept: collections.OrderedDict[int, Any] = collections.OrderedDict()

    def __call__(self, place: int) -> bytes:
        with self._lock:  # a group that several threads wait for is read once
            found = self._group(int(self.groups[place]))
        data: bytes | None = None
        if (row := int(self._rows[place])) < len(found):
            data = found[row].as_py()
        if data is None or len(data) != self.lengths[place]:
            file = self._files[self._group_files[self.groups[place]]]
            raise InputError(f"{file} has changed since it was looked at; restore it")
        return data

    def _group(self, number: int) -> Any:
        """The images of a row group, from the last ones that were read or from the file."""
        if number not in self._kept:
            file = self._files[self._group_files[number]]
            self._kept[number] = _bytes_of(file, int(self._group_numbers[number]), self._image)
            while len(self._kept) > 1 and self._size() > _KEPT_BYTES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        return self._kept[number]

    def _size(self) -> int:
        return sum(group.nbytes for group in self._kept.values())


def _bytes_of(file: pathlib.Path, number: int, image: str) -> Any:
    """A column of encoded images, of one row group."""
    pq = _pyarrow(file)
    with _reading(file), pq.ParquetFile(file) as opened:
        return _column(opened.read_row_group(number, columns=[image]), image)


def _column(table: Any, image: str) -> Any:
    """The bytes of a column, or of the part of one."""
    import pyarrow.compute as pc

    whole, dot, part = image.rpartition(".")
    return pc.struct_field(table[whole], part) if dot else table[image]


@contextlib.contextmanager
def _reading(file: pathlib.Path) -> Iterator[None]:
    """Say what is wrong with a file, in place of pyarrow's errors."""
    import pyarrow as pa

    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{file} cannot be read as parquet ({reason:.120}); restore it") from None


class _Scan:
    """One look at some files."""

    def __init__(
        self, root: pathlib.Path, files: Sequence[pathlib.Path], strict: bool, several: bool
    ) -> None:
        self._root, self._files, self._several = root, files, several
        self._empty = Faults("rows-without-image", "rows have no image in them", strict=strict)
        self._unlabelled = Faults("rows-without-label", "rows have no label", strict=strict)
        self._rows: list[Row] = []
        self._groups: list[tuple[int, int]] = []  # the file and the number of each row group
        self._places: list[tuple[int, int, int]] = []  # see `RowGroups`
        self._blind: list[str] = []

    def run(self) -> Table:
        """The rows with their reader."""
        pq, seen, columns = _pyarrow(self._root), 0, None
        with Progress("reading labels", len(self._files), unit="file") as progress:
            for number, file in enumerate(self._files):
                with _reading(file), pq.ParquetFile(file) as opened:
                    found = _columns_of(file, opened.schema_arrow)
                    if columns is not None and found != columns:
                        raise InputError(
                            f"{file} has other columns or classes than {self._files[0]}; give a "
                            "folder of one data set"
                        )
                    columns = found
                    seen += opened.metadata.num_rows
                    self._file(number, file, opened, found)
                progress.step()
        assert columns is not None
        notes = self._empty.settle(str(self._root), seen)
        notes += self._unlabelled.settle(str(self._root), seen)
        if self._blind:
            text = f"{self._root}: files without labels were left out, such as {self._blind[0]}"
            notes.append(Note.of("unlabelled-split", text, self._blind, finding=False))
        if not self._rows:
            raise InputError(f"{self._root} has no images with labels; name another data set")
        groups, rows, lengths = np.array(self._places, np.int64).T
        group_files, group_numbers = np.array(self._groups, np.int64).T
        reader = RowGroups(
            columns.image, self._files, group_files, group_numbers, groups, rows, lengths
        )
        return Table(rows=self._rows, reader=reader, names=columns.names, notes=notes)

    def _file(self, number: int, file: pathlib.Path, opened: Any, columns: _Columns) -> None:
        """All rows of a file; a test split without labels is none."""
        import pyarrow.compute as pc

        name = file.name if file == self._root else file.relative_to(self._root).as_posix()
        part, first, blind = _part_of(name), 0, True
        missing = []
        for at in range(opened.num_row_groups):
            table = opened.read_row_group(
                at, columns=[*columns.paths, columns.image, columns.label]
            )
            paths = (
                _column(table, columns.paths[0]).to_pylist()
                if columns.paths
                else [None] * len(table)
            )
            lengths = pc.fill_null(pc.binary_length(_column(table, columns.image)), 0).to_pylist()
            values = table[columns.label].to_pylist()
            for row, (length, value, path) in enumerate(zip(lengths, values, paths, strict=True)):
                key, labels = f"{name}[{first + row}]", _labels(value, columns.names)
                key += f"/{path}" if path else ""
                if not length:
                    self._empty.add(
                        f"{key}: no bytes of an image", "write the images into the files"
                    )
                elif not labels and not (self._several and value is not None):
                    missing.append(key)
                else:
                    blind = False
                    self._rows.append(Row(key=key, labels=labels, part=part))
                    self._places.append((len(self._groups), row, length))
            self._groups.append((number, at))
            first += len(values)
        if blind and missing and PARTS.get("test") == part:
            self._blind.append(name)
            return
        for key in missing:
            self._unlabelled.add(f"{key} has no label", "add it, or remove the row")


def _labels(value: Any, names: Sequence[str]) -> tuple[str, ...]:
    """What a cell says; -1 is Hugging Face's for none."""
    if isinstance(value, list):
        return tuple(dict.fromkeys(label for one in value for label in _labels(one, names)))
    if value is None or (names and isinstance(value, int) and value < 0):
        return ()
    if names:
        if not isinstance(value, int) or value >= len(names):
            raise InputError(f"label {value!r} is none of the {len(names)} classes; repair it")
        return (names[value],)
    if isinstance(value, (bool, int)):
        return (str(int(value)),) if value >= 0 else ()
    return labels_of(str(value))


def _columns_of(file: pathlib.Path, schema: Any) -> _Columns:
    """Which columns have the images and the labels."""
    import pyarrow.types as kinds

    features = _features(schema)
    images, labels = [], []
    for field in schema:
        feature = features.get(field.name, {})
        of_bytes = kinds.is_binary(field.type) or kinds.is_large_binary(field.type)
        if kinds.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            images.append(f"{field.name}.bytes")
        elif of_bytes:
            images.append(field.name)
        elif feature.get("_type") == "ClassLabel" or field.name.lower() in LABEL_WORDS:
            labels.append(field.name)
    classes = [name for name in labels if features.get(name, {}).get("_type") == "ClassLabel"]
    labels = classes if len(classes) == 1 else labels
    for what, found in (("images", images), ("labels", labels)):
        if len(found) != 1:
            raise InputError(
                f"{file} has {len(found) or 'no'} columns of {what} (there are: "
                f"{', '.join(schema.names)}); a classifier needs one of images and one called "
                "'label'"
            )
    label_feature = features.get(labels[0], {})
    names = label_feature.get("names") or label_feature.get("feature", {}).get("names") or ()
    whole, dot, _bytes = images[0].rpartition(".")
    named = dot and schema.field(whole).type.get_field_index("path") >= 0
    return _Columns(
        image=images[0],
        paths=(f"{whole}.path",) if named else (),
        label=labels[0],
        names=tuple(map(str, names)),
    )


def _features(schema: Any) -> dict[str, Any]:
    """What Hugging Face says of the columns."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    if not isinstance(features, dict):
        return {}
    return {name: one for name, one in features.items() if isinstance(one, dict)}


def _files_of(path: pathlib.Path) -> list[pathlib.Path]:
    return [path] if path.is_file() else _files(path)


def _files(root: pathlib.Path) -> list[pathlib.Path]:
    """The .parquet files of a folder, in natural order; of its data/, where they are there."""
    for folder in (root, *(root / name for name in _BELOW)):
        found = _in(folder) or [file for below in _parts(folder) for file in _in(below)]
        if found:
            return sorted(found, key=lambda file: natural_key(file.as_posix()))
    return []


def _in(folder: pathlib.Path) -> list[pathlib.Path]:
    try:
        return [
            file
            for file in folder.iterdir()
            if file.suffix.lower() == SUFFIX and not is_hidden(file.name) and file.is_file()
        ]
    except OSError:
        return []


def _parts(folder: pathlib.Path) -> list[pathlib.Path]:
    """The folders in it that are called as splits are."""
    try:
        return [one for one in folder.iterdir() if one.name.lower() in PARTS and one.is_dir()]
    except OSError:
        return []


def _part_of(name: str) -> str:
    """What the images of a file are for, by the first word of its path that says so."""
    words = _WORD.split(name.lower().removesuffix(SUFFIX))
    return next((PARTS[word] for word in words if word in PARTS), ALL)


def _pyarrow(file: pathlib.Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            f"{file} needs pyarrow to be read; pip install 'kerascnn[parquet]'"
        ) from error
    return pyarrow.parquet
