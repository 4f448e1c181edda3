"""What a classifier reaches without looking.

One that always gives the commonest class is right as often as that class occurs; its balanced
accuracy (the mean recall of the classes) is 1 / classes, as is that of any answers that do not
depend on the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from training.engine.floor import CAUSES, ERRORS, NOTHING, OF_IMPORTS, commonest, with_causes

_UNEQUAL = "one class is far more common (class_weights=balanced)"
_FEW_IMAGES = "too few held-out images (--data, --val-data)"
_TOO_FEW = "too few held-out images to tell what this network finds"
# Times as common as if all were equally common.
_FAR_MORE = 1.5


def floor_of(*, classes: int, majority: float = math.nan, pictures: int = 0) -> float:
    """The accuracy, in percent, that a classifier has to exceed to have found anything.

    Args:
        classes: that occur in the held-out images.
        majority: percent of the images that are of the commonest class; NaN where unknown: then
            all classes count as equally common.
        pictures: held out. What always giving the commonest class reaches on as many other images
            by luck, in 95 of 100 sets, has to be exceeded; 0 leaves luck out.
    """
    share = commonest(classes, majority)
    return share + (ERRORS * _error(share, pictures) if pictures else 0.0)


def below_floor(
    value: float,
    *,
    classes: int,
    majority: float = math.nan,
    pictures: int = 0,
    balanced: float | None = None,
    smallest: int = 0,
    imported: bool = False,
) -> str | None:
    """Why nothing is recommended of a network, with likely causes; None where it finds something.

    Args:
        value: its accuracy, in percent.
        classes, majority, pictures: as of `floor_of`.
        balanced: its balanced accuracy in percent, if known: a network trained to miss no rare
            class may be right less often than the commonest class occurs.
        smallest: images of the rarest class, by which `balanced` is judged.
        imported: the network was not trained here, so that other causes are likely.

    Of so few images that luck may do much, it is said that they are too few, and no cause.
    """
    if value > floor_of(classes=classes, majority=majority, pictures=pictures):
        return None
    if balanced is not None and smallest and balanced > _balanced_floor(classes, smallest):
        return None
    found = _found(value, classes, majority, pictures)
    if _too_few(classes, majority, pictures):
        return found
    unequal = majority > _FAR_MORE * 100 / max(1, classes)
    causes: Sequence[str] = [_UNEQUAL, *CAUSES] if unequal else CAUSES
    if imported:
        by_luck = value > floor_of(classes=classes, majority=majority)
        causes = [*OF_IMPORTS, *[_FEW_IMAGES] * by_luck]
    return with_causes(found, causes)


def _too_few(classes: int, majority: float, pictures: int) -> bool:
    """Whether luck reaches halfway from always the commonest class to all right.

    Then a network that does find something is likely to look as if it did not.
    """
    share = commonest(classes, majority)
    reach = floor_of(classes=classes, majority=majority, pictures=pictures)
    return pictures > 0 and reach >= (share + 100) / 2


def _found(value: float, classes: int, majority: float, pictures: int) -> str:
    if majority == 100:
        return "all held-out images are of one class: nothing shows what the network tells apart"
    base = floor_of(classes=classes, majority=majority)
    luck = floor_of(classes=classes, majority=majority, pictures=pictures)
    what = _TOO_FEW if _too_few(classes, majority, pictures) else NOTHING
    within = f" (on {pictures} images up to {luck:.1f}% by luck)" if pictures else ""
    return f"{what}: accuracy {value:.1f}%, and one class for every image has {base:.1f}%{within}"


def _error(percent: float, pictures: int) -> float:
    """Standard error of a share, in points."""
    return math.sqrt(percent * (100 - percent) / pictures)


def _balanced_floor(classes: int, smallest: int) -> float:
    """Balanced accuracy of answers that do not depend on the image, and what luck adds.

    The recall of class i is p_i on average, the share of the images that get that answer, and the
    variance of the mean is at most (1 - 1/c) / c² / smallest, where all p_i are equal.
    """
    share = 1 / max(1, classes)
    return 100 * (share + ERRORS * math.sqrt((1 - share) / smallest) * share)
