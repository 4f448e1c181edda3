"""What `kerascnn check` finds of images with boxed objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kerascnn.preprocessing import Preprocessing
from training.augment import boxes as box_augmentation
from training.augment.box_policies import BOX_POLICIES, draw
from training.augment.boxes import objects_within
from training.common.progress import Progress
from training.common.wording import counted
from training.datasets import tiling
from training.datasets.detection import DetectionDataset, DetectionSplit, Objects
from training.detection.drawing import draw_boxes
from training.detection.seen import boxes_at_input, fullest_tile
from training.engine.config import TrainConfig
from training.engine.inspection import Counts, Place, Sample, chosen

_REPEATED = 0.95  # intersection over union of two boxes of one class
ROWS = 256  # of boxes that are compared with all others at a time


def counts(
    dataset: DetectionDataset, splits: Mapping[str, DetectionSplit], preprocessing: Preprocessing
) -> Counts:
    """Objects of each class, crowds left out, and their sizes at the network's input."""
    shape = len(splits), len(dataset.classes)
    of, images = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    empty, boxes = np.zeros(len(splits), np.int64), list[np.ndarray]()
    smallest = [np.full(len(split), np.inf, np.float32) for split in splits.values()]
    repeated, repeats, most = list[Place](), 0, 0
    with Progress("reading objects", sum(map(len, splits.values())), unit="image") as progress:
        for number, split in enumerate(splits.values()):
            for index in range(len(split)):
                objects = split.objects(index)
                labels = objects.labels[~objects.crowd]
                of[number] += np.bincount(labels, minlength=shape[1])
                images[number, np.unique(labels)] += 1
                empty[number] += not len(objects)
                most = max(most, len(labels))
                found = _boxes(objects, split.sizes[index], preprocessing)
                boxes.append(found)
                smallest[number][index] = _sides(found).min(initial=np.inf)
                if again := repeats_of(objects):
                    repeats += again
                    repeated.append((number, index))
                progress.step()
                progress.note(counted(int(of.sum()), "object"))
    placed = np.concatenate([np.zeros((0, 4), np.float32), *boxes])
    pixels = np.tile([preprocessing.height, preprocessing.width], 2)
    return Counts(
        unit="object",
        remedy="add images of the rare ones; look at the AP of each class, not at their mean",
        classes=dataset.classes,
        splits=tuple(splits),
        of=of,
        images=images,
        empty=empty,
        sides=_sides(placed),
        boxes=(placed / pixels).astype(np.float32),
        most=most,
        smallest=tuple(smallest),
        repeated=tuple(repeated),
        repeats=repeats,
    )


def _boxes(objects: Objects, size: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """(m, 4) pixels of the network's input; crowds left out."""
    return boxes_at_input(objects.boxes[~objects.crowd], size, preprocessing)


def _sides(boxes: np.ndarray) -> np.ndarray:
    """(m, 2) float32 height and width."""
    return (boxes[:, 2:] - boxes[:, :2]).astype(np.float32)


def repeats_of(objects: Objects) -> int:
    """How many boxes lie where one of their class is already."""
    boxes, labels = objects.boxes[~objects.crowd], objects.labels[~objects.crowd]
    if len(boxes) < 2:
        return 0
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)
    count = 0
    for start in range(0, len(boxes), ROWS):  # an image may hold thousands
        rows = slice(start, start + ROWS)
        first = np.maximum(boxes[rows, None, :2], boxes[None, :, :2])
        last = np.minimum(boxes[rows, None, 2:], boxes[None, :, 2:])
        common = (last - first).clip(0).prod(axis=-1)
        alike = common >= _REPEATED * (areas[rows, None] + areas[None] - common)
        alike &= labels[rows, None] == labels[None]
        count += int(np.tril(alike, start - 1).any(axis=1).sum())
    return count


def samples(
    dataset: DetectionDataset,
    preprocessing: Preprocessing,
    config: TrainConfig,
    readable: Sequence[int] | np.ndarray,
) -> list[Sample]:
    """Some images, or their fullest tiles, with their boxes, crowds drawn otherwise."""
    places = chosen(readable, config.seed)
    split, policy = dataset.train, BOX_POLICIES[config.augmentation]

    def read(index: int) -> tuple[np.ndarray, Objects]:
        picture, objects = split.picture(index), split.objects(index)
        size = picture.shape[:2]
        window = fullest_tile(objects.boxes, size, preprocessing)
        if window is None:
            return picture, objects
        return tiling.cut(picture, window), objects_within(objects, window, size, policy)

    found = []
    for row, index in enumerate(map(int, places)):
        picture, objects = read(index)
        boxes = box_augmentation.boxes_to_network(objects.boxes, picture.shape[:2], preprocessing)
        seen = draw_boxes(
            box_augmentation.to_network(picture, preprocessing),
            boxes,
            objects.labels,
            classes=dataset.classes,
        )
        changed = box_augmentation.augment(
            policy,
            draw(policy, places, row, seed=config.seed, epoch=0),
            read,
            preprocessing,
        )
        held = [dataset.classes[label] for label in np.unique(objects.labels)]
        found.append(
            Sample(
                name=split.names[index],
                label=", ".join(held) or "no object",
                seen=seen,
                augmented=draw_boxes(
                    changed.pixels,
                    changed.boxes[~changed.crowd],
                    changed.labels[~changed.crowd],
                    classes=dataset.classes,
                    truth=changed.boxes[changed.crowd],
                ),
            )
        )
    return found
