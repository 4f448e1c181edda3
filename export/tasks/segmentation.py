"""Files of segmentation networks: a class for every pixel."""

from __future__ import annotations

import dataclasses
import pathlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from export.artefacts.open_file import OpenFile
from export.artefacts.variants import Variant
from export.graph.signature import MAP, OUTPUT_NAME
from export.onnx import argmax as onnx_argmax
from export.runtime.segmenters import Segmenter, load_segmenter, palette
from export.runtime.verify import (
    NO,
    NOT_VERIFIED,
    YES,
    ByClass,
    Verdict,
    bounded,
)
from export.tasks.comparison import Comparison, OfMaps
from export.tasks.fine_tuning import FineTuningData
from export.tasks.placed import PlacedTask
from export.tasks.trained import Trained
from export.tflite import argmax as tflite_argmax
from export.tflite.model import TFLiteModel
from training.common import packed
from training.common.wording import counted
from training.datasets.segmentation import VOID, SegmentationSplit
from training.engine.config import TrainConfig
from training.engine.devices import SINGLE
from training.engine.run import Run
from training.engine.teacher import TeacherNetwork
from training.segmentation.batches import SegmentationTrainingData
from training.segmentation.distillation import SegmentationDistillation, SegmentationTeacher
from training.segmentation.drawing import legend
from training.segmentation.evaluate import (
    SegmentFn,
    evaluate_segmenter,
    keras_segment_fn,
    maps,
)
from training.segmentation.examples import example
from training.segmentation.fit import fit_segmenter
from training.segmentation.losses import SegmentationLoss, count_pixels
from training.segmentation.metrics import (
    SegmentationEvaluation,
    evaluate_maps,
    miou_interval,
    of_counts,
    pack_counts,
)
from training.segmentation.train import figures

# Percent of the pixels that a float file has as its network, but for classes that are equally
# likely to the last bits; and points of mean IoU.
LEAST_EXACT, MOST_IOU = 99.9, 0.2
# Quantised files change contours, or something broke. Most pictures are background: a file that
# finds nothing else would have most pixels right.
LEAST_SAME, LEAST_RARE = 95.0, 90.0
# And one that finds more than there is would have all of that right: so the overlap of the maps,
# in the mean of the classes that have so many of the pixels.
LEAST_IOU, LEAST_PIXELS = 80.0, 0.001
_SHOWN = 24
_SHOWN_SIDE = 240  # pixels, of maps that are kept to be shown
_GAP = 8


class PackedMaps:
    """Label maps, each deflated: those of thousands of pictures would not fit into memory.

    Args:
        maps: (h, w) uint8 each.
    """

    def __init__(self, maps: Iterable[np.ndarray] = ()) -> None:
        self._maps = [self._packed(one) for one in maps]

    def keeping(self, maps: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The same maps; each is kept on its way."""
        for one in maps:
            self._maps.append(self._packed(one))
            yield one

    def __len__(self) -> int:
        return len(self._maps)

    def __getitem__(self, index: int) -> np.ndarray:
        data, shape = self._maps[index]
        return np.frombuffer(zlib.decompress(data), np.uint8).reshape(shape)

    @staticmethod
    def _packed(one: np.ndarray) -> tuple[bytes, tuple[int, ...]]:
        return zlib.compress(np.ascontiguousarray(one, np.uint8).tobytes(), 1), one.shape


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationAnswers:
    """The map of every held-out picture, at its own size, and the figures of them."""

    maps: PackedMaps
    evaluation: SegmentationEvaluation

    @property
    def value(self) -> float:
        """Mean IoU, in percent; 0 where no pixel counts."""
        return 0.0 if np.isnan(self.evaluation.miou) else self.evaluation.miou


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationFineTuningData(FineTuningData):
    """What every fine-tuning of a segmentation network learns from.

    Attributes:
        output_size: (h', w') of its answer.
        loss: of its logits.
        pixels: (c,) of each class in the images.
    """

    train: SegmentationSplit
    output_size: tuple[int, int]
    loss: SegmentationLoss
    pixels: np.ndarray

    def training_data(self, config: TrainConfig) -> SegmentationTrainingData:
        """See `FineTuningData.training_data`."""
        return SegmentationTrainingData(
            split=self.train,
            preprocessing=self.preprocessing,
            classes=self.loss.classes,
            config=config,
            output_size=self.output_size,
        )

    def targeted(self, config: TrainConfig) -> Callable[..., tuple]:
        """Normalised images, and (n, h', w', 2) float32 classes and weights.

        Behind them stand the teacher's logits, if there is one.
        """
        answers = None if self.teacher is None else self._teacher_maps

        def target(batch: dict[str, tf.Tensor]) -> tuple:
            classes = tf.cast(batch["gt_map"], tf.float32)
            weights = batch.get("gt_weights", tf.ones_like(classes))
            pictures = tf.cast(batch["pictures"], tf.float32)
            wanted = tf.stack([classes, weights], axis=-1)
            pictures = self.preprocessing.normalise_floats(pictures)
            if answers is not None:
                wanted = tf.concat([wanted, *answers(pictures)], axis=-1)
            return pictures, wanted

        return target

    def compiled(self, config: TrainConfig) -> dict[str, Any]:
        """The loss."""
        if self.teacher is not None:
            taught = SegmentationDistillation.of(self.loss, config)
            return {"loss": lambda y, x: taught(y[..., 0], x, y[..., 2:], y[..., 1])}

        def loss(wanted: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
            return self.loss(wanted[..., 0], logits, wanted[..., 1])

        return {"loss": loss}

    def _teacher_maps(self, pictures: tf.Tensor) -> list[tf.Tensor]:
        """The teacher's logits, at the size of this network's answer."""
        assert self.teacher is not None
        return [
            each if tuple(each.shape[1:3]) == self.output_size
            else tf.image.resize(each, self.output_size)
            for each in self.teacher.answers(pictures)
        ]  # fmt: skip

    def train_on(self, model: keras.Model, config: TrainConfig, folder: pathlib.Path) -> None:
        """See `FineTuningData.train_on`."""
        fit_segmenter(
            model,
            self.training_data(config),
            None,
            classes=[str(number) for number in range(self.loss.classes)],  # what names would be for
            folder=folder,
            history_file=folder.parent / "history.csv",
            placement=SINGLE,
            pixels=self.pixels,
            teacher=self.teacher,
        )


class Segmentation(PlacedTask[SegmentationSplit]):
    """See `export.tasks.base.Task`."""

    how_shown = "On the left the true mask, on the right the predicted one."

    def teacher(self, run: Run) -> TeacherNetwork:
        return SegmentationTeacher.open(
            run, classes=self.run.labels, student=self.run.preprocessing
        )

    @property
    def _output_size(self) -> tuple[int, int]:
        height, width = self.run.info["segmenter"]["output_size"]
        return int(height), int(width)

    def fine_tuning_data(self) -> SegmentationFineTuningData:
        train = self.train
        pixels = count_pixels(train, len(self.run.labels))
        return SegmentationFineTuningData(
            train=train,
            preprocessing=self.run.preprocessing,
            output_size=self._output_size,
            loss=SegmentationLoss.of(self.config, pixels),
            pixels=pixels,
        )

    def extend(self, file: OpenFile, end: str, variant: Variant) -> None:
        if not variant.raw_outputs:
            argmax = onnx_argmax if end == ".onnx" else tflite_argmax
            file.apply(argmax.append_argmax, name=MAP)

    def network_ends(self, file: TFLiteModel) -> Mapping[str, int]:
        if OUTPUT_NAME in file.output_places():
            return super().network_ends(file)
        return tflite_argmax.network_ends(file, name=OUTPUT_NAME)

    def keras_answers(self, trained: Trained) -> SegmentationAnswers:
        return self._found(self.keras_function(trained), "Keras on held-out images")

    def keras_function(self, trained: Trained) -> SegmentFn:
        return keras_segment_fn(trained.model, trained.preprocessing)

    def function_of(self, runtime: Segmenter) -> SegmentFn:
        return runtime.segment

    def on_validation(self, function: SegmentFn, title: str) -> float:
        assert self.validation is not None
        found = evaluate_segmenter(
            *(function, self.validation, self.run.preprocessing, self.run.labels),
            boundaries=False,
            title=title,
        )
        return found.miou

    def comparison(self) -> Comparison:
        def overlap(found: np.ndarray, wanted: np.ndarray) -> float:
            return agreement(PackedMaps(found), PackedMaps(wanted), len(self.run.labels))[1]

        return OfMaps(lambda path: self.load(path).segment, overlap)

    def load(self, path: pathlib.Path) -> Segmenter:
        return load_segmenter(path, self.run.preprocessing)

    def file_answers(self, path: pathlib.Path) -> tuple[SegmentationAnswers, Segmenter]:
        segmenter = self.load(path)
        return self._found(segmenter.segment, f"{path.name} on held-out images"), segmenter

    def _found(self, segment: SegmentFn, title: str) -> SegmentationAnswers:
        kept = PackedMaps()
        found = maps(segment, self.held_out, self.run.preprocessing, title=title)
        measured = evaluate_maps(kept.keeping(found), self.held_out, self.run.labels)
        return SegmentationAnswers(maps=kept, evaluation=measured)

    def verify(
        self,
        variant: Variant,
        answers: SegmentationAnswers,
        reference: SegmentationAnswers,
        half: SegmentationAnswers | None,
    ) -> Verdict:
        against = reference if half is None else half
        same, iou = agreement(answers.maps, against.maps, len(self.run.labels))
        if variant.quantised:
            # A share of nothing is no number, and below nothing.
            low = (same.overall < LEAST_SAME, same.outside < LEAST_RARE, iou < LEAST_IOU)
            holds = not any(low)
            rule = (
                f"{same.overall:.2f}% of the pixels have Keras' class, at least {LEAST_SAME:g}%; "
                f"of those outside of its commonest one {same.outside:.2f}%, at least "
                f"{LEAST_RARE:g}%; IoU with Keras' maps {iou:.2f}% in the mean of the classes, at "
                f"least {LEAST_IOU:g}%"
            )
        else:
            whom = "Keras" if half is None else "float32 with kernels rounded to half"
            points = abs(answers.value - against.value)
            holds = not same.overall < LEAST_EXACT and points <= MOST_IOU
            rule = (
                f"{same.overall:.3f}% of the pixels have the class of {whom}, at least "
                f"{LEAST_EXACT:g}%, and mIoU is {points:.2f} points off, at most {MOST_IOU:g}"
            )
        verified = YES if holds else NO
        if holds and same.classes < 2:
            verified, rule = NOT_VERIFIED, "Keras gives all pixels one class: nothing to compare"
        verdict = Verdict(
            verified=verified,
            agreement=same.overall if same.count else 100.0,
            max_logit_diff=_furthest(answers.evaluation, reference.evaluation),
            rule=rule,
        )
        return bounded(
            *(verdict, self.metric, reference.value - answers.value),
            lambda: miou_interval(reference.evaluation.counts, answers.evaluation.counts),
        )

    def kept(
        self, answers: SegmentationAnswers, reference: SegmentationAnswers, own: SegmentationAnswers
    ) -> dict[str, Any]:
        measured = answers.evaluation
        classes = zip(self.run.labels, measured.per_class, strict=True)
        return {
            **figures(measured),
            "per_class": {label: _number(iou) for label, iou in classes},
            "counts": pack_counts(measured.counts),
            "float_counts": pack_counts(own.evaluation.counts),
        }

    def mistakes(self, answers: SegmentationAnswers) -> tuple[int, list[dict[str, Any]]]:
        """Those with any pixel wrong, and the maps of those with the lowest mean IoU."""
        counts = answers.evaluation.counts
        wrong = np.flatnonzero((counts[..., 0] < counts[..., 1:].max(axis=-1)).any(axis=-1))
        single = {int(i): of_counts(counts[i : i + 1]) for i in wrong}
        worst = sorted(single, key=lambda index: (single[index].miou, index))[:_SHOWN]
        return len(wrong), [
            {
                "index": index,
                "name": self.picture_name(self.held_out.names[index]),
                "miou": round(single[index].miou, 1),
                "worst": self.run.labels[int(np.nanargmin(single[index].per_class))],
                "worst_iou": round(float(np.nanmin(single[index].per_class)), 1),
                "map": _written(answers.maps[index]),
            }
            for index in worst
        ]

    def shown(self, mistakes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        colours = palette(self.run.info)
        examples = []
        for one in mistakes:
            picture = self.held_out.picture(one["index"])
            truth, found = self.held_out.label_map(one["index"]), _read(one["map"])
            _plain, left, right = example(picture, truth, found, self.run.labels, colours)
            gap = np.full((left.shape[0], _GAP, 3), 255, np.uint8)
            pair = np.concatenate([left, gap, right], axis=1)
            present = np.union1d(truth, found)
            below = legend(present, self.run.labels, pair.shape[1], colours)
            examples.append({
                "picture": np.concatenate([pair, below]),
                "name": one["name"],
                "counted": f"mIoU {one['miou']:.0f}%; "
                f"worst: {one['worst']}, {one['worst_iou']:.0f}%",
                "pair": True,
            })  # fmt: skip
        return examples

    @property
    def purpose(self) -> str:
        return f"Gives every pixel one of {counted(len(self.run.labels), 'class')}"

    def outputs(self, variant: Variant, end: str) -> list[dict[str, Any]]:
        shape = [None if end == ".onnx" else 1, *self._output_size]
        if variant.raw_outputs:
            shape, kind = [*shape, len(self.run.labels)], "float32"
            output = {"name": OUTPUT_NAME, "shape": shape, "type": kind, "meaning": "logits"}
        else:
            meaning = "index into labels"
            output = {"name": MAP, "shape": shape, "type": "int32", "meaning": meaning}
        return [output]

    def decoding(self, variant: Variant) -> dict[str, Any]:
        kind = "map_logits" if variant.raw_outputs else "map"
        colours = self.run.info["segmenter"].get("palette")
        return {"kind": kind, **({"palette": colours} if colours else {})}

    def description(self, variant: Variant, end: str) -> dict[str, Any]:
        (output,) = self.outputs(variant, end)
        return {"output": output, "segmenter": dict(self.run.info["segmenter"])}


def agreement(found: PackedMaps, wanted: PackedMaps, classes: int) -> tuple[ByClass, float]:
    """How far two sets of maps are the same; pixels that `wanted` has `VOID` do not count.

    Returns:
        Pixels of the same class, by the class of `wanted`; and the mean IoU of the two sets, in
        percent, over the classes with at least `LEAST_PIXELS` of the pixels of `wanted`.
    """
    same, total, there = (np.zeros(classes, np.int64) for _ in range(3))
    for index in range(len(wanted)):
        one, other = found[index], wanted[index]
        total += _histogram(other, classes)
        same += _histogram(other[one == other], classes)
        there += _histogram(one[other != VOID], classes)
    counted = total > max(0.0, LEAST_PIXELS * total.sum() - 1)
    ious = 100 * same[counted] / (total + there - same)[counted]
    return ByClass(same=same, total=total), float(ious.mean()) if len(ious) else 100.0


def _histogram(label_map: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(label_map.ravel(), minlength=VOID + 1)[:classes]


def _furthest(one: SegmentationEvaluation, other: SegmentationEvaluation) -> float:
    """The largest difference of a class's IoU, in points; a class that is nowhere has none."""
    return float(np.abs(np.nan_to_num(one.per_class) - np.nan_to_num(other.per_class)).max())


def _written(label_map: np.ndarray) -> dict[str, Any]:
    """A map for a .json, in the size that it is shown in."""
    image = Image.fromarray(label_map)
    scale = min(1.0, _SHOWN_SIDE / max(image.size))
    size = (max(1, round(scale * image.width)), max(1, round(scale * image.height)))
    small = np.asarray(image.resize(size, Image.Resampling.NEAREST))
    return {"size": list(small.shape), "classes": packed.integers(small)}


def _read(plain: dict[str, Any]) -> np.ndarray:
    height, width = plain["size"]
    values = packed.integers_of(plain["classes"], height * width)
    return values.astype(np.uint8).reshape(height, width)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
