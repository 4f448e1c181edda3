"""What a detector reaches without looking: detections by chance have an AP near 0."""

from __future__ import annotations

import math

from training.engine.floor import (
    CAUSES,
    NOTHING,
    NOTHING_TO_FIND,
    OF_IMPORTS,
    SMALL,
    with_causes,
)

# Below this AP, in percent, a detector counts as finding nothing.
LEAST_AP = 1.0
SURE_OF_NOTHING = (
    "the network is sure of nothing on the held-out images (score 0.3): files cannot be held "
    "against its answers; give images like those that it was trained on"
)


def below_floor(metric: str, value: float, *, imported: bool = False) -> str | None:
    """Why nothing is recommended of a network, with likely causes; None where it finds something.

    Args:
        metric: what the figure is called: AP of boxes, or of masks.
        value: the figure, in percent; NaN where there is nothing to find.
        imported: the network was not trained here, so that other causes are likely.
    """
    if value > LEAST_AP:
        return None
    if math.isnan(value):
        return NOTHING_TO_FIND
    found = f"{NOTHING}: {metric} {value:.1f}%, less than {LEAST_AP:g}%"
    return with_causes(found, [*(OF_IMPORTS if imported else CAUSES), SMALL])
