"""What a training says of its data before the first step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from training.common.wording import counted


def opening_line(*, train: int, validation: int, held_out: int, classes: int) -> str:
    """ "540 images to learn from, 60 to choose the epoch, 150 held out; 12 classes"."""
    chooses = f"{validation:,} to choose the epoch" if validation else "none to choose the epoch"
    return (
        f"{counted(train, 'image')} to learn from, {chooses}, {held_out:,} held out; "
        f"{counted(classes, 'class')}"
    )


def split_counts(dataset: Any) -> dict[str, int]:
    """How many images a data set of any kind has for what."""
    return {
        "train": len(dataset.train),
        "validation": len(dataset.validation) if dataset.validation else 0,
        "held_out": len(dataset.held_out),
    }


def notes_lines(name: str, notes: Iterable[object]) -> list[str]:
    """What a reader had to say of a data set, a line each."""
    return [f"{name}: {note}" for note in notes]
