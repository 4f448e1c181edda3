"""Where downloaded weights lie, and whether they are what was published.

A file lies in <folder>/<source>/<file>, with what is known of it in <file>.json beside it: its
SHA-256, and the size and time at which that was taken, so that it is not taken again before each
use. A file that somebody put there is looked at the first time it is used.

The folder is $KERASCNN_HOME/weights, else $KERASCNN_CACHE/weights, else
$XDG_CACHE_HOME/kerascnn/weights, else ~/.cache/kerascnn/weights.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
from typing import Any

from kerascnn.errors import InputError
from kerascnn.weights.published import Published

_OFFLINE = ("", "0", "false", "no")


@dataclasses.dataclass(frozen=True)
class Digest:
    """What a file's hash is, or begins with.

    Attributes:
        kind: "sha256" or "md5".
        digits: hexadecimal ones; of a SHA-256 perhaps the first ones alone.
    """

    kind: str
    digits: str

    @classmethod
    def of_row(cls, row: Published) -> Digest | None:
        """What is published of a file; None where it is the server that tells."""
        return None if row.digest is None else cls(*row.digest.split(":"))

    def matches(self, path: pathlib.Path) -> bool:
        """Whether a file has this digest."""
        return digits_of(path, self.kind).startswith(self.digits.lower())

    def __str__(self) -> str:
        return f"{self.kind.upper().replace('SHA', 'SHA-')} {self.digits}"


def folder() -> pathlib.Path:
    """Where weights lie, which may not exist yet.

    Raises:
        InputError: no variable names a place, and no home is known.
    """
    for variable, rest in (
        ("KERASCNN_HOME", ("weights",)),
        ("KERASCNN_CACHE", ("weights",)),
        ("XDG_CACHE_HOME", ("kerascnn", "weights")),
    ):
        if value := os.environ.get(variable):
            return pathlib.Path(value).absolute().joinpath(*rest)
    try:
        return pathlib.Path.home() / ".cache" / "kerascnn" / "weights"
    except RuntimeError:
        raise InputError("no home folder is known; set KERASCNN_HOME to one for weights") from None


def path_of(row: Published) -> pathlib.Path:
    """Where a file lies, or would."""
    return folder() / row.source / row.file


def offline() -> bool:
    """Whether KERASCNN_OFFLINE forbids downloads."""
    return os.environ.get("KERASCNN_OFFLINE", "").lower() not in _OFFLINE


def located(row: Published) -> pathlib.Path | None:
    """The file of a row, looked at if that was not done before; None if it is not in the cache.

    Raises:
        InputError: what is there is not what was published.
    """
    path = path_of(row)
    if not path.is_file():
        return None
    if not _is_remembered(path):
        verify(row)
    return path


def verify(row: Published, path: pathlib.Path | None = None) -> None:
    """Compare a file with its digest, and remember that it was, if it is in the cache.

    Args:
        row: what is published of it.
        path: of the file, where it is not in the cache but in a package.

    Raises:
        InputError: it has another one; the message names both.
    """
    path = path or path_of(row)
    wanted = Digest.of_row(row) or _noted_digest(path)
    if wanted is not None and not wanted.matches(path):
        raise InputError(
            f"{path} is not {row.described} as published: its {wanted.kind.upper()} is "
            f"{digits_of(path, wanted.kind)[: len(wanted.digits)]}, not {wanted.digits}; delete it"
        )
    if row.url is not None:
        remember(path)


def remember(path: pathlib.Path) -> None:
    """Write down that this file, as it is now, is what was published."""
    known = path.stat()
    text = json.dumps({
        "sha256": digits_of(path, "sha256"),
        "bytes": known.st_size,
        "mtime_ns": known.st_mtime_ns,
    })  # fmt: skip
    temporary = path.with_name(f".{path.name}.{os.getpid()}.json")
    try:
        temporary.write_text(text + "\n")
        temporary.replace(_note_of(path))
    except OSError:  # a cache that is read alone: it is looked at each time
        temporary.unlink(missing_ok=True)


def read_note(text: str) -> Digest | None:
    """The digest in what `remember` writes; None in anything else."""
    try:
        digits = json.loads(text)["sha256"]
    except (ValueError, KeyError, TypeError):
        return None
    whole = isinstance(digits, str) and len(digits) == 64
    return Digest("sha256", digits) if whole else None


def digits_of(path: pathlib.Path, kind: str) -> str:
    """The hexadecimal digits of a file's hash."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, kind).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None


def _note_of(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f"{path.name}.json")


def _note(path: pathlib.Path) -> dict[str, Any]:
    try:
        found = json.loads(_note_of(path).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_remembered(path: pathlib.Path) -> bool:
    known, note = path.stat(), _note(path)
    return note.get("bytes") == known.st_size and note.get("mtime_ns") == known.st_mtime_ns


def _noted_digest(path: pathlib.Path) -> Digest | None:
    """The digest by the server, or the first look, of a file of which nobody publishes one."""
    return read_note(json.dumps(_note(path)))
