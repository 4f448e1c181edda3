"""`--detector anchors=auto`: sizes of anchors by k-means on the objects of a data set.

The network stays as it is: as many anchors in each cell of the same maps, of other sizes. An object
is for the coarsest map on which an anchor of its own shape reaches it wherever it lies: half a cell
off the anchor's centre along both axes, sides of h and w cells still overlap by an IoU of
x / (2 - x) with x = (h - 1/2) (w - 1/2) / (h w), which has to be that of a match. A map whose
anchors are smaller than that leaves gaps between its cells, and one of a single cell sees nothing
but the middle.

Source: Redmon and Farhadi, "YOLO9000" (arXiv:1612.08242), section 2, "Dimension Clusters": k-means
with the distance 1 - IoU of sizes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from kerascnn.detection.anchors import Anchors, Level
from kerascnn.preprocessing import Preprocessing
from training.common.spread import spread
from training.datasets.detection import DetectionSplit
from training.detection.seen import boxes_at_input

_MOST_IMAGES, _MOST_BOXES = 5_000, 20_000  # that sizes are learnt from
_ROUNDS = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
    """Anchors for a data set.

    Attributes:
        anchors: fitted ones, or the given ones where these reach as many objects.
        objects: that they were fitted to.
        before, after: percent of these that overlap with a given, and with a chosen anchor, enough
            to match.
    """

    anchors: Anchors
    objects: int
    before: float
    after: float


def fit_to(
    anchors: Anchors, split: DetectionSplit, preprocessing: Preprocessing, *, positive_iou: float
) -> Fitted:
    """Fit the sizes of anchors to the objects of a training split.

    Args:
        anchors: of the network; grids and numbers stay.
        split: to learn from; annotations alone are read.
        preprocessing: of the network: sizes are those at its input.
        positive_iou: of a match.
    """
    boxes = _boxes(split, preprocessing)
    found = fitted(anchors, boxes, positive_iou=positive_iou)
    shares = [
        100 * float(np.mean(each.reach(boxes) >= positive_iou)) if len(boxes) else 0.0
        for each in (anchors, found)
    ]
    means = [float(each.reach(boxes).mean()) if len(boxes) else 0.0 for each in (anchors, found)]
    better = (shares[1], means[1]) > (shares[0], means[0])
    return Fitted(
        anchors=found if better else anchors,
        objects=len(boxes),
        before=shares[0],
        after=max(shares) if better else shares[0],
    )


def fitted(anchors: Anchors, boxes: np.ndarray, *, positive_iou: float) -> Anchors:
    """The same grids with sizes that k-means gives.

    Where all maps have the same sizes in cells, as under a head that they share, they get the same
    ones again; else each map gets those of its own objects. Too few objects leave a map's sizes.

    Args:
        boxes: (m, 4) shares of the network's input.
        positive_iou: see the module.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
    levels = anchors.levels
    own = _levels_of(sides, levels, positive_iou)
    if _share_sizes(levels):
        grids = np.array([[level.rows, level.columns] for level in levels])
        found = clusters(sides * grids[own], len(levels[0].sizes)) if len(sides) else None
        if found is None:
            return anchors
        each: list[np.ndarray | None] = [found / [one.rows, one.columns] for one in levels]
    else:
        each = [clusters(sides[own == n], len(level.sizes)) for n, level in enumerate(levels)]
    return Anchors(
        levels=tuple(
            level
            if sizes is None
            else dataclasses.replace(level, sizes=tuple((float(h), float(w)) for h, w in sizes))
            for level, sizes in zip(levels, each, strict=True)
        )
    )


def clusters(sizes: np.ndarray, count: int) -> np.ndarray | None:
    """K-means with the distance 1 - IoU; the same for the same sizes.

    Args:
        sizes: (m, 2) heights and widths.

    Returns:
        (count, 2), the smallest area first; None where there are fewer different sizes.
    """
    if len(np.unique(sizes.round(6), axis=0)) < count:
        return None
    rng = np.random.default_rng(0)
    centres = sizes[[rng.integers(len(sizes))]]
    while len(centres) < count:  # k-means++: the far ones are likelier
        far = (1 - _overlaps(sizes, centres).max(axis=1)) ** 2
        centres = np.append(centres, sizes[[rng.choice(len(sizes), p=far / far.sum())]], axis=0)
    before = None
    for _ in range(_ROUNDS):
        nearest = _overlaps(sizes, centres).argmax(axis=1)
        if before is not None and np.array_equal(nearest, before):
            break
        before = nearest
        for number in range(count):
            members = sizes[nearest == number]
            if len(members):
                centres[number] = members.mean(axis=0)
    found: np.ndarray = centres[np.argsort(centres.prod(axis=1), kind="stable")]
    return found


def _overlaps(sizes: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(m, k) IoU of boxes about one point."""
    shared = np.minimum(sizes[:, None], centres[None]).prod(axis=-1)
    return shared / (sizes.prod(axis=1)[:, None] + centres.prod(axis=1)[None] - shared)


def _levels_of(sides: np.ndarray, levels: Sequence[Level], positive_iou: float) -> np.ndarray:
    """(m,) place of the map that each object is for; the finest one of what is small for all."""
    own = np.full(len(sides), min(range(len(levels)), key=lambda n: -levels[n].rows), int)
    for number in sorted(range(len(levels)), key=lambda n: -levels[n].rows):
        cells = sides * [levels[number].rows, levels[number].columns]
        kept = np.clip((cells - 0.5) / np.maximum(cells, 1e-9), 0, None).prod(axis=1)
        own[kept / (2 - kept) >= positive_iou] = number
    return own


def _share_sizes(levels: Sequence[Level]) -> bool:
    """Whether all maps have the same sizes in cells."""
    in_cells = [np.asarray(one.sizes) * [one.rows, one.columns] for one in levels]
    return len(levels) > 1 and all(
        each.shape == in_cells[0].shape and np.allclose(each, in_cells[0], rtol=1e-3)
        for each in in_cells
    )


def _boxes(split: DetectionSplit, preprocessing: Preprocessing) -> np.ndarray:
    """(m, 4) shares of the network's input, of some thousand images evenly spread.

    Of images with tiles, as in the tile that holds most of each object.
    """
    count = len(split)
    chosen = spread(count, _MOST_IMAGES)
    found = [np.empty((0, 4))]
    for index in np.unique(chosen).tolist():
        objects = split.objects(index)
        known = objects.boxes[~objects.crowd]
        found.append(boxes_at_input(known, split.sizes[index], preprocessing))
    boxes = np.concatenate(found) / np.tile([preprocessing.height, preprocessing.width], 2)
    boxes = boxes[((boxes[:, 2:] - boxes[:, :2]) > 0).all(axis=1)]
    if len(boxes) > _MOST_BOXES:
        boxes = boxes[np.random.default_rng(0).permutation(len(boxes))[:_MOST_BOXES]]
    return boxes
