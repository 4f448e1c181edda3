"""What a data set's notes say, for tests."""

from __future__ import annotations

from training.datasets.detection import DetectionDataset
from training.datasets.notes import Note
from training.datasets.segmentation import SegmentationDataset


def said(dataset: DetectionDataset | SegmentationDataset) -> tuple[str, ...]:
    """The lines of all notes."""
    return tuple(str(note) for note in dataset.notes)


def note_of(dataset: DetectionDataset | SegmentationDataset, kind: str) -> Note:
    """The one note of this kind."""
    (note,) = [note for note in dataset.notes if note.kind == kind]
    return note
