"""Training of segmentation networks: what `training.engine.loop` trains, and by which loss."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence

import keras
import numpy as np

from training import tasks
from training.datasets.segmentation import SegmentationSplit
from training.engine import fit as engine
from training.engine.devices import Placement
from training.engine.history import History
from training.engine.loop import Fitted, TrainingTask
from training.engine.tiled_training import TiledTraining, require_one_device
from training.segmentation.batches import SegmentationTrainingData
from training.segmentation.evaluate import evaluate_segmenter, keras_segment_fn
from training.segmentation.losses import SegmentationLoss, class_prior_biases
from training.segmentation.training_model import SegmentationTrainingModel


def fit_segmenter(
    model: keras.Model,
    training_data: SegmentationTrainingData,
    validation: SegmentationSplit | None,
    *,
    classes: Sequence[str],
    folder: pathlib.Path,
    history_file: pathlib.Path,
    placement: Placement,
    pixels: np.ndarray,
    after_epoch: Callable[[History], None] | None = None,
) -> Fitted:
    """Train `model` in place; see `training.engine.fit`.

    Args:
        validation: images whose mean IoU chooses the best epoch; with None, or where no pixel of
            theirs counts, the last epoch is kept.
        placement: one device.
        pixels: (c,) of each class in the images to learn from (`count_pixels`).
    """
    require_one_device(placement, "segmentation networks")

    def open_task() -> TrainingTask:
        loss = SegmentationLoss.of(training_data.config, pixels)
        begin_at_shares(model, class_prior_biases(pixels, loss.class_weights))
        training_model = SegmentationTrainingModel(
            placement.twin(model), training_data.preprocessing, loss
        )
        return Segmentation(training_model, training_data, validation, classes)

    return engine.fit(
        model,
        open_task,
        seed=training_data.config.seed,
        folder=folder,
        history_file=history_file,
        placement=placement,
        after_epoch=after_epoch,
    )


def begin_at_shares(model: keras.Model, biases: np.ndarray) -> None:
    """Give the logits these biases, unless they have learnt some already."""
    bias = model.get_layer("logits").bias
    if not np.any(np.asarray(bias)):
        bias.assign(biases)


class Segmentation(TiledTraining):
    """Images with masks."""

    head = tasks.of("segmentation").head

    def __init__(
        self,
        training_model: SegmentationTrainingModel,
        training_data: SegmentationTrainingData,
        validation: SegmentationSplit | None,
        classes: Sequence[str],
    ) -> None:
        super().__init__(training_model, training_data, validation)
        self._classes = classes
        self._segment = keras_segment_fn(self.network, training_data.preprocessing)

    def readable(self, split: SegmentationSplit, index: int) -> object:
        return split.both(index)

    def figures(self, split: SegmentationSplit) -> dict[str, float]:
        found = evaluate_segmenter(
            *(self._segment, split, self.training_data.preprocessing, self._classes),
            boundaries=False,
        )
        return {"val_miou": found.miou, "val_dice": found.mean_dice}
