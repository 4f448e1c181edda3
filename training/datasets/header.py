"""What the front and the end of an image file tell, without its pixels: a look at whole data sets.

A file whose front cannot be read, or whose end is not where it should be, is decoded: that decides.
What is broken between the two is found by whoever decodes it (`training.datasets.broken`). Verdicts
are kept by path, size and time of change (`training.datasets.kept`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import IO

import numpy as np
import PIL
from PIL import Image

from kerascnn.errors import InputError
from training.common.parallel import in_order
from training.common.progress import Progress, say
from training.datasets import kept, pictures
from training.datasets.decode_memory import JPEGS, is_large, open_image
from training.datasets.pictures import SWAP, check_picture

# Of the end of a JPEG, where its end marker is looked for: cameras put things behind it.
_TAIL = 1 << 16
_FRONT = 8
_HUFFMAN = (0xC0, 0xC1, 0xC2)  # frames that libjpeg decodes: baseline, extended, progressive
# Verdicts kept in all; those of the files that were looked at last come first.
MOST_KEPT = 4_000_000
# Of what a verdict is; another version looks anew.
_VERSION = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Header:
    """What is known of an image that has a sound front and end.

    Attributes:
        size: (height, width) of the file's own pixels, upright.
        kind: see `Split.kinds`.
        format: one of `decode_memory.FORMATS`, or MPO.
        mode: Pillow's: "RGB", "L", "I;16", "P" ...
        orientation: EXIF's, 1 to 8.
        frames: more than one of an animation, or of a camera's file with several images.
        large: it is decoded at reduced size (`decode_memory`).
    """

    size: tuple[int, int]
    kind: int
    format: str
    mode: str
    orientation: int
    frames: int = 1
    large: bool = False


def read_header(source: str | os.PathLike[str] | bytes, name: str = "image") -> Header:
    """Look at the front and the end of an image file; decode it only where these do not tell.

    Args:
        source: a path, or the file's bytes.
        name: of bytes, for messages.

    Raises:
        InputError: as `pictures.read_picture`, in the same words.
    """
    name = name if isinstance(source, bytes) else str(pathlib.Path(source))
    with contextlib.ExitStack() as opened_files, pictures.complaining_of(name):
        file: IO[bytes] = (
            io.BytesIO(source)
            if isinstance(source, bytes)
            else opened_files.enter_context(pathlib.Path(source).open("rb"))
        )
        with open_image(file) as opened:
            place = file.tell()  # behind a JPEG's front, and where Pillow reads on
            pictures.refuse_too_large(opened, _length(file))
            file.seek(place)
            whole = _is_whole(opened, file)
            file.seek(place)
            turned = _orientation(opened, file)
            width, height = opened.size
            header = Header(
                size=(width, height) if SWAP[turned] else (height, width),
                kind=0,
                format=opened.format or "",
                mode=opened.mode,
                orientation=turned,
                frames=int(getattr(opened, "n_frames", 1)),
                large=is_large(opened),
            )
        kind = _kind(header, file)
    if not whole:
        check_picture(source, name)
    return dataclasses.replace(header, kind=kind)


def _length(file: IO[bytes]) -> int:
    return file.seek(0, os.SEEK_END)


def _is_whole(opened: Image.Image, file: IO[bytes]) -> bool:
    """Whether a file ends as its format says."""
    # Behind a JPEG's front: an image within its EXIF data has an end of its own.
    front = file.tell() if opened.format == "JPEG" else _FRONT
    length = _length(file)
    if opened.format == "PNG":
        return _chunks(file)[-1:] == [b"IEND"]
    if opened.format in JPEGS:
        file.seek(max(length - _TAIL, front))
        return b"\xff\xd9" in file.read(_TAIL)
    file.seek(0)
    first = file.read(_FRONT)
    if opened.format == "WEBP":
        return length >= 8 + int.from_bytes(first[4:8], "little")
    return 0 < int.from_bytes(first[2:6], "little") <= length  # BMP


def _chunks(file: IO[bytes]) -> list[bytes]:
    """The kinds of a PNG's chunks, up to the first one that is not all there (PNG 1.2, 3.2)."""
    length, at = _length(file), _FRONT
    kinds: list[bytes] = []
    while at + 12 <= length and kinds[-1:] != [b"IEND"]:
        file.seek(at)
        first = file.read(8)
        at += 12 + int.from_bytes(first[:4], "big")
        if at <= length:
            kinds.append(first[4:])
    return kinds


def _orientation(opened: Image.Image, file: IO[bytes]) -> int:
    if opened.format == "PNG":
        place = file.tell()
        chunks = _chunks(file)
        file.seek(place)  # where Pillow reads on
        if b"eXIf" in chunks[chunks.index(b"IDAT") if b"IDAT" in chunks else 0 :]:
            opened.load()  # it lies behind the pixels
        elif "exif" not in opened.info:
            return 1  # else Pillow would look behind the pixels
    return pictures.orientation_of(opened)


def _kind(header: Header, file: IO[bytes]) -> int:
    plain = header.format in JPEGS and header.mode in ("L", "RGB") and not header.large
    return header.orientation if plain and _frame(file) in _HUFFMAN else 0


def _frame(file: IO[bytes]) -> int | None:
    """The marker that a JPEG's first frame begins with (ITU-T T.81, table B.1)."""
    file.seek(2)
    while len(first := file.read(4)) == 4 and first[0] == 0xFF:
        marker = first[1]
        if marker == 0xFF:  # a fill byte
            file.seek(-3, os.SEEK_CUR)
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return marker
        else:
            file.seek(int.from_bytes(first[2:], "big") - 2, os.SEEK_CUR)
    return None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Headers:
    """Verdicts on n files.

    Attributes:
        sizes: (n, 2) int32 heights and widths, upright; 0 of broken ones.
        kinds: (n,) uint8, see `Split.kinds`.
        reasons: why a file is broken, in one line that names it, by its index.
    """

    sizes: np.ndarray
    kinds: np.ndarray
    reasons: dict[int, str]

    def __getitem__(self, part: slice) -> Headers:
        """Of some files that follow each other."""
        first, last, _step = part.indices(len(self.kinds))
        reasons = {i - first: why for i, why in self.reasons.items() if first <= i < last}
        return Headers(sizes=self.sizes[part], kinds=self.kinds[part], reasons=reasons)


def look(names: Sequence[str], *, root: str | None) -> Headers:
    """Look at image files, less those whose verdict is kept: of these no file is opened.

    What was looked at is kept also where the look is interrupted.

    Args:
        names: n paths.
        root: where the data set lies, under which verdicts are kept; None: they are not.
    """
    table = _Table.of(names)
    known = _Table.load(root) if root is not None else None
    if known is not None:
        table.take_over(known)
    new = np.flatnonzero(table.state == _UNKNOWN).tolist()
    try:
        _look_at(table, new, lambda place: read_header(names[place]))
    except KeyboardInterrupt:
        if table.with_others(known).save(root):
            left = int((table.state == _UNKNOWN).sum())
            say(f"what was checked is kept; {left:,} image files are left to be checked")
        raise
    if new:
        table.with_others(known).save(root)
    return table.headers()


def look_at_encoded(names: Sequence[str], encoded: Callable[[int], bytes]) -> Headers:
    """The same of images that are no files of their own; nothing is kept.

    Args:
        names: of n images, for messages.
        encoded: gives the bytes of one.
    """
    table = _Table.unknown(names, np.full((len(names), 2), -1))
    _look_at(table, range(len(names)), lambda place: read_header(encoded(place), names[place]))
    return table.headers()


def _look_at(table: _Table, places: Sequence[int], read: Callable[[int], Header]) -> None:
    def verdict(row: int) -> Header | InputError:
        try:
            return read(places[row])
        except InputError as error:
            return error

    with Progress("checking image files", len(places), unit="file") as progress:
        for place, found in zip(places, in_order(verdict, len(places)), strict=True):
            table.put(place, found)
            progress.step()


_UNKNOWN, _SOUND, _BROKEN = range(3)


@dataclasses.dataclass(kw_only=True, eq=False)
class _Table:
    """Verdicts on n files, with what they hold for.

    Attributes:
        names: paths.
        stats: (n, 2) int64 size in bytes and time of change in ns; -1: it cannot be asked, and the
            verdict is not kept.
        sizes, kinds, reasons: as in `Headers`.
        state: (n,) uint8.
    """

    names: Sequence[str]
    stats: np.ndarray
    sizes: np.ndarray
    kinds: np.ndarray
    state: np.ndarray
    reasons: dict[int, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, names: Sequence[str]) -> _Table:
        """Files that were not looked at yet."""
        stats = np.fromiter(
            (value for name in names for value in _stat(name)), np.int64, 2 * len(names)
        )
        return cls.unknown(names, stats.reshape(-1, 2))

    @classmethod
    def unknown(cls, names: Sequence[str], stats: np.ndarray) -> _Table:
        """Without a verdict yet."""
        return cls(
            names=names,
            stats=stats,
            sizes=np.zeros((len(names), 2), np.int32),
            kinds=np.zeros(len(names), np.uint8),
            state=np.zeros(len(names), np.uint8),
        )

    def headers(self) -> Headers:
        """What is found of them."""
        return Headers(sizes=self.sizes, kinds=self.kinds, reasons=self.reasons)

    @classmethod
    def load(cls, root: str) -> _Table | None:
        """Those that are kept; None if there are none, or damaged ones."""
        found = kept.load(_key(root))
        try:
            if found is None:
                return None
            names, (where, why) = kept.texts(found["names"]), (found["broken"], found["reasons"])
            table = cls(
                names=names,
                reasons=dict(zip(where.tolist(), kept.texts(why), strict=True)),
                **{name: found[name] for name in ("stats", "sizes", "kinds", "state")},
            )
            shapes = [table.stats.shape, table.sizes.shape, table.kinds.shape, table.state.shape]
            whole = shapes == [(len(names), 2)] * 2 + [(len(names),)] * 2
            broken = np.flatnonzero(table.state == _BROKEN).tolist()
            return table if whole and broken == sorted(table.reasons) else None
        except (KeyError, ValueError, TypeError):
            return None

    def save(self, root: str | None) -> bool:
        """Keep the verdicts that there are; whether they are kept now."""
        if root is None:
            return False
        chosen = np.flatnonzero((self.state != _UNKNOWN) & (self.stats[:, 0] >= 0))[:MOST_KEPT]
        state = self.state[chosen]
        broken = np.flatnonzero(state == _BROKEN)
        columns = {name: getattr(self, name)[chosen] for name in ("stats", "sizes", "kinds")}
        return kept.save(
            _key(root),
            {
                "names": kept.blob([self.names[i] for i in chosen.tolist()]),
                "broken": broken,
                "reasons": kept.blob([self.reasons[i] for i in chosen[broken].tolist()]),
                "state": state,
                **columns,
            },
        )

    def put(self, place: int, found: Header | InputError) -> None:
        """Note a verdict."""
        if isinstance(found, InputError):
            self.state[place], self.reasons[place] = _BROKEN, str(found)
        else:
            self.state[place], self.sizes[place] = _SOUND, found.size
            self.kinds[place] = found.kind

    def take_over(self, known: _Table) -> None:
        """The verdicts on files that have neither another size nor another time of change."""
        rows = self._rows_in(known)
        here = np.flatnonzero((rows >= 0) & (self.stats[:, 0] >= 0))
        here = here[(known.stats[rows[here]] == self.stats[here]).all(axis=1)]
        there = rows[here]
        for name in ("sizes", "kinds", "state"):
            getattr(self, name)[here] = getattr(known, name)[there]
        for place in here[known.state[there] == _BROKEN].tolist():
            self.reasons[place] = known.reasons[int(rows[place])]

    def with_others(self, known: _Table | None) -> _Table:
        """And the verdicts on files that are not among these."""
        if known is None:
            return self
        rest = np.ones(len(known.names), bool)
        rows = self._rows_in(known)
        rest[rows[rows >= 0]] = False
        others = np.flatnonzero(rest)
        reasons = {
            len(self.names) + i: known.reasons[place]
            for i, place in enumerate(others.tolist())
            if place in known.reasons
        }
        return _Table(
            names=[*self.names, *(known.names[i] for i in others.tolist())],
            reasons={**self.reasons, **reasons},
            **{
                name: np.concatenate([getattr(self, name), getattr(known, name)[others]])
                for name in ("stats", "sizes", "kinds", "state")
            },
        )

    def _rows_in(self, known: _Table) -> np.ndarray:
        """(n,) places of these files in another table; -1: not there."""
        if self.names == known.names:
            return np.arange(len(self.names))
        places = {name: place for place, name in enumerate(known.names)}
        found = (places.get(name, -1) for name in self.names)
        return np.fromiter(found, np.int64, len(self.names))


def _key(root: str) -> str:
    return f"headers {_VERSION}, Pillow {PIL.__version__}, of {pathlib.Path(root).absolute()}"


def _stat(name: str) -> tuple[int, int]:
    try:
        found = os.stat(name)  # noqa: PTH116 - of a million files
    except (OSError, ValueError):
        return -1, -1
    return found.st_size, found.st_mtime_ns
