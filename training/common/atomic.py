"""Whole files or none: write to a temporary name, flush, rename."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence

TEMPORARY = ".partial-"


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Give a temporary path beside `path` and rename it to `path` when the block succeeds.

    The suffix is kept, since some writers choose their format by it. A crash leaves at most a
    file whose name begins with `.partial-`, which nothing reads and the next write replaces.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(TEMPORARY + path.name)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(path)  # a full disk's own error does not say where
        raise


def write_bytes(path: pathlib.Path, data: bytes) -> None:
    """Write a whole file or none."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_csv(path: pathlib.Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a whole table or none: names of columns, then lines; None is an empty cell."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_text(path: pathlib.Path, text: str) -> None:
    """Write a whole UTF-8 file or none."""
    write_bytes(path, text.encode())


def sha256(path: pathlib.Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
