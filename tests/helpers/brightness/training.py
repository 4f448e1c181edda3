"""Batches, training model, and figures of the task."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from brightness.data import BrightnessSplit, truths
from brightness.numbers import numbers
from kerascnn.preprocessing import Preprocessing
from training import tasks
from training.augment.boxes import to_network
from training.engine import dataset_of_request as of_request
from training.engine import evaluation, fit
from training.engine.devices import Placement
from training.engine.history import History
from training.engine.loop import Fitted
from training.engine.tiled_batches import MapFunction, TiledBatch, TiledTrainingData
from training.engine.tiled_training import TiledTraining, require_one_device
from training.engine.training import OpenedTraining


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class BrightnessData(TiledTrainingData):
    """Images with a number each."""

    @property
    def signature(self) -> dict[str, Any]:
        return {**super().signature, "gt_value": ((self.batch_size, 1), np.float32)}

    def made(self, epoch: int, rows: np.ndarray, mapped: MapFunction) -> TiledBatch:
        def one(index: int) -> tuple[np.ndarray, float]:
            image = to_network(self.split.picture(index), self.preprocessing)
            return image, self.split.truth(index)

        pairs = list(mapped(lambda row: self.sound(int(row), one), self.own_rows(rows)))
        values = np.array([[value] for _image, value in pairs], np.float32)
        return {"pictures": np.stack([image for image, _value in pairs]), "gt_value": values}


class BrightnessTrainingModel(keras.Model):
    """A network behind its normalisation and in front of its loss."""

    def __init__(self, network: keras.Model, preprocessing: Preprocessing) -> None:
        super().__init__(name=f"{network.name}_training_model", autocast=False)
        self.network, self.preprocessing = network, preprocessing
        self.built = True

    def call(self, batch: dict[str, Any], training: bool = False) -> Any:
        images = self.preprocessing.normalise_floats(ops.cast(batch["pictures"], "float32"))
        return self.network(images, training=training)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):  # fmt: skip
        return ops.mean(ops.square(x["gt_value"] - y_pred))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return self.get_metrics_result()


def mean_error(model: keras.Model, split: BrightnessSplit, preprocessing: Preprocessing) -> float:
    """How far answers are off, on average."""
    run = evaluation.compiled(model, lambda outputs: outputs)

    def answer(images: np.ndarray) -> np.ndarray:
        return ops.convert_to_numpy(run(preprocessing.normalise(images)))

    return float(np.mean(np.abs(numbers(answer, split, preprocessing) - truths(split))))


class Brightness(TiledTraining):
    """What the loop trains."""

    head = tasks.of("brightness").head

    def readable(self, split: BrightnessSplit, index: int) -> object:
        return split.picture(index)

    def figures(self, split: BrightnessSplit) -> dict[str, float]:
        return {"val_error": mean_error(self.network, split, self.training_data.preprocessing)}


class BrightnessTraining(OpenedTraining):
    """A request with its data found and its network built."""

    def fit(
        self, folder: pathlib.Path, placement: Placement, after_epoch: Callable[[History], None]
    ) -> Fitted:
        require_one_device(placement, "brightness networks")
        config = self._asked.config
        self.look(folder, placement)
        data = BrightnessData(
            split=self.dataset.train,
            preprocessing=self.preprocessing,
            classes=1,
            config=config,
            broken=self._broken,
        )

        def open_task() -> Brightness:
            network = placement.twin(self.model)
            training_model = BrightnessTrainingModel(network, self.preprocessing)
            return Brightness(training_model, data, self.dataset.validation)

        return fit.fit(
            self.model,
            open_task,
            config=config,
            folder=folder / "checkpoints",
            history_file=folder / "history.csv",
            placement=placement,
            after_epoch=after_epoch,
        )

    def _read(self) -> None:
        self.dataset = of_request.with_validation(self.dataset, self._asked.config)

    def results(self, folder: pathlib.Path, saved: keras.Model) -> dict[str, Any]:
        held_out = self.dataset.held_out
        wanted = truths(held_out)
        return {
            "metric": self.task.metric.name,
            "held_out": mean_error(saved, held_out, self.preprocessing),
            "mean_baseline": float(np.mean(np.abs(wanted - wanted.mean()))),
        }
