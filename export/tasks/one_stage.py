"""Files of one-stage detectors: boxes with classes and scores."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from export.artefacts.open_file import OpenFile
from export.artefacts.variants import Variant
from export.graph.detection import single_calls, with_scores
from export.onnx.postprocess import append_nms
from export.tasks.detectors import DetectorTask
from export.tasks.fine_tuning import FineTuningData
from export.tflite.postprocess import append_postprocess
from kerascnn.detection.specs import DetectorSpec
from training.datasets.detection import DetectionSplit
from training.detection.batches import DetectionTrainingData
from training.detection.losses import DetectionLoss
from training.engine.config import TrainConfig


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

    def targeted(self, config: TrainConfig) -> Callable[..., tuple]:
        """Normalised images, ((n, a, 5) box deltas and label of each anchor, (n, a, 1) labels)."""
        loss = DetectionLoss(spec=self.spec)

        def target(batch: dict[str, tf.Tensor]) -> tuple:
            wanted, labels = loss.targets(batch["gt_boxes"], batch["gt_labels"], batch["gt_crowd"])
            labels = tf.cast(labels[..., None], tf.float32)
            pictures = tf.cast(batch["pictures"], tf.float32)
            boxes = tf.concat([wanted, labels], axis=-1)
            return self.preprocessing.normalise_floats(pictures), (boxes, labels)

        return target

    def compiled(self, config: TrainConfig) -> dict[str, Any]:
        """The loss of each of the two outputs."""
        loss = DetectionLoss(spec=self.spec)

        def boxes(wanted: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
            return loss.of_boxes(wanted[..., :4], tf.cast(wanted[..., 4], tf.int32), codes)

        def classes(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
            return loss.of_classes(tf.cast(labels[..., 0], tf.int32), logits)

        return {"loss": [boxes, classes]}


class OneStageDetection(DetectorTask):
    """See `export.tasks.base.Task`."""

    @functools.cached_property
    def spec(self) -> DetectorSpec:
        return DetectorSpec.from_dict(self.run.info["detector"])

    def fine_tuning_data(self) -> DetectionFineTuningData:
        return DetectionFineTuningData(
            train=self.train,
            preprocessing=self.run.preprocessing,
            classes=len(self.run.labels),
            spec=self.spec,
        )

    def trainable(self, model: keras.Model) -> keras.Model:
        return single_calls(model)

    def written(self, model: keras.Model) -> keras.Model:
        return with_scores(model, self.spec)

    def extend(self, file: OpenFile, end: str, variant: Variant) -> None:
        if not variant.raw_outputs:
            append = append_nms if end == ".onnx" else append_postprocess
            file.apply(append, spec=self.spec)

    def decoding(self, variant: Variant) -> dict[str, Any]:
        if not variant.raw_outputs:
            return super().decoding(variant)
        return {"kind": "codes", **self.spec.to_dict()}

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
