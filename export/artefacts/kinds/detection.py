"""Files of detectors, of one stage and of two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from export.artefacts.kinds.base import (
    OWN_ANSWERS,
    Kind,
    refuse_probabilities,
    refuse_without_labels,
    shared_steps,
)
from export.artefacts.variants import RECONSTRUCTED, Variant
from kerascnn.errors import InputError
from training.detection import floor
from training.engine.own_answers import agreement_of, is_agreement

_TWO_STAGE = ("float32", "float16", "dynamic_int8", "weight_int8", "int8")
_PLAIN_TWO_STAGE = tuple(f"plain_{name}" for name in _TWO_STAGE if name in RECONSTRUCTED)
NO_LOSSES = "steps that train have the losses of one-stage detectors alone"


class DetectionKind(Kind):
    """See `Kind`; `info["detector"]["stages"]` is 2 of a two-stage detector."""

    metrics = ("AP", "mask AP", agreement_of("AP"), agreement_of("mask AP"))
    reconstructed = True
    agreed = (
        "COCO's average precision, IoU 0.5 to 0.95, of the file in its own runtime on the held-out "
        "images, where what the imported network is sure of (score 0.3) is the truth"
    )
    columns: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "Accuracy, %": {
            "title": "AP, %",
            "meaning": "COCO's average precision, IoU 0.5 to 0.95, of the file in its own runtime "
            "on the held-out images",
        },
        "Same top-1, %": {
            "title": "Same detections, %",
            "meaning": "of a float file: detections equal to the Keras model's to a pixel and 0.01 "
            "of a score; of a quantised one: what the Keras model is sure of (score 0.3) and it "
            "finds too",
        },
        "Logit difference": {
            "title": "Score difference",
            "meaning": "largest difference of a score among detections that both have",
        },
    }
    decodings: ClassVar[Mapping[str, str]] = {
        "detections": "boxes, labels, scores and count, as they are",
        "codes": "boxes against anchors, to be decoded and suppressed",
    }
    predicted = "export.runtime.predictors:Detector"
    asked = frozenset({"score", "out"})
    scorer = "export.tools.scorers:Detection"

    def check(self, variant: Variant, info: Mapping[str, Any]) -> None:
        """Fewer where a second stage looks at what the first one found."""
        refuse_probabilities(variant)
        refuse_without_labels(variant, info)
        if _stages(info) == 2:
            _check_two_stage(variant)
        elif not shared_steps(variant, slim=True, taught=True) or variant.tool == "converter":
            raise InputError(
                f"{variant.name}: for classifiers only; detectors have float32, float16, "
                "dynamic_int8, weight_int8, weight_int4, mixed, int8 and int16x8, with distil, "
                "slim, prune, cluster and qat in front, and _raw behind"
            )

    def default(self, info: Mapping[str, Any]) -> tuple[str, ...]:
        """Of a two-stage detector all that it has."""
        return _TWO_STAGE if _stages(info) == 2 else super().default(info)

    def without_onnx(self, info: Mapping[str, Any]) -> str | None:
        """Soft suppression of a second stage: its graph is converted whole."""
        if _stages(info) == 2 and info["detector"].get("suppression") == "soft":
            return "ONNX has no operation for the soft suppression of a two-stage detector"
        return None

    def answers(self, evaluation: Mapping[str, Any]) -> tuple[Any, Any]:
        """What COCO's evaluation matched in each image."""
        from training.detection.metrics import unpack  # `info` needs none of it

        return unpack(evaluation["float_matches"]), unpack(evaluation["matches"])

    def drop_interval(self, before: Any, after: Any) -> tuple[float, float]:
        """See `training.detection.metrics.matches_interval`."""
        from training.detection.metrics import matches_interval

        return matches_interval(before, after)

    def below_floor(
        self, evaluation: Mapping[str, Any], classes: int, *, imported: bool = False
    ) -> str | None:
        """Below an AP of one percent."""
        if is_agreement(evaluation["metric"]):
            return None
        return floor.below_floor(evaluation["metric"], evaluation["value"], imported=imported)

    def keras_figure(self, results: Mapping[str, Any]) -> str:
        """With the AP at an IoU of 0.5."""
        metric, held_out = results["metric"], results["held_out"]
        if is_agreement(metric):
            return f"{OWN_ANSWERS} ({metric})"
        return f"{metric} {held_out:.1f}%, AP50 {results['ap50'] or 0:.1f}%"


def _stages(info: Mapping[str, Any]) -> int:
    return int(info["detector"].get("stages", 1))


def _check_two_stage(variant: Variant) -> None:
    if variant.name not in (*_TWO_STAGE, *_PLAIN_TWO_STAGE):
        raise InputError(
            f"{variant.name}: two-stage detectors have {', '.join(_TWO_STAGE[:-1])} and "
            f"{_TWO_STAGE[-1]}, the quantised ones as plain_ too; {_reason(variant)}"
        )


def _reason(variant: Variant) -> str:
    """Why there is no such file of a two-stage detector."""
    converter = variant.tool == "converter"
    reasons = (
        (variant.steps or variant.fine_tuning, NO_LOSSES),
        (
            variant.raw_outputs,
            "without suppression inside, their second stage has no regions to look at",
        ),
        (
            converter and variant.calibrated,
            "tf.lite's converter rounds the whole graph, with the coordinates and scores by which "
            "regions are chosen and read",
        ),
        (converter, "second opinions are for classifiers only"),
        (
            variant.activations == "int16",
            "accelerators with 16-bit activations want them throughout, which would round the "
            "coordinates by which regions are read, and no CPU's delegate has them",
        ),
        (
            variant.mixed_bits,
            "rounding the first stage moves the regions that the second one is judged on, so that "
            "no kernel's damage is its own",
        ),
        (
            variant.weight_bits == 4,
            "weights of 4 bits move boxes so far that a sixth of AP was lost where it was tried",
        ),
    )
    return next(why for holds, why in reasons if holds)
