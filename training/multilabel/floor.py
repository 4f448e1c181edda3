"""What a classifier of several labels reaches without looking: the mAP of rankings by chance."""

from __future__ import annotations

import math

from training.engine.floor import CAUSES, NOTHING, NOTHING_TO_FIND, with_causes


def below_floor(value: float | None, luck: float | None) -> str | None:
    """Why nothing is recommended of a network, with likely causes; None where it finds something.

    Args:
        value: its mAP, in percent.
        luck: what 95 of 100 rankings by chance do not exceed; None: no image has a label.
    """
    if luck is None:
        return NOTHING_TO_FIND
    figure = math.nan if value is None else value
    if figure > luck:
        return None
    return with_causes(
        f"{NOTHING}: mAP {figure:.1f}%, and rankings by chance reach up to {luck:.1f}%", CAUSES
    )
