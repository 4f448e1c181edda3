"""How the files of each task are judged on images whose truth is known; for `evaluate`.

No framework is needed where the file is a .tflite or .onnx file.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from export.artefacts.significance import drop_interval
from export.runtime.model_facts import ModelFacts
from export.runtime.predictor import answering
from export.runtime.subjects import Subject
from export.tasks.agreement import errors, sure_found
from kerascnn.errors import InputError
from training import datasets
from training.classification.confused import confusion_matrix, most_confused
from training.classification.evaluate import Evaluation, class_report, softmax
from training.common.progress import Progress
from training.datasets import detection_sets, segmentation_sets, unlabelled
from training.datasets.broken import BrokenPictures
from training.datasets.decode import decode_split, picture_batches
from training.datasets.detection import NO_OBJECTS, DetectionDataset, DetectionSplit
from training.datasets.paths import listing
from training.datasets.pictures import SUFFIXES, read_pixels
from training.datasets.segmentation import SegmentationDataset, SegmentationSplit
from training.datasets.splits import Dataset, Split
from training.detection.evaluate import each_found
from training.detection.metrics import (
    DetectionEvaluation,
    Detections,
    Matches,
    evaluate_together,
    matches_interval,
)
from training.detection.truth import Truth
from training.segmentation.evaluate import maps
from training.segmentation.metrics import (
    TRUTH,
    SegmentationEvaluation,
    count,
    evaluate_maps,
    miou_interval,
    of_counts,
    without_void,
)

WORST = 24  # images that are named
CONFUSED = 10  # pairs of classes
_Placed = TypeVar("_Placed", DetectionSplit, SegmentationSplit)
_Interval = tuple[float | None, float | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """Figures of a file on some images, in percent (but "loss"); None where there is none.

    Attributes:
        metric: what `value` is, as "accuracy".
        low, high: 95% interval of `value` by the luck of the images.
        figures: further ones by name.
        per_class: a row per label: its "label" first, then figures and counts.
        confused: the classes that are taken for another most often: "true", "predicted", "images",
            and "share" of the true class's.
        confusion: (true, predicted, images) of every pair of labels' places that occurs.
        worst: images that it is most wrong about, the worst first: "image", and what is wrong.
    """

    metric: str
    value: float | None
    low: float | None
    high: float | None
    figures: dict[str, float | None]
    per_class: tuple[dict[str, Any], ...]
    confused: tuple[dict[str, Any], ...] = ()
    confusion: tuple[tuple[int, int, int], ...] = ()
    worst: tuple[dict[str, Any], ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """A score with what a comparison and a page need beside it.

    Attributes:
        names: of the images that were judged, in order.
        paired: what was right in each of them, for an interval of a difference: (n,) bool,
            `Matches`, or (n, c, 3) pixels.
        answers: what was answered, where it was to be kept: `Outputs`, a list of `Detections`, or
            `Maps`.
        show: draws an image, by its place in `names`: (h, w, 3) uint8.
        places: in `names`, of the images of `Score.worst`.
        numberless: images whose answer is no number; they count as wrong.
        rounded: answers are probabilities of 8 bits.
    """

    score: Score
    names: tuple[str, ...]
    paired: Any = None
    answers: Any = None
    show: Callable[[int], np.ndarray] | None = None
    places: tuple[int, ...] = ()
    numberless: int = 0
    rounded: bool = False


class Maps:
    """Label maps, each deflated: those of thousands of images would not fit into memory."""

    def __init__(self) -> None:
        self._maps: list[tuple[bytes, tuple[int, ...]]] = []

    def keeping(self, maps: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The same maps; each is kept on its way."""
        for one in maps:
            data = np.ascontiguousarray(one, np.uint8)
            self._maps.append((zlib.compress(data.tobytes(), 1), one.shape))
            yield one

    def __len__(self) -> int:
        return len(self._maps)

    def __getitem__(self, index: int) -> np.ndarray:
        data, shape = self._maps[index]
        return np.frombuffer(zlib.decompress(data), np.uint8).reshape(shape)


class Scorer(Protocol):
    """What differs between tasks; `export.artefacts.kinds.base.Kind.scorer` names a task's.

    Attributes:
        skips_first: a training leaves out what cannot be read before it sets images aside.
    """

    skips_first: bool

    def scan(self, data: str) -> Any:
        """A data set with its own splits, or with those that chance draws."""

    def measured(self, data: str) -> Any:
        """A data set that nothing is learnt from."""

    def score(
        self,
        subject: Subject,
        parts: Sequence[Any],
        broken: BrokenPictures,
        root: str,
        *,
        keep: bool = False,
    ) -> Scored:
        """What a file is worth on the images of some splits.

        Args:
            broken: collects images that cannot be read, which are left out.
            root: of the data set.
            keep: what is answered is to be compared with another file's.
        """


@runtime_checkable
class Comparing(Scorer, Protocol):
    """A scorer whose answers can be held against another file's; see `export.tools.reference`."""

    def unlabelled(self, folder: pathlib.Path) -> Any:
        """The images below a folder, as a split whose truth is nothing."""

    def agreement(self, found: Scored, wanted: Scored, classes: int) -> dict[str, float | None]:
        """How far the answers of two files are the same, by figure."""

    def drop(self, before: Any, after: Any) -> tuple[float, float]:
        """95% interval of what the second of two `Scored.paired` lost, in points."""


class Classification:
    """Labels; see `Scorer`."""

    skips_first = False  # images are decoded once they are set aside

    def scan(self, data: str) -> Dataset:
        return datasets.scan(data, seed=0)

    def measured(self, data: str) -> Dataset:
        return datasets.measured(data)

    def score(
        self,
        subject: Subject,
        parts: Sequence[Split],
        broken: BrokenPictures,
        root: str,
        *,
        keep: bool = False,
    ) -> Scored:
        known, runtime = subject.known, subject.classifier()
        sound = decoded(parts, known, broken, root)
        labels = np.concatenate([split.labels for split in sound])
        found = Evaluation.of_blocks(logits_of(runtime, subject, sound), labels)
        names = tuple(name for split in sound for name in split.names)
        score, places = _of_labels(found, labels, known, names)
        owners = [(split, place) for split in sound for place in range(len(split))]
        return Scored(
            score=score,
            names=names,
            paired=found.right(labels),
            answers=found.outputs if keep else None,
            show=lambda place: _photo(*owners[place]),
            places=places,
            numberless=int(np.sum(~found.outputs.answered)),
            rounded=bool(getattr(runtime, "rounded", False)),
        )

    def unlabelled(self, folder: pathlib.Path) -> Split:
        names = images_below(folder)
        return Split(labels=np.zeros(len(names), np.int32), names=names)

    def agreement(self, found: Scored, wanted: Scored, classes: int) -> dict[str, float | None]:
        one, other = found.answers, wanted.answers
        answered = one.answered & other.answered
        equal = answered & (one.predictions == other.predictions)
        same: dict[str, float | None] = {"same_top1": 100 * float(np.mean(equal))}
        # Of an answer that is no number nothing is near or far.
        rows = answered[one.compared]
        if not rows.any():
            return same
        if found.rounded or wanted.rounded:
            # The logarithm of a probability that 8 bits have no number for is none.
            ours, theirs = softmax(one.logits[rows]), softmax(other.logits[rows])
            gaps = ours - theirs
            return same | {
                "snr_of_probabilities_db": decibels(
                    float(np.square(theirs).sum()), float(np.square(gaps).sum())
                ),
                "largest_difference_of_probabilities": _number(100 * np.abs(gaps).max()),
            }
        kept = (each.logits[rows] for each in (one, other))
        logits = [each - each.mean(axis=-1, keepdims=True) for each in kept]
        gaps = logits[0].astype(np.float64) - logits[1]
        return same | {
            "snr_db": decibels(
                np.square(logits[1].astype(np.float64)).sum(), np.square(gaps).sum()
            ),
            "largest_difference": _number(np.abs(gaps).max()),
        }

    def drop(self, before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
        return drop_interval(before, after)


class Detection:
    """Boxes, and masks of objects; see `Scorer`."""

    skips_first = True

    def scan(self, data: str) -> DetectionDataset:
        return detection_sets.scan_objects(data, seed=0)

    def measured(self, data: str) -> DetectionDataset:
        return detection_sets.measured(data)

    def score(
        self,
        subject: Subject,
        parts: Sequence[DetectionSplit],
        broken: BrokenPictures,
        root: str,
        *,
        keep: bool = False,
    ) -> Scored:
        path, known = subject.path, subject.known
        detector = subject.detector()

        def detect(pictures: np.ndarray) -> list[Detections]:
            with answering(path):
                found = detector.detect(pictures)
            for one in found:
                if not ((one.labels >= 0) & (one.labels < len(known.labels))).all():
                    raise InputError(f"{path} finds classes that its description does not name")
            return found

        kept: list[Detections] = []
        wrong: list[tuple[int, int]] = []
        broke: list[bool] = []

        def measure(split: DetectionSplit) -> list[DetectionEvaluation]:
            kinds = dict.fromkeys(["segm" if detector.masks else "bbox", "bbox"])
            truths = [Truth.of(split, known.labels, kind) for kind in kinds]
            kept.clear()
            wrong.clear()
            broke.clear()

            def each() -> Iterator[Detections]:
                # One after the other: masks of thousands of images would not fit into memory.
                found = each_found(
                    *(detect, split, known.preprocessing),
                    rule=known.suppression,
                    title=path.name,
                )
                for index, one in enumerate(found):
                    objects = split.objects(index)
                    broke.append(not _is_finite(one))
                    wrong.append(errors(one, objects.boxes, objects.labels, objects.crowd))
                    if keep:
                        kept.append(dataclasses.replace(one, masks=None))
                    yield one

            return evaluate_together(each(), truths)

        split, found = broken.measured(
            _chained(parts, count_at=None), DetectionSplit.picture, measure
        )
        places = tuple(
            sorted((i for i, both in enumerate(wrong) if sum(both)), key=lambda i: -sum(wrong[i]))
        )[:WORST]
        score = _of_detections(found, known)
        worst = tuple(
            {"image": split.names[i], "missed": wrong[i][0], "wrong": wrong[i][1]} for i in places
        )

        def show(index: int) -> np.ndarray:
            from training.detection.examples import example

            (one,) = each_found(
                *(detect, split.take([index]), known.preprocessing),
                rule=known.suppression,
            )
            return example(split, index, one, known.labels)

        return Scored(
            score=dataclasses.replace(score, worst=worst),
            names=split.names,
            paired=found[0].matches,
            answers=kept if keep else None,
            show=show,
            places=places,
            numberless=sum(broke),
        )

    def unlabelled(self, folder: pathlib.Path) -> DetectionSplit:
        names = images_below(folder)
        fields = unlabelled.placed_files(names)
        return DetectionSplit(**fields, annotate=lambda _place: NO_OBJECTS)

    def agreement(self, found: Scored, wanted: Scored, classes: int) -> dict[str, float | None]:
        return {
            "found_again": _number(sure_found(found.answers, wanted.answers, classes).overall),
            "in_reference": _number(sure_found(wanted.answers, found.answers, classes).overall),
        }

    def drop(self, before: Matches, after: Matches) -> tuple[float, float]:
        return matches_interval(before, after)


class Segmentation:
    """A class for every pixel; see `Scorer`."""

    skips_first = True

    def scan(self, data: str) -> SegmentationDataset:
        return segmentation_sets.scan_maps(data, seed=0)

    def measured(self, data: str) -> SegmentationDataset:
        return segmentation_sets.measured(data)

    def score(
        self,
        subject: Subject,
        parts: Sequence[SegmentationSplit],
        broken: BrokenPictures,
        root: str,
        *,
        keep: bool = False,
    ) -> Scored:
        path, known = subject.path, subject.known
        segmenter = subject.segmenter()

        def segment(pictures: np.ndarray) -> np.ndarray:
            with answering(path):
                found = segmenter.segment(pictures)
            if found.max() >= len(known.labels):
                raise InputError(
                    f"{path} finds class {found.max()}, which its description does not name"
                )
            return found

        kept = [Maps()]

        def measure(split: SegmentationSplit) -> SegmentationEvaluation:
            found = maps(segment, split, known.preprocessing, title=path.name)
            if keep:
                kept[0] = Maps()
                found = kept[0].keeping(found)
            return evaluate_maps(found, split, known.labels)

        split, found = broken.measured(_chained(parts), SegmentationSplit.both, measure)
        places, worst = _worst_maps(found, split.names, known)

        def show(index: int) -> np.ndarray:
            from training.segmentation.examples import example

            picture, truth = split.both(index)
            (answer,) = maps(segment, split.take([index]), known.preprocessing)
            drawn = example(picture, truth, answer, known.labels, known.palette)
            return np.concatenate(drawn[1:], axis=1)

        return Scored(
            score=dataclasses.replace(_of_masks(found, known), worst=worst),
            names=split.names,
            paired=found.counts,
            answers=kept[0] if keep else None,
            show=show,
            places=places,
        )

    def unlabelled(self, folder: pathlib.Path) -> SegmentationSplit:
        names = images_below(folder)
        fields = unlabelled.placed_files(names)
        return SegmentationSplit(**fields, annotate=unlabelled.void_of(fields["sizes"]))

    def agreement(self, found: Scored, wanted: Scored, classes: int) -> dict[str, float | None]:
        counts, same, total = np.zeros((classes, 3), np.int64), 0, 0
        for index in range(len(found.answers)):
            one, other = found.answers[index], wanted.answers[index]
            same, total = same + int((one == other).sum()), total + one.size
            counts += count(*without_void(other, one), classes)
        return {
            "same_pixels": 100 * same / total if total else None,
            "iou_between": _number(of_counts(counts[None]).miou),
        }

    def drop(self, before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
        return miou_interval(before, after)


def images_below(folder: pathlib.Path) -> tuple[str, ...]:
    """Paths of the images below a folder, in order; raises InputError where there are none."""
    found = listing(folder, SUFFIXES).files if folder.is_dir() else ()
    if not found:
        raise InputError(f"{folder} is not a folder with images; give one as --data")
    return tuple(found)


def _is_finite(found: Detections) -> bool:
    return bool(np.isfinite(found.boxes).all() and np.isfinite(found.scores).all())


def decibels(signal: float, noise: float) -> float | None:
    """Signal to noise; None where there is no noise, or either is no number."""
    if not noise or not signal or not math.isfinite(signal + noise):
        return None
    return float(10 * np.log10(signal / noise))


def _photo(split: Split, place: int) -> np.ndarray:
    """The image itself where it is a file, else what there is of it."""
    name = split.names[place]
    if split.read is None and pathlib.Path(name).is_file():
        return read_pixels(name)
    stored = split.stored(place)
    return read_pixels(stored, name) if isinstance(stored, bytes) else stored


def decoded(
    parts: Sequence[Split], known: ModelFacts, broken: BrokenPictures, root: str
) -> list[Split]:
    """Splits of labelled images at a network's geometry.

    Args:
        broken: collects those that cannot be read, which are left out.
        root: of the data set.
    """
    sound = []
    for part in parts:
        split, left_out = decode_split(part, known.preprocessing, root=root)
        for one in left_out:
            broken.add(one.name, InputError(one.reason))
        sound.append(split)
    return sound


def logits_of(runtime: Any, subject: Subject, splits: Sequence[Split]) -> Iterator[np.ndarray]:
    """(n, classes) of each block of images, with a progress line.

    Args:
        runtime: of `Subject.classifier`.
    """
    path, known = subject.path, subject.known
    with Progress(path.name, sum(map(len, splits)), unit="image") as progress:
        for split in splits:
            for block in picture_batches(split, known.preprocessing):
                with answering(path):
                    found = runtime.predict(block)
                yield _checked(path, found, known)
                progress.step(len(block))


def _checked(path: pathlib.Path, logits: np.ndarray, known: ModelFacts) -> np.ndarray:
    if logits.shape[1:] != (len(known.labels),):
        raise InputError(
            f"{path} gives {logits.shape[-1]} logits and its description {len(known.labels)} "
            "labels; bring the description that belongs to it"
        )
    return logits


def _of_labels(
    found: Evaluation, labels: np.ndarray, known: ModelFacts, names: Sequence[str]
) -> tuple[Score, tuple[int, ...]]:
    """The score, and the places of its worst images."""
    right, answered = found.right(labels), found.outputs.answered
    # What was lost against a network that has every image right.
    low, high = drop_interval(np.ones(len(right), bool), right)
    report = class_report(labels, found.predictions, len(known.labels), answered=answered)
    figures = report.to_dict(known.labels)
    matrix = confusion_matrix(labels[answered], found.predictions[answered], len(known.labels))
    cells = matrix.tocoo()
    wrong = np.flatnonzero(~right)
    surest = wrong[np.argsort(-found.confidence[wrong], kind="stable")][:WORST].tolist()
    score = Score(
        metric="accuracy",
        value=found.accuracy,
        low=100 - high,
        high=100 - low,
        figures={
            "top1": found.accuracy,
            "top5": found.top5,
            "calibration_error": _number(found.calibration_error),
            "loss": _number(found.loss),
            "balanced_accuracy": figures["balanced_accuracy"],
            "majority_baseline": figures["majority_baseline"],
        },
        per_class=tuple(
            {"label": row["label"], "images": row["pictures"]}
            | {name: row[name] for name in ("recall", "precision")}
            for row in figures["per_class"]
        ),
        confused=tuple(
            {"true": one.true, "predicted": one.predicted, "images": one.pictures}
            | {"share": one.share}
            for one in most_confused(matrix, known.labels, CONFUSED)
        ),
        confusion=tuple(
            sorted(
                (int(true), int(other), int(count))
                for true, other, count in zip(cells.row, cells.col, cells.data, strict=True)
            )
        ),
        worst=tuple(
            {
                "image": names[i],
                "true": known.labels[labels[i]],
                "predicted": known.labels[found.predictions[i]] if answered[i] else None,
                "probability": _number(100 * found.confidence[i]),
            }
            for i in surest
        ),
    )
    return score, tuple(surest)


def _worst_maps(
    found: SegmentationEvaluation, names: Sequence[str], known: ModelFacts
) -> tuple[tuple[int, ...], tuple[dict[str, Any], ...]]:
    """Places and rows of the images with the lowest mean IoU."""
    counts = found.counts
    wrong = np.flatnonzero((counts[..., 0] < counts[..., 1:].max(axis=-1)).any(axis=-1))
    single = {int(i): of_counts(counts[i : i + 1]) for i in wrong}
    places = tuple(sorted(single, key=lambda index: (single[index].miou, index))[:WORST])
    return places, tuple(
        {
            "image": names[i],
            "miou": _number(single[i].miou),
            "class": known.labels[int(np.nanargmin(single[i].per_class))],
            "iou": _number(np.nanmin(single[i].per_class)),
        }
        for i in places
    )


def _of_detections(found: Sequence[DetectionEvaluation], known: ModelFacts) -> Score:
    """Of COCO's figures of masks, where there are any, and then of boxes."""
    first, *boxes = found
    names = ("ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100")
    figures = {name: _number(getattr(first, name)) for name in names}
    for one in boxes:
        figures |= {f"box_{name}": _number(getattr(one, name)) for name in ("ap", "ap50", "ap75")}
    nothing = _without_detections(first.matches)
    low, high = _interval(*matches_interval(nothing, first.matches))
    rows = zip(known.labels, first.objects, first.per_class, first.per_class50, strict=True)
    return Score(
        metric="AP",
        value=_number(first.ap),
        low=low,
        high=high,
        figures=figures,
        per_class=tuple(
            {"label": label, "objects": int(count), "ap": _number(ap), "ap50": _number(ap50)}
            for label, count, ap, ap50 in rows
        ),
    )


def _of_masks(found: Any, known: ModelFacts) -> Score:
    nothing = np.zeros_like(found.counts)
    nothing[..., TRUTH] = found.counts[..., TRUTH]
    low, high = _interval(*miou_interval(nothing, found.counts))
    rows = zip(
        *(known.labels, found.pixels, found.per_class, found.dice, found.boundary), strict=True
    )
    return Score(
        metric="mIoU",
        value=_number(found.miou),
        low=low,
        high=high,
        figures={
            name: _number(getattr(found, name))
            for name in ("mean_dice", "pixel_accuracy", "boundary_f1")
        },
        per_class=tuple(
            {"label": label, "pixels": int(pixels), "iou": _number(iou)}
            | {"dice": _number(dice), "boundary_f1": _number(boundary)}
            for label, pixels, iou, dice, boundary in rows
        ),
    )


def _without_detections(matches: Matches) -> Matches:
    """Of a detector that finds nothing, whose AP is 0."""
    thresholds = matches.hits.shape[1:]
    none = np.empty((0, *thresholds), bool)
    places = np.empty(0, np.int64)
    return dataclasses.replace(matches, labels=places, pictures=places, hits=none, ignored=none)


def _interval(low: float, high: float) -> _Interval:
    """Of a figure, by what was lost against one of 0."""
    return _number(0.0 - high), _number(0.0 - low)  # never minus zero


def _chained(parts: Sequence[_Placed], **unknown: None) -> _Placed:
    """Several splits, one behind the other; `unknown` are fields that are not known of them."""
    if len(parts) == 1:
        return parts[0]
    owners = [(part, int(place)) for part in parts for place in part.places]
    changes: dict[str, Any] = {
        "names": tuple(name for part in parts for name in part.names),
        "places": np.arange(len(owners)),
        "sizes": np.concatenate([part.sizes for part in parts]),
        "read": lambda index: owners[index][0].read(owners[index][1]),
        "annotate": lambda index: owners[index][0].annotate(owners[index][1]),
        **unknown,
    }
    return dataclasses.replace(parts[0], **changes)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
