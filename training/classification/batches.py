"""Batches of NumPy arrays, without tensorflow: what the loop eats under jax and torch.

`training.classification.tf_data` gives the same batches by tf.data.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.augment import policies
from training.common.parallel import ahead, in_order
from training.datasets.broken import BrokenPictures
from training.datasets.decode import CACHE_BYTES
from training.datasets.pictures import read_picture, read_window
from training.datasets.splits import Split
from training.engine import epoch_schedule
from training.engine.config import TrainConfig

Batch = tuple[dict[str, Any], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TrainingData:
    """What a training learns from, in whatever form its batches come.

    Attributes:
        split: images, in memory or as files, at the geometry of `source`.
        source: how they are stored, or are to be read.
        preprocessing: geometry and normalisation of the network's input.
        classes: length of the one-hot labels.
        config: gives order, augmentation and mixing.
        shard: (index, count): this host's part of every batch.
        broken: collects images that cannot be read; the next one of the same class that can
            stands in for each.
    """

    split: Split
    source: Preprocessing
    preprocessing: Preprocessing
    classes: int
    config: TrainConfig
    shard: tuple[int, int] = (0, 1)
    broken: BrokenPictures = dataclasses.field(default_factory=BrokenPictures)

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return epoch_schedule.steps_per_epoch(self.split, self.config)

    @property
    def read_at(self) -> Preprocessing:
        """Geometry that files are read at: a window of one is cut to the network's at once."""
        if policies.POLICIES[self.config.augmentation].crops:
            return self.preprocessing
        return self.source

    @property
    def batch_size(self) -> int:
        """Images in this host's part of a batch."""
        return epoch_schedule.batch_size(self.split, self.config) // self.shard[1]

    def epoch(self, number: int) -> dict[str, np.ndarray]:
        """Rows of all batches of `epoch_schedule.epoch`, with the axes (step, row, ...)."""
        schedule = epoch_schedule.epoch(
            self.split,
            source=self.source,
            target=self.preprocessing,
            config=self.config,
            number=number,
        )
        index, count = self.shard
        return {
            key: rows.reshape(self.steps, count, self.batch_size, *rows.shape[1:])[:, index]
            for key, rows in schedule.items()
        }

    def one_batch(self) -> dict[str, np.ndarray]:
        """Rows with the types and shapes of all: (1, row, ...)."""
        whole = epoch_schedule.batch_size(self.split, self.config)
        config = dataclasses.replace(self.config, batch_size=whole, min_steps=0)
        few = dataclasses.replace(self, split=self.split.take(range(whole)), config=config)
        return few.epoch(0)

    def read(self, index: int, load: Callable[[int], np.ndarray]) -> np.ndarray:
        """What `load` gives of an image, or of the one that stands in for it if it is broken.

        Args:
            load: reads the image at a position of the split; raises InputError.

        Raises:
            InputError: no image of its class can be read; or see `BrokenPictures.add`.
        """
        return self.broken.first_sound(self._and_others(index), self.split.names, load)

    def _and_others(self, index: int) -> Iterator[int]:
        """A position of the split, and then those of the same class, from there on in order."""
        yield index
        others = self.split.alike(index)
        behind = int(np.searchsorted(others, index, side="right"))
        yield from (int(place) for place in np.roll(others, -behind)[:-1])

    def names(self, epoch: int, step: int) -> list[str]:
        """The images of one batch, for a message."""
        return [self.split.names[i] for i in self.epoch(epoch)["index"][step]]


def split_rows(rows: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """(index, the batch without its images) out of flat rows."""
    params = {key: value for key, value in rows.items() if key not in ("index", "mix")}
    batch: dict[str, Any] = {"drawn": params}
    if "mix" in rows:
        batch["mix"] = rows["mix"]
    return rows["index"], batch


def train_batches(
    training_data: TrainingData, *, first_epoch: int, last_epoch: int, first_step: int = 0
) -> Iterator[Batch]:
    """Batches from a step of `first_epoch` up to `last_epoch`, made ahead in a thread.

    Yields:
        ({"pictures": (n, h, w, c) uint8, "drawn": {...}, "mix": (n, 5)}, (n, classes) float32).
    """

    def make() -> Iterator[Batch]:
        for number in range(first_epoch, last_epoch):
            epoch = training_data.epoch(number)
            for step in range(first_step if number == first_epoch else 0, training_data.steps):
                yield _batch(training_data, {key: rows[step] for key, rows in epoch.items()})

    return ahead(make())


def _batch(training_data: TrainingData, rows: dict[str, np.ndarray]) -> Batch:
    index, batch = split_rows(rows)
    split = training_data.split
    if split.pictures is not None:
        batch["pictures"] = split.pictures[index]
    else:
        windows = batch["drawn"].pop("window", [None] * len(index))  # cut here

        def read(row: int) -> np.ndarray:
            def load(number: int) -> np.ndarray:
                name = split.names[number]
                return read_window(split.encoded(number), windows[row], training_data.read_at, name)

            return training_data.read(int(index[row]), load)

        batch["pictures"] = np.stack(list(in_order(read, len(index))))
    return batch, one_hot(split.labels[index], training_data.classes)


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """(n, classes) float32 of (n,) class indices, in no more memory than that.

    Of (n, classes) bool, which classes each image shows, the same as numbers.
    """
    if labels.ndim == 2:
        return labels.astype(np.float32)
    rows = np.zeros((len(labels), classes), np.float32)
    rows[np.arange(len(labels)), labels] = 1
    return rows


class EvaluationBatches(keras.utils.PyDataset):
    """Batches in order and without chance; the last one may be short.

    Images that cannot be read are left out, and a batch is shorter then; the first image that
    can be read stands in for a batch of which nothing is left. Images that are read from files
    are kept behind their first pass, if all of them fit into memory.

    Args:
        split: at the network's geometry.
        broken: collects images that cannot be read.
    """

    def __init__(
        self,
        split: Split,
        preprocessing: Preprocessing,
        *,
        classes: int,
        batch_size: int,
        broken: BrokenPictures | None = None,
    ) -> None:
        super().__init__()
        self._broken = broken or BrokenPictures()
        self._split, self._preprocessing = split, preprocessing
        self._classes, self._batch_size = classes, batch_size
        self._keeps = len(split) * int(np.prod(preprocessing.input_shape)) <= CACHE_BYTES
        self._kept: dict[int, tuple[Sequence[int], np.ndarray]] = {}

    def __len__(self) -> int:
        return math.ceil(len(self._split) / self._batch_size)

    def __getitem__(self, number: int) -> Batch:
        start = number * self._batch_size
        stop = min(start + self._batch_size, len(self._split))
        places: Sequence[int] = range(start, stop)
        if self._split.pictures is not None:
            pictures = self._split.pictures[start:stop]
        elif number in self._kept:
            places, pictures = self._kept[number]
        else:
            places, pictures = self._readable(places)
            if self._keeps:
                self._kept[number] = places, pictures
        return {"pictures": pictures}, one_hot(self._split.labels[places], self._classes)

    def _readable(self, places: Iterable[int]) -> tuple[list[int], np.ndarray]:
        """Those of some places whose images can be read, or the first of all; and these."""
        split, names = self._split, self._split.names

        def read(place: int) -> np.ndarray:
            return read_picture(split.encoded(place), self._preprocessing, names[place])

        def read_or_none(place: int) -> np.ndarray | None:
            try:
                return read(place)
            except InputError as error:
                self._broken.add(names[place], error)
                return None

        asked = list(places)
        found = zip(asked, in_order(lambda i: read_or_none(asked[i]), len(asked)), strict=True)
        sound = {place: pixels for place, pixels in found if pixels is not None}
        if not sound:
            first, pixels = self._broken.first_sound(
                range(len(split)), names, lambda place: (place, read(place))
            )
            sound = {first: pixels}
        return list(sound), np.stack(list(sound.values()))
