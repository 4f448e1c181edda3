"""Files of classifiers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from export.artefacts import significance
from export.artefacts.kinds.base import OWN_ANSWERS, Kind, refuse_without_labels
from export.artefacts.variants import Variant
from kerascnn.errors import InputError
from training.classification import floor
from training.engine.floor import class_facts
from training.engine.own_answers import AGREEMENT


class ClassificationKind(Kind):
    """See `Kind`."""

    metrics = ("accuracy", AGREEMENT)
    resamples = 10_000
    share_of_images = True
    agreed = "share of the held-out images that the file answers as the imported network does"
    reconstructed = True
    decodings: ClassVar[Mapping[str, str]] = {
        "logits": "softmax of logits",
        "probabilities": "probabilities as they are: softmax is inside",
    }
    predicted = "export.runtime.predictors:Classifier"
    asked = frozenset({"top", "out"})
    scorer = "export.tools.scorers:Classification"

    def check(self, variant: Variant, info: Mapping[str, Any]) -> None:
        """See `check_classifier`."""
        check_classifier(variant, info)

    def answers(self, evaluation: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Two (n,) bool, whether each image is answered right."""
        count = evaluation["pictures"]
        before, after = (
            significance.unpack(evaluation[name], count) for name in ("float_right", "right")
        )
        return before, after

    def drop_interval(self, before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
        """See `significance.drop_interval`."""
        return significance.drop_interval(before, after)

    def below_floor(
        self, evaluation: Mapping[str, Any], classes: int, *, imported: bool = False
    ) -> str | None:
        """By the images of each class; earlier versions did not write how many there are."""
        value = evaluation["value"]
        if evaluation.get("metric") == AGREEMENT:
            return None
        if images := evaluation.get("class_pictures"):
            balanced = evaluation.get("balanced_accuracy")
            return floor.below_floor(
                value, **class_facts(images), balanced=balanced, imported=imported
            )
        return floor.below_floor(value, classes=classes, imported=imported)

    def keras_figure(self, results: Mapping[str, Any]) -> str:
        """With the balanced accuracy, where it is known."""
        if results.get("metric") == AGREEMENT:
            return f"{OWN_ANSWERS} (agreement)"
        right = f"accuracy {results['held_out']:.1f}%"
        balanced = results.get("balanced_accuracy")
        return right if balanced is None else f"{right}, balanced accuracy {balanced:.1f}%"


def check_classifier(variant: Variant, info: Mapping[str, Any]) -> None:
    """Raise InputError for raw forms, and for training where images have no labels."""
    if variant.raw_outputs:
        raise InputError(
            f"{variant.name}: only detectors and segmentation networks have a raw form"
        )
    refuse_without_labels(variant, info)
