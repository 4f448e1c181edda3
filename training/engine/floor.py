"""The figure that a network reaches without looking: at or below it nothing is recommended.

A classifier that always gives the commonest class is right as often as that class occurs; its
balanced accuracy (the mean recall of the classes) is 1 / classes, as is that of any answers that do
not depend on the image. A segmentation network that gives every pixel the commonest class has that
class's share as its IoU, and 0 for all others. Detections by chance have an AP near 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

ACCURACY, MIOU = "accuracy", "mIoU"
# Below this AP, in percent, a detector counts as finding nothing.
LEAST_AP = 1.0
# Points of mIoU above one class everywhere, below which no other class counts as found.
LEAST_MIOU_GAIN = 1.0
# Times as common as if all were equally common.
_FAR_MORE = 1.5
# Standard errors: a one-sided bound of 95%.
_ERRORS = 1.645

_CAUSES = (
    "too few epochs",
    "a learning rate that is too high or too low",
    "averaged weights (ema) that still hold the initial ones",
    "no pretrained weights for a small data set",
)
_UNEQUAL = "one class is far more common (class_weights=balanced)"
_SMALL = "objects too small for the network's input"


class ClassFacts(TypedDict):
    """Arguments of `below_floor` that the held-out images of a classifier give."""

    classes: int
    majority: float
    pictures: int
    smallest: int


def floor_of(metric: str, *, classes: int, majority: float = math.nan, pictures: int = 0) -> float:
    """The figure, in percent, that a network has to exceed to have found anything.

    Args:
        metric: "accuracy", "mIoU", or an AP.
        classes: that occur in the held-out images; for mIoU, in their masks.
        majority: percent of the images (for mIoU, of the pixels) that are of the commonest class;
            NaN where unknown: then all classes count as equally common.
        pictures: held out. Accuracy has to exceed what always giving the commonest class reaches
            on as many other images by luck, in 95 of 100 sets; 0 leaves luck out.
    """
    if metric not in (ACCURACY, MIOU):
        return LEAST_AP
    classes = max(1, classes)
    share = 100 / classes if math.isnan(majority) else majority
    if metric == MIOU:
        return share / classes + LEAST_MIOU_GAIN
    return share + (_ERRORS * _error(share, pictures) if pictures else 0.0)


def below_floor(
    metric: str,
    value: float,
    *,
    classes: int,
    majority: float = math.nan,
    pictures: int = 0,
    balanced: float | None = None,
    smallest: int = 0,
) -> str | None:
    """Why nothing is recommended of a network, with likely causes; None where it finds something.

    Args:
        metric, classes, majority, pictures: as of `floor_of`.
        value: the figure, in percent.
        balanced: of a classifier, its balanced accuracy in percent, if known: a network trained to
            miss no rare class may be right less often than the commonest class occurs.
        smallest: images of the rarest class, by which `balanced` is judged.
    """
    floor = floor_of(metric, classes=classes, majority=majority, pictures=pictures)
    if value > floor:
        return None
    if metric == ACCURACY and balanced is not None and smallest:
        if balanced > _balanced_floor(classes, smallest):
            return None
    elif math.isnan(value) and metric != ACCURACY:
        return "there is nothing to find in the held-out images: no figure says what it finds"
    causes = [*_CAUSES]
    if metric != ACCURACY:
        causes.append(_SMALL)
    elif majority > _FAR_MORE * 100 / max(1, classes):
        causes.insert(0, _UNEQUAL)
    told = _found(metric, value, classes, majority, pictures)
    return f"{told}. Likely causes: {'; '.join(causes)}"


def class_facts(images: Sequence[int]) -> ClassFacts:
    """Of the number of held-out images of each class."""
    present = [int(count) for count in images if count]
    total = sum(present)
    return {
        "classes": len(present),
        "majority": 100 * max(present) / total if total else math.nan,
        "pictures": total,
        "smallest": min(present, default=0),
    }


def _found(metric: str, value: float, classes: int, majority: float, pictures: int) -> str:
    told = "this network finds nothing yet"
    if metric not in (ACCURACY, MIOU):
        return f"{told}: {metric} {value:.1f}%, less than {LEAST_AP:g}%"
    if metric == MIOU:
        base = floor_of(metric, classes=classes, majority=majority) - LEAST_MIOU_GAIN
        return f"{told}: mIoU {value:.1f}%, and one class for every pixel has {base:.1f}%"
    if majority == 100:
        return "all held-out images are of one class: nothing shows what the network tells apart"
    base = floor_of(metric, classes=classes, majority=majority)
    luck = floor_of(metric, classes=classes, majority=majority, pictures=pictures)
    within = f" (on {pictures} images up to {luck:.1f}% by luck)" if pictures else ""
    return f"{told}: accuracy {value:.1f}%, and one class for every image has {base:.1f}%{within}"


def _error(percent: float, pictures: int) -> float:
    """Standard error of a share, in points."""
    return math.sqrt(percent * (100 - percent) / pictures)


def _balanced_floor(classes: int, smallest: int) -> float:
    """Balanced accuracy of answers that do not depend on the image, and what luck adds.

    The recall of class i is p_i on average, the share of the images that get that answer, and the
    variance of the mean is at most (1 - 1/c) / c² / smallest, where all p_i are equal.
    """
    share = 1 / max(1, classes)
    return 100 * (share + _ERRORS * math.sqrt((1 - share) / smallest) * share)
