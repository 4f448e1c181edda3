"""Batches that detectors learn from and are evaluated on: NumPy arrays, for any backend."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from kerascnn.errors import InputError
from training.augment.box_policies import BOX_POLICIES, Part
from training.augment.boxes import (
    Augmented,
    Rectangle,
    Tile,
    assembled,
    make_tile,
    objects_within,
)
from training.common import random_streams
from training.datasets import mask_bits, tiling
from training.datasets.detection import DetectionSplit, Objects
from training.engine.tiled_batches import (
    MapFunction,
    TiledBatch,
    TiledTrainingData,
)

DetectionBatch = TiledBatch


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DetectionTrainingData(TiledTrainingData):
    """What a detector learns from; a `TiledTrainingData` of images with boxes.

    Attributes:
        most_objects: rows of padded ground truth; of more objects in an image the largest stay.
        masks: whether batches have the objects' masks.
        random_numbers: uniform ones per image, for what the loss samples; 0: none.

    Raises:
        InputError: images that are cropped, or not of 3 channels; masks of objects with boxes
            alone.
    """

    split: DetectionSplit
    most_objects: int = 100
    masks: bool = False
    random_numbers: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.masks and len(self.split) and self.split.objects(0).masks is None:
            raise InputError(
                f"{self.split.names[0]}: objects have boxes alone, and no masks; give data with "
                "outlines (COCO, YOLO, scenes), or train a network that has no masks"
            )

    def batch(self, epoch: int, step: int) -> DetectionBatch:
        """One batch.

        Returns:
            "pictures": (n, height, width, 3) uint8.
            "gt_boxes": (n, most_objects, 4) float32 shares of these images.
            "gt_labels": (n, most_objects) int32, padded with -1.
            "gt_crowd": (n, most_objects) bool, what is neither to be found nor background.
            "gt_masks": (n, most_objects, height, bytes) uint8, a bit a pixel, 1 on the object
                (`training.datasets.mask_bits`); where `masks`.
            "chance": (n, random_numbers) float32 from 0 to below 1, of the seed, the epoch and the
                image; where there are any.

        Raises:
            InputError: no image can be read; or see `BrokenPictures.add`.
        """
        return super().batch(epoch, step)

    @property
    def signature(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """See `TiledTrainingData.signature`."""
        count, most = self.batch_size, self.most_objects
        found = {
            **super().signature,
            "gt_boxes": ((count, most, 4), np.float32),
            "gt_labels": ((count, most), np.int32),
            "gt_crowd": ((count, most), np.bool_),
        }
        if self.masks:
            height, width = self.preprocessing.input_shape[:2]
            shape = (count, most, height, mask_bits.row_bytes(width))
            found["gt_masks"] = (shape, np.uint8)
        if self.random_numbers:
            found["chance"] = ((count, self.random_numbers), np.float32)
        return found

    def made(self, epoch: int, rows: np.ndarray, mapped: MapFunction) -> DetectionBatch:
        policy = BOX_POLICIES[self.config.augmentation]

        def opened(source: int) -> Callable[[Part, Rectangle], Tile]:
            picture, objects = self._seen(epoch, source)
            return lambda part, area: make_tile(
                policy, part, area, picture, objects, self.preprocessing, masks=self.masks
            )

        tiles = self._tiles(epoch, rows, mapped, opened)
        pictures = (assembled(parts, self.preprocessing) for parts in tiles)
        batch = padded(list(pictures), self.most_objects)
        if self.random_numbers:
            own = self.own_rows(rows)
            batch["chance"] = np.stack([self._randomness(epoch, int(i)) for i in own])
        return batch

    def _seen(self, epoch: int, source: int) -> tuple[np.ndarray, Objects]:
        """The pixels and the objects of an image, or of the tile of it that an epoch sees."""
        picture, objects = self.split.picture(source), self.split.objects(source)
        size = picture.shape[:2]

        def middle(rng: np.random.Generator) -> np.ndarray:
            boxes = objects.boxes[~objects.crowd]
            if not len(boxes):
                return np.empty(0)
            box = boxes[rng.integers(len(boxes))] * np.tile(size, 2)
            return np.minimum((box[:2] + box[2:]) / 2, np.subtract(size, 1))

        window = self.window(epoch, source, size, middle)
        if window is None:
            return picture, objects
        policy = BOX_POLICIES[self.config.augmentation]
        return tiling.cut(picture, window), objects_within(objects, window, size, policy)

    def _randomness(self, epoch: int, picture: int) -> np.ndarray:
        rng = random_streams.of_epoch(self.config.seed, epoch, random_streams.SAMPLING, picture)
        return rng.random(self.random_numbers, dtype=np.float32)


def padded(pictures: list[Augmented], most: int) -> DetectionBatch:
    """A batch, as `DetectionTrainingData.batch` has it, of images with any number of objects."""
    batch = {
        "pictures": np.stack([picture.pixels for picture in pictures]),
        "gt_boxes": np.zeros((len(pictures), most, 4), np.float32),
        "gt_labels": np.full((len(pictures), most), -1, np.int32),
        "gt_crowd": np.zeros((len(pictures), most), bool),
    }
    if all(picture.masks is not None for picture in pictures):
        height, width = pictures[0].pixels.shape[:2]
        shape = (len(pictures), most, height, mask_bits.row_bytes(width))
        batch["gt_masks"] = np.zeros(shape, np.uint8)
    for row, picture in enumerate(pictures):
        sides = picture.boxes[:, 2:] - picture.boxes[:, :2]
        largest = np.argsort(-sides.prod(axis=1), kind="stable")[:most]
        stay = np.sort(largest)
        batch["gt_boxes"][row, : len(stay)] = picture.boxes[stay]
        batch["gt_labels"][row, : len(stay)] = picture.labels[stay]
        batch["gt_crowd"][row, : len(stay)] = picture.crowd[stay]
        if picture.masks is not None and "gt_masks" in batch:
            batch["gt_masks"][row, : len(stay)] = picture.masks[stay]
    return batch
