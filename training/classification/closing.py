"""What a classifier is worth, in words."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from training.classification import floor
from training.engine.floor import class_facts
from training.engine.own_answers import AGREEMENT, HELD_AGAINST

# The commonest class has at least so many times the images of the rarest.
_UNEQUAL = 1.5
# Classes, up to which each one's recall is named; of more, those with the lowest.
_NAMED = 4
_LOWEST = 3


def unequal(support: Sequence[int]) -> bool:
    """Whether classes of so many images are unequal, so that accuracy alone misleads."""
    there = [count for count in support if count]
    return bool(there) and max(there) >= _UNEQUAL * min(there)


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


def parts(results: Mapping[str, Any], images: str) -> list[str]:
    """Accuracy, and by class where these are unequal; see `training.engine.task.Task.closing`."""
    if results.get("metric") == AGREEMENT:
        return [HELD_AGAINST.format(images)]
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


def below_floor(info: Mapping[str, Any]) -> str | None:
    """Why a run is of no use yet; see `training.engine.task.Task.below_floor`.

    Earlier versions do not note how many held-out images each class has: then all count as equally
    common.
    """
    results = info["results"]
    if results.get("metric") == AGREEMENT:
        return None
    value = results["held_out"]
    figure = math.nan if value is None else value
    imported = info.get("request", {}).get("imported") is not None
    if per_class := results.get("per_class"):
        facts = class_facts([one["pictures"] for one in per_class])
        balanced = results["balanced_accuracy"]
        return floor.below_floor(figure, **facts, balanced=balanced, imported=imported)
    majority = results.get("majority_baseline")
    return floor.below_floor(
        figure,
        classes=results.get("classes_there", len(info["labels"])),
        majority=math.nan if majority is None else majority,
        imported=imported,
    )
