"""Files of one-stage detectors: boxes with classes and scores."""

from __future__ import annotations

import functools
from typing import Any

import keras

from export.artefacts.variants import Variant
from export.compress import allowed
from export.compress.finetune import DetectionFineTuningData
from export.onnx.detection import append_nms
from export.tasks.detectors import DetectorTask
from export.tflite import detection as detection_tflite
from export.tflite.detection import append_postprocess, with_scores
from kerascnn.detection.specs import DetectorSpec


class Detection(DetectorTask):
    """See `export.tasks.base.Task`."""

    @functools.cached_property
    def spec(self) -> DetectorSpec:
        return DetectorSpec.from_dict(self.run.info["detector"])

    def check(self, variant: Variant) -> None:
        allowed.detection(variant)

    def fine_tuning_data(self) -> DetectionFineTuningData:
        return DetectionFineTuningData(
            train=self.train,
            preprocessing=self.run.preprocessing,
            classes=len(self.run.labels),
            spec=self.spec,
        )

    def trainable(self, model: keras.Model) -> keras.Model:
        return detection_tflite.single_calls(model)

    def written(self, model: keras.Model) -> keras.Model:
        return with_scores(model, self.spec)

    def extended(self, data: bytes, end: str, variant: Variant) -> bytes:
        if variant.raw_outputs:
            return data
        append = append_nms if end == ".onnx" else append_postprocess
        return append(data, self.spec)

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
