"""Any image of a data set, small."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from kerascnn.errors import InputError
from training.datasets.pictures import read_pixels
from training.datasets.splits import SplitLike
from training.engine.task import Task

_THUMB = 240  # pixels of a longer side


def thumbnail(
    task: Task, split: SplitLike, index: int, classes: Sequence[str]
) -> np.ndarray | None:
    """(h, w, 3) uint8 of any image, small, with its boxes; None if it cannot be read."""
    try:
        found = split.stored(index)
        if isinstance(found, bytes):
            found = read_pixels(found, split.names[index])
    except InputError:
        return None
    pixels = np.broadcast_to(found, (*found.shape[:2], 3))
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((_THUMB, _THUMB), reducing_gap=2.0)
    return task.drawn(np.asarray(image, np.uint8), split, index, classes)
