"""What files of all detectors have in common: pictures, what is found in them, and its figures."""

from __future__ import annotations

import abc
import base64
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from export.artefacts.variants import Variant
from export.graph.signature import DETECTIONS
from export.runtime.detectors import Detector, load_detector
from export.runtime.verify import (
    NO,
    NOT_VERIFIED,
    YES,
    Verdict,
    bounded,
)
from export.tasks.agreement import (
    LEAST_EXACT,
    LEAST_FOUND,
    MASK_IOU,
    PIXELS,
    SAME_IOU,
    SCORE,
    SURE,
    agreement,
    errors,
    sure_found,
)
from export.tasks.comparison import Comparison, OfDetections
from export.tasks.placed import PlacedTask
from export.tasks.trained import Trained
from kerascnn.detection.specs import DetectorSpec, TwoStageSpec, suppression_to_dict
from training.augment.boxes import to_network
from training.common.wording import counted
from training.datasets.detection import DetectionSplit
from training.datasets.instance_masks import THRESHOLD
from training.detection.evaluate import (
    DetectFn,
    each_found,
    evaluate_detector,
    keras_detect_fn,
)
from training.detection.examples import MOST_SHOWN, example
from training.detection.fit import kind
from training.detection.metrics import (
    SHOWN_SCORE,
    DetectionEvaluation,
    Detections,
    evaluate_together,
    matches_interval,
    pack,
)
from training.detection.train import figures
from training.detection.truth import Truth

_SHOWN = 24


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What was found in every held-out picture, and COCO's figures of it.

    Attributes:
        pictures: one each.
        evaluation: of masks where the detector gives some, else of boxes.
        boxes: of boxes where `evaluation` is of masks.
    """

    pictures: Sequence[Detections]
    evaluation: DetectionEvaluation
    boxes: DetectionEvaluation | None = None

    @property
    def value(self) -> float:
        """AP, in percent; 0 where there is nothing to find."""
        return 0.0 if np.isnan(self.evaluation.ap) else self.evaluation.ap


class DetectorTask(PlacedTask[DetectionSplit]):
    """See `Task`; detectors of one stage and of two differ in what is abstract."""

    how_shown = (
        f"Solid boxes are the file's detections (score {SHOWN_SCORE:g} or more; "
        f"the surest {MOST_SHOWN}), dashed ones the truth."
    )
    # Types of labels and count, by a file's ending.
    integers: ClassVar[Mapping[str, tuple[str, str]]] = {
        ".tflite": ("float32", "float32"),
        ".onnx": ("int64", "int32"),
    }

    @property
    @abc.abstractmethod
    def spec(self) -> DetectorSpec | TwoStageSpec:
        """What the run's detector gives."""

    @property
    def file_spec(self) -> DetectorSpec | TwoStageSpec:
        """What its files give."""
        return self.spec

    def keras_answers(self, trained: Trained) -> Found:
        return self._found(self.keras_function(trained), "Keras on held-out images")

    def keras_function(self, trained: Trained) -> DetectFn:
        return keras_detect_fn(trained.model, trained.preprocessing, self.spec)

    def function_of(self, runtime: Detector) -> DetectFn:
        return runtime.detect

    def on_validation(self, function: DetectFn, title: str) -> float:
        assert self.validation is not None
        found = evaluate_detector(
            *(function, self.validation, self.run.preprocessing, self.run.labels),
            kind=kind(self.spec),
            rule=self.spec.rule,
            title=title,
        )
        return found.ap

    def comparison(self) -> Comparison:
        return OfDetections(lambda path: self.load(path).detect, len(self.run.labels))

    def load(self, path: pathlib.Path) -> Detector:
        return load_detector(path, self.run.preprocessing, self.file_spec)

    def timed_picture(self) -> np.ndarray:
        """The first held-out one: what suppression costs depends on what is found."""
        return to_network(self.held_out.picture(0), self.run.preprocessing)

    def file_answers(self, path: pathlib.Path) -> tuple[Found, Detector]:
        detector = self.load(path)
        return self._found(detector.detect, f"{path.name} on held-out images"), detector

    @functools.cached_property
    def truths(self) -> list[Truth]:
        """What is to be found in the held-out pictures, made once for the figures of all files.

        Of masks first, where the detector gives some, then of boxes.
        """
        kinds = dict.fromkeys([kind(self.spec), "bbox"])
        return [Truth.of(self.held_out, self.run.labels, each) for each in kinds]

    def _found(self, detect: Callable[[np.ndarray], list[Detections]], title: str) -> Found:
        found = each_found(
            *(detect, self.held_out, self.run.preprocessing),
            rule=self.spec.rule,
            title=title,
        )
        return self.measured(found)

    def measured(self, found: Iterable[Detections]) -> Found:
        """What was found in the held-out pictures, one by one, with its figures."""
        pictures: list[Detections] = []

        def kept() -> Iterator[Detections]:
            for one in found:
                pictures.append(_halved(one))
                yield one

        evaluation, *boxes = evaluate_together(kept(), self.truths)
        return Found(pictures=pictures, evaluation=evaluation, boxes=boxes[0] if boxes else None)

    def verify(
        self, variant: Variant, answers: Found, reference: Found, half: Found | None
    ) -> Verdict:
        sides = self.run.preprocessing.input_shape[:2]
        against = reference if half is None else half
        exact, score = agreement(answers.pictures, against.pictures, sides, self.spec)
        share = exact
        if answers.evaluation.broken:
            verified, rule = NO, f"{answers.evaluation.broken} detections are not numbers"
        elif variant.quantised:
            verified, rule, share = self._of_sure(answers, reference)
        else:
            whom = "Keras" if half is None else "float32 with kernels rounded to half"
            masks = "" if answers.boxes is None else f", a mask to IoU {MASK_IOU:g}"
            rule = (
                f"{exact:.2f}% of the detections are {whom}'s to {PIXELS:g} pixel, {SCORE:g} of a "
                f"score{masks}; at least {LEAST_EXACT:g}%"
            )
            verified = YES if exact >= LEAST_EXACT else NO
            if verified == YES and not any(map(len, against.pictures)):
                verified, rule = NOT_VERIFIED, f"{whom} finds nothing: there is nothing to compare"
        verdict = Verdict(verified=verified, agreement=share, max_logit_diff=score, rule=rule)
        return bounded(
            *(verdict, self.metric, reference.value - answers.value),
            lambda: matches_interval(reference.evaluation.matches, answers.evaluation.matches),
        )

    def _of_sure(self, answers: Found, reference: Found) -> tuple[str, str, float]:
        """Verdict, rule and share of a quantised file: what either is sure of, the other finds."""
        classes = len(self.run.labels)
        found = sure_found(answers.pictures, reference.pictures, classes)
        known = sure_found(reference.pictures, answers.pictures, classes)
        share = 0.0 if np.isnan(found.overall) else found.overall
        shares = [(name, one) for name, one in (("Keras", found), ("the file", known)) if one.count]
        rule = f"what one is sure of (score {SURE:g}), the other has at {self._overlap} "
        rule += f"{SAME_IOU:g}, at least {LEAST_FOUND:g}%" + "".join(
            f"; of {one.count} detections of {whom} {one.overall:.1f}%: {one.text()}"
            for whom, one in shares
        )
        if any(one.overall < LEAST_FOUND or not one.holds for _, one in shares):
            return NO, rule, share
        if not found.count:
            return (
                NOT_VERIFIED,
                f"Keras is sure of nothing (score {SURE:g}): nothing to hold",
                share,
            )
        return YES, rule, share

    @property
    def _overlap(self) -> str:
        return "mask IoU" if self.spec.masks else "IoU"

    def kept(self, answers: Found, reference: Found, own: Found) -> dict[str, Any]:
        measured = answers.evaluation
        classes = {
            label: _number(ap)
            for label, ap in zip(self.run.labels, measured.per_class, strict=True)
        }
        of_boxes = {}
        if answers.boxes is not None:
            of_boxes = {"ap": _number(answers.boxes.ap), **figures(answers.boxes)}
        return {
            **figures(measured),
            **{f"box_{name}": value for name, value in of_boxes.items()},
            "per_class": classes,
            "matches": pack(measured.matches),
            "float_matches": pack(own.evaluation.matches),
        }

    def mistakes(self, answers: Found) -> tuple[int, list[dict[str, Any]]]:
        """Those with the most objects missed or falsely found, with what was found in them."""
        counted = []
        for index, found in enumerate(answers.pictures):
            objects = self.held_out.objects(index)
            missed, wrong = errors(found, objects.boxes, objects.labels, objects.crowd)
            if missed or wrong:
                counted.append((missed + wrong, index, missed, wrong, found))
        counted.sort(key=lambda row: (-row[0], row[1]))
        return len(counted), [
            {
                "index": index,
                "name": self.picture_name(self.held_out.names[index]),
                "missed": missed,
                "wrong": wrong,
                **_to_json(found.take(found.scores >= SHOWN_SCORE)),
            }
            for _, index, missed, wrong, found in counted[:_SHOWN]
        ]

    def shown(self, mistakes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {
                "picture": example(self.held_out, one["index"], _from_json(one), self.run.labels),
                "name": one["name"],
                "counted": f"{one['missed']} missed, {one['wrong']} wrong",
            }
            for one in mistakes
        ]

    def description(self, variant: Variant, end: str) -> dict[str, Any]:
        return {
            "outputs": self.outputs(variant, end),
            "detector": self.file_spec.to_dict(),
            "category_ids": list(self.run.info["category_ids"]),
        }

    @property
    def purpose(self) -> str:
        return f"Finds objects of {counted(len(self.run.labels), 'class')}"

    @property
    def lowest_score(self) -> float:
        return self.spec.score_threshold

    def decoding(self, variant: Variant) -> dict[str, Any]:
        found: dict[str, Any] = {"kind": "detections", **suppression_to_dict(self.spec)}
        if self.run.preprocessing.tiles:  # by which a client joins what it finds in tiles
            found["iou_threshold"] = self.spec.iou_threshold
            if self.spec.rule.soft:
                found["score_threshold"] = self.spec.score_threshold
        return found

    def outputs(self, variant: Variant, end: str) -> list[dict[str, Any]]:
        most = self.spec.max_detections
        shapes = ([1, most, 4], [1, most], [1, most], [1])
        label, count = self.integers[end]
        kinds = ("float32", label, "float32", count)
        return [
            {"name": name, "shape": shape, "type": kind, "meaning": _MEANINGS[name]}
            for name, shape, kind in zip(DETECTIONS, shapes, kinds, strict=True)
        ]


_MEANINGS = {
    "boxes": "top, left, bottom, right as shares of the picture's height and width",
    "labels": "index into labels",
    "scores": "0 to 1, the best first",
    "count": "how many of them are detections",
}


def _halved(found: Detections) -> Detections:
    """Several sets are held at once, and half precision is enough to compare masks."""
    masks = None if found.masks is None else found.masks.astype(np.float16)
    return dataclasses.replace(found, masks=masks)


def _to_json(found: Detections) -> dict[str, Any]:
    """Detections for a .json, to be drawn: of a mask, which cells are the object's."""
    fields = {
        "boxes": np.round(found.boxes, 4).tolist(),
        "labels": found.labels.tolist(),
        "scores": np.round(found.scores, 4).tolist(),
    }
    if found.masks is None:
        return fields
    bits = np.packbits(found.masks > THRESHOLD)
    side = found.masks.shape[-1]
    return fields | {"masks": base64.b64encode(bits.tobytes()).decode(), "mask_side": side}


def _from_json(fields: dict[str, Any]) -> Detections:
    """What `_to_json` was given, rounded."""
    count, masks = len(fields["labels"]), None
    if "masks" in fields:
        side = fields["mask_side"]
        bits = np.frombuffer(base64.b64decode(fields["masks"]), np.uint8)
        cells = np.unpackbits(bits, count=count * side * side)
        masks = cells.reshape(count, side, side).astype(np.float32)
    return Detections(
        boxes=np.array(fields["boxes"], np.float32).reshape(-1, 4),
        labels=np.array(fields["labels"], np.int32),
        scores=np.array(fields["scores"], np.float32),
        masks=masks,
    )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
