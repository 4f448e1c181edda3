"""Where drawings of images and videos go."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

from export.runtime.sources import VIDEOS, Camera, Source, moves
from export.runtime.video import WRITTEN, require_written
from kerascnn.errors import InputError
from training.common.wording import counted


def targets(sources: Sequence[Source], out: pathlib.Path | None) -> list[pathlib.Path | None]:
    """The file that each source is drawn into; None for none.

    Args:
        out: a folder, which gets each image as NAME.png and each video as NAME.mp4; or, with a
            video's ending, the file of one video. None for nothing drawn.

    Raises:
        InputError: a file in place of the folder, a video's ending for other than one video, two
            drawings of one name, or a drawing in place of an image or a video.
    """
    if out is None:
        return [None] * len(sources)
    if out.suffix.lower() in {*WRITTEN, *VIDEOS} and not out.is_dir():
        require_written(out)
        if len(sources) != 1 or not moves(sources[0]):
            raise InputError(
                f"--out {out} is for one video, and there {_are(len(sources))}; give a folder"
            )
        found = [out]
    else:
        require_folder(out)
        found = [out / _name(source) for source in sources]
    _refuse_doubles(sources, found)
    own = {os.path.realpath(source.path) for source in sources if not isinstance(source, Camera)}
    for target in found:
        if os.path.realpath(target) in own:
            raise InputError(f"{target} would be replaced by its own drawing; choose another --out")
    return list(found)


def require_folder(folder: pathlib.Path) -> None:
    """Raise InputError for a place for drawings that is, or lies in, a file."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not there.is_dir():
        raise InputError(f"--out {folder}: {there} is a file; give a folder for the drawings")


def _are(count: int) -> str:
    return "is an image" if count == 1 else f"are {counted(count, 'source')}"


def _name(source: Source) -> str:
    ending = ".mp4" if moves(source) else ".png"
    return pathlib.PurePath(source.name).with_suffix(ending).as_posix()


def _refuse_doubles(sources: Sequence[Source], found: Sequence[pathlib.Path]) -> None:
    first: dict[pathlib.Path, Source] = {}
    for source, target in zip(sources, found, strict=True):
        before = first.setdefault(target, source)
        if before.path != source.path:  # a list may name an image twice
            raise InputError(
                f"{before.path} and {source.path} would both be drawn as {target.name}; name one "
                "of them"
            )
