"""The training of classifiers: what `training.engine.loop` trains, on what, and by which loss."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import tasks
from training.classification import probe
from training.classification.balanced_accuracy import BalancedAccuracy
from training.classification.batches import TrainingData
from training.classification.distillation import DistillationLoss, Teacher, accuracy
from training.classification.input_pipeline import evaluation_input, training_input
from training.classification.linear_head import Head, softmax_loss
from training.classification.prepare import Prepare
from training.classification.training_model import ClassificationTrainingModel, factors_of
from training.common.progress import busy
from training.datasets.broken import BrokenPictures
from training.datasets.pictures import check_picture
from training.datasets.splits import Split
from training.engine import epoch_schedule, hardware, optimizers
from training.engine import fit as engine
from training.engine.config import TrainConfig
from training.engine.devices import SINGLE, Placement
from training.engine.history import History
from training.engine.loop import (
    Fitted,
    TrainingTask,
    without_averages_in_place,
)


def fit(
    model: keras.Model,
    *,
    train: Split,
    validation: Split | None,
    source: Preprocessing,
    preprocessing: Preprocessing,
    config: TrainConfig,
    folder: pathlib.Path,
    history_file: pathlib.Path,
    teacher: Teacher | None = None,
    placement: Placement = SINGLE,
    after_epoch: Callable[[History], None] | None = None,
    broken: BrokenPictures | None = None,
    of: type[ClassificationTraining] | None = None,
) -> Fitted:
    """Train `model` in place, going on from the checkpoints in `folder` if there are any.

    Args:
        train: images to learn from, at the geometry of `source`.
        validation: images that choose the best epoch; with None the last epoch is kept.
        preprocessing: geometry and normalisation of the network's input.
        folder: a directory for checkpoints, this run's own.
        history_file: a .csv with a row an epoch, written anew after each.
        teacher: its answers are part of the training loss (never of the validation's), by
            `distil_weight` and `temperature`.
        placement: the devices and hosts to train on; all hosts see the same `folder`.
        after_epoch: is given the history after each epoch, and when a training goes on.
        broken: takes images that cannot be read.
        of: what is trained by which loss; None: `ClassificationTraining`.

    Raises:
        InputError: the loss is no longer a number.
        Stopped: a signal asked to stop; the same call goes on from there.
    """
    training_data = TrainingData(
        split=train,
        source=source,
        preprocessing=preprocessing,
        classes=model.output_shape[-1],
        config=config,
        broken=broken or BrokenPictures(),
    )
    _check_batch(training_data, placement)

    def open_task() -> TrainingTask:
        training_model = make_training_model(model, training_data, teacher, placement)
        return (of or ClassificationTraining)(training_model, training_data, validation, placement)

    return engine.fit(
        model,
        open_task,
        config=config,
        folder=folder,
        history_file=history_file,
        placement=placement,
        after_epoch=after_epoch,
    )


def _check_batch(training_data: TrainingData, placement: Placement) -> None:
    """Raise InputError if devices cannot share batches evenly, pairs of mixed images whole."""
    placement.check_batch(training_data.batch_size)
    part = training_data.batch_size // placement.replicas
    mixes = training_data.config.mixup or training_data.config.cutmix
    if placement.replicas > 1 and mixes and part % 2:
        raise InputError(
            f"mixed images come in pairs, and {training_data.batch_size} of them give {part} to "
            f"each of {placement.replicas} devices; set batch_size to "
            f"{(part + 1) * placement.replicas}"
        )


def make_training_model(
    model: keras.Model, training_data: TrainingData, teacher: Teacher | None, placement: Placement
) -> ClassificationTrainingModel:
    """The model, or a twin that trains faster or on many devices, behind its preparation."""
    config = training_data.config
    weights = factors_of(config, training_data.split.labels, training_data.classes)
    prepare = Prepare(preprocessing=training_data.preprocessing, policy=config.augmentation)
    if teacher is not None:
        teacher = dataclasses.replace(teacher, model=placement.twin(teacher.model))
    return ClassificationTrainingModel(
        placement.twin(model), prepare, class_weights=weights, teacher=teacher
    )


def compile_training_model(
    training_model: ClassificationTrainingModel,
    config: TrainConfig,
    rate: Any,
    placement: Placement = SINGLE,
) -> keras.metrics.Metric:
    """Give a training model its optimiser, loss and metrics; the metric that training keeps.

    Balanced accuracy is there for validation: of a training whose labels are mixed it tells
    nothing, and what an interrupted epoch has counted of it is not kept.
    """
    loss, metrics = _measures(config, training_model.network.output_shape[-1])
    compile_with(training_model, config, rate, placement, loss, metrics)
    return metrics[0]


def _measures(
    config: TrainConfig, classes: int
) -> tuple[keras.losses.Loss, list[keras.metrics.Metric]]:
    metric = keras.metrics.MeanMetricWrapper(accuracy, name="accuracy")
    return DistillationLoss.of(config), [metric, BalancedAccuracy(classes)]


def compile_with(
    training_model: ClassificationTrainingModel,
    config: TrainConfig,
    rate: Any,
    placement: Placement,
    loss: keras.losses.Loss,
    metrics: list[keras.metrics.Metric],
) -> None:
    """Give a training model the optimiser of a configuration, and this loss and these metrics."""
    factors = optimizers.rate_factors(training_model.network, config.first_layer_rate)
    optimizer = placement.optimizer(optimizers.build(config, rate, factors))
    training_model.compile(
        optimizer=without_averages_in_place(optimizer),
        loss=loss,
        metrics=metrics,
        jit_compile=hardware.chosen(config).jit and placement.can_jit,
    )
    training_model.optimizer.build(training_model.trainable_variables)


def _all_readable(validation: Split, training_data: TrainingData, placement: Placement) -> Split:
    """What is left of the images that choose the epoch, as far as is known.

    Devices share a batch evenly, and their part of one must not vanish: for several of them all
    images are looked at.
    """
    if validation.pictures is not None:
        return validation
    known = training_data.broken.without(validation)
    if placement.replicas == 1:
        return known
    return training_data.broken.sift(
        known, lambda i: check_picture(known.encoded(i), known.names[i])
    )


class ClassificationTraining(TrainingTask):
    """Images with one label each."""

    head = tasks.of("classification").head
    unkept = frozenset({"balanced_accuracy"})

    def __init__(
        self,
        training_model: ClassificationTrainingModel,
        training_data: TrainingData,
        validation: Split | None,
        placement: Placement,
    ) -> None:
        self.training_model, self.network = training_model, training_model.network
        self.config = epoch_schedule.for_images(training_data.config, len(training_data.split))
        self.steps = training_data.steps
        self._training_data, self._validation, self.placement = (
            training_data,
            validation,
            placement,
        )
        self.broken = training_data.broken

    def compile(self, config: TrainConfig, rate: Any) -> list[keras.Variable]:
        metric = compile_training_model(self.training_model, config, rate, self.placement)
        # Made with the compilation: the mean loss, and ours.
        return [*self.training_model.metrics[0].variables, *metric.variables]

    def input_pipeline(self, first_epoch: int, last_epoch: int, first_step: int) -> Any:
        return self.placement.distribute(
            lambda shard: training_input(
                dataclasses.replace(self._training_data, shard=shard),
                first_epoch=first_epoch,
                last_epoch=last_epoch,
                first_step=first_step,
            )
        )

    def validation(self) -> Any:
        if self._validation is None:
            return None
        training_data, placement = self._training_data, self.placement
        validation = _all_readable(self._validation, training_data, placement)
        if not len(validation):
            return None
        size = placement.evaluation_batch(len(validation), training_data.config.batch_size)
        batches = evaluation_input(
            validation,
            training_data.preprocessing,
            classes=training_data.classes,
            batch_size=size,
            broken=training_data.broken,
        )
        return placement.distribute_evaluation(batches)

    def names(self, epoch: int, step: int) -> list[str]:
        return self._training_data.names(epoch, step)

    def note(self, logs: dict[str, float]) -> str:
        return f"loss {float(logs['loss']):.3f}, accuracy {float(logs['accuracy']):.1%}"

    def can_solve_head(self) -> bool:
        """Whether a probe is worth its time, on this host."""
        return not self.placement.hosts and self._probed > 0

    def solve_head(
        self, folder: pathlib.Path, is_over: Callable[[], bool]
    ) -> dict[str, float] | None:
        """See `training.classification.probe`."""
        data, seed = self._training_data, self.config.split_seed
        train = self._gathered(
            data.split,
            probe.probed(len(data.split), self._probed, seed=seed),
            folder / "features.npz",
            is_over,
        )
        validation = None
        if train is not None and self._validation is not None and len(self._validation):
            every = np.arange(len(self._validation))
            path = folder / "validation_features.npz"
            validation = self._gathered(self._validation, every, path, is_over)
        if train is None or is_over():
            return None
        with busy("solving for the head"):
            head = self._solved(train, validation)
        probe.put(self.network, head)
        found = self._figures(train, head)
        if validation is not None:
            values = self._figures(validation, head)
            found |= {f"val_{name}": value for name, value in values.items()}
        return {name: value for name, value in sorted(found.items()) if name not in self.unkept}

    @property
    def _probed(self) -> int:
        kernel = self.network.get_layer("logits").kernel
        features, classes = kernel.shape
        return probe.images_of_a_probe(
            len(self._training_data.split), features=features, classes=classes
        )

    def _gathered(
        self, split: Split, places: np.ndarray, path: pathlib.Path, is_over: Callable[[], bool]
    ) -> probe.Gathered | None:
        data = self._training_data
        seen = probe.Seen(
            split=split,
            source=data.source,
            preprocessing=data.preprocessing,
            broken=self.broken,
        )
        found = probe.features_of(
            self.network, seen, places, path, title="features", is_over=is_over
        )
        if found is None:
            return None
        return probe.Gathered.of(found, split, places, data.classes)

    def _solved(self, train: probe.Gathered, validation: probe.Gathered | None) -> Head:
        config, classes = self.config, self._training_data.classes
        factors = factors_of(config, self._training_data.split.labels, classes)
        smoothing = config.label_smoothing
        return probe.solved(
            train,
            validation,
            softmax_loss,
            targets=lambda labels: labels * (1 - smoothing) + np.float32(smoothing / classes),
            weights=lambda labels: None if factors is None else labels @ factors,
            seed=config.split_seed,
        )

    def _figures(self, gathered: probe.Gathered, head: Head) -> dict[str, float]:
        """What an epoch tells of images that are as they are."""
        loss, metrics = self.measures()
        measures = [keras.metrics.MeanMetricWrapper(loss, name="loss"), *metrics]
        for labels, logits in probe.batches_of(gathered, head):
            for one in measures:
                one.update_state(labels, logits)
        return {one.name: float(one.result()) for one in measures}

    def measures(self) -> tuple[keras.losses.Loss, list[keras.metrics.Metric]]:
        """The loss and the metrics of a training."""
        return _measures(self.config, self._training_data.classes)
