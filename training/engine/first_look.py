"""The data of a request, and what can be refused because of it, before a framework is loaded."""

from __future__ import annotations

import errno
import os
import pathlib
from collections.abc import Callable
from typing import Any

from kerascnn.errors import InputError
from training.engine import dataset_of_request as of_request
from training.engine.leaks import refuse_leaks
from training.engine.request import TrainRequest
from training.engine.resume import as_begun, begun


def first_look(asked: TrainRequest, folder: pathlib.Path, *, warn: Callable[[str], None]) -> Any:
    """Find the data; nothing is decoded.

    Args:
        folder: of the run that is to be trained or gone on with.
        warn: takes a line of text for each run that held-out images are not compared with.

    Returns:
        A `SplitDataset`; None where the run is complete.

    Raises:
        InputError: bad data, data that has changed since the run was begun, a folder that holds
            another run, or weights or a teacher that know the images to be held out.
        OSError: the folder cannot be written.
    """
    info = begun(asked, folder)
    if info and info.get("complete"):
        return None
    require_writable(folder)
    asked = as_begun(asked, info) if info else asked
    dataset = of_request.dataset_of(asked)
    if info is None:
        refuse_leaks(asked, dataset.held_out, dataset.fingerprint, warn=warn)
    elif info["dataset"]["fingerprint"] != dataset.fingerprint:
        raise InputError(
            f"{asked.places} has changed since {folder} was begun; delete {folder} to train again"
        )
    return dataset


def require_writable(folder: pathlib.Path) -> None:
    """Raise OSError where a folder can be neither written nor made; nothing is made."""
    there = folder.absolute()
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
