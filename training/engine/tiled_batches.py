"""What training data with boxes and with masks share: batches made of tiles.

An image for the network is put together of tiles, one from each source image that was drawn for
it: four in a mosaic, else one (`training.augment.box_policies`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from kerascnn.preprocessing import Preprocessing
from training.augment.box_policies import BOX_POLICIES, Part, draw
from training.augment.boxes import Rectangle, rectangles, refuse_crops
from training.common import random_streams
from training.common.cores import WORKERS
from training.common.parallel import ahead
from training.datasets import tiling
from training.datasets.broken import BrokenPictures
from training.datasets.splits import PlacedSplit
from training.engine import epoch_schedule
from training.engine.config import TrainConfig

# Of tiles of larger images, the share that is laid around something.
_SEARCHED = 0.5

TiledBatch = dict[str, np.ndarray]
# `map`, or that of a pool of threads.
MapFunction = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
_Tile = TypeVar("_Tile")
_Loaded = TypeVar("_Loaded")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TiledTrainingData:
    """What a network learns from; see `DetectionTrainingData` and `SegmentationTrainingData`.

    Every batch is a function of (seed, epoch, step): the same under every backend, on any number
    of hosts, and in a training that goes on after an interruption.

    Attributes:
        split: to learn from.
        preprocessing: geometry and normalisation of the network's input; no "crop".
        classes: how many there are.
        config: gives order, seed, batch size and augmentation, a name in `BOX_POLICIES`.
        shard: (index, count): this host's part of every batch.
        broken: collects images that cannot be read; the next one that can stands in for each.

    Raises:
        InputError: images that are cropped, or not of 3 channels.
    """

    split: PlacedSplit[Any]
    preprocessing: Preprocessing
    classes: int
    config: TrainConfig
    shard: tuple[int, int] = (0, 1)
    broken: BrokenPictures = dataclasses.field(default_factory=BrokenPictures)

    def __post_init__(self) -> None:
        refuse_crops(self.preprocessing)

    @property
    def steps(self) -> int:
        """Batches in an epoch, all full: what fills no batch is left out, others each time."""
        return len(self.split) // self._whole

    @property
    def batch_size(self) -> int:
        """Images in this host's part of a batch."""
        return self._whole // self.shard[1]

    @property
    def _whole(self) -> int:
        return epoch_schedule.batch_of(len(self.split), self.config)

    @property
    def signature(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and type of each array of a batch."""
        shape = (self.batch_size, *self.preprocessing.input_shape)
        return {"pictures": (shape, np.uint8)}

    def names(self, epoch: int, step: int) -> list[str]:
        """The images of this host's part of a batch, for a message."""
        return [self.split.names[i] for i in self.own_rows(self.rows(epoch)[step])]

    def batch(self, epoch: int, step: int) -> TiledBatch:
        """One batch.

        Raises:
            InputError: no image can be read; or see `BrokenPictures.add`.
        """
        return self.made(epoch, self.rows(epoch)[step], map)

    def rows(self, epoch: int) -> np.ndarray:
        """(steps, images of all hosts) positions in the split, in an epoch's order."""
        order = epoch_schedule.order(len(self.split), seed=self.config.seed, epoch=epoch)
        return order[: self.steps * self._whole].reshape(self.steps, self._whole)

    def made(self, epoch: int, rows: np.ndarray, mapped: MapFunction) -> TiledBatch:
        """The batch of these rows; `batch` without its order."""
        raise NotImplementedError

    def own_rows(self, rows: np.ndarray) -> np.ndarray:
        """This host's rows of a batch."""
        start = self.shard[0] * self.batch_size
        return rows[start : start + self.batch_size]

    def window(
        self, epoch: int, source: int, size: Sequence[int], points: Callable[[Any], np.ndarray]
    ) -> np.ndarray | None:
        """The tile of an image that an epoch sees, by (seed, epoch, image); None: all of it.

        One of two is any, the other one of those that hold a point of interest: of large images
        most tiles may show nothing else.

        Args:
            size: (height, width) of the image.
            points: takes a generator and gives (2,) y and x pixels, or nothing where there is no
                such point.
        """
        if not self.preprocessing.tiles or max(size) <= self.preprocessing.tiles:
            return None
        seed = self.config.seed
        rng = random_streams.of_epoch(seed, epoch, random_streams.TILE_PLACES, source)
        searched, randomness = rng.random() < _SEARCHED, rng.random(2)
        point = points(rng) if searched else np.empty(0)
        if len(point):
            return tiling.around(point, size, self.preprocessing, randomness)
        return tiling.anywhere(size, self.preprocessing, randomness)

    def sound(self, source: int, load: Callable[[int], _Loaded]) -> _Loaded:
        """What `load` gives of a position of the split, or of the next one that can be read.

        Raises:
            InputError: none can be read; or see `BrokenPictures.add`.
        """
        count = len(self.split)
        others = ((source + step) % count for step in range(count))
        return self.broken.first_sound(others, self.split.names, load)

    def _tiles(
        self,
        epoch: int,
        rows: np.ndarray,
        mapped: MapFunction,
        opened: Callable[[int], Callable[[Part, Rectangle], _Tile]],
    ) -> list[list[_Tile]]:
        """The tiles of each of this host's images of a batch.

        Args:
            opened: reads the image at a position of the split and gives what makes a tile of it;
                raises InputError where it cannot be read.
        """
        # A source is read once, its tiles are made, and it is let go: a batch of photos at their
        # full size may not fit into memory.
        policy = BOX_POLICIES[self.config.augmentation]
        first = self.shard[0] * self.batch_size
        jobs: dict[int, list[tuple[int, int, Part, Rectangle]]] = {}
        for slot in range(self.batch_size):
            params = draw(policy, rows, first + slot, seed=self.config.seed, epoch=epoch)
            areas = rectangles(params, self.preprocessing)
            for number, (part, area) in enumerate(zip(params.parts, areas, strict=True)):
                jobs.setdefault(part.picture, []).append((slot, number, part, area))

        def work(source: int) -> list[tuple[int, int, _Tile]]:
            make = self.sound(source, opened)
            return [(slot, number, make(part, area)) for slot, number, part, area in jobs[source]]

        tiles: list[dict[int, _Tile]] = [{} for _ in range(self.batch_size)]
        for some in mapped(work, jobs):
            for slot, number, tile in some:
                tiles[slot][number] = tile
        return [[parts[number] for number in sorted(parts)] for parts in tiles]


def tiled_batches(
    training_data: TiledTrainingData, *, first_epoch: int, last_epoch: int, first_step: int = 0
) -> Iterator[TiledBatch]:
    """Batches from a step of `first_epoch` up to `last_epoch`, made ahead in threads."""

    def make() -> Iterator[TiledBatch]:
        with ThreadPoolExecutor(WORKERS) as pool:
            for number in range(first_epoch, last_epoch):
                rows = training_data.rows(number)
                for step in range(first_step if number == first_epoch else 0, training_data.steps):
                    yield training_data.made(number, rows[step], pool.map)

    return ahead(make())
