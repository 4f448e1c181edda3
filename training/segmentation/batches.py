"""Batches that segmentation networks learn from: NumPy arrays, for any backend."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from kerascnn.errors import InputError
from training.augment.box_policies import Part
from training.augment.boxes import Rectangle
from training.augment.masks import (
    AugmentedMap,
    MapTile,
    assembled_map,
    make_map_tile,
    middle,
)
from training.datasets import tiling
from training.datasets.segmentation import VOID, SegmentationSplit
from training.engine.tiled_batches import (
    MapFunction,
    TiledBatch,
    TiledTrainingData,
)
from training.segmentation.border_weights import border_weights

SegmentationBatch = TiledBatch


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationTrainingData(TiledTrainingData):
    """What a segmentation network learns from; a `TiledTrainingData` of images with masks.

    Attributes:
        output_size: (h', w') of the network's answer; None: that of its input. A smaller one is
            the middle of the input, as unpadded convolutions leave it (arXiv:1505.04597, fig. 1).

    Raises:
        InputError: images that are cropped, or not of 3 channels; an output larger than the
            input.
    """

    split: SegmentationSplit
    output_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        height, width = self.preprocessing.height, self.preprocessing.width
        if not (0 < self.answer[0] <= height and 0 < self.answer[1] <= width):
            raise InputError(
                f"an output of {self.answer[0]} x {self.answer[1]} pixels is not part of an input "
                f"of {height} x {width}; give a smaller one"
            )

    @property
    def answer(self) -> tuple[int, int]:
        """(h', w') of the network's answer."""
        return self.output_size or (self.preprocessing.height, self.preprocessing.width)

    def batch(self, epoch: int, step: int) -> SegmentationBatch:
        """One batch.

        Returns:
            "pictures": (n, height, width, 3) uint8.
            "gt_map": (n, h', w') uint8 classes, `VOID` where there is none.
            "gt_weights": (n, h', w') float32 of `border_weights`, where `config.border_weight`.

        Raises:
            InputError: no image can be read; or see `BrokenPictures.add`.
        """
        return super().batch(epoch, step)

    @property
    def signature(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """See `TiledTrainingData.signature`."""
        shape = (self.batch_size, *self.answer)
        found = {**super().signature, "gt_map": (shape, np.uint8)}
        if self.config.border_weight:
            found["gt_weights"] = (shape, np.float32)
        return found

    def made(self, epoch: int, rows: np.ndarray, mapped: MapFunction) -> SegmentationBatch:
        def opened(source: int) -> Callable[[Part, Rectangle], MapTile]:
            picture, label_map = self._seen(epoch, source)
            return lambda part, area: make_map_tile(
                part, area, picture, label_map, self.preprocessing
            )

        def finish(tiles: list[MapTile]) -> dict[str, np.ndarray]:
            return self._finished(assembled_map(tiles, self.preprocessing))

        finished = list(mapped(finish, self._tiles(epoch, rows, mapped, opened)))
        return {key: np.stack([row[key] for row in finished]) for key in finished[0]}

    def _seen(self, epoch: int, source: int) -> tuple[np.ndarray, np.ndarray]:
        """The pixels and the classes of an image, or of the tile of it that an epoch sees."""
        picture, label_map = self.split.both(source)

        def pixel(rng: np.random.Generator) -> np.ndarray:
            """Of a class that is there, each as likely as the others."""
            there = np.unique(label_map[label_map != VOID])
            if not len(there):
                return np.empty(0)
            places = np.flatnonzero(label_map == rng.choice(there))
            return np.array(np.unravel_index(rng.choice(places), label_map.shape))

        window = self.window(epoch, source, picture.shape[:2], pixel)
        if window is None:
            return picture, label_map
        return tiling.cut(picture, window), tiling.cut(label_map, window)

    def _finished(self, picture: AugmentedMap) -> dict[str, np.ndarray]:
        """A row of the batch."""
        inside = middle(picture.label_map.shape, self.answer)
        row = {"pictures": picture.pixels, "gt_map": picture.label_map[inside]}
        if self.config.border_weight:
            # Of the whole input: what is near by may lie outside of the answer.
            weights = border_weights(picture.label_map, weight=self.config.border_weight)
            row["gt_weights"] = weights[inside]
        return row
