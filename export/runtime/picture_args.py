"""The images that a command line names: files, folders, patterns, lists, videos and cameras."""

from __future__ import annotations

import glob
import os
import pathlib
import re
import sys
from collections.abc import Callable, Iterable, Sequence

from export.runtime.sources import VIDEOS, Camera, Source, Still, Video, moves
from kerascnn.errors import InputError
from training.common.wording import counted
from training.datasets.paths import is_hidden_below, listing, suffix_of
from training.datasets.pictures import SUFFIXES

STDIN = "-"
_CAMERA = re.compile(r"camera:(\d{1,3})")
_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)")


def sources(
    arguments: Sequence[str],
    *,
    lists: Sequence[str] = (),
    warn: Callable[[str], None] = lambda _line: None,
) -> list[Source]:
    """What the words of a command line mean, in their order: files once, lists as they are.

    Args:
        arguments: files; folders, whose images are read at any depth, less hidden ones, as data
            sets are; patterns ("photos/**/*.jpg") that the shell left as they are; "camera:0"; "-"
            for a list on the standard input.
        lists: files with a path a line (or with NUL between paths), "-" for the standard input.
            Paths are taken as they stand, from the working directory, those that come again too:
            a list is answered line by line.
        warn: is called with what was left out.

    Returns:
        Drawings go by a file's own name; by its path within a folder, a pattern's fixed part, or
        the folder that all paths of a list have in common. A file that does not exist is there,
        too, unless all do not.

    Raises:
        InputError: a folder or a pattern without images, an empty list, or nothing that exists.
    """
    found: list[Source] = []
    seen: set[str] = set()
    for argument in arguments:
        if argument == STDIN:
            found += _listed(STDIN)
        else:
            given = {one.path: one for one in _of(argument, warn) if one.path not in seen}
            found += given.values()
            seen |= given.keys()
    for each in lists:
        found += _listed(each)
    if not found:
        raise InputError("no images are named; give files, folders or a list of them")
    if not any(isinstance(one, Camera) or pathlib.Path(one.path).exists() for one in found):
        raise InputError(f"{found[0].path}: no such image or video")
    return found


def seconds(text: str) -> float:
    """A time of a video, as in "90", "1:30" or "1:02:03.5"; in seconds.

    Raises:
        InputError: it is none.
    """
    if not (parts := _CLOCK.fullmatch(text.strip())):
        raise InputError(f"{text!r} is not a time; give seconds, or as in 1:30 or 1:02:03.5")
    hours, minutes, rest = (float(part or 0) for part in parts.groups())
    return 3600 * hours + 60 * minutes + rest


def source(path: str, name: str) -> Source:
    """A file by its ending: a video's, or else an image's."""
    kind = Video if suffix_of(os.path.basename(path)) in VIDEOS else Still  # noqa: PTH119
    return kind(path=path, name=name)


def _of(argument: str, warn: Callable[[str], None]) -> Iterable[Source]:
    path = pathlib.Path(argument)
    if camera := _CAMERA.fullmatch(argument):
        return [Camera(path=argument, name=f"camera-{camera[1]}")]
    if path.is_dir():
        return _inside(path, argument, warn)
    if not path.exists() and glob.has_magic(argument):
        return _matching(argument)
    return [source(argument, path.name)]


def _inside(folder: pathlib.Path, argument: str, warn: Callable[[str], None]) -> list[Source]:
    """The images of a folder; its videos are left out, since they may take hours."""
    read = listing(folder, SUFFIXES)
    videos = [name for name in read.others if suffix_of(name) in VIDEOS]
    noun = "GIF" if {suffix_of(name) for name in videos} == {".gif"} else "video"
    advice = f"name them to look at them: {argument.rstrip('/')}/**/*{_ending(videos)}"
    if not read.files:
        endings = " ".join(sorted(SUFFIXES))
        remedy = f"it has {counted(len(videos), noun)}; {advice}" if videos else "name image files"
        raise InputError(f"{argument} has no images ({endings}); {remedy}")
    if videos:
        warn(f"{argument}: {counted(len(videos), noun)} left out; {advice}")
    inside = sorted(map(pathlib.Path, read.files))
    return [Still(path=str(one), name=one.relative_to(folder).as_posix()) for one in inside]


def _ending(names: Sequence[str]) -> str:
    return suffix_of(names[0]) if names else ""


def _matching(pattern: str) -> list[Source]:
    """Images and videos that a pattern matches, and images in folders that it matches."""
    root = pathlib.Path(*_fixed(pattern))
    found: dict[tuple[str, str], Source] = {}
    folders: set[str] = set()
    for match in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207
        path = pathlib.Path(match)
        inside: tuple[str, ...] = (match,)
        if is_hidden_below(path, root):
            continue
        # A link that leads back would bring each folder and each file many times.
        if path.is_dir():
            if (real := os.path.realpath(path)) in folders:
                continue
            folders.add(real)
            inside = listing(path, SUFFIXES).files
        for file in sorted(map(pathlib.Path, inside)):
            if suffix_of(file.name) not in SUFFIXES | VIDEOS:
                continue
            identity = os.path.realpath(file.parent), file.name
            name = file.relative_to(root).as_posix()
            found.setdefault(identity, source(str(file), name))
    if not found:
        raise InputError(f"{pattern} matches no image or video; check it, and quote it whole")
    return list(found.values())


def _fixed(pattern: str) -> list[str]:
    """The parts of a pattern before the first that is one."""
    parts = pathlib.Path(pattern).parts
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return list(parts[:first])


def _listed(file: str) -> list[Source]:
    """What a list of paths names: files, videos and cameras, and images of folders."""
    where = "the standard input" if file == STDIN else file
    try:
        data = sys.stdin.buffer.read() if file == STDIN else pathlib.Path(file).read_bytes()
    except OSError as error:
        raise InputError(f"--list {file}: {error.strerror}; give a file of paths") from None
    lines = data.split(b"\0") if b"\0" in data else data.splitlines()
    paths = [os.fsdecode(line) for line in lines if line.strip()]
    if not paths:
        raise InputError(f"{where} names no images; give a list with a path per line")
    common = _common(path for path in paths if not _CAMERA.fullmatch(path))
    found: list[Source] = []
    for path in paths:
        if _CAMERA.fullmatch(path) or pathlib.Path(path).is_dir():
            found += _of(path, lambda _line: None)
        else:
            name = pathlib.Path(os.path.abspath(path)).relative_to(common)  # noqa: PTH100
            found.append(source(path, name.as_posix()))
    return found


def _common(paths: Iterable[str]) -> pathlib.Path:
    """The folder that some files have in common."""
    folders = {os.path.dirname(os.path.abspath(path)) for path in paths}  # noqa: PTH100, PTH120
    return pathlib.Path(os.path.commonpath(folders)) if folders else pathlib.Path()


def require_frames(found: Sequence[Source], options: Sequence[str]) -> None:
    """Raise InputError for options about frames where no source has any."""
    if options and not any(map(moves, found)):
        raise InputError(f"{options[0]} chooses frames of a video, and none is named; leave it out")
