"""Which files lie below a folder, and the order of names with numbers in them.

All readers list their folders here, so that they agree on what is left out: what desktops,
archivers and notebooks put beside people's images (`.ipynb_checkpoints`, Synology's `@eaDir`,
macOS' `__MACOSX` and `._cat.jpg`). A link to a folder is read as a folder.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable

import numpy as np

from kerascnn.errors import InputError
from training.common.reading import BEFORE, NOW
from training.datasets.notes import Note

# Compared in small letters. Whatever begins with a dot is hidden, too.
HIDDEN = frozenset({
    "@eadir", "__macosx", "#recycle", "$recycle.bin", "system volume information", "lost+found",
    "__pycache__",
})  # fmt: skip
_DIGITS = re.compile(r"(\d+)")

_Identity = tuple[int, int]  # of a folder: device and inode


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Listing:
    """What lies below a folder.

    Attributes:
        files: paths that begin with the folder's own, in the order of their text.
        sizes: (n,) int64 bytes of each.
        others: names (not paths) of files with other endings.
        hidden: folders that were not read, and files that were left out, because they are hidden.
        dangling: links to what does not exist.
        repeated: links to folders that are read anyway, or that hold this one.
        unreadable: folders that may not be read.
    """

    files: tuple[str, ...]
    sizes: np.ndarray
    others: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    dangling: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name (not path) is left out by every reader."""
    return name.startswith(".") or name.lower() in HIDDEN


def is_hidden_below(path: str | os.PathLike[str], root: str | os.PathLike[str]) -> bool:
    """Whether any part of a path below `root` is hidden; `root` itself may be."""
    return any(is_hidden(part) for part in pathlib.Path(path).relative_to(root).parts)


def walk(root: str | os.PathLike[str]) -> list[pathlib.Path]:
    """The files below a folder at any depth, without hidden ones, in the order of their text.

    Links to folders are followed; each folder is read once.
    """
    return [pathlib.Path(file) for file in listing(root).files]


def listing(
    root: str | os.PathLike[str], suffixes: Iterable[str] | None = None, *, sizes: bool = False
) -> Listing:
    """As `walk`, with what was left out.

    Args:
        suffixes: of the files that are wanted, in small letters, with the dot; None: all.
        sizes: whether to ask for them; else they are 0.

    Raises:
        OSError: `root` itself cannot be read.
    """
    return _Walk(os.fspath(root), None if suffixes is None else frozenset(suffixes), sizes).run()


class Listings:
    """Listings of folders, each read once.

    Args:
        suffixes: of the files that are wanted.
        reading: the rules to read by, see `training.common.reading`.
    """

    def __init__(self, suffixes: Iterable[str], reading: int = NOW) -> None:
        self._suffixes, self._reading = frozenset(suffixes), reading
        self._seen: dict[pathlib.Path, Listing] = {}

    def of(self, folder: pathlib.Path) -> list[pathlib.Path]:
        """The files below a folder, sorted as paths."""
        if folder not in self._seen:
            read = _listing_before if self._reading == BEFORE else listing
            self._seen[folder] = read(folder, self._suffixes)
        return sorted(map(pathlib.Path, self._seen[folder].files))

    def notes(self) -> list[Note]:
        """What was left out of all of them."""
        return notes_of(self._seen.values())


def _listing_before(root: pathlib.Path, suffixes: Iterable[str]) -> Listing:
    """A file's own name alone hides it, and links to folders are not followed."""
    files = [
        str(path)
        for path in root.rglob("*")
        if path.suffix.lower() in suffixes
        and not path.name.startswith(".")
        and "__MACOSX" not in path.parts
    ]
    return Listing(files=tuple(files), sizes=np.zeros(len(files), np.int64))


def notes_of(listings: Iterable[Listing]) -> list[Note]:
    """What a reader should say of what it left out; a line for each kind.

    Args:
        listings: of the folders that were read, of files with the endings of images.
    """
    there = list(listings)
    hidden = [name for one in there for name in one.hidden]
    dangling = [name for one in there for name in one.dangling]
    repeated = [name for one in there for name in one.repeated]
    unreadable = [name for one in there for name in one.unreadable]
    found = []
    if hidden:
        text = f"{len(hidden):,} hidden folders and images were left out, such as {hidden[0]}"
        found.append(Note.of("hidden", text, hidden, finding=False))
    if dangling:
        text = f"{len(dangling):,} links lead to no file: left out, such as {dangling[0]}"
        found.append(Note.of("dangling-links", text, dangling))
    if repeated:
        text = (
            f"{len(repeated):,} links lead to folders that are read anyway, or that hold their own "
            f"folder: not followed, such as {repeated[0]}"
        )
        found.append(Note.of("repeated-links", text, repeated))
    if unreadable:
        text = f"{len(unreadable):,} folders may not be read: left out, such as {unreadable[0]}"
        found.append(Note.of("unreadable-folders", text, unreadable))
    return found


def suffix_of(name: str) -> str:
    """The ending of a file's name in small letters, as `pathlib.Path.suffix` has it."""
    at = name.rfind(".")
    return name[at:].lower() if 0 < at < len(name) - 1 else ""


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """A key for `sorted` that puts 2 before 10, in whole names and within them."""
    parts = _DIGITS.split(name)
    return tuple(int(part) if at % 2 else part for at, part in enumerate(parts)), name


class _Walk:
    """One listing: real folders first, then links, so that no folder is read by two names."""

    def __init__(self, root: str, suffixes: frozenset[str] | None, sizes: bool) -> None:
        self._root, self._suffixes, self._with_sizes = root, suffixes, sizes
        self._files: list[str] = []
        self._sizes: list[int] = []
        self._others: list[str] = []
        self._hidden: list[str] = []
        self._dangling: list[str] = []
        self._repeated: list[str] = []
        self._unreadable: list[str] = []
        self._links: list[str] = []
        # A link to what holds the root would bring other classes' images into this one.
        above = [pathlib.Path(root).resolve(), *pathlib.Path(root).resolve().parents]
        self._seen: set[_Identity] = {_identity(folder.stat()) for folder in above}

    def run(self) -> Listing:
        self._read(self._root)
        while self._links:
            links, self._links = sorted(self._links), []
            for link in links:
                if (there := _identity(pathlib.Path(link).stat())) in self._seen:
                    self._repeated.append(link)
                else:
                    self._seen.add(there)
                    self._read(link)
        order = sorted(range(len(self._files)), key=self._files.__getitem__)
        sizes = [self._sizes[i] for i in order] if self._with_sizes else [0] * len(order)
        return Listing(
            files=tuple(self._files[i] for i in order),
            sizes=np.array(sizes, np.int64),
            others=tuple(sorted(self._others)),
            hidden=tuple(sorted(self._hidden)),
            dangling=tuple(sorted(self._dangling)),
            repeated=tuple(sorted(self._repeated)),
            unreadable=tuple(sorted(self._unreadable)),
        )

    def _read(self, first: str) -> None:
        """A folder and all below it; links in it are kept for later."""
        folders = [first]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    folders += [one for entry in entries if (one := self._look_at(entry))]
            except PermissionError:
                if folder == self._root:
                    raise
                self._unreadable.append(folder)

    def _look_at(self, entry: os.DirEntry[str]) -> str | None:
        """Note what an entry of a folder is; the path of one that is to be read."""
        if not entry.is_dir():
            if self._suffixes is None or suffix_of(entry.name) in self._suffixes:
                self._take(entry)
            elif not is_hidden(entry.name):
                self._others.append(entry.name)
        elif is_hidden(entry.name):
            self._hidden.append(entry.path)
        elif entry.is_symlink():
            self._links.append(entry.path)
        else:
            self._seen.add(_identity(entry.stat()))
            return entry.path
        return None

    def _take(self, entry: os.DirEntry[str]) -> None:
        if is_hidden(entry.name):
            self._hidden.append(entry.path)
        elif entry.is_file():
            self._files.append(entry.path)
            if self._with_sizes:
                self._sizes.append(entry.stat().st_size)
        elif entry.is_symlink():
            self._dangling.append(entry.path)


def _identity(found: os.stat_result) -> _Identity:
    return found.st_dev, found.st_ino


def refuse_within(out: pathlib.Path, data: str, canonical: str, *, flag: str = "--data") -> None:
    """Refuse a place for results that is data or lies inside it: they would be read as data.

    Args:
        out: where results are to go; nothing needs to be there yet.
        data: as it was typed.
        canonical: the same from any working directory: a name, or an absolute path.
        flag: that `data` came by, for the message; empty of an argument.

    Raises:
        InputError: it is, or does; the message names both.
    """
    place = pathlib.Path(canonical)
    if not place.is_absolute():  # data that is known by a name lies nowhere in particular
        return
    place, target = place.resolve(), out.resolve()
    if place != target and place not in target.parents:
        return
    how = "is" if place == target else "lies inside"
    named = f"{flag} {data}" if flag else data
    raise InputError(
        f"--out {out} {how} {named}, whose files it would change; name a folder outside of it"
    )
