"""`kerascnn evaluate`: how good a file is on the images that its run held out, or on others.

A file is run in its own runtime, and judged as its run was: what is measured here on a run's
held-out images is what results.csv says. .tflite and .onnx files need no framework.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from export.artefacts.artefact import require_description
from export.artefacts.description import require_file
from export.artefacts.kinds import base as kinds
from export.runtime.model_facts import ModelFacts, facts
from export.tasks.same_data import check_fingerprint
from export.tools.scorers import Score, Scorer
from kerascnn.errors import InputError, did_you_mean
from training.common import atomic, framework
from training.common.progress import say
from training.common.registry import loaded
from training.common.wording import counted
from training.datasets.broken import BrokenPictures
from training.datasets.spelling import class_key
from training.engine import dataset_of_request as of_request
from training.engine.opening import notes_lines
from training.engine.request import TrainRequest
from training.engine.run import Run

HELD_OUT = "held-out"
SPLITS = (HELD_OUT, "validation", "train", "all")
_NAMED = 5  # classes that a message lists


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What a file is worth on some images.

    Attributes:
        file: that was run.
        task: "classification", "detection" or "segmentation".
        data: where the images are from.
        split: which of them.
        images: how many there were.
        broken: names of those that could not be read, and do not count.
        absent: labels of the network that the data has no class of.
        score: figures.
    """

    file: str
    task: str
    data: str
    split: str
    images: int
    broken: tuple[str, ...]
    absent: tuple[str, ...]
    score: Score

    def to_dict(self) -> dict[str, Any]:
        """Plain values; a figure that there is none of is None."""
        score = self.score
        return {
            "file": self.file,
            "task": self.task,
            "data": self.data,
            "split": self.split,
            "images": self.images,
            "broken": list(self.broken),
            "absent": list(self.absent),
            "metric": score.metric,
            "value": score.value,
            "value_low": score.low,
            "value_high": score.high,
            **score.figures,
            "per_class": [dict(row) for row in score.per_class],
        }

    def as_text(self) -> str:
        """Lines for a terminal: the figures, and a table by class."""
        score = self.score
        split = "" if self.split == "all" else f"{self.split} "
        broken = f" ({counted(len(self.broken), 'broken image')} left out)" if self.broken else ""
        interval = ""
        if score.low is not None and score.high is not None:
            interval = f" (95% interval {score.low:.1f} to {score.high:.1f})"
        lines = [
            f"{self.file}: {counted(self.images, f'{split}image')} of {self.data}{broken}",
            f"{score.metric} {_percent(score.value)}{interval}",
            ", ".join(
                f"{_words(name)} {_figure(name, value)}"
                for name, value in score.figures.items()
                if name != "top1"  # it is the accuracy
            ),
        ]
        if self.absent:
            lines.append(f"no images of: {_some(self.absent)}")
        return "\n".join([*lines, "", *_table(score.per_class)])


def evaluate(source: pathlib.Path, *, data: str | None = None, split: str = HELD_OUT) -> Evaluated:
    """Run a file on images whose truth is known.

    Args:
        source: a .tflite or .onnx file, the model.keras of a run, or a run folder, which means its
            model.keras.
        data: what `train` takes as data of the task; its classes are those of the file, or some of
            them, by name. None: the data of the run that the file is in.
        split: one of `SPLITS`. Of `data`, "held-out" is its test split, else its validation split,
            else all of it; the others are as a training would take them.

    Raises:
        InputError: not a model file, one in no run where `data` is None, data that is gone or has
            changed, has classes that the file has not, or has no such split.
    """
    if split not in SPLITS:
        hint = did_you_mean(split, SPLITS) or ";"
        raise InputError(f"no split {split!r}{hint} there are: {', '.join(SPLITS)}")
    if not source.exists():
        raise InputError(f"{source}: no such file or run folder")
    run = _run_of(source)
    path = source / "model.keras" if source.is_dir() else source
    if run is None and data is None:
        raise InputError(
            f"{path} is in no run folder, so that no held-out images are known; give data"
        )
    require_file(path)
    require_description(path)
    if path.suffix == ".keras":
        framework.load()
    known = facts(path)
    scorer: Scorer = loaded(kinds.of(known.task).scorer)()
    if data is not None:
        dataset = scorer.measured(data) if split == HELD_OUT else scorer.scan(data)
        broken = BrokenPictures()
    else:
        assert run is not None
        dataset, broken = _of_run(run, scorer), BrokenPictures()
    for line in notes_lines(dataset.name, dataset.notes):
        say(line)
    places = _places(path, known, dataset.name, dataset.classes)
    parts = [part.relabelled(places) for part in _parts(dataset, split)]
    images, score = scorer.score(path, known, parts, broken, dataset.name)
    return Evaluated(
        file=str(path),
        task=known.task,
        data=dataset.name,
        split=split,
        images=images,
        broken=tuple(sorted(broken.reasons)),
        absent=tuple(label for i, label in enumerate(known.labels) if i not in set(places)),
        score=score,
    )


def write_table(path: pathlib.Path, found: Evaluated) -> None:
    """Write the figures by class as CSV, whole or not at all."""
    rows = found.score.per_class
    cells = (["" if value is None else value for value in row.values()] for row in rows)
    atomic.write_csv(path, list(rows[0]), cells)


def _run_of(source: pathlib.Path) -> Run | None:
    """The run that a file is in, or that a folder is."""
    if source.is_dir():
        return Run.open(source)
    folder = source.parent.parent if source.parent.name == "artefacts" else source.parent
    return Run.open(folder) if (folder / "run.json").is_file() else None


def _of_run(run: Run, scorer: Scorer) -> Any:
    """The run's data, as it was trained on."""
    asked = TrainRequest.from_dict(run.info["request"])
    dataset = of_request.dataset_of(asked)
    check_fingerprint(run, dataset.fingerprint)
    known = run.info["dataset"]
    skipped = set(known.get("skipped", ())) if scorer.skips_first else ()
    broken = set(known.get("broken", ()))
    return of_request.with_validation(dataset, asked.config, skipped=skipped, broken=broken)


def _parts(dataset: Any, split: str) -> list[Any]:
    """The splits that are asked for; none is empty."""
    splits = {
        "train": dataset.train,
        "validation": dataset.validation,
        HELD_OUT: dataset.held_out,
    }
    found = splits.values() if split == "all" else [splits[split]]
    parts = [part for part in found if part is not None and len(part)]
    if not parts:
        raise InputError(f"{dataset.name} has no {split} images; choose another split")
    return parts


def _places(path: pathlib.Path, known: ModelFacts, data: str, classes: Sequence[str]) -> np.ndarray:
    """(c,) of each class of the data, its place among the file's labels."""
    labels = {class_key(label): place for place, label in enumerate(known.labels)}
    if strange := [name for name in classes if class_key(name) not in labels]:
        hint = did_you_mean(strange[0], known.labels)
        raise InputError(
            f"{data} has classes that {path} does not know: {_some(strange)}{hint or ';'} its "
            f"labels are {_some(known.labels)}; take them out, or correct their names"
        )
    return np.array([labels[class_key(name)] for name in classes], np.int32)


def _some(names: Sequence[str]) -> str:
    more = f", ... ({len(names):,} in all)" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


_WORDS = {
    "ap": "AP",
    "top5": "top-5",
    "ap50": "AP50",
    "ap75": "AP75",
    **{f"ap_{size}": f"AP {size}" for size in ("small", "medium", "large")},
    **{f"ar{count}": f"AR{count}" for count in (1, 10, 100)},
    "box_ap": "box AP",
    "box_ap50": "box AP50",
    "box_ap75": "box AP75",
    "boundary_f1": "boundary F1",
    "mean_dice": "dice",
}


def _words(name: str) -> str:
    return _WORDS.get(name, name.replace("_", " "))


def _figure(name: str, value: float | None) -> str:
    if name == "loss" and value is not None:
        return f"{value:.3f}"
    return _percent(value)


def _percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.1f}%"


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line per class: its label to the left, figures to the right."""
    if not rows:
        return []
    columns = list(rows[0])
    cells = [[_words(column) for column in columns]]
    cells += [[_cell(row[column]) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in cells
    ]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}%"
    return f"{value:,}" if isinstance(value, int) else str(value)
