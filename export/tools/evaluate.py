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

from export.artefacts.artefact import require_description
from export.artefacts.description import require_file
from export.artefacts.kinds import base as kinds
from export.runtime import strangers
from export.runtime.strangers import FileOptions
from export.runtime.subjects import Subject
from export.tasks.same_data import check_fingerprint
from export.tools import zoo_subject
from export.tools.label_places import places_of
from export.tools.reference import Agreement, compared, require_same_labels
from export.tools.scorers import Comparing, Score, Scored, Scorer
from export.tools.zoo_subject import Held, Named
from kerascnn import zoo
from kerascnn.errors import InputError, did_you_mean
from training.common import atomic, framework
from training.common.progress import say
from training.common.registry import loaded
from training.common.wording import counted
from training.datasets.broken import BrokenPictures
from training.engine import dataset_of_request as of_request
from training.engine import own_answers
from training.engine.opening import notes_lines
from training.engine.request import TrainRequest
from training.engine.run import Run
from training.importing import labels as naming

HELD_OUT = "held-out"
SPLITS = (HELD_OUT, "validation", "train", "all")
_SHOWN = 5  # mistakes, and pairs of classes, in text


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What is measured, beside the file and the data.

    Attributes:
        split: one of `SPLITS`.
        file_options: of a file that does not describe itself.
        tiles, overlap: how larger images are cut into tiles; None: as the file says.
        weights, options: of a network of the zoo.
        published: hold the figure against the published one of its weights.
        reference: another file, or run, whose answers are compared.
        reference_options: of that one, if it does not describe itself.
    """

    split: str = HELD_OUT
    file_options: FileOptions = dataclasses.field(default_factory=FileOptions)
    tiles: int | None = None
    overlap: float | None = None
    weights: str | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    published: bool = False
    reference: pathlib.Path | None = None
    reference_options: FileOptions | None = None


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
        score: figures; None of images whose truth is not known.
        labels: of the network, in the order of its outputs.
        agreement: with another file.
        held: against a published figure.
        scored: what a page shows beside the figures.
        numberless: images whose answer is no number; they count as wrong.
    """

    file: str
    task: str
    data: str
    split: str
    images: int
    broken: tuple[str, ...]
    absent: tuple[str, ...]
    score: Score | None
    labels: tuple[str, ...] = ()
    agreement: Agreement | None = None
    held: Held | None = None
    scored: Scored | None = None
    numberless: int = 0

    @property
    def warning(self) -> str:
        """That some answers are no numbers; empty where all are."""
        if not self.numberless:
            return ""
        boxes = self.task == "detection"
        counts = "such boxes do not count" if boxes else "these images count as wrong"
        return f"{numberless_line(self.numberless, self.images)}; {counts}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values; a figure that there is none of is None."""
        fields: dict[str, Any] = {
            "file": self.file,
            "task": self.task,
            "data": self.data,
            "split": self.split,
            "images": self.images,
            "broken": list(self.broken),
            "not_numbers": self.numberless,
            "absent": list(self.absent),
        }
        if (score := self.score) is not None:
            fields |= {
                "metric": score.metric,
                "value": score.value,
                "value_low": score.low,
                "value_high": score.high,
                **score.figures,
                "per_class": [dict(row) for row in score.per_class],
                "confused": [dict(row) for row in score.confused],
                "confusion": [list(cell) for cell in score.confusion],
                "worst": [dict(row) for row in score.worst],
            }
        if self.held is not None:
            fields["published"] = dataclasses.asdict(self.held)
        if self.agreement is not None:
            fields["reference"] = self.agreement.to_dict()
        return fields

    def as_text(self) -> str:
        """Lines for a terminal: the figures, a table by class, and the worst mistakes."""
        split = "" if self.split == "all" else f"{self.split} "
        broken = f" ({counted(len(self.broken), 'broken image')} left out)" if self.broken else ""
        lines = [f"{self.file}: {counted(self.images, f'{split}image')} of {self.data}{broken}"]
        lines += [self.warning] if self.warning else []
        if (score := self.score) is not None:
            lines += _figures(score)
        if self.held is not None:
            lines += self.held.as_text().splitlines()
        if self.agreement is not None:
            lines += agreement_lines(self.agreement, self.score)
        if self.absent and score is not None:
            lines.append(f"no images of: {naming.some(self.absent)}")
        if score is None:
            return "\n".join(lines)
        rows, none = with_images(score)
        lines += ["", *_table(rows)]
        if none:
            lines.append(f"{counted(none, 'class')} without images left out; --csv has all")
        if score.confused:
            lines += ["", "taken for another most often:"]
            lines += [
                f"  {one['true']} for {one['predicted']}: {counted(one['images'], 'image')}, "
                f"{one['share']:.1f}%"
                for one in score.confused[:_SHOWN]
            ]
        if score.worst:
            lines += ["", "worst mistakes (all in --json, seen with -o page.html):"]
            lines += [f"  {one['image']}: {mistake(one)}" for one in score.worst[:_SHOWN]]
        return "\n".join(lines)


def evaluate(
    source: pathlib.Path,
    *,
    data: str | None = None,
    split: str = HELD_OUT,
    asked: Asked | None = None,
) -> Evaluated:
    """Run a file on images whose truth is known.

    Args:
        source: a .tflite, .onnx or .keras file, a run folder, which means its model.keras, or a
            network of the zoo by its name.
        data: what `train` takes as data of the task; its classes are those of the file, or some of
            them, by name. None: the data of the run that the file is in.
        split: one of `SPLITS`. Of `data`, "held-out" is its test split, else its validation split,
            else all of it; the others are as a training would take them.
        asked: what else there is to ask; its split counts before `split`'s default.

    Raises:
        InputError: not a model file, one in no run where `data` is None, data that is gone or has
            changed, has classes that the file has not, or has no such split; an option that a
            file needs which does not describe itself.
    """
    asked = asked or Asked(split=split)
    if asked.split not in SPLITS:
        hint = did_you_mean(asked.split, SPLITS) or ";"
        raise InputError(f"no split {asked.split!r}{hint} there are: {', '.join(SPLITS)}")
    return _Measurement(source, data, asked).evaluated()


class _Measurement:
    """One file, or two, on one set of images."""

    def __init__(self, source: pathlib.Path, data: str | None, asked: Asked) -> None:
        self._source, self._data, self._asked = source, data, asked
        self._named = self._of_zoo()
        self._run = None if self._named else _run_of(source)
        self._refuse()
        subject = (
            None
            if self._named
            else _subject(source, asked.file_options, loose=bool(asked.reference))
        )
        self._task = self._named.task if self._named else _required(subject).known.task
        self._scorer: Scorer = loaded(kinds.of(self._task).scorer)()
        if asked.reference is not None and not isinstance(self._scorer, Comparing):
            raise InputError(f"--reference is not for {self._task}")
        self._read()
        self._subject = self._built() if self._named else _required(subject)

    def evaluated(self) -> Evaluated:
        """Measure."""
        subject, name = self._subject, self._name
        found, broken, absent = self._scored(subject)
        if self._by_own_answers:
            metric = _required_run(self._run).info["results"]["metric"]
            named = dataclasses.replace(found.score, metric=metric)
            found = dataclasses.replace(found, score=named)
        agreement = self._agreement(found, broken) if self._asked.reference else None
        held = None
        if self._asked.published:
            assert self._named is not None
            held = zoo_subject.held_against(self._named, found.score.value, len(found.names))
        return Evaluated(
            file=str(subject.path),
            task=self._task,
            data=name,
            split=self._asked.split if self._labelled else "all",
            images=len(found.names),
            broken=tuple(sorted(broken.reasons)),
            absent=absent,
            score=found.score if self._labelled else None,
            labels=subject.known.labels,
            agreement=agreement,
            held=held,
            scored=found,
            numberless=found.numberless,
        )

    @property
    def _by_own_answers(self) -> bool:
        """Whether the network's own answers stand for the truth of its run's images."""
        return self._data is None and own_answers.is_unlabelled(_required_run(self._run))

    def _of_zoo(self) -> Named | None:
        """What a source stands for that is no file."""
        asked, name = self._asked, str(self._source)
        if self._source.exists() or name not in zoo.list_models():
            given = {"--weights": asked.weights, "--option": asked.options}
            for flag in [flag for flag, value in given.items() if value]:
                raise InputError(f"{flag} is for a network of the zoo by its name, not {name}")
            return None
        others = [flag for flag in asked.file_options.given if flag != "--image-size"]
        if others:
            raise InputError(f"{name} is of the zoo: leave out {', '.join(others)}")
        return zoo_subject.named(name, asked.weights, asked.options, asked.file_options.image_size)

    def _refuse(self) -> None:
        source, asked = self._source, self._asked
        if self._named is None and not source.exists():
            raise InputError(f"{source}: no such file or run folder, nor a network of the zoo")
        if self._named is None and asked.published:
            raise InputError(
                "--published is for a network of the zoo, as in: kerascnn evaluate mobilenet_v2 "
                "--weights imagenet --published"
            )
        if self._run is None and self._data is None:
            path = source / "model.keras" if source.is_dir() else source
            raise InputError(
                f"{path} is in no run folder, so that no held-out images are known; give data"
            )

    def _read(self) -> None:
        """Find the images: their parts, name and classes."""
        self._labelled = True
        if self._data is None:
            assert self._run is not None
            dataset = _of_run(self._run, self._scorer)
        else:
            scorer, data = self._scorer, self._data
            try:
                held_out = self._asked.split == HELD_OUT
                dataset = scorer.measured(data) if held_out else scorer.scan(data)
            except InputError as error:
                if not self._asked.reference or not pathlib.Path(data).is_dir():
                    raise
                self._as_unlabelled(data, error)
                return
        for line in notes_lines(dataset.name, dataset.notes):
            say(line)
        self._dataset, self._name = dataset, dataset.name
        self._parts = _parts(dataset, self._asked.split, answered=self._by_own_answers)

    def _as_unlabelled(self, data: str, error: InputError) -> None:
        assert isinstance(self._scorer, Comparing)
        say(f"{error}: the images' truth is not known, and agreement alone is measured")
        self._labelled, self._dataset, self._name = False, None, data
        self._parts = [self._scorer.unlabelled(pathlib.Path(data))]

    def _built(self) -> Subject:
        assert self._named is not None
        if not self._labelled:
            raise InputError(f"{self._name} has no labels, which {self._named.name} is judged by")
        return self._named.subject(self._named.labels(self._dataset))

    def _scored(self, subject: Subject) -> tuple[Scored, BrokenPictures, tuple[str, ...]]:
        """The score, what is broken, and labels that the data lacks."""
        known = subject.known.in_tiles(self._asked.tiles, self._asked.overlap)
        subject = dataclasses.replace(subject, known=known)
        parts, labels = self._parts, subject.known.labels
        absent: tuple[str, ...] = ()
        if self._labelled:
            places = places_of(subject.path, labels, self._name, self._dataset.classes)
            parts = [part.relabelled(places) for part in parts]
            there = set(places.tolist())
            absent = tuple(label for i, label in enumerate(labels) if i not in there)
        broken, keep = BrokenPictures(), self._asked.reference is not None
        found = self._scorer.score(subject, parts, broken, self._name, keep=keep)
        if found.numberless and found.numberless == len(found.names):
            line = numberless_line(found.numberless, len(found.names))
            raise InputError(f"{subject.path}: {line}; check --preprocessing, or the file itself")
        return found, broken, absent

    def _agreement(self, found: Scored, broken: BrokenPictures) -> Agreement:
        asked = self._asked
        assert asked.reference is not None
        options = asked.reference_options
        if options is None:
            options = FileOptions() if _describes_itself(asked.reference) else asked.file_options
        other = _subject(asked.reference, options, loose=True)
        if other.known.task != self._task:
            raise InputError(
                f"{other.path} is for {other.known.task}, and {self._subject.path} for "
                f"{self._task}; compare files of one task"
            )
        names = (str(self._subject.path), self._subject.known.labels)
        require_same_labels(*names, str(other.path), other.known.labels)
        other = dataclasses.replace(
            other, known=dataclasses.replace(other.known, labels=self._subject.known.labels)
        )
        wanted, _broken, _absent = self._scored(other)
        assert isinstance(self._scorer, Comparing)
        return compared(
            self._scorer,
            found,
            wanted,
            self._subject.known,
            reference=str(other.path),
            labelled=self._labelled,
        )


def write_table(path: pathlib.Path, found: Evaluated) -> None:
    """Write the figures by class as CSV, whole or not at all."""
    if found.score is None:
        raise InputError("--csv: there are no figures by class of images without labels")
    rows = found.score.per_class
    cells = (["" if value is None else value for value in row.values()] for row in rows)
    atomic.write_csv(path, list(rows[0]), cells)


def _required_run(run: Run | None) -> Run:
    assert run is not None
    return run


def _required(subject: Subject | None) -> Subject:
    assert subject is not None
    return subject


def _describes_itself(source: pathlib.Path) -> bool:
    return source.is_dir() or (source.is_file() and strangers.describes_itself(source))


def _subject(source: pathlib.Path, options: FileOptions, *, loose: bool) -> Subject:
    """A file with what it takes and gives.

    Args:
        loose: labels may be missing.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or run folder")
    path = source / "model.keras" if source.is_dir() else source
    require_file(path)
    if path.suffix == ".keras":
        framework.load()
    elif not options.given and path.suffix in (".tflite", ".onnx") and _is_ours(path):
        require_description(path)
    known = strangers.known(path, dataclasses.replace(options, unlabelled=loose))
    return Subject(path=path, known=known)


def _is_ours(path: pathlib.Path) -> bool:
    """Whether a file stands where our files stand, so that its description went missing."""
    return path.parent.name == "artefacts" and (path.parent.parent / "run.json").is_file()


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
    dataset = of_request.with_validation(dataset, asked.config, skipped=skipped, broken=broken)
    return own_answers.truth_of(run, dataset)


def _parts(dataset: Any, split: str, *, answered: bool) -> list[Any]:
    """The splits that are asked for; none is empty.

    Args:
        answered: the truth is what the run's network answered, which is not kept of all images.
    """
    if answered and split not in (HELD_OUT, "validation"):
        raise InputError(
            f"the images of {dataset.name} have no labels, and what the network answers is kept of "
            "those held out and for validation alone; choose one of these splits"
        )
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


def numberless_line(count: int, images: int) -> str:
    """That so many answers are no numbers."""
    return f"{count:,} of {counted(images, 'answer')} are not numbers (NaN)"


def mistake(one: Mapping[str, Any]) -> str:
    """What is wrong with an image of `Score.worst`, in words."""
    if "predicted" in one and one["predicted"] is None:
        return f"{one['true']}, and the answer is not a number"
    if "predicted" in one:
        sure = "-" if one["probability"] is None else f"{one['probability']:.1f}%"
        return f"{one['true']}, taken for {one['predicted']} ({sure})"
    if "missed" in one:
        return f"{counted(one['missed'], 'object')} missed, {one['wrong']} found wrongly"
    return f"mIoU {_percent(one['miou'])}; {one['class']} {_percent(one['iou'])}"


def agreement_lines(found: Agreement, score: Score | None) -> list[str]:
    """How far two files agree, for a terminal and the page."""
    figures = ", ".join(_agreed(name, value) for name, value in found.figures.items())
    lines = [f"with {found.reference}: {figures}"]
    if found.numberless:
        line = numberless_line(found.numberless, found.images)
        lines.append(f"of {found.reference}, {line}")
    if found.difference is None or found.value is None or score is None:
        return lines
    interval = ""
    if found.low is not None and found.high is not None:
        interval = f" (95% interval {found.low:+.1f} to {found.high:+.1f})"
    lines.append(
        f"{score.metric} {found.difference:+.2f} points against its {found.value:.1f}%{interval}"
    )
    if found.p_value is not None:
        lines.append(
            f"{found.lost:,} images that it alone has right, {found.gained:,} that this file alone "
            f"has right: McNemar's p {_p(found.p_value)}"
        )
    return lines


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


_AGREED = {
    "same_top1": "same top-1 {:.2f}%",
    "same_labels": "same labels {:.2f}%",
    "snr_db": "signal to noise of logits {:.1f} dB",
    "largest_difference": "largest difference {:.3g}",
    "snr_of_probabilities_db": "signal to noise of probabilities {:.1f} dB",
    "largest_difference_of_probabilities": "largest difference {:.1f} points",
    "found_again": "{:.1f}% of its sure boxes found again",
    "in_reference": "{:.1f}% of this file's sure boxes in it",
    "same_pixels": "{:.2f}% of pixels equal",
    "iou_between": "mIoU of the maps {:.1f}%",
}


def _agreed(name: str, value: float | None) -> str:
    if value is None:
        return _AGREED[name].partition(" {")[0] + (
            " without noise" if name.endswith("_db") else " -"
        )
    return _AGREED[name].format(value)


def _figures(score: Score) -> list[str]:
    interval = ""
    if score.low is not None and score.high is not None:
        interval = f" (95% interval {score.low:.1f} to {score.high:.1f})"
    return [
        f"{score.metric} {_percent(score.value)}{interval}",
        ", ".join(
            f"{words(name)} {_figure(name, value)}"
            for name, value in informative_figures(score).items()
        ),
    ]


_TOP = 5


def informative_figures(score: Score) -> dict[str, float | None]:
    """Figures that say something beside `Score.value`.

    "top1" is the accuracy, and with five classes or fewer every class is among five.
    """
    figures = {name: value for name, value in score.figures.items() if name != "top1"}
    if "top5" in figures and len(score.per_class) <= _TOP:
        del figures["top5"]
    return figures


def with_images(score: Score) -> tuple[list[dict[str, Any]], int]:
    """Rows of the classes that have images, objects or pixels, and how many have none.

    Of the others there is no recall; a precision of 0 says what the confusions say.
    """
    rows = [row for row in score.per_class if _is_there(row)]
    return rows, len(score.per_class) - len(rows)


def _is_there(row: Mapping[str, Any]) -> bool:
    counts = [row[name] for name in ("images", "objects", "pixels") if name in row]
    return any(counts) or not counts


_WORDS = {
    "ap": "AP",
    "iou": "IoU",
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


def words(name: str) -> str:
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
    cells = [[words(column) for column in columns]]
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
