"""How much of each class there is in each split, and the objects' sizes for a network.

Letters in shapes: c classes, s splits, k objects.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.augment.boxes import evaluation_placement
from training.common.parallel import in_order
from training.common.progress import Progress
from training.common.wording import counted
from training.datasets.detection import DetectionDataset, Objects
from training.datasets.segmentation import VOID, SegmentationDataset
from training.datasets.splits import Dataset
from training.tools.check.findings import (
    Finding,
    Place,
    finding,
    listed,
)

FEW = 10  # training images or objects of a class, below which it is hardly learnt
UNBALANCED = 10  # times as many of one class as of another
# A cell of the finest grid of EfficientDet-Lite and of Faster R-CNN on EfficientNet-Lite0 has 8
# pixels (SSDLite's 16): of what is smaller, less than one cell tells.
LEAST_SIDE = 8
_REPEATED = 0.95  # intersection over union of two boxes of one class
_SHOWN = 4
_ROWS = 256  # of boxes that are compared with all others at a time


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Counts:
    """What there is of each class.

    Attributes:
        unit: "image", "object" or "pixel": what is counted.
        classes: c names.
        splits: s names, the training split first and the held-out one last.
        of: (s, c) int64.
        images: (s, c) int64 images that hold a class.
        empty: (s,) int64 images that hold no object, or nothing but background.
        sides: (k, 2) float32 height and width of each object at the network's input, in pixels.
        most: objects in one image, at most.
        tiny: places of images with an object whose shorter side is below `LEAST_SIDE`, some.
        repeated: likewise of images with a box twice; `repeats` counts the boxes.
        broken: images whose masks cannot be read, and why.
    """

    unit: str
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    of: np.ndarray
    images: np.ndarray
    empty: np.ndarray
    sides: np.ndarray | None = None
    most: int = 0
    tiny: tuple[Place, ...] = ()
    repeated: tuple[Place, ...] = ()
    repeats: int = 0
    broken: tuple[tuple[Place, str], ...] = ()


def of_images(dataset: Dataset, splits: Mapping[str, Any]) -> Counts:
    """Images of each class."""
    count = len(dataset.classes)
    of = np.stack([np.bincount(split.labels, minlength=count) for split in splits.values()])
    return Counts(
        unit="image",
        classes=dataset.classes,
        splits=tuple(splits),
        of=of,
        images=of,
        empty=np.zeros(len(splits), np.int64),
    )


def of_objects(
    dataset: DetectionDataset, splits: Mapping[str, Any], preprocessing: Preprocessing
) -> Counts:
    """Objects of each class, crowds left out, and their sizes at the network's input."""
    shape = len(splits), len(dataset.classes)
    of, images = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    empty, sides = np.zeros(len(splits), np.int64), list[np.ndarray]()
    tiny, repeated, repeats, most = list[Place](), list[Place](), 0, 0
    with Progress("reading objects", sum(map(len, splits.values())), unit="image") as progress:
        for number, split in enumerate(splits.values()):
            for index in range(len(split)):
                objects = split.objects(index)
                labels = objects.labels[~objects.crowd]
                of[number] += np.bincount(labels, minlength=shape[1])
                images[number, np.unique(labels)] += 1
                empty[number] += not len(objects)
                most = max(most, len(labels))
                found = _sides(objects, split.sizes[index], preprocessing)
                sides.append(found)
                if (found.min(axis=1, initial=np.inf) < LEAST_SIDE).any():
                    tiny.append((number, index))
                if again := _repeats(objects):
                    repeats += again
                    repeated.append((number, index))
                progress.step()
                progress.note(counted(int(of.sum()), "object"))
    return Counts(
        unit="object",
        classes=dataset.classes,
        splits=tuple(splits),
        of=of,
        images=images,
        empty=empty,
        sides=np.concatenate([np.zeros((0, 2), np.float32), *sides]),
        most=most,
        tiny=tuple(tiny),
        repeated=tuple(repeated),
        repeats=repeats,
    )


def _sides(objects: Objects, size: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """(m, 2) float32 pixels of the network's input; crowds left out."""
    placement = evaluation_placement(size, preprocessing)
    boxes = placement.boxes(objects.boxes[~objects.crowd])
    return (boxes[:, 2:] - boxes[:, :2]).astype(np.float32)


def _repeats(objects: Objects) -> int:
    """How many boxes lie where one of their class is already."""
    boxes, labels = objects.boxes[~objects.crowd], objects.labels[~objects.crowd]
    if len(boxes) < 2:
        return 0
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)
    count = 0
    for start in range(0, len(boxes), _ROWS):  # an image may hold thousands
        rows = slice(start, start + _ROWS)
        first = np.maximum(boxes[rows, None, :2], boxes[None, :, :2])
        last = np.minimum(boxes[rows, None, 2:], boxes[None, :, 2:])
        common = (last - first).clip(0).prod(axis=-1)
        alike = common >= _REPEATED * (areas[rows, None] + areas[None] - common)
        alike &= labels[rows, None] == labels[None]
        count += int(np.tril(alike, start - 1).any(axis=1).sum())
    return count


def of_maps(dataset: SegmentationDataset, splits: Mapping[str, Any]) -> Counts:
    """Pixels of each class; all masks are decoded."""
    shape = len(splits), len(dataset.classes)
    of, images = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    empty, broken = np.zeros(len(splits), np.int64), list[tuple[Place, str]]()
    background = np.arange(shape[1]) == 0
    with Progress("reading masks", sum(map(len, splits.values())), unit="mask") as progress:
        for number, split in enumerate(splits.values()):

            def pixels(index: int, split: Any = split) -> np.ndarray | str:
                try:
                    label_map = split.label_map(index)
                except InputError as error:
                    return str(error)
                return np.bincount(label_map.ravel(), minlength=VOID + 1)

            for index, found in enumerate(in_order(pixels, len(split))):
                progress.step()
                progress.note(f"{len(broken):,} cannot be read")
                if isinstance(found, str):
                    broken.append(((number, index), found))
                    continue
                own = found[: shape[1]]
                of[number] += own
                images[number] += own > 0
                empty[number] += not own[~background].any()
    return Counts(
        unit="pixel",
        classes=dataset.classes,
        splits=tuple(splits),
        of=of,
        images=images,
        empty=empty,
        broken=tuple(broken),
    )


def findings_of(counts: Counts) -> list[Finding]:
    """What is wrong with the classes and objects."""
    return [
        *_of_names(counts.classes),
        *_of_balance(counts),
        *_of_boxes(counts),
        *_of_masks(counts),
    ]


def _of_names(classes: Sequence[str]) -> list[Finding]:
    """Classes that differ in what nobody sees: capitals, spaces, the form of an accent."""
    seen: dict[str, str] = {}
    pairs = []
    for name in classes:
        plain = " ".join(unicodedata.normalize("NFKC", name).casefold().replace("_", " ").split())
        if plain in seen:
            pairs.append(f"{seen[plain]!r} and {name!r}")
        seen.setdefault(plain, name)
    if not pairs:
        return []
    text = f"{counted(len(pairs), 'class has', 'classes have')} the name of another one but for "
    return [
        finding(
            "alike-class-names",
            f"{text}capitals, spaces or accents: {listed(pairs)}",
            len(pairs),
            pairs,
            remedy="make them one class, or rename one",
        )
    ]


def _of_balance(counts: Counts) -> list[Finding]:
    train, held_out = counts.of[0], counts.of[-1]
    found = []
    unit = counts.unit
    for kind, lacking, where, remedy in (
        (
            "class-without-training",
            np.flatnonzero(train == 0),
            "training",
            "add some, or remove the class",
        ),
        (
            "class-without-measure",
            np.flatnonzero((held_out == 0) & (train > 0)),
            "held-out",
            "nobody will know how well it is found: hold some of it out",
        ),
    ):
        if len(lacking):
            names = [counts.classes[i] for i in lacking]
            text = f"{counted(len(names), 'class has', 'classes have')} no {where} {unit}"
            found.append(
                finding(kind, f"{text}: {listed(names)}", len(names), names, remedy=remedy)
            )
    return [*found, *_of_few(counts), *_of_unbalanced(counts)]


def _of_few(counts: Counts) -> list[Finding]:
    there = counts.images[0] if counts.unit == "pixel" else counts.of[0]
    few = np.flatnonzero((there > 0) & (there < FEW))
    if not len(few):
        return []
    names = [f"{counts.classes[i]} ({there[i]})" for i in few[np.argsort(there[few])]]
    unit = "image" if counts.unit == "pixel" else counts.unit
    text = f"{counted(len(names), 'class has', 'classes have')} fewer than {FEW} training {unit}s"
    remedy = "add some; until then, what is said of them is chance"
    return [finding("few-images", f"{text}: {listed(names)}", len(names), names, remedy=remedy)]


def _of_unbalanced(counts: Counts) -> list[Finding]:
    train = counts.of[0]
    there = np.flatnonzero(train)
    if len(there) < 2:
        return []
    most, least = there[np.argmax(train[there])], there[np.argmin(train[there])]
    ratio = train[most] / train[least]
    if ratio < UNBALANCED:
        return []
    rare = there[train[there] * UNBALANCED <= train[most]]
    names = [counts.classes[i] for i in rare[np.argsort(train[rare])]]
    remedy = {
        "image": "train with --set class_weights=balanced --set monitor=balanced_accuracy",
        "object": "add images of the rare ones; look at the AP of each class, not at their mean",
        "pixel": "train with --set class_weights=balanced, or --set map_loss=dice",
    }[counts.unit]
    text = (
        f"{counts.classes[most]} has {ratio:,.0f} times as many training {counts.unit}s as "
        f"{counts.classes[least]} ({train[most]:,} and {train[least]:,})"
    )
    return [finding("unbalanced-classes", text, len(names), names, remedy=remedy)]


def _of_boxes(counts: Counts) -> list[Finding]:
    if counts.sides is None:
        return []
    found = []
    tiny = (
        int((counts.sides.min(axis=1, initial=np.inf) < LEAST_SIDE).sum())
        if len(counts.sides)
        else 0
    )
    if tiny:
        total = len(counts.sides)
        text = (
            f"{tiny:,} of {counted(total, 'object')} ({100 * tiny / total:.1f}%) are narrower than "
            f"{LEAST_SIDE} pixels at the network's input: a detector hardly sees them"
        )
        found.append(
            finding(
                "tiny-objects",
                text,
                tiny,
                remedy="a larger --image-size, images cut into parts, or leave them out",
                shown=[(place,) for place in counts.tiny[:_SHOWN]],
            )
        )
    if counts.repeats:
        text = f"{counted(counts.repeats, 'box lies', 'boxes lie')} where another of its class is"
        found.append(
            finding(
                "repeated-boxes",
                f"{text}, in {counted(len(counts.repeated), 'image')}",
                counts.repeats,
                remedy="remove one of each: the second one can only be missed",
                shown=[(place,) for place in counts.repeated[:_SHOWN]],
            )
        )
    return found


def _of_masks(counts: Counts) -> list[Finding]:
    if not counts.broken:
        return []
    reasons = [reason for _place, reason in counts.broken]
    text = f"{counted(len(reasons), 'mask')} cannot be used"
    remedy = "restore or remove them; training skips their images"
    return [finding("broken-masks", text, len(reasons), reasons, remedy=remedy)]
