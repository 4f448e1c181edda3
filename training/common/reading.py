"""By which rules a run reads folders: those of its time, so that it goes on as it was begun."""

from __future__ import annotations

import json
import pathlib

# Class folders sort as text (1, 10, 2), names are taken as they are spelt on the disk, linked
# folders in a class are not followed, and only a file's own name can hide it.
BEFORE = 1
# Numbers sort as numbers, names are in Unicode's NFC, links are followed, and any part of a path
# below the root can hide it (`datasets.paths`).
NOW = 2
# Of a file in a run's folder: stages/<steps>/model.keras.
DEEPEST = 3


def of_run(given: str | None) -> int:
    """The rules of the run that a file, or the folder itself, belongs to; else `NOW`.

    A run that starts from another one, or learns from it, has its classes in the same order.
    """
    if given is None or not (path := pathlib.Path(given).absolute()).exists():
        return NOW
    for folder in [path, *path.parents][: DEEPEST + 1]:
        if (file := folder / "run.json").is_file():
            try:
                found = json.loads(file.read_bytes())["request"].get("reading", BEFORE)
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                return NOW  # whoever opens the run tells what is wrong with it
            return found if found in (BEFORE, NOW) else NOW
    return NOW
