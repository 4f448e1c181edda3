"""The history file of a training."""

from __future__ import annotations

import csv
from pathlib import Path


def history(folder: Path) -> list[dict[str, float]]:
    with (folder / "history.csv").open() as stream:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)]
