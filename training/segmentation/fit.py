"""Training of segmentation networks: what `training.engine.loop` trains, and by which loss."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import keras
import numpy as np

from training import tasks
from training.datasets.segmentation import SegmentationSplit
from training.engine import fit as engine
from training.engine.devices import SINGLE, Placement
from training.engine.history import History
from training.engine.loop import Fitted
from training.engine.teacher import TeacherNetwork
from training.engine.tiled_training import TiledTraining
from training.segmentation.batches import SegmentationTrainingData
from training.segmentation.distillation import SegmentationDistillation
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
    teacher: TeacherNetwork | None = None,
) -> Fitted:
    """Train `model` in place; see `training.engine.fit`.

    Args:
        validation: images whose mean IoU chooses the best epoch; with None, or where no pixel of
            theirs counts, the last epoch is kept.
        placement: the devices and hosts to train on; all hosts see the same `folder`.
        pixels: (c,) of each class in the images to learn from (`count_pixels`).
        teacher: see `training.segmentation.distillation`.
    """
    return engine.fit(
        model,
        lambda: training_task(
            *(model, training_data, validation, classes, placement),
            pixels=pixels,
            teacher=teacher,
        ),
        config=training_data.config,
        folder=folder,
        history_file=history_file,
        placement=placement,
        after_epoch=after_epoch,
    )


def training_task(
    model: keras.Model,
    training_data: SegmentationTrainingData,
    validation: SegmentationSplit | None,
    classes: Sequence[str],
    placement: Placement,
    *,
    pixels: np.ndarray,
    teacher: TeacherNetwork | None = None,
) -> Segmentation:
    """What is trained, as `fit_segmenter` takes it; call it in the scope of the placement."""
    loss = SegmentationLoss.of(training_data.config, pixels, placement.total)
    begin_at_shares(model, class_prior_biases(pixels, loss.class_weights))
    distillation = None
    if teacher is not None:
        teacher = dataclasses.replace(teacher, model=placement.twin(teacher.model))
        distillation = SegmentationDistillation.of(loss, training_data.config)
    training_model = SegmentationTrainingModel(
        *(placement.twin(model), training_data.preprocessing, loss, placement),
        teacher=teacher,
        distillation=distillation,
    )
    return Segmentation(training_model, training_data, validation, classes, placement)


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
        placement: Placement = SINGLE,
    ) -> None:
        super().__init__(training_model, training_data, validation, placement)
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
