"""What a segmentation network reaches without looking.

One that gives every pixel the commonest class has that class's share as its IoU, and 0 for all
others.
"""

from __future__ import annotations

import math

from training.engine.floor import (
    CAUSES,
    NOTHING,
    NOTHING_TO_FIND,
    OF_IMPORTS,
    SMALL,
    commonest,
    with_causes,
)

# Points of mIoU above one class everywhere, below which no other class counts as found.
LEAST_GAIN = 1.0


def floor_of(*, classes: int, majority: float = math.nan) -> float:
    """The mIoU, in percent, that a network has to exceed to have found anything.

    Args:
        classes: that occur in the held-out masks.
        majority: percent of their pixels that are of the commonest class; NaN where unknown: then
            all classes count as equally common.
    """
    return commonest(classes, majority) / max(1, classes) + LEAST_GAIN


def below_floor(
    value: float, *, classes: int, majority: float = math.nan, imported: bool = False
) -> str | None:
    """Why nothing is recommended of a network, with likely causes; None where it finds something.

    Args:
        value: its mIoU, in percent; NaN where no pixel counts.
        classes, majority: as of `floor_of`.
        imported: the network was not trained here, so that other causes are likely.
    """
    floor = floor_of(classes=classes, majority=majority)
    if value > floor:
        return None
    if math.isnan(value):
        return NOTHING_TO_FIND
    base = floor - LEAST_GAIN
    found = f"{NOTHING}: mIoU {value:.1f}%, and one class for every pixel has {base:.1f}%"
    return with_causes(found, [*(OF_IMPORTS if imported else CAUSES), SMALL])
