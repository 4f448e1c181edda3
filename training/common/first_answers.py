"""What a network in a file of another program answers, before anything else trusts the file."""

from __future__ import annotations

import io
import pathlib
import zipfile
from collections.abc import Mapping

import numpy as np

from kerascnn.errors import InputError
from training.common import bounded

_CHILD = pathlib.Path(__file__).with_name("file_child.py")
_LEAST_MEMORY = 2**33  # of address space, which TensorFlow takes without using it
_MOST_MEMORY = 2**35


def of(path: pathlib.Path, image_size: tuple[int, int] | None = None) -> Mapping[str, np.ndarray]:
    """Run a .tflite file or a SavedModel in a process of its own; see `file_child`.

    Args:
        image_size: (height, width), for a SavedModel that takes any.

    Returns:
        `given` and `answers`, two images of noise and what becomes of them; of a SavedModel
        `network` too, the bytes of a .tflite file.

    Raises:
        InputError: it ends its runtime, or is no network from one image to one answer.
    """
    room = bounded.half_of_memory(least=_LEAST_MEMORY, most=_MOST_MEMORY)
    done = bounded.run(_CHILD, path.resolve(), *(image_size or ()), memory=room)
    try:
        with np.load(io.BytesIO(done.stdout), allow_pickle=False) as read_:
            found = dict(read_)
    except (ValueError, OSError, zipfile.BadZipFile, EOFError):
        last = (done.stderr.decode(errors="replace").strip().splitlines() or [""])[-1]
        raise InputError(
            f"{path} ends its runtime, or takes too long or too much memory (exit code "
            f"{done.returncode}{f': {last}' if last else ''})"
        ) from None
    if "error" in found:
        raise InputError(f"{path} {found['error']}")
    return found
