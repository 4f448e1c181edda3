"""The training side of the task; no framework is imported."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from brightness import data
from kerascnn.preprocessing import Preprocessing
from training.engine import dataset_of_request as of_request
from training.engine.inspection import Counts
from training.engine.task import Figure, Metric, Task

if TYPE_CHECKING:
    from brightness.training import BrightnessTraining
    from training.engine.request import TrainRequest
    from training.engine.training import Ready

ERROR = Figure(column="val_error", title="val error", unit="", higher_is_better=False)


class BrightnessTask(Task):
    """How bright an image is."""

    name = "brightness"
    network = "a brightness network"
    metric = Metric(name="mean error", judge=ERROR)
    figures = (ERROR,)
    policies = ("none",)
    settings = frozenset({"watch_images"})
    model = "brightness_tiny"
    head = ("value",)

    def require(self, data_: str) -> None:
        data.require(data_)

    def scan(self, asked: TrainRequest) -> data.BrightnessDataset:
        found: data.BrightnessDataset = of_request.scanned(data.scan, asked)
        return found

    def default_recipe(self, data_: str, weights: str | None) -> str:
        return "brightness"

    def open(
        self,
        asked: TrainRequest,
        dataset: data.BrightnessDataset | None,
        ready: Ready | None = None,
    ) -> BrightnessTraining:
        from brightness.training import BrightnessTraining

        return BrightnessTraining(asked, dataset, ready)

    def counts(
        self,
        dataset: data.BrightnessDataset,
        splits: Mapping[str, data.BrightnessSplit],
        preprocessing: Preprocessing,
    ) -> Counts:
        of = np.array([[len(split)] for split in splits.values()])
        return Counts(
            unit="image",
            remedy="",
            classes=dataset.classes,
            splits=tuple(splits),
            of=of,
            images=of,
            empty=np.zeros(len(splits), np.int64),
        )

    def closing(self, results: Mapping[str, Any], images: str) -> list[str]:
        return [f"off by {results['held_out']:.3f} on {images}"]

    def below_floor(self, info: Mapping[str, Any]) -> str | None:
        results = info["results"]
        found, mean = results["held_out"], results["mean_baseline"]
        if found < mean and not math.isnan(found):
            return None
        return f"this network finds nothing yet: off by {found:.3f}, and the mean by {mean:.3f}"
