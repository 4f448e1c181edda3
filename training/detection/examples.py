"""Held-out images with what was found in them and what is there, for a person to look at."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from training.common import atomic
from training.common.spread import spread
from training.datasets.detection import DetectionSplit
from training.detection.drawing import draw_boxes
from training.detection.metrics import SHOWN_SCORE, Detections

MOST_SHOWN = 20  # detections an image: an untrained detector finds a hundred everywhere
_COLUMNS, _MOST = 4, 12
_SIDE = 320  # pixels that an image is shown in
_GAP = 8


def example(
    split: DetectionSplit, index: int, found: Detections, classes: Sequence[str]
) -> np.ndarray:
    """One image with its detections from `SHOWN_SCORE` on, and the truth's boxes in dashes.

    Of many detections the surest `MOST_SHOWN` are drawn.

    Returns:
        (height, width, 3) uint8, no side longer than 320 pixels.
    """
    picture = Image.fromarray(split.picture(index))
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    objects = split.objects(index)
    surest = np.argsort(-found.scores, kind="stable")[:MOST_SHOWN]
    found = found.take(surest[found.scores[surest] >= SHOWN_SCORE])
    small = np.asarray(picture)
    return draw_boxes(
        small,
        *(found.boxes, found.labels, found.scores),
        classes=classes,
        truth=objects.boxes[~objects.crowd],
        masks=found.pasted(small.shape[:2]),
    )


def chosen(count: int) -> np.ndarray:
    """Positions of the images to show: up to twelve, evenly over the split."""
    return np.unique(spread(count, _MOST))


def write_examples(
    path: pathlib.Path,
    split: DetectionSplit,
    found: Mapping[int, Detections] | Sequence[Detections],
    classes: Sequence[str],
) -> None:
    """Write some images of a split side by side as a .png.

    Args:
        found: by the index of an image of the split, for those that are `chosen` at the least.
    """
    pictures = [example(split, i, found[i], classes) for i in chosen(len(split)).tolist()]
    columns = min(_COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    step = _SIDE + _GAP
    sheet = Image.new("RGB", (columns * step + _GAP, rows * step + _GAP), "white")
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        sheet.paste(Image.fromarray(picture), (_GAP + column * step, _GAP + row * step))
    with atomic.replacing(path) as temporary:
        sheet.save(temporary)
