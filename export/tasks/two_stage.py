"""Files of two-stage detectors: boxes with classes and scores, and masks of Mask R-CNN.

Suppression is inside them, as the second stage looks at what is left of the first.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import keras

from export.artefacts.kinds.detection import NO_LOSSES
from export.artefacts.open_file import OpenFile
from export.artefacts.variants import Variant
from export.graph.signature import MASKS
from export.graph.two_stage import with_suppression
from export.tasks.detectors import DetectorTask
from export.tflite.float_counts import give_float_counts
from kerascnn.detection.faster_rcnn import MASK_SIZE
from kerascnn.detection.specs import TwoStageSpec
from kerascnn.errors import InputError

_INT8 = "int8 up to the choice of regions, float with int8 weights from there on"


class TwoStageDetection(DetectorTask):
    """See `export.tasks.base.Task`."""

    integers: ClassVar[Mapping[str, tuple[str, str]]] = {
        ".tflite": ("float32", "float32"),
        ".onnx": ("int32", "int32"),
    }

    @functools.cached_property
    def spec(self) -> TwoStageSpec:
        return TwoStageSpec.from_dict(self.run.info["detector"])

    def fine_tuning_data(self) -> Any:
        raise InputError(NO_LOSSES)

    def written(self, model: keras.Model) -> keras.Model:
        return with_suppression(model)

    def extend(self, file: OpenFile, end: str, variant: Variant) -> None:
        if end == ".tflite":
            file.apply(give_float_counts)

    @property
    def purpose(self) -> str:
        return super().purpose + (" and their masks" if self.spec.masks else "")

    def written_as(self, variant: Variant) -> str:
        """Without the word that all of an int8 file is int8."""
        return variant.description.replace("int8 throughout", _INT8)

    def outputs(self, variant: Variant, end: str) -> list[dict[str, Any]]:
        outputs = super().outputs(variant, end)
        if self.spec.masks:
            outputs.append({
                "name": MASKS,
                "shape": [1, self.spec.max_detections, *(2 * side for side in MASK_SIZE)],
                "type": "float32",
                "meaning": "probabilities of the object's cells, in the frame of its box",
            })  # fmt: skip
        return outputs
