"""Tables of text as programs and spreadsheets write them: .csv, .tsv and .jsonl, as rows of cells.

What separates cells is found by trying: the character of `_SEPARATORS` that gives most of the first
rows the same number of cells, of equally good ones the earlier. (csv.Sniffer also tries letters.)
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import io
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from kerascnn.errors import InputError
from training.datasets.notes import Note

SUFFIXES = frozenset({".csv", ".tsv", ".jsonl"})
# A list in a cell of a .jsonl file, as the same labels are written in a .csv.
LIST_SEPARATOR = "|"
_SEPARATORS = (",", ";", "\t", "|")
_TRIED = 50  # rows
_MOST_BYTES = 1 << 30
_BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Delimited:
    """What a file holds.

    Attributes:
        path: of it.
        rows: of its cells, stripped; those without any text are left out.
        lines: where in the file each row ends, from 1.
        notes: of how it was read.
    """

    path: pathlib.Path
    rows: list[list[str]]
    lines: list[int]
    notes: tuple[Note, ...] = ()

    @property
    def width(self) -> int:
        """Cells of most rows."""
        return _commonest(self.rows)[0]


def read(path: pathlib.Path) -> Delimited:
    """Read a file of any of `SUFFIXES`.

    Raises:
        InputError: it cannot be read, is too large, is no text, or has no rows of two cells.
    """
    text, notes = _text(path)
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        rows, lines = _of_json(path, text)
    else:
        rows, lines = _of_cells(path, text, "\t" if suffix == ".tsv" else _separator(text))
    if not rows:
        raise InputError(f"{path} is empty; write an image and its label into each line")
    if _commonest(rows)[0] < 2:
        raise InputError(
            f"{path} has one column (line {lines[0]}: {rows[0][0]!r:.60}); separate image and "
            "label by commas, semicolons or tabs"
        )
    return Delimited(path=path, rows=rows, lines=lines, notes=notes)


def _text(path: pathlib.Path) -> tuple[str, tuple[Note, ...]]:
    """The file's text, and what there is to say of its encoding."""
    try:
        with path.open("rb") as opened:
            data = opened.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); restore it") from None
    if len(data) > _MOST_BYTES:
        raise InputError(
            f"{path} has more than {_MOST_BYTES >> 30} GB, too much for a table of labels; make "
            "folders of classes"
        )
    encoding = _BOMS.get(data[:2], "utf-8-sig")
    try:
        return data.decode(encoding), ()
    except UnicodeDecodeError:
        pass
    if encoding == "utf-8-sig" and b"\0" not in data:
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError:
            pass
        else:
            said = f"{path} is not UTF-8: it was read as Windows-1252; look at the classes' names"
            return text, (Note(kind="encoding", text=said, count=1),)
    raise InputError(f"{path} is not text in UTF-8; save it as CSV in UTF-8")


def _of_cells(path: pathlib.Path, text: str, separator: str) -> tuple[list[list[str]], list[int]]:
    rows: list[list[str]] = []
    lines: list[int] = []
    reader = _cells(text, separator)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise InputError(f"{path}, line {reader.line_num}: {error}; correct it") from None
        if cells is None:
            return rows, lines
        cells = [cell.strip() for cell in cells]
        if any(cells):
            rows.append(cells)
            lines.append(reader.line_num)


def _cells(text: str, separator: str) -> Any:
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)


def _separator(text: str) -> str:
    """See the module."""
    first = "\n".join(text[: 1 << 20].splitlines()[:_TRIED])

    def fits(separator: str) -> float:
        try:
            rows = [row for row in _cells(first, separator) if row]
        except csv.Error:
            return 0
        width, count = _commonest(rows) if rows else (0, 0)
        return count / len(rows) if width > 1 else 0

    return max(_SEPARATORS, key=fits)  # the first of equal ones


def _commonest(rows: Sequence[Sequence[str]]) -> tuple[int, int]:
    """How many cells most rows have, and how many rows these are."""
    ((width, count),) = collections.Counter(map(len, rows)).most_common(1)
    return width, count


def _of_json(path: pathlib.Path, text: str) -> tuple[list[list[str]], list[int]]:
    """A header of all keys, and a row for each object."""
    found = list(_objects(path, text))
    keys = list(dict.fromkeys(key for _line, one in found for key in one))
    rows = [[_cell(one.get(key)) for key in keys] for _line, one in found]
    return [keys, *rows][: len(rows) and len(rows) + 1], [0, *(line for line, _one in found)]


def _objects(path: pathlib.Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            one = json.loads(line)
        except (ValueError, RecursionError):
            one = None
        if not isinstance(one, dict):
            raise InputError(f"{path}, line {number} is not a JSON object; correct it")
        yield number, one


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return LIST_SEPARATOR.join(map(_cell, value))
    if isinstance(value, bool):
        return str(int(value))
    return str(value).strip()
