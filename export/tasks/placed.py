"""What tasks share whose images are read when they are asked for: those with boxes or masks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np

from export.tasks.base import Task, spread
from export.tasks.same_data import check_fingerprint
from training.augment.boxes import to_network
from training.common.parallel import in_order
from training.datasets import tiling
from training.datasets.splits import PlacedSplit, SplitDataset
from training.engine import dataset_of_request as of_request
from training.engine.evaluation import image_blocks

_Split = TypeVar("_Split", bound=PlacedSplit[Any])


class PlacedTask(Task, Generic[_Split]):
    """See `Task`; what is abstract there and not here is what answers are."""

    @functools.cached_property
    def dataset(self) -> SplitDataset[_Split]:
        """The run's data; raises InputError if it is gone or has changed."""
        dataset: SplitDataset[_Split] = of_request.dataset_of(self.asked)
        check_fingerprint(self.run, dataset.fingerprint)
        known = self.run.info["dataset"]
        skipped, broken = set(known["skipped"]), set(known.get("broken", ()))
        return of_request.with_validation(dataset, self.config, skipped=skipped, broken=broken)

    @property
    def held_out(self) -> _Split:
        """Images that figures are measured on."""
        return self.dataset.held_out

    @property
    def train(self) -> _Split:
        """Images that the run learnt from."""
        return self.dataset.train

    @property
    def validation(self) -> _Split | None:
        return self.dataset.validation or None

    def pictures(self) -> int:
        return len(self.held_out)

    def simulated_answers(self, function: Callable[[np.ndarray], Any]) -> None:
        """The simulation is not asked: the file is, against the network that it was made of."""
        return

    def judged(self, count: int) -> np.ndarray:
        split = self.validation or self.held_out
        chosen = split.take(spread(len(split), count))
        return np.concatenate(list(image_blocks(chosen, self.run.preprocessing, len(chosen))))

    def sample(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """By chance, without regard to what is in them; the labels are empty."""
        order = np.random.default_rng(self.config.seed).permutation(len(self.train))
        chosen = self.train.take(np.sort(order[:count]))
        if self.run.preprocessing.tiles:
            return self._tiles(chosen), np.empty(0, np.int32)
        blocks = list(image_blocks(chosen, self.run.preprocessing, len(chosen)))
        return np.concatenate(blocks), np.empty(0, np.int32)

    def _tiles(self, split: _Split) -> np.ndarray:
        """One tile by chance of each image of a split, as the network sees it."""
        preprocessing, rng = self.run.preprocessing, np.random.default_rng(self.config.seed)
        chances = rng.random((len(split), 2))

        def one(index: int) -> np.ndarray:
            image = split.picture(index)
            window = tiling.anywhere(image.shape[:2], preprocessing, chances[index])
            return to_network(tiling.cut(image, window), preprocessing)

        return np.stack(list(in_order(one, len(split), chunk=1)))
