"""Files of one-stage detectors: boxes with classes and scores."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
import tf_keras

from export.artefacts.open_file import OpenFile
from export.artefacts.variants import Variant
from export.graph.detection import single_calls, with_scores
from export.graph.signature import COUNT
from export.onnx.postprocess import append_nms
from export.tasks.detectors import DetectorTask
from export.tasks.fine_tuning import FineTuningData
from export.tasks.packed_truth import Packed, joined_outputs
from export.tflite import postprocess
from export.tflite.model import TFLiteModel
from export.tflite.postprocess import append_postprocess
from kerascnn.detection.specs import QUALITY_FOCAL, DetectorSpec
from training.datasets.detection import DetectionSplit
from training.detection.batches import DetectionTrainingData
from training.detection.distillation import (
    DetectionDistillation,
    QualityDistillation,
    open_teacher,
)
from training.detection.fit import fit_detector
from training.detection.loss_of_spec import loss_of
from training.detection.losses import DetectionLoss
from training.detection.quality_losses import QualityLoss
from training.engine.config import TrainConfig
from training.engine.devices import SINGLE
from training.engine.run import Run
from training.engine.teacher import TeacherNetwork


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DetectionFineTuningData(FineTuningData):
    """What every fine-tuning of a detector learns from.

    Attributes:
        classes: how many there are.
        spec: of the detector; gives its loss.
    """

    train: DetectionSplit
    classes: int
    spec: DetectorSpec

    def training_data(self, config: TrainConfig) -> DetectionTrainingData:
        """See `FineTuningData.training_data`."""
        return DetectionTrainingData(
            split=self.train,
            preprocessing=self.preprocessing,
            classes=self.classes,
            config=config,
        )

    def trained_form(self, model: tf_keras.Model) -> tf_keras.Model:
        """One output with boxes and logits, where targets depend on both."""
        return joined_outputs(model) if self._dynamic else model

    def targeted(self, config: TrainConfig) -> Callable[..., tuple]:
        """Normalised images, and what `compiled` compares with the network's answers.

        Of anchors ((n, a, 5) box deltas and label of each anchor, (n, a, 1) labels), behind which
        stand the teacher's deltas and logits, if there is one. Where targets depend on what the
        network says, one tensor (`Packed`).
        """
        loss, packed = loss_of(self.spec), self._packed
        answers = None if self.teacher is None else self.teacher.answers

        def target(batch: dict[str, tf.Tensor]) -> tuple:
            truth = (batch["gt_boxes"], batch["gt_labels"], batch["gt_crowd"])
            pictures = tf.cast(batch["pictures"], tf.float32)
            pictures = self.preprocessing.normalise_floats(pictures)
            taught = [] if answers is None else answers(pictures)
            if not isinstance(loss, DetectionLoss):
                return pictures, packed.pack(truth, taught)
            wanted, labels = loss.targets(*truth)
            labels = tf.cast(labels[..., None], tf.float32)
            boxes = tf.concat([wanted, labels, *taught[:1]], axis=-1)
            return pictures, (boxes, tf.concat([labels, *taught[1:]], axis=-1))

        return target

    def compiled(self, config: TrainConfig) -> dict[str, Any]:
        """The loss of each of the two outputs; or one of both, see `trained_form`."""
        loss = loss_of(self.spec)
        if not isinstance(loss, DetectionLoss):
            return {"loss": _of_both(loss, self, config)}
        if self.teacher is not None:
            return {"loss": _taught(DetectionDistillation.of(loss, config))}

        def boxes(wanted: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
            return loss.of_boxes(wanted[..., :4], tf.cast(wanted[..., 4], tf.int32), codes)

        def classes(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
            return loss.of_classes(tf.cast(labels[..., 0], tf.int32), logits)

        return {"loss": [boxes, classes]}

    def score_loss(self, config: TrainConfig) -> Callable[[Any, Sequence[Any]], Any]:
        """See `FineTuningData.score_loss`."""
        if not self._dynamic:
            return super().score_loss(config)
        loss = self.compiled(config)["loss"]
        return lambda truth, outputs: loss(truth, tf.concat(list(outputs), axis=-1))

    @property
    def _dynamic(self) -> bool:
        """Whether what a point is to answer depends on what it answers."""
        return self.spec.loss == QUALITY_FOCAL

    @property
    def _packed(self) -> Packed:
        return Packed(
            objects=DetectionTrainingData.most_objects,
            points=self.spec.anchors.count,
            classes=self.classes,
        )

    def train_on(self, model: keras.Model, config: TrainConfig, folder: pathlib.Path) -> None:
        """See `FineTuningData.train_on`."""
        fit_detector(
            model,
            self.spec,
            self.training_data(config),
            None,
            classes=[str(number) for number in range(self.classes)],  # what names would be for
            folder=folder,
            history_file=folder.parent / "history.csv",
            placement=SINGLE,
            teacher=self.teacher,
        )


def _of_both(
    loss: QualityLoss, data: DetectionFineTuningData, config: TrainConfig
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """The sum of both losses, of what `Packed.pack` made and of `joined_outputs`."""
    taught = None if data.teacher is None else QualityDistillation.of(loss, config)
    packed = data._packed

    def both(wanted: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        truth, teacher = packed.unpack(wanted)
        codes, logits = outputs[..., :4], outputs[..., 4:]
        if taught is not None:
            boxes, classes = taught.both(truth, codes, logits, teacher)
        else:
            boxes, classes = loss.both(truth, codes, logits)
        return boxes + classes

    return both


def _taught(loss: DetectionDistillation) -> list[Callable[[tf.Tensor, tf.Tensor], tf.Tensor]]:
    """Of each output, where a teacher's answers stand behind the targets."""

    def boxes(wanted: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        labels = tf.cast(wanted[..., 4], tf.int32)
        return loss.of_boxes(wanted[..., :4], labels, codes, wanted[..., 5:])

    def classes(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        return loss.of_classes(tf.cast(labels[..., 0], tf.int32), logits, labels[..., 1:])

    return [boxes, classes]


class OneStageDetection(DetectorTask):
    """See `export.tasks.base.Task`."""

    @functools.cached_property
    def spec(self) -> DetectorSpec:
        return DetectorSpec.from_dict(self.run.info["detector"])

    @property
    def file_spec(self) -> DetectorSpec:
        return self.spec.in_files

    def fine_tuning_data(self) -> DetectionFineTuningData:
        return DetectionFineTuningData(
            train=self.train,
            preprocessing=self.run.preprocessing,
            classes=len(self.run.labels),
            spec=self.spec,
        )

    def teacher(self, run: Run) -> TeacherNetwork:
        return open_teacher(
            run, classes=self.run.labels, student=self.run.preprocessing, spec=self.spec
        )

    def trainable(self, model: keras.Model) -> keras.Model:
        return single_calls(model)

    def written(self, model: keras.Model) -> keras.Model:
        return with_scores(model, self.spec)

    def extend(self, file: OpenFile, end: str, variant: Variant) -> None:
        if not variant.raw_outputs:
            append = append_nms if end == ".onnx" else append_postprocess
            file.apply(append, spec=self.file_spec)

    def network_ends(self, file: TFLiteModel) -> Mapping[str, int]:
        if COUNT in file.output_places():
            return postprocess.network_ends(file)
        return super().network_ends(file)

    def decoding(self, variant: Variant) -> dict[str, Any]:
        if not variant.raw_outputs:
            return super().decoding(variant)
        return {"kind": "codes", **self.file_spec.to_dict()}

    def outputs(self, variant: Variant, end: str) -> list[dict[str, Any]]:
        if not variant.raw_outputs:
            return super().outputs(variant, end)
        spec, anchors = self.spec, self.spec.anchors.count
        columns = len(self.run.labels) + spec.background
        return [
            {"name": "boxes", "shape": [1, anchors, 4], "type": "float32", "meaning": _CODES},
            {
                "name": "scores",
                "shape": [1, anchors, columns],
                "type": "float32",
                "meaning": "probabilities" + (", background first" if spec.background else ""),
            },
        ]


_CODES = (
    "dy, dx, dh, dw against the anchors, times box_scales: "
    "dy = (centre_y - anchor_y) / anchor_height, dh = log(height / anchor_height)"
)
