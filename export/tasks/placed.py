"""What tasks share whose images are read when they are asked for: those with boxes or masks."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np

from export.tasks import calibration_set
from export.tasks.base import Task
from export.tasks.calibration_set import CalibrationSet
from export.tasks.same_data import check_fingerprint
from kerascnn.errors import InputError
from training.augment.boxes import refuse_crops, to_network
from training.common.parallel import in_order
from training.common.spread import spread
from training.datasets import tiling, unlabelled
from training.datasets.decode import Broken
from training.datasets.splits import PlacedSplit, SplitDataset
from training.engine import dataset_of_request as of_request
from training.engine import own_answers
from training.engine.evaluation import image_blocks

_Split = TypeVar("_Split", bound=PlacedSplit[Any])


class PlacedTask(Task, Generic[_Split]):
    """See `Task`; what is abstract there and not here is what answers are."""

    @property
    def metric(self) -> str:  # type: ignore[override]
        """What the run is judged by; of its network's own answers where images have no labels."""
        return str(self.run.info["results"]["metric"])

    @functools.cached_property
    def dataset(self) -> SplitDataset[_Split]:
        """The run's data; raises InputError if it is gone or has changed."""
        dataset: SplitDataset[_Split] = of_request.dataset_of(self.asked)
        check_fingerprint(self.run, dataset.fingerprint)
        known = self.run.info["dataset"]
        skipped, broken = set(known["skipped"]), set(known.get("broken", ()))
        chosen = of_request.with_validation(dataset, self.config, skipped=skipped, broken=broken)
        answered: SplitDataset[_Split] = own_answers.truth_of(self.run, chosen)
        return answered

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
        pictures, broken = self._chosen(self.train, count)
        calibration_set.require_some(len(pictures), broken)
        return pictures, np.empty(0, np.int32)

    def calibration_set(self, data: str) -> CalibrationSet:
        found = super().calibration_set(data)
        if found.labelled:
            return found
        return dataclasses.replace(found, split=unlabelled.placed(found.split))

    def sampled(self, chosen_from: CalibrationSet, count: int) -> tuple[np.ndarray, list[Broken]]:
        pictures, broken = self._chosen(chosen_from.split, count)
        calibration_set.require_some(len(pictures), broken)
        return pictures, broken

    def _chosen(self, split: PlacedSplit[Any], count: int) -> tuple[np.ndarray, list[Broken]]:
        """As the network sees them; of large images one tile of each, where it was trained so."""
        preprocessing = self.run.preprocessing
        refuse_crops(preprocessing)
        order = np.random.default_rng(self.config.seed).permutation(len(split))
        chosen = split.take(np.sort(order[:count]))
        randomness = np.random.default_rng(self.config.seed).random((len(chosen), 2))

        def look(index: int) -> np.ndarray | Broken:
            try:
                image = chosen.picture(index)
            except InputError as error:
                return Broken(name=chosen.names[index], reason=str(error))
            if preprocessing.tiles:
                window = tiling.anywhere(image.shape[:2], preprocessing, randomness[index])
                image = tiling.cut(image, window)
            return to_network(image, preprocessing)

        large = {"chunk": 1} if preprocessing.tiles else {}
        found = list(in_order(look, len(chosen), **large))
        sound = [one for one in found if not isinstance(one, Broken)]
        broken = [one for one in found if isinstance(one, Broken)]
        return np.stack(sound) if sound else np.empty((0, *preprocessing.input_shape)), broken
