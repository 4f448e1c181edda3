"""The line that a training ends with: what the network is worth, in one sentence."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from training.classification.evaluate import unequal
from training.common.wording import counted
from training.engine import floor, summary

# Classes, up to which each one's recall is named; of more, those with the lowest.
_NAMED = 4
_LOWEST = 3
# Beside the metric itself, where a task has them.
_FIGURES = {
    **{"AP50": "ap50", "AP75": "ap75", "box AP": "box_ap"},
    **{"dice": "mean_dice", "boundary F1": "boundary_f1"},
}


def closing_line(info: Mapping[str, Any]) -> str:
    """A finished run's figures in words.

    Args:
        info: the contents of its run.json; those of earlier versions say less.
    """
    results = info["results"]
    pictures = info.get("dataset", {}).get("held_out")
    images = "the held-out images" if pictures is None else counted(pictures, "held-out image")
    if results["metric"] == "accuracy":
        parts = _of_classifier(results, images)
    else:
        parts = [_of_others(results, images)]
    return "; ".join([*parts, *_epoch(info)])


def recalls(per_class: Sequence[Mapping[str, Any]]) -> str:
    """As in "recall: defect 59.8%, ok 92.1%"; of many classes the lowest."""
    known, words = [one for one in per_class if one["recall"] is not None], "recall"
    if len(known) > _NAMED:
        # Of equal ones those that more images show first.
        known = sorted(known, key=lambda one: (one["recall"], -one["pictures"]))[:_LOWEST]
        words = "lowest recall"
    return f"{words}: " + ", ".join(
        f"{_isolated(one['label'])} {one['recall']:.1f}%" for one in known
    )


def _isolated(label: str) -> str:
    """A label that runs from right to left, so that it leaves the figure behind it in its place."""
    leftwards = any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in label)
    return f"\N{FIRST STRONG ISOLATE}{label}\N{POP DIRECTIONAL ISOLATE}" if leftwards else label


def _of_classifier(results: Mapping[str, Any], images: str) -> list[str]:
    right = f"{results['held_out']:.1f}% of {images} are right"
    per_class = results.get("per_class") or []
    if not unequal([one["pictures"] for one in per_class]):
        return [right]
    commonest = max(per_class, key=lambda one: one["pictures"])["label"]
    return [
        f"{right} (always answering {commonest!r}: {results['majority_baseline']:.1f}%)",
        f"balanced accuracy {results['balanced_accuracy']:.1f}%",
        recalls(per_class),
    ]


def _of_others(results: Mapping[str, Any], images: str) -> str:
    metric = results["metric"]
    figures = ", ".join(
        f"{name} {results[key]:.1f}%"
        for name, key in {metric: "held_out", **_FIGURES}.items()
        if results.get(key) is not None and not math.isnan(results[key])
    )
    return f"{figures or f'no {metric}'} on {images}"


def _epoch(info: Mapping[str, Any]) -> list[str]:
    """Which epoch's weights these are, where validation pictures chose it."""
    best = info["results"].get("best_epoch")
    epochs = info["results"].get("epochs") or (
        info.get("request", {}).get("config", {}).get("epochs")
    )
    if not (best and epochs and info.get("dataset", {}).get("validation")):
        return []
    if "chosen_by" in info["results"]:
        return [summary.closing(info["results"])]
    return [f"best epoch {best} of {epochs}"]


def below_floor(info: Mapping[str, Any]) -> str | None:
    """Why a finished run is of no use yet, with likely causes; None where it finds something.

    Args:
        info: the contents of its run.json. Earlier versions do not say how many held-out images
            each class has: then all count as equally common.
    """
    results, classes = info["results"], len(info["labels"])
    metric, value = results["metric"], results["held_out"]
    figure = math.nan if value is None else value
    if metric == floor.ACCURACY and (per_class := results.get("per_class")):
        facts = floor.class_facts([one["pictures"] for one in per_class])
        balanced = results["balanced_accuracy"]
        return floor.below_floor(metric, figure, **facts, balanced=balanced)
    majority = results.get("majority_baseline")
    return floor.below_floor(
        metric,
        figure,
        classes=results.get("classes_there", classes),
        majority=math.nan if majority is None else majority,
    )
