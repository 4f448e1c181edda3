"""What a training says of its data before the first step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from training.common.wording import counted


def opening_line(
    *, train: int, validation: int, held_out: int, classes: int, imported: bool = False
) -> str:
    """ "540 images to learn from, 60 to choose the epoch, 150 held out; 12 classes".

    Args:
        imported: nothing is trained.
    """
    for_what = "to calibrate and fine-tune with" if imported else "to learn from"
    chosen = "among files" if imported else "the epoch"
    chooses = f"{validation:,} to choose {chosen}" if validation else f"none to choose {chosen}"
    return (
        f"{counted(train, 'image')} {for_what}, {chooses}, {held_out:,} held out; "
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
