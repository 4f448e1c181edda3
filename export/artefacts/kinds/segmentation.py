"""Files of segmentation networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from export.artefacts.kinds.base import (
    OWN_ANSWERS,
    Kind,
    refuse_probabilities,
    refuse_without_labels,
)
from export.artefacts.variants import Variant
from training.engine.floor import class_facts
from training.engine.own_answers import agreement_of, is_agreement
from training.segmentation import floor


class SegmentationKind(Kind):
    """See `Kind`."""

    metrics = ("mIoU", agreement_of("mIoU"))
    class_metric = "IoU"
    reconstructed = True
    agreed = (
        "intersection over union of the file's masks and the imported network's, all held-out "
        "images together, in its own runtime; the mean over classes"
    )
    columns: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "Accuracy, %": {
            "title": "mIoU, %",
            "meaning": "intersection over union of the file's masks and the true ones, all "
            "held-out images together, in its own runtime; the mean over classes",
        },
        "Same top-1, %": {
            "title": "Same pixels, %",
            "meaning": "share of the pixels that the file gives the class that the Keras model "
            "does",
        },
        "Logit difference": {
            "title": "IoU difference",
            "meaning": "largest difference of a class's IoU from the Keras model's, in points",
        },
    }
    decodings: ClassVar[Mapping[str, str]] = {
        "map": "a class for each pixel, as it is",
        "map_logits": "logits of each pixel, of which the largest is the class",
    }
    predicted = "export.runtime.predictors:Segmenter"
    asked = frozenset({"out"})
    scorer = "export.tools.scorers:Segmentation"

    def check(self, variant: Variant, info: Mapping[str, Any]) -> None:
        """All but those of other outputs, and those that train where images have no masks."""
        refuse_probabilities(variant)
        refuse_without_labels(variant, info)

    def answers(self, evaluation: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Counts of pixels by image and class."""
        from training.segmentation.metrics import unpack_counts  # `info` needs none of it

        return unpack_counts(evaluation["float_counts"]), unpack_counts(evaluation["counts"])

    def drop_interval(self, before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
        """See `training.segmentation.metrics.miou_interval`."""
        from training.segmentation.metrics import miou_interval

        return miou_interval(before, after)

    def below_floor(
        self, evaluation: Mapping[str, Any], classes: int, *, imported: bool = False
    ) -> str | None:
        """Against one class everywhere."""
        from training.segmentation.metrics import TRUTH

        if is_agreement(evaluation.get("metric")):
            return None
        pixels = self.answers(evaluation)[1][..., TRUTH].sum(axis=0)
        facts = class_facts(pixels)
        there, majority = facts["classes"], facts["majority"]
        value = evaluation["value"]
        return floor.below_floor(value, classes=there, majority=majority, imported=imported)

    def keras_figure(self, results: Mapping[str, Any]) -> str:
        """The mean over classes."""
        if is_agreement(results["metric"]):
            return f"{OWN_ANSWERS} ({results['metric']})"
        return f"mIoU {results['held_out']:.1f}%"
