"""Whether a network finds anything: what all tasks have in common.

What a network reaches without looking is the task's own: `training.classification.floor`,
`training.detection.floor` and `training.segmentation.floor`. At or below it nothing is recommended.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

NOTHING = "this network finds nothing yet"
NOTHING_TO_FIND = "there is nothing to find in the held-out images: no figure says what it finds"
SMALL = "objects too small for the network's input"
# Standard errors: a one-sided bound of 95%.
ERRORS = 1.645

CAUSES = (
    "too few epochs",
    "a learning rate that is too high or too low",
    "averaged weights (ema) that still hold the initial ones",
    "no pretrained weights for a small data set",
)

# Of a network that was not trained here.
OF_IMPORTS = (
    "outputs in another order than the labels (--labels)",
    "images that are prepared in another way than in its training (--preprocessing, --resize)",
    "another size than it was trained on (--image-size)",
)


class ClassFacts(TypedDict):
    """How many of the held-out images, or of their pixels, are of which class.

    `classes` that occur, percent of the commonest one (`majority`; NaN where there is none), how
    many there are in all (`pictures`), and of the rarest class that occurs (`smallest`).
    """

    classes: int
    majority: float
    pictures: int
    smallest: int


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


def commonest(classes: int, majority: float) -> float:
    """Percent that are of the commonest class: all count as equally common where it is NaN."""
    return 100 / max(1, classes) if math.isnan(majority) else majority


def with_causes(found: str, causes: Sequence[str]) -> str:
    """What was found, and why that may be."""
    return f"{found}. Likely causes: {'; '.join(causes)}"
