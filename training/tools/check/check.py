"""A whole check: the splits of a training, looked at, counted and compared."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from kerascnn import zoo
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from kerascnn.zoo import entry
from training.datasets.detection import DetectionDataset
from training.datasets.segmentation import SegmentationDataset
from training.datasets.splits import Dataset
from training.engine import dataset_of_request as of_request
from training.engine.request import TrainRequest
from training.tools.check import census as census_of
from training.tools.check import counts, duplicates, files
from training.tools.check.census import Census
from training.tools.check.counts import Counts
from training.tools.check.duplicates import Duplicates
from training.tools.check.findings import Finding, finding, in_order

AnyDataset = Dataset | DetectionDataset | SegmentationDataset
TRAINING, VALIDATION, HELD_OUT = "training", "validation", "held-out"
# Kinds of readers' notes that `counts` and `duplicates` have findings of their own for.
_COUNTED_HERE = (
    *("unseen-classes", "classes-not-held-out"),
    *("held-out-in-training", "same-bytes", "same-bytes-looked-at"),
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Checked:
    """A data set that has been looked at.

    Attributes:
        asked: the training that it was looked at for.
        guessed: nobody said for which task.
        dataset: with validation images set aside, as a training does.
        preprocessing: of the network.
        splits: by name.
        census: of its images.
        twice: which of them are there twice.
        counts: of its classes.
        findings: the most serious first.
        facts: what else is to be said.
    """

    asked: TrainRequest
    guessed: bool
    dataset: AnyDataset
    preprocessing: Preprocessing
    splits: dict[str, Any]
    census: Census
    twice: Duplicates
    counts: Counts
    findings: tuple[Finding, ...]
    facts: tuple[Finding, ...]

    @property
    def task(self) -> str:
        """One of the zoo's."""
        return entry(self.asked.model).task


def check(asked: TrainRequest, *, guessed: bool = False) -> Checked:
    """Look at a whole data set.

    Raises:
        InputError: no training could read it.
    """
    try:
        dataset = _scanned(asked)
    except InputError as error:
        if not guessed:
            raise
        task = entry(asked.model).task
        raise InputError(f"{error} (by its form it is for {task}; --task says otherwise)") from None
    parts = _parts(dataset)
    names = (TRAINING, HELD_OUT) if len(parts) == 2 else (TRAINING, VALIDATION, HELD_OUT)
    splits = dict(zip(names, parts, strict=True))
    preprocessing = _preprocessing(asked, dataset)
    generated = not isinstance(dataset, Dataset) and dataset.generated
    census = census_of.take(splits, generated=generated)
    twice = duplicates.find(census.rows, census.splits)
    counted = _counted(dataset, splits, preprocessing)
    found = files.findings_of(census, preprocessing)
    labels = None
    if isinstance(dataset, Dataset):
        labels = np.concatenate([part.labels for part in _parts(dataset)])
        found += files.unread(dataset.ignored)
    elif not generated:
        found += files.other_sizes(census, splits)
    found += files.findings_of_duplicates(census, twice, labels)
    found += counts.findings_of(counted)
    said = in_order([*found, *_said(dataset)])
    return Checked(
        asked=asked,
        guessed=guessed,
        dataset=dataset,
        preprocessing=preprocessing,
        splits=splits,
        census=census,
        twice=twice,
        counts=counted,
        findings=tuple(one for one in said if one.note.finding),
        facts=tuple(one for one in said if not one.note.finding),
    )


def _scanned(asked: TrainRequest) -> AnyDataset:
    """The data with validation images set aside."""
    dataset: Any = of_request.of_any_task(asked)
    if isinstance(dataset, Dataset):
        return of_request.with_validation(dataset, asked.config)
    return of_request.with_validation_of(dataset, asked.config)


def _parts(dataset: Any) -> list[Any]:
    """The splits that have images."""
    validation = [dataset.validation] if dataset.validation is not None else []
    return [dataset.train, *(part for part in validation if len(part)), dataset.held_out]


def _preprocessing(asked: TrainRequest, dataset: AnyDataset) -> Preprocessing:
    height, width = asked.image_size or entry(asked.model).input_shape[:2]
    resize = "stretch"
    if isinstance(dataset, Dataset):
        resize = dataset.resize
        if not asked.image_size and dataset.train.pictures is not None:
            height, width = dataset.train.pictures.shape[1:3]
    return zoo.preprocessing(asked.model, height, width, resize=resize)


def _counted(dataset: AnyDataset, splits: dict[str, Any], preprocessing: Preprocessing) -> Counts:
    if isinstance(dataset, Dataset):
        return counts.of_images(dataset, splits)
    if isinstance(dataset, DetectionDataset):
        return counts.of_objects(dataset, splits, preprocessing)
    return counts.of_maps(dataset, splits)


def _said(dataset: AnyDataset) -> list[Finding]:
    """What the reader has to say, but for what is counted here anyway."""
    return [
        finding(note.kind, note.text, note.count, note.examples, serious=note.finding)
        for note in dataset.notes
        if note.kind not in _COUNTED_HERE
    ]
