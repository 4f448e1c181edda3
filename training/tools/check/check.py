"""A whole check: the splits of a training, looked at, counted and compared."""

from __future__ import annotations

import dataclasses
from typing import Any

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import tasks
from training.datasets.splits import SplitDataset, SplitLike
from training.engine import dataset_of_request as of_request
from training.engine.inspection import Counts
from training.engine.request import TrainRequest
from training.tools.check import census as census_of
from training.tools.check import counts, duplicates, files
from training.tools.check.census import Census
from training.tools.check.duplicates import Duplicates
from training.tools.check.findings import Finding, finding, in_order

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
    dataset: SplitDataset[Any]
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
        return tasks.of_request(self.asked).name


def check(asked: TrainRequest, *, guessed: bool = False) -> Checked:
    """Look at a whole data set.

    Raises:
        InputError: no training could read it.
    """
    task = tasks.of_request(asked)
    try:
        dataset = of_request.with_validation(of_request.dataset_of(asked), asked.config)
    except InputError as error:
        if not guessed:
            raise
        raise InputError(
            f"{error} (by its form it is for {task.name}; --task says otherwise)"
        ) from None
    parts = _parts(dataset)
    names = (TRAINING, HELD_OUT) if len(parts) == 2 else (TRAINING, VALIDATION, HELD_OUT)
    splits = dict(zip(names, parts, strict=True))
    preprocessing = task.preprocessing(asked, dataset)
    census = census_of.take(splits, generated=dataset.generated)
    twice = duplicates.find(census.rows, census.splits)
    counted = task.counts(dataset, splits, preprocessing)
    counted = dataclasses.replace(counted, cell=task.finest_cell(asked.model))
    if counted.boxes is not None and len(counted.boxes):
        reach = task.reach(asked, preprocessing, counted.boxes)
        counted = dataclasses.replace(counted, reach=reach)
    found = files.findings_of(census, preprocessing)
    found += files.unread(dataset.ignored)
    labels = task.labels(splits)
    # Annotations of places in an image have a size.
    placed = all(split.sizes is not None for split in splits.values())
    if labels is None and placed and not dataset.generated:
        found += files.other_sizes(census, splits)
    found += files.findings_of_duplicates(census, twice, labels)
    found += counts.findings_of(counted)
    here = {one.note.kind for one in found}
    said = in_order([*found, *(one for one in _said(dataset) if one.note.kind not in here)])
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


def _parts(dataset: SplitDataset[Any]) -> list[SplitLike]:
    """The splits that have images."""
    validation = [dataset.validation] if dataset.validation else []
    return [dataset.train, *validation, dataset.held_out]


def _said(dataset: SplitDataset[Any]) -> list[Finding]:
    """What the reader has to say, but for what is counted here anyway."""
    return [
        finding(note.kind, note.text, note.count, note.examples, serious=note.finding)
        for note in dataset.notes
        if note.kind not in _COUNTED_HERE
    ]
