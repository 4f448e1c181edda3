"""Files of detectors: boxes with classes and scores."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from export import detection_tflite
from export.classification import check_fingerprint
from export.detection_onnx import append_nms
from export.detection_tflite import DETECTIONS, append_postprocess, with_scores
from export.detectors import Detector, load_detector
from export.finetune import DetectionLessons
from export.metadata import with_metadata
from export.recipes import Cluster, Prune, Qat, Variant
from export.stages import Trained
from export.tasks import Task
from export.verify import Verdict
from kerascnn.detection.postprocess import DetectorSpec
from kerascnn.errors import InputError
from training.box_augmentation import to_network
from training.coco_metrics import DetectionEvaluation, Detections, evaluate_detections, pack
from training.datasets.object_sets import scan_objects
from training.datasets.objects import ObjectDataset, ObjectSplit
from training.detection_examples import SHOWN_SCORE, example
from training.evaluate_detector import detections, keras_detect_fn
from training.object_batches import evaluation_pictures
from training.train_detector import choosing, figures

# What a float file may differ by from its network: pixels of the input, and of a score.
PIXELS, SCORE = 1.0, 0.01
# A box beside another one may be suppressed by the last bit of an overlap.
LEAST_EXACT = 99.5
# Quantised files find what Keras is sure of, or something broke.
SURE, SAME_IOU, LEAST_FOUND = 0.3, 0.5, 90.0
_SHOWN = 24


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What was found in every held-out picture, and COCO's figures of it."""

    pictures: Sequence[Detections]
    evaluation: DetectionEvaluation

    @property
    def value(self) -> float:
        """AP, in percent; 0 where there is nothing to find."""
        return 0.0 if np.isnan(self.evaluation.ap) else self.evaluation.ap


class Detection(Task):
    """See `export.tasks.Task`."""

    metric = "AP"
    how_shown = (
        f"Bands are what the file found (score {SHOWN_SCORE:g} or more), dashes what is there."
    )

    @functools.cached_property
    def spec(self) -> DetectorSpec:
        """What the run's detector gives."""
        return DetectorSpec.from_dict(self.run.info["detector"])

    @functools.cached_property
    def dataset(self) -> ObjectDataset:
        """The run's data; raises InputError if it is gone or has changed."""
        dataset = scan_objects(self.run.info["request"]["data"], seed=self.config.seed)
        check_fingerprint(self.run, dataset.fingerprint)
        skipped = set(self.run.info["dataset"]["skipped"])
        return dataset.each(lambda split: _without(split, skipped))

    @property
    def held_out(self) -> ObjectSplit:
        """Pictures that figures are measured on."""
        return self.dataset.held_out

    @functools.cached_property
    def _train(self) -> ObjectSplit:
        return choosing(self.dataset, self.config.validation_fraction, self.config.seed).train

    def check(self, variant: Variant) -> None:
        trained = all(isinstance(step, Prune | Cluster | Qat) for step in variant.steps)
        taught = variant.fine_tuning is not None and variant.fine_tuning.teacher
        if not trained or taught or variant.mixed_bits or variant.tool == "converter":
            raise InputError(
                f"{variant.name}: for classifiers alone; detectors have float32, float16, "
                "dynamic_int8, weight_int8, weight_int4, int8 and int16x8, with prune, cluster and "
                "qat in front, and _raw behind"
            )

    def pictures(self) -> int:
        return len(self.held_out)

    def held_out_array(self) -> None:
        """The simulation is not asked: the file is, against the network that it was made of."""
        return

    def sample(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """By chance, without regard to what is in them; the labels are empty."""
        train = self._train
        order = np.random.default_rng(self.config.seed).permutation(len(train))
        chosen = train.take(np.sort(order[:count]))
        blocks = list(evaluation_pictures(chosen, self.run.preprocessing, len(chosen)))
        return np.concatenate(blocks), np.empty(0, np.int32)

    def lessons(self) -> DetectionLessons:
        return DetectionLessons(
            train=self._train,
            preprocessing=self.run.preprocessing,
            classes=len(self.run.labels),
            spec=self.spec,
        )

    def trainable(self, model: keras.Model) -> keras.Model:
        return detection_tflite.single_calls(model)

    def written(self, model: keras.Model) -> keras.Model:
        return with_scores(model, self.spec)

    def finished(self, data: bytes, end: str, variant: Variant) -> bytes:
        if variant.raw_outputs:
            return data
        if end == ".onnx":
            return append_nms(data, self.spec)
        return with_metadata(
            append_postprocess(data, self.spec),
            name=self.run.info["request"]["model"],
            description=f"Finds {len(self.run.labels)} classes of objects; {variant.description}",
            preprocessing=self.run.preprocessing,
            labels=self.run.labels,
        )

    def keras_answers(self, trained: Trained) -> Found:
        detect = keras_detect_fn(trained.model, trained.preprocessing, self.spec)
        return self._found(detect, "Keras on held-out pictures")

    def load(self, path: pathlib.Path) -> Detector:
        return load_detector(path, self.run.preprocessing, self.spec)

    def timed_picture(self) -> np.ndarray:
        """The first held-out one: what suppression costs depends on what is found."""
        return to_network(self.held_out.picture(0), self.run.preprocessing)

    def file_answers(self, path: pathlib.Path) -> tuple[Found, Detector]:
        detector = self.load(path)

        def detect(pictures: np.ndarray) -> list[Detections]:
            return [
                Detections(boxes=b, labels=c, scores=s) for b, c, s in detector.detect(pictures)
            ]

        return self._found(detect, f"{path.name} on held-out pictures"), detector

    def _found(self, detect: Any, title: str) -> Found:
        found = detections(detect, self.held_out, self.run.preprocessing, title=title)
        measured = evaluate_detections(found, self.held_out, self.run.labels)
        return Found(pictures=found, evaluation=measured)

    def verify(
        self, variant: Variant, answers: Found, reference: Found, half: Found | None
    ) -> Verdict:
        sides = self.run.preprocessing.input_shape[:2]
        against = reference if half is None else half
        exact, score = agreement(answers.pictures, against.pictures, sides, self.spec)
        found = share_found(answers.pictures, reference.pictures)
        if answers.evaluation.broken:
            fits, rule = False, f"{answers.evaluation.broken} detections are no numbers"
        elif variant.quantised:
            fits = found >= LEAST_FOUND
            rule = (
                f"finds {found:.1f}% of what Keras is sure of (score {SURE:g}), at IoU "
                f"{SAME_IOU:g}; at least {LEAST_FOUND:g}%"
            )
        else:
            whom = "Keras" if half is None else "float32 with kernels rounded to half"
            fits = exact >= LEAST_EXACT
            rule = (
                f"{exact:.2f}% of the detections are {whom}'s to {PIXELS:g} pixel and {SCORE:g} of "
                f"a score; at least {LEAST_EXACT:g}%"
            )
        return Verdict(
            fits=fits,
            agreement=found if variant.quantised else exact,
            max_logit_diff=score,
            rule=rule,
        )

    def kept(self, answers: Found, reference: Found, own: Found) -> dict[str, Any]:
        measured = answers.evaluation
        classes = {
            label: _number(ap)
            for label, ap in zip(self.run.labels, measured.per_class, strict=True)
        }
        return {
            **figures(measured),
            "per_class": classes,
            "matches": pack(measured.matches),
            "float_matches": pack(own.evaluation.matches),
        }

    def mistakes(self, answers: Found) -> tuple[int, list[dict[str, Any]]]:
        """Those with the most objects missed or falsely found, with what was found in them."""
        counted = []
        for index, found in enumerate(answers.pictures):
            sure = found.scores >= SHOWN_SCORE
            objects = self.held_out.objects(index)
            missed, wrong = errors(found, objects.boxes, objects.labels, objects.crowd)
            if missed or wrong:
                counted.append((missed + wrong, index, missed, wrong, found, sure))
        counted.sort(key=lambda row: (-row[0], row[1]))
        return len(counted), [
            {
                "index": index,
                "name": self.held_out.names[index],
                "missed": missed,
                "wrong": wrong,
                "boxes": np.round(found.boxes[sure], 4).tolist(),
                "labels": found.labels[sure].tolist(),
                "scores": np.round(found.scores[sure], 4).tolist(),
            }
            for _, index, missed, wrong, found, sure in counted[:_SHOWN]
        ]

    def shown(self, mistakes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        told = []
        for one in mistakes:
            found = Detections(
                boxes=np.array(one["boxes"], np.float32).reshape(-1, 4),
                labels=np.array(one["labels"], np.int32),
                scores=np.array(one["scores"], np.float32),
            )
            told.append({
                "picture": example(self.held_out, one["index"], found, self.run.labels),
                "name": one["name"],
                "counted": f"{one['missed']} missed, {one['wrong']} wrong",
            })  # fmt: skip
        return told

    def description(self, variant: Variant, end: str) -> dict[str, Any]:
        spec, anchors = self.spec, self.spec.anchors.count
        if variant.raw_outputs:
            columns = len(self.run.labels) + spec.background
            outputs = [
                {"name": "boxes", "shape": [1, anchors, 4], "type": "float32", "meaning": _CODES},
                {
                    "name": "scores",
                    "shape": [1, anchors, columns],
                    "type": "float32",
                    "meaning": "probabilities" + (", background first" if spec.background else ""),
                },
            ]
        else:
            most = spec.max_detections
            shapes = ([1, most, 4], [1, most], [1, most], [1])
            label, count = ("int64", "int32") if end == ".onnx" else ("float32", "float32")
            kinds = ("float32", label, "float32", count)
            outputs = [
                {"name": name, "shape": shape, "type": kind, "meaning": _MEANINGS[name]}
                for name, shape, kind in zip(DETECTIONS, shapes, kinds, strict=True)
            ]
        return {
            "outputs": outputs,
            "detector": spec.to_dict(),
            "category_ids": list(self.run.info["category_ids"]),
        }


_CODES = (
    "dy, dx, dh, dw against the anchors, times box_scales: "
    "dy = (centre_y - anchor_y) / anchor_height, dh = log(height / anchor_height)"
)
_MEANINGS = {
    "boxes": "top, left, bottom, right as shares of the picture's height and width",
    "labels": "index into labels",
    "scores": "0 to 1, the best first",
    "count": "how many of them are detections",
}


def agreement(
    found: Sequence[Detections],
    wanted: Sequence[Detections],
    sides: tuple[int, int],
    spec: DetectorSpec,
) -> tuple[float, float]:
    """How far two sets of detections are the same.

    Detections whose score is as near to the lowest that counts as two may differ are left out: they
    may be in one set and not in the other.

    Returns:
        Percent of the detections of both that have one of the same class in the other, with edges
        to `PIXELS` and a score to `SCORE`; and the largest difference of scores among these.
    """
    same = total = 0
    furthest = 0.0
    for one, other in zip(found, wanted, strict=True):
        full = max(len(one), len(other)) >= spec.max_detections
        lowest = min([*one.scores, *other.scores]) if full else spec.score_threshold
        pairs = _same(one, other, np.tile(sides, 2))
        gaps = np.abs(one.scores[:, None] - other.scores[None])
        if pairs.any():
            furthest = max(furthest, float(gaps[pairs].max()))
        for scores, has in ((one.scores, pairs.any(axis=1)), (other.scores, pairs.any(axis=0))):
            counts = np.asarray(scores > lowest + SCORE)
            same += int(np.asarray(has)[counts].sum())
            total += int(counts.sum())
    return (100 * same / total if total else 100.0), furthest


def _same(one: Detections, other: Detections, sides: np.ndarray) -> np.ndarray:
    """(d, e) bool."""
    edges = np.abs((one.boxes[:, None] - other.boxes[None]) * sides).max(axis=-1, initial=0.0)
    scores = np.abs(one.scores[:, None] - other.scores[None])
    labels = one.labels[:, None] == other.labels[None]
    return (edges <= PIXELS) & (scores <= SCORE) & labels


def share_found(found: Sequence[Detections], wanted: Sequence[Detections]) -> float:
    """Percent of the sure ones of `wanted` that `found` has, of the class and at IoU 0.5.

    Half of the score is enough: what is sure may fall a little.
    """
    hits = total = 0
    for one, other in zip(found, wanted, strict=True):
        sure = other.scores >= SURE
        overlap = np_iou(other.boxes[sure], one.boxes) >= SAME_IOU
        labels = other.labels[sure][:, None] == one.labels[None]
        hits += int((overlap & labels & (one.scores >= SURE / 2)[None]).any(axis=1).sum())
        total += int(sure.sum())
    return 100 * hits / total if total else 100.0


def errors(
    found: Detections, boxes: np.ndarray, labels: np.ndarray, crowd: np.ndarray
) -> tuple[int, int]:
    """Objects missed and detections wrong among those from `SHOWN_SCORE` on, at IoU 0.5.

    The best detection takes the object that it overlaps most with; what lies on a crowd is not
    counted.
    """
    sure = found.scores >= SHOWN_SCORE
    overlap = np_iou(found.boxes[sure], boxes)
    right = (found.labels[sure][:, None] == labels[None]) & (overlap >= SAME_IOU)
    free: np.ndarray = ~np.asarray(crowd)
    wrong = 0
    for row, fits in enumerate(right):
        if (fits & free).any():
            free[int(np.argmax(np.where(fits & free, overlap[row], -1.0)))] = False
        elif not (overlap[row, crowd] >= SAME_IOU).any():
            wrong += 1
    return int(free.sum()), wrong


def np_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n, 4) and (m, 4) to (n, m), in NumPy; 0 for boxes without area."""
    top_left = np.maximum(boxes[:, None, :2], others[None, :, :2])
    bottom_right = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(bottom_right - top_left, 0, None).prod(axis=-1)
    areas = [np.clip(b[:, 2:] - b[:, :2], 0, None).prod(axis=-1) for b in (boxes, others)]
    union = areas[0][:, None] + areas[1][None] - shared
    result: np.ndarray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return result


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _without(split: ObjectSplit, names: set[str]) -> ObjectSplit:
    """The split less the pictures that could not be read."""
    if not names:
        return split
    return split.take([i for i, name in enumerate(split.names) if name not in names])
