"""COCO's metric image by image, in NumPy: what COCOeval of pycocotools finds, to the last digit.

COCOeval makes a Python object of every detection and every (image, class, range of areas), and
compares them one by one: 13 seconds of processor time and 460 MB per 1,000 images of 100
detections. Here an image's detections become a few numbers each as they come, and are forgotten:
images may come from a generator. Overlaps are pycocotools' own (`pycocotools.mask.iou`), and what
is compared, added and divided is so in COCOeval's order (`pycocotools/cocoeval.py`, whose names
`evaluateImg`, `accumulate` and `summarize` stand below); tests hold both to equal bits.

d detections, g objects, c classes, t = 10 thresholds of IoU, a = 4 ranges of areas: all, small,
medium, large.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
AREAS = np.array([[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]])
# Detections of an image and class that count, at most; recall is reported for each of these.
MOST = (1, 10, 100)
_EACH = 1 << np.arange(len(THRESHOLDS), dtype=np.uint16)  # a bit a threshold
_EVERY = np.uint16(_EACH.sum())

# Overlaps (i, j) of detections and objects of an image, by their positions.
Overlaps = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """All detections that count, class by class, in each the highest score first.

    Attributes:
        objects: (n, c) how many objects of any size are to be found in each image.
        sized: (c, a) how many are to be found, by area.
        starts: (c + 1,) where each class begins.
        images: (d,) index of the image.
        ranks: (d,) how many of the image and class have a higher score.
        hits: (d, a) uint16, a bit a threshold: whether it found an object.
        ignored: (d, a) uint16: whether it is neither a hit nor a mistake.
    """

    objects: np.ndarray
    sized: np.ndarray
    starts: np.ndarray
    images: np.ndarray
    ranks: np.ndarray
    hits: np.ndarray
    ignored: np.ndarray

    def of_class(self, label: int) -> slice:
        """Rows of a class."""
        return slice(int(self.starts[label]), int(self.starts[label + 1]))


class Ledger:
    """Takes images one by one, and keeps what the figures need of each detection: 32 bytes.

    Args:
        classes: how many there are.
    """

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._objects: list[np.ndarray] = []
        self._sized = np.zeros((classes, len(AREAS)), np.int64)
        self._rows: list[tuple[np.ndarray, ...]] = []

    def add(
        self,
        truth: tuple[np.ndarray, np.ndarray, np.ndarray],
        found: tuple[np.ndarray, np.ndarray, np.ndarray],
        overlaps: Overlaps,
    ) -> None:
        """Compare the detections of the next image with its objects.

        Args:
            truth: (g,) labels, areas in pixels, and which are crowds.
            found: (d,) labels, areas and scores, which are numbers.
            overlaps: asked of one class at a time, and of no class that lacks either.
        """
        of_objects, areas, crowd = truth
        aside = crowd[:, None] | _outside(areas)  # (g, a)
        for area in range(len(AREAS)):
            self._sized[:, area] += self._count(of_objects[~aside[:, area]])
        self._objects.append(self._count(of_objects[~aside[:, 0]]))
        order, labels, ranks = _ranked(found[0], found[2])
        beyond = _outside(found[1][order])
        hits = np.zeros((len(order), len(AREAS)), np.uint16)
        ignored = np.where(beyond, _EVERY, np.uint16(0))
        for label in np.intersect1d(labels, of_objects):
            mine, own = np.flatnonzero(labels == label), np.flatnonzero(of_objects == label)
            iou = overlaps(order[mine], own)
            near = np.flatnonzero(iou.max(axis=1) >= THRESHOLDS[0])
            if len(near):
                matched, away = _match(iou[near], crowd[own], aside[own])
                rows = mine[near]
                hits[rows] = matched & ~away
                ignored[rows] = away | (ignored[rows] & ~matched)
        image = np.full(len(order), len(self._objects) - 1, np.int32)
        scores = found[2][order]
        self._rows.append((labels, image, ranks.astype(np.uint8), scores, hits, ignored))

    def closed(self) -> Judged:
        """What was found in all images that were added."""
        labels, images, ranks, scores, hits, ignored = map(
            np.concatenate, zip(*self._rows, strict=True)
        )
        # Equal scores stay in the order of images, as COCOeval's merge sort has them.
        order = np.lexsort((-scores, labels))
        return Judged(
            objects=np.stack(self._objects),
            sized=self._sized,
            starts=np.searchsorted(labels[order], np.arange(self._classes + 1)),
            images=images[order],
            ranks=ranks[order],
            hits=hits[order],
            ignored=ignored[order],
        )

    def _count(self, labels: np.ndarray) -> np.ndarray:
        return np.bincount(labels, minlength=self._classes)


def bits(flags: np.ndarray) -> np.ndarray:
    """(d,) uint16 to (t, d) bool."""
    return (flags & _EACH[:, None]) > 0


def accumulate(judged: Judged) -> tuple[np.ndarray, np.ndarray]:
    """COCOeval's precision and recall.

    Returns:
        (t, 101, c, a) precision with 100 detections an image and class, and (t, c, 3) recall of
        objects of any area with 1, 10 and 100; -1 for a class without objects.
    """
    classes, steps = len(judged.sized), len(THRESHOLDS)
    precision = np.full((steps, len(RECALLS), classes, len(AREAS)), -1.0)
    recall = np.full((steps, classes, len(MOST)), -1.0)
    for label, area in zip(*np.nonzero(judged.sized), strict=True):
        own, count = judged.of_class(label), judged.sized[label, area]
        hits, ignored = bits(judged.hits[own, area]), bits(judged.ignored[own, area])
        precision[:, :, label, area] = _precision(hits, ignored, count)
        if area == 0:
            for number, most in enumerate(MOST):
                few = hits[:, judged.ranks[own] < most]
                recall[:, label, number] = np.count_nonzero(few, axis=1) / count
    return precision, recall


def summarize(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """(9,) COCOeval's first nine figures, shares of 1; -1 where there is nothing to find.

    AP; AP at IoU 0.5 and 0.75; AP of small, medium and large objects; AR with 1, 10 and 100.
    """
    parts = [precision[..., 0]]
    parts += [precision[iou == THRESHOLDS][..., 0] for iou in (0.5, 0.75)]
    parts += [precision[..., area] for area in (1, 2, 3)]
    parts += [recall[..., number] for number in range(len(MOST))]
    there = [part[part > -1] for part in parts]
    return np.array([np.mean(part) if len(part) else -1.0 for part in there])


def _outside(areas: np.ndarray) -> np.ndarray:
    """(d, a) bool, of (d,) areas in pixels."""
    areas = np.asarray(areas, np.float64)[:, None]
    return (areas < AREAS[:, 0]) | (areas > AREAS[:, 1])


def _ranked(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of detections that count, by class and falling score; their labels and ranks."""
    order = np.lexsort((-scores, labels))
    labels = labels[order]
    ranks = np.arange(len(labels)) - np.searchsorted(labels, labels)
    kept = ranks < MOST[-1]
    return order[kept], labels[kept], ranks[kept]


def _match(iou: np.ndarray, crowd: np.ndarray, aside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """COCOeval's evaluateImg: give each detection the best object that is left.

    The highest score chooses first. Objects that are to be found come before those set aside; of
    equal overlaps the later object has it. A crowd may be taken by many.

    Args:
        iou: (d, g), the highest score first.
        crowd: (g,) bool.
        aside: (g, a) bool, which objects are not to be found.

    Returns:
        (d, a) uint16, a bit a threshold: whether it took an object, and whether one set aside.
    """
    count = iou.shape[1]
    # Whole numbers that sort as COCOeval prefers: no two of a detection's are equal.
    place = np.argsort(np.argsort(iou, axis=1, kind="stable"), axis=1, kind="stable")
    first = np.where(aside.T, 0, count)[:, None]  # (a, 1, g)
    enough = iou[:, None] >= THRESHOLDS[:, None]  # (d, t, g)
    gone = np.zeros((len(AREAS), len(THRESHOLDS), count), bool)
    matched = np.zeros((len(iou), len(AREAS)), np.uint16)
    away = np.zeros_like(matched)
    areas, steps = np.ogrid[: len(AREAS), : len(THRESHOLDS)]
    for row in range(len(iou)):
        wish = np.where(enough[row] & ~gone, place[row] + first, -1)
        best = wish.argmax(axis=-1)  # (a, t)
        took = wish[areas, steps, best] >= 0
        gone[areas, steps, best] |= took & ~crowd[best]
        matched[row] = (took * _EACH).sum(axis=1)
        away[row] = ((took & aside[best, areas]) * _EACH).sum(axis=1)
    return matched, away


def _precision(hits: np.ndarray, ignored: np.ndarray, count: int) -> np.ndarray:
    """(t, 101) of (t, d) detections of one class and `count` objects."""
    found = np.cumsum(hits, axis=1).astype(float)
    wrong = np.cumsum(~hits & ~ignored, axis=1).astype(float)
    precision = found / (wrong + found + np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    best = np.concatenate([best, np.zeros((len(best), 1))], axis=1)  # beyond the last recall
    rows = [
        line[np.searchsorted(recall, RECALLS, side="left")]
        for line, recall in zip(best, found / count, strict=True)
    ]
    return np.stack(rows)
