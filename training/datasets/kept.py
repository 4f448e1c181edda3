"""A cache of what was found in data sets, so that a second look at them is quick.

It lies in $KERASCNN_CACHE, else in $XDG_CACHE_HOME/kerascnn, else in ~/.cache/kerascnn; an empty
$KERASCNN_CACHE means none. Each entry is a .npz of arrays under a key. Nothing depends on it: what
is gone, damaged or cannot be written is found anew, without a word. Of more than `MOST_BYTES`, or
`MOST_FILES`, those go that were not used for longest.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

from training.common.arrays import read_npz

MOST_BYTES = 4 << 30
MOST_FILES = 64
_KEY = "key"
_PARTIAL = ".partial-"


def folder() -> pathlib.Path | None:
    """Where the cache lies, which may not exist yet; None where there is to be none."""
    if (own := os.environ.get("KERASCNN_CACHE")) is not None:
        return pathlib.Path(own).absolute() if own else None
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return pathlib.Path(shared).absolute() / "kerascnn"
    try:
        return pathlib.Path.home() / ".cache" / "kerascnn"
    except RuntimeError:  # no home is known
        return None


def load(key: str) -> dict[str, np.ndarray] | None:
    """The arrays that were saved under a key, or None.

    Args:
        key: any text: of what is kept, in which form, and of which data.
    """
    path = _path(key)
    if path is None:
        return None
    try:
        arrays = read_npz(path)
        if str(arrays.pop(_KEY)) != key:
            return None
    except (ValueError, KeyError):
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # used just now
    return arrays


def save(key: str, arrays: Mapping[str, np.ndarray]) -> bool:
    """Keep arrays under a key, in place of those of before; without a word where that fails.

    Args:
        arrays: by names other than "key"; of numbers, bytes or text.

    Returns:
        Whether they are kept.
    """
    path = _path(key)
    if path is None:
        return False
    # Two processes may save at once, each into a file of its own.
    temporary = path.with_name(f"{_PARTIAL}{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **{_KEY: np.array(key), **arrays})
        temporary.replace(path)
        _prune(path)
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return True


def blob(texts: Iterable[str]) -> np.ndarray:
    """(bytes,) uint8 of texts without NUL, which no path has; `texts` gives them back."""
    joined = "".join(f"{text}\0" for text in texts)
    return np.frombuffer(joined.encode("utf-8", "surrogateescape"), np.uint8)


def texts(blob: np.ndarray) -> tuple[str, ...]:
    """What `blob` was made of.

    Raises:
        ValueError: it is not UTF-8.
    """
    return tuple(blob.tobytes().decode("utf-8", "surrogateescape").split("\0")[:-1])


def _path(key: str) -> pathlib.Path | None:
    where = folder()
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
    return where and where / f"{digest[:32]}.npz"


def _prune(newest: pathlib.Path) -> None:
    """Remove the entries that were not used for longest, where there are too many."""
    found = []
    for path in newest.parent.glob("*.npz"):
        if path != newest:
            with contextlib.suppress(OSError):  # another process has removed it
                known = path.stat()
                found.append((known.st_mtime_ns, known.st_size, path))
    size, count = newest.stat().st_size, 1
    for _used, of_file, path in sorted(found, reverse=True):
        size, count = size + of_file, count + 1
        if size > MOST_BYTES or count > MOST_FILES:
            path.unlink(missing_ok=True)
