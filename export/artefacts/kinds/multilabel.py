"""Files of classifiers of several labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from export.artefacts.kinds.base import Kind
from export.artefacts.kinds.classification import check_classifier
from export.artefacts.variants import Variant
from training.common import packed
from training.multilabel import floor, metrics


class MultilabelKind(Kind):
    """See `Kind`."""

    metrics = ("mAP",)
    class_metric = "AP"
    reconstructed = True
    columns: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "Agreement": {
            "title": "Agreement",
            "meaning": "share of the labels of the file and of the Keras model that both give "
            "(harmonic mean)",
        },
    }
    decodings: ClassVar[Mapping[str, str]] = {
        "sigmoid": "sigmoid of logits; labels are those from the threshold on",
        "scores": "scores as they are, sigmoid is inside; labels are those from the threshold on",
    }
    predicted = "export.runtime.predict_labels:Labeller"
    asked = frozenset({"top", "score", "out"})
    scorer = "export.tools.multilabel_scorer:Multilabel"

    def check(self, variant: Variant, info: Mapping[str, Any]) -> None:
        """As `ClassificationKind.check`."""
        check_classifier(variant, info)

    def answers(
        self, evaluation: Mapping[str, Any]
    ) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """Two of (n, c) ranks of images by each class's score, and (n, c) bool labels."""
        shape = evaluation["pictures"], evaluation["classes"]
        count = shape[0] * shape[1]
        truth = packed.flags_of(evaluation["truth"], count).reshape(shape)
        before, after = (
            packed.integers_of(evaluation[name], count).reshape(shape)
            for name in ("float_ranks", "ranks")
        )
        return (before, truth), (after, truth)

    def drop_interval(
        self, before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray]
    ) -> tuple[float, float]:
        """See `training.multilabel.metrics.map_interval`."""
        if not np.array_equal(before[1], after[1]):
            raise ValueError("labels of other images")
        return metrics.map_interval(before[0], after[0], after[1])

    def below_floor(
        self, evaluation: Mapping[str, Any], classes: int, *, imported: bool = False
    ) -> str | None:
        """Against rankings by chance."""
        return floor.below_floor(evaluation["value"], evaluation.get("map_by_luck"))

    def keras_figure(self, results: Mapping[str, Any]) -> str:
        """The mean over classes."""
        return f"mAP {results['held_out']:.1f}%"
