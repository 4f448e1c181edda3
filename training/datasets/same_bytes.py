"""Images of one split that are in another one under other names, byte for byte.

Files of one size are compared, first by some blocks of each, and whole where those agree. A large
photo collection has thousands of files of one size, so that a warning looks at `MOST_FILES` files
at most and says so; what decides something looks at all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from training.common.parallel import in_order
from training.common.progress import Progress
from training.datasets import kept
from training.datasets.contents import BLOCK, GONE, PIXELS, Contents
from training.datasets.notes import Note
from training.datasets.splits import SplitDataset

# Files that a warning opens: some seconds' work, less than that of one epoch.
MOST_FILES = 200_000
# Bytes that a warning reads of images whose blocks agree.
_MOST_BYTES = 2 << 30

# Of what is kept of a comparison; another version compares anew.
_VERSION = 1

_AnyDataset = TypeVar("_AnyDataset", bound=SplitDataset[Any])


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Shared:
    """Which images of a first split are in a second one.

    Attributes:
        same: (n,) bool, of the first one's.
        compared: how many of the first one's were compared.
    """

    same: np.ndarray
    compared: int


def shared(
    first: Contents,
    second: Contents,
    *,
    other_names: bool = False,
    most_files: int | None = None,
    most_bytes: int | None = None,
) -> Shared:
    """Compare two splits.

    Args:
        other_names: leave those out that are in both by the same path.
        most_files: open so many files at most; those of some sizes are compared then, by chance.
        most_bytes: read so many at most of those whose blocks agree; the others count as different.

    Raises:
        OSError, InputError: an image is gone.
    """
    same = np.zeros(len(first), bool)
    if first.kind != second.kind:
        return Shared(same=same, compared=0)
    by_path = np.zeros(len(first), bool)
    if first.paths and second.paths:  # the very same files need no reading
        there = set(second.paths)
        by_path = np.fromiter((path in there for path in first.paths), bool, len(first))
    if not other_names:
        same |= by_path & (first.sizes >= 0)
    left = np.flatnonzero((first.sizes >= 0) & ~by_path)
    alike = np.flatnonzero((second.sizes >= 0) & np.isin(second.sizes, first.sizes[left]))
    asked = left[np.isin(first.sizes[left], second.sizes[alike])]
    compared = int(by_path.sum()) + len(left)
    if most_files is not None and len(asked) + len(alike) > most_files:
        chosen = _some_sizes(first.sizes[asked], second.sizes[alike], most_files)
        compared -= len(asked)
        asked = asked[np.isin(first.sizes[asked], chosen)]
        alike = alike[np.isin(second.sizes[alike], chosen)]
        compared += len(asked)
    same[_equal(first, asked, second, alike, most_bytes)] = True
    return Shared(same=same, compared=compared)


def notes(splits: Mapping[str, Contents]) -> list[Note]:
    """Of images that are in two splits under other names; a note for each pair of splits.

    Args:
        splits: "train", "validation" and "held-out", those that there are.
    """
    found = []
    for earlier, later in itertools.combinations([n for n in _WORDS if n in splits], 2):
        first = splits[later]
        try:
            both = shared(
                first, splits[earlier],
                other_names=True, most_files=MOST_FILES, most_bytes=_MOST_BYTES,
            )  # fmt: skip
        except OSError:
            continue  # whoever reads the image names it
        if count := int(both.same.sum()):
            names = [first.paths[i] for i in np.flatnonzero(both.same)] if first.paths else []
            text = (
                f"{count:,} {_WORDS[later]} images have the same bytes as {_WORDS[earlier]} ones, "
                f"under other names{_of_how_many(both, first)}: {_HARM[earlier, later]}"
            )
            text += f"; such as {names[0]}" if names else ""
            found.append(Note(kind="same-bytes", text=text, count=count, examples=tuple(names[:5])))
        elif 0 < both.compared < len(first):  # none: what is no file, or not of the same kind
            text = (
                f"no {_WORDS[later]} image has the same bytes as a {_WORDS[earlier]} one"
                f"{_of_how_many(both, first)}"
            )
            found.append(Note(kind="same-bytes-looked-at", text=text, count=0, finding=False))
    return found


def noted(dataset: _AnyDataset) -> _AnyDataset:
    """The data set of any task with these notes added; embedded ones have no such images."""
    if dataset.generated:
        return dataset
    splits = {"train": dataset.train, "validation": dataset.validation}
    splits["held-out"] = dataset.held_out
    there = {name: split.contents() for name, split in splits.items() if split is not None}
    if there["train"].kind == PIXELS:
        return dataset
    return dataclasses.replace(dataset, notes=(*dataset.notes, *_kept_notes(dataset, there)))


def _kept_notes(dataset: Any, splits: Mapping[str, Contents]) -> list[Note]:
    """`notes`, or what is kept of it while no file has another size or time of change."""
    key = f"same bytes {_VERSION} of {pathlib.Path(dataset.name).absolute()}"
    stamp = _stamp(dataset.fingerprint, splits)
    known = kept.load(key)
    with contextlib.suppress(KeyError, ValueError, TypeError):
        if known is not None and known["stamp"].tobytes() == stamp:
            return [
                Note(**{**one, "examples": tuple(one["examples"])})
                for one in map(json.loads, kept.texts(known["notes"]))
            ]
    found = notes(splits)
    lines = kept.blob(json.dumps(dataclasses.asdict(one)) for one in found)
    kept.save(key, {"stamp": np.frombuffer(stamp, np.uint8), "notes": lines})
    return found


def _stamp(fingerprint: str, splits: Mapping[str, Contents]) -> bytes:
    """Which files there are, in which split, and when they were changed."""
    total = hashlib.blake2b(f"{fingerprint} {MOST_FILES} {_MOST_BYTES}".encode(), digest_size=16)
    for name, contents in splits.items():
        total.update(f"\0{name} {len(contents)}\0".encode())
        total.update("\0".join(contents.paths).encode("utf-8", "surrogateescape"))
        total.update(np.asarray(contents.sizes, np.int64).tobytes())
        times = np.fromiter(map(_changed, contents.paths), np.int64, len(contents.paths))
        total.update(times.tobytes())
    return total.digest()


def _changed(name: str) -> int:
    try:
        return os.stat(name).st_mtime_ns  # noqa: PTH116 - of a million files
    except (OSError, ValueError):
        return GONE


_WORDS = {"train": "training", "validation": "validation", "held-out": "held-out"}
_HARM = {
    ("train", "validation"): "the epoch is chosen by what was learnt by heart",
    ("train", "held-out"): "figures will flatter",
    ("validation", "held-out"): "figures will flatter a little",
}


def _of_how_many(both: Shared, first: Contents) -> str:
    if both.compared == len(first):
        return ""
    return f" (of {both.compared:,} that were compared, chosen by chance among {len(first):,})"


def _some_sizes(first: np.ndarray, second: np.ndarray, most: int) -> np.ndarray:
    """Sizes of `most` files in all, by chance but always the same; those of one size at least."""
    sizes, counts = np.unique(np.concatenate([first, second]), return_counts=True)
    order = np.random.default_rng(0).permutation(len(sizes))
    within = np.cumsum(counts[order]) <= most
    within[:1] = True
    return sizes[order[within]]


def _equal(
    first: Contents,
    asked: np.ndarray,
    second: Contents,
    alike: np.ndarray,
    most_bytes: int | None,
) -> np.ndarray:
    """Which of the first images at `asked` equal one of the second at `alike`."""
    linked = _among(_files(first, asked), _files(second, alike))  # two names of one file
    found, asked = [asked[linked]], asked[~linked]
    for whole in (False, True):
        alike = alike[np.isin(second.sizes[alike], first.sizes[asked])]
        if whole and most_bytes is not None:
            asked = asked[np.cumsum(first.sizes[asked]) <= most_bytes]
            alike = alike[np.cumsum(second.sizes[alike]) <= most_bytes]
        one = _digests(first, asked, whole=whole)
        other = _digests(second, alike, whole=whole)
        asked, alike = asked[_among(one, other)], alike[_among(other, one)]
        small = first.sizes[asked] <= 3 * BLOCK  # these were compared whole already
        found.append(asked if whole else asked[small])
        asked = asked[~small]
    return np.concatenate(found)


def _among(one: Sequence[object], other: Sequence[object]) -> np.ndarray:
    """(n,) bool, which of the first are among the second; None is not."""
    known = set(other) - {None}
    return np.fromiter((value in known for value in one), bool, len(one))


def _digests(contents: Contents, wanted: np.ndarray, *, whole: bool) -> list[bytes]:
    """Of the blocks, or of all, of some images, with their sizes; of each file once."""
    files = _files(contents, wanted)
    rows: dict[object, int] = {}
    of_row = [rows.setdefault(row if file is None else file, row) for row, file in enumerate(files)]
    places = sorted(rows.values())

    def digest(place: int) -> bytes:
        index = int(wanted[places[place]])
        data = contents.read(index) if whole else contents.blocks(index)
        size = int(contents.sizes[index]).to_bytes(8, "little")
        return hashlib.blake2b(size + data, digest_size=16).digest()

    found: dict[int, bytes] = {}
    with Progress("comparing images", len(places), unit="image", lines=True) as progress:
        for place, one in zip(places, in_order(digest, len(places)), strict=True):
            found[place] = one
            progress.step()
    return [found[row] for row in of_row]


def _files(contents: Contents, wanted: np.ndarray) -> list[tuple[int, int] | None]:
    """Device and inode of some files; None for what is not a file of its own."""
    if not contents.paths:
        return [None] * len(wanted)
    found = (os.stat(contents.paths[i]) for i in wanted.tolist())  # noqa: PTH116 - of a million
    return [(one.st_dev, one.st_ino) for one in found]
