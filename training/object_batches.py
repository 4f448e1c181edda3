"""Batches that detectors learn from and are evaluated on: NumPy arrays, for any backend."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from kerascnn.preprocessing import Preprocessing
from training import plan
from training.batches import ahead
from training.box_augmentation import (
    Augmented,
    Rectangle,
    Tile,
    assembled,
    make_tile,
    rectangles,
    refuse_crops,
    to_network,
)
from training.box_policies import BOX_POLICIES, Part, draw
from training.config import TrainConfig
from training.cores import WORKERS
from training.datasets.decode import in_order
from training.datasets.objects import ObjectSplit

ObjectBatch = dict[str, np.ndarray]
# `map`, or that of a pool of threads.
_Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ObjectCourse:
    """What a detector learns from.

    Every batch is a function of (seed, epoch, step): the same under every backend, on any number
    of hosts, and in a training that goes on after an interruption.

    Attributes:
        split: to learn from.
        preprocessing: geometry and normalisation of the network's input; no "crop".
        classes: how many there are.
        config: gives order, seed, batch size and augmentation, a name in `BOX_POLICIES`.
        most_objects: rows of padded ground truth; of more objects in a picture the largest stay.
        shard: (index, count): this host's part of every batch.

    Raises:
        InputError: pictures that are cropped, or not of 3 channels.
    """

    split: ObjectSplit
    preprocessing: Preprocessing
    classes: int
    config: TrainConfig
    most_objects: int = 100
    shard: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        refuse_crops(self.preprocessing)

    @property
    def steps(self) -> int:
        """Batches in an epoch, all full: what fills no batch is left out, others each time."""
        return len(self.split) // self._whole

    @property
    def batch_size(self) -> int:
        """Pictures in this host's part of a batch."""
        return self._whole // self.shard[1]

    @property
    def _whole(self) -> int:
        return min(self.config.batch_size, len(self.split))

    def names(self, epoch: int, step: int) -> list[str]:
        """The pictures of this host's part of a batch, for a message."""
        index, _count = self.shard
        start = index * self.batch_size
        rows = self._epoch(epoch)[step][start : start + self.batch_size]
        return [self.split.names[i] for i in rows]

    def batch(self, epoch: int, step: int) -> ObjectBatch:
        """One batch.

        Returns:
            "pictures": (n, height, width, 3) uint8.
            "gt_boxes": (n, most_objects, 4) float32 shares of these pictures.
            "gt_labels": (n, most_objects) int32, padded with -1.
            "gt_crowd": (n, most_objects) bool, what is neither to be found nor background.

        Raises:
            InputError: a picture that cannot be read.
        """
        return self._batch(epoch, self._epoch(epoch)[step], map)

    def _epoch(self, number: int) -> np.ndarray:
        """(steps, pictures of all hosts) positions in the split."""
        order = plan.order(len(self.split), seed=self.config.seed, epoch=number)
        return order[: self.steps * self._whole].reshape(self.steps, self._whole)

    def _batch(self, epoch: int, rows: np.ndarray, mapped: _Map) -> ObjectBatch:
        """A batch of these rows; `batch` without its order."""
        # A source is read once, its tiles are made, and it is let go: a batch of photos at their
        # full size may not fit into memory.
        policy = BOX_POLICIES[self.config.augmentation]
        first = self.shard[0] * self.batch_size
        jobs: dict[int, list[tuple[int, int, Part, Rectangle]]] = {}
        for slot in range(self.batch_size):
            drawn = draw(policy, rows, first + slot, seed=self.config.seed, epoch=epoch)
            areas = rectangles(drawn, self.preprocessing)
            for number, (part, area) in enumerate(zip(drawn.parts, areas, strict=True)):
                jobs.setdefault(part.picture, []).append((slot, number, part, area))

        def work(source: int) -> list[tuple[int, int, Tile]]:
            picture, objects = self.split.picture(source), self.split.objects(source)
            return [
                (slot, number, make_tile(policy, part, area, picture, objects, self.preprocessing))
                for slot, number, part, area in jobs[source]
            ]

        tiles: list[dict[int, Tile]] = [{} for _ in range(self.batch_size)]
        for some in mapped(work, jobs):
            for slot, number, tile in some:
                tiles[slot][number] = tile
        whole = [[parts[number] for number in sorted(parts)] for parts in tiles]
        return padded([assembled(parts, self.preprocessing) for parts in whole], self.most_objects)


def padded(pictures: list[Augmented], most: int) -> ObjectBatch:
    """A batch, as `ObjectCourse.batch` has it, of pictures with any number of objects."""
    batch = {
        "pictures": np.stack([picture.pixels for picture in pictures]),
        "gt_boxes": np.zeros((len(pictures), most, 4), np.float32),
        "gt_labels": np.full((len(pictures), most), -1, np.int32),
        "gt_crowd": np.zeros((len(pictures), most), bool),
    }
    for row, picture in enumerate(pictures):
        sides = picture.boxes[:, 2:] - picture.boxes[:, :2]
        largest = np.argsort(-sides.prod(axis=1), kind="stable")[:most]
        stay = np.sort(largest)
        batch["gt_boxes"][row, : len(stay)] = picture.boxes[stay]
        batch["gt_labels"][row, : len(stay)] = picture.labels[stay]
        batch["gt_crowd"][row, : len(stay)] = picture.crowd[stay]
    return batch


def object_batches(
    course: ObjectCourse, *, first_epoch: int, last_epoch: int, first_step: int = 0
) -> Iterator[ObjectBatch]:
    """Batches from a step of `first_epoch` up to `last_epoch`, made ahead in threads."""

    def make() -> Iterator[ObjectBatch]:
        with ThreadPoolExecutor(WORKERS) as pool:
            for number in range(first_epoch, last_epoch):
                rows = course._epoch(number)
                for step in range(first_step if number == first_epoch else 0, course.steps):
                    yield course._batch(number, rows[step], pool.map)

    return ahead(make())


def evaluation_pictures(
    split: ObjectSplit, preprocessing: Preprocessing, batch_size: int
) -> Iterator[np.ndarray]:
    """(n, height, width, 3) uint8 blocks of a split, in order; the last one may be short.

    Raises:
        InputError: a picture that cannot be read.
    """
    refuse_crops(preprocessing)
    block: list[np.ndarray] = []
    for picture in in_order(lambda i: to_network(split.picture(i), preprocessing), len(split)):
        block.append(picture)
        if len(block) == batch_size:
            yield np.stack(block)
            block = []
    if block:
        yield np.stack(block)
