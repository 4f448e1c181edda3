"""The pictures that a command line names: files, and folders of them."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from kerascnn.errors import InputError
from training.datasets.paths import listing
from training.datasets.pictures import SUFFIXES


def named(arguments: Sequence[str]) -> dict[str, str]:
    """Picture files with the names that their drawings go by.

    Args:
        arguments: files, which go by what was typed, and folders, whose pictures (at any depth, in
            order, less hidden ones) go by their path within the folder.

    Returns:
        Name by path. A file that does not exist is there, too, unless all do not.

    Raises:
        InputError: a folder without pictures, or no argument that exists.
    """
    found: dict[str, str] = {}
    for argument in arguments:
        path = pathlib.Path(argument)
        if not path.is_dir():
            found[argument] = argument
            continue
        inside = sorted(map(pathlib.Path, listing(path, SUFFIXES).files))
        if not inside:
            endings = " ".join(sorted(SUFFIXES))
            raise InputError(f"{argument} has no images ({endings}); name image files")
        found |= {str(one): one.relative_to(path).as_posix() for one in inside}
    if not any(pathlib.Path(path).exists() for path in found):
        raise InputError(f"{next(iter(found))}: no such image")
    return found
