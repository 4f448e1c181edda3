"""How the files of each task are judged on images whose truth is known; for `evaluate`.

No framework is needed where the file is a .tflite or .onnx file.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from export.artefacts.significance import drop_interval
from export.runtime.detectors import load_detector
from export.runtime.load import load
from export.runtime.model_facts import ModelFacts
from export.runtime.predictor import answering
from export.runtime.segmenters import load_segmenter
from kerascnn.errors import InputError
from training import datasets
from training.classification.evaluate import Evaluation, class_report
from training.common.progress import Progress
from training.datasets import detection_sets, segmentation_sets
from training.datasets.broken import BrokenPictures
from training.datasets.decode import decode_split, picture_batches
from training.datasets.detection import DetectionDataset, DetectionSplit
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
from training.segmentation.evaluate import evaluate_segmenter
from training.segmentation.metrics import TRUTH, miou_interval

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
    """

    metric: str
    value: float | None
    low: float | None
    high: float | None
    figures: dict[str, float | None]
    per_class: tuple[dict[str, Any], ...]


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
        path: pathlib.Path,
        known: ModelFacts,
        parts: Sequence[Any],
        broken: BrokenPictures,
        root: str,
    ) -> tuple[int, Score]:
        """How many images a file was judged on, and its figures.

        Args:
            broken: is told of images that cannot be read, which are left out.
            root: of the data set.
        """


class Classification:
    """Labels; see `Scorer`."""

    skips_first = False  # images are decoded once they are set aside

    def scan(self, data: str) -> Dataset:
        return datasets.scan(data, seed=0)

    def measured(self, data: str) -> Dataset:
        return datasets.measured(data)

    def score(
        self,
        path: pathlib.Path,
        known: ModelFacts,
        parts: Sequence[Split],
        broken: BrokenPictures,
        root: str,
    ) -> tuple[int, Score]:
        runtime = load(path, known.preprocessing)
        sound = []
        for part in parts:
            split, left_out = decode_split(part, known.preprocessing, root=root)
            for one in left_out:
                broken.add(one.name, InputError(one.reason))
            sound.append(split)
        labels = np.concatenate([split.labels for split in sound])

        def logits() -> Iterator[np.ndarray]:
            with Progress(path.name, len(labels), unit="image") as progress:
                for split in sound:
                    for block in picture_batches(split, known.preprocessing):
                        with answering(path):
                            found = runtime.predict(block)
                        yield _checked(path, found, known)
                        progress.step(len(block))

        return len(labels), _of_labels(Evaluation.of_blocks(logits(), labels), labels, known)


class Detection:
    """Boxes, and masks of objects; see `Scorer`."""

    skips_first = True

    def scan(self, data: str) -> DetectionDataset:
        return detection_sets.scan_objects(data, seed=0)

    def measured(self, data: str) -> DetectionDataset:
        return detection_sets.measured(data)

    def score(
        self,
        path: pathlib.Path,
        known: ModelFacts,
        parts: Sequence[DetectionSplit],
        broken: BrokenPictures,
        root: str,
    ) -> tuple[int, Score]:
        detector = load_detector(path, known.preprocessing, known.spec)

        def detect(pictures: np.ndarray) -> list[Detections]:
            with answering(path):
                found = detector.detect(pictures)
            for one in found:
                if not ((one.labels >= 0) & (one.labels < len(known.labels))).all():
                    raise InputError(f"{path} finds classes that its description does not name")
            return found

        def measure(split: DetectionSplit) -> list[DetectionEvaluation]:
            kinds = dict.fromkeys(["segm" if detector.masks else "bbox", "bbox"])
            truths = [Truth.of(split, known.labels, kind) for kind in kinds]
            # One after the other: the masks of thousands of images would not fit into memory.
            found = each_found(detect, split, known.preprocessing, title=path.name)
            return evaluate_together(found, truths)

        split, found = broken.measured(
            _chained(parts, count_at=None), DetectionSplit.picture, measure
        )
        return len(split), _of_detections(found, known)


class Segmentation:
    """A class for every pixel; see `Scorer`."""

    skips_first = True

    def scan(self, data: str) -> SegmentationDataset:
        return segmentation_sets.scan_maps(data, seed=0)

    def measured(self, data: str) -> SegmentationDataset:
        return segmentation_sets.measured(data)

    def score(
        self,
        path: pathlib.Path,
        known: ModelFacts,
        parts: Sequence[SegmentationSplit],
        broken: BrokenPictures,
        root: str,
    ) -> tuple[int, Score]:
        segmenter = load_segmenter(path, known.preprocessing)

        def segment(pictures: np.ndarray) -> np.ndarray:
            with answering(path):
                found = segmenter.segment(pictures)
            if found.max() >= len(known.labels):
                raise InputError(
                    f"{path} finds class {found.max()}, which its description does not name"
                )
            return found

        def measure(split: SegmentationSplit) -> Any:
            return evaluate_segmenter(
                segment, split, known.preprocessing, known.labels, title=path.name
            )

        split, found = broken.measured(_chained(parts), SegmentationSplit.both, measure)
        return len(split), _of_masks(found, known)


def _checked(path: pathlib.Path, logits: np.ndarray, known: ModelFacts) -> np.ndarray:
    if logits.shape[1:] != (len(known.labels),):
        raise InputError(
            f"{path} gives {logits.shape[-1]} logits and its description {len(known.labels)} "
            "labels; bring the description that belongs to it"
        )
    return logits


def _of_labels(found: Evaluation, labels: np.ndarray, known: ModelFacts) -> Score:
    right = found.predictions == labels
    # What was lost against a network that has every image right.
    low, high = drop_interval(np.ones(len(right), bool), right)
    report = class_report(labels, found.predictions, len(known.labels))
    told = report.to_dict(known.labels)
    return Score(
        metric="accuracy",
        value=found.accuracy,
        low=100 - high,
        high=100 - low,
        figures={
            "top1": found.accuracy,
            "top5": found.top5,
            "calibration_error": _number(found.calibration_error),
            "loss": _number(found.loss),
            "balanced_accuracy": told["balanced_accuracy"],
            "majority_baseline": told["majority_baseline"],
        },
        per_class=tuple(
            {"label": row["label"], "images": row["pictures"]}
            | {name: row[name] for name in ("recall", "precision")}
            for row in told["per_class"]
        ),
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
