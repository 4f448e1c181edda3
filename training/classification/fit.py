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
from training.classification.balanced_accuracy import BalancedAccuracy
from training.classification.batches import Course
from training.classification.distillation import DistillationLoss, Teacher, accuracy
from training.classification.input_pipeline import evaluation_feed, train_feed
from training.classification.prepare import Prepare
from training.classification.training_model import Trainee, factors_of
from training.datasets.broken import BrokenPictures
from training.datasets.pictures import check_picture
from training.datasets.splits import Split
from training.engine import (
    checkpoint,
    loop,
    optimizers,
)
from training.engine import (
    epoch_schedule as plan,
)
from training.engine.config import TrainConfig
from training.engine.devices import SINGLE, Placement
from training.engine.history import History
from training.engine.loop import (
    Fitted,
    Work,
    can_jit,
    repeatable,
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
) -> Fitted:
    """Train `model` in place, going on from the checkpoints in `folder` if there are any.

    Args:
        train: pictures to learn from, at the geometry of `source`.
        validation: pictures that choose the best epoch; with None the last epoch is kept.
        preprocessing: geometry and normalisation of the network's input.
        folder: a directory for checkpoints, this run's own.
        history_file: a .csv with a row an epoch, written anew after each.
        teacher: its answers are part of the training loss (never of the validation's), by
            `distil_weight` and `temperature`.
        placement: the devices and hosts to train on; all hosts see the same `folder`.
        after_epoch: is given the history after each epoch, and when a training goes on.
        broken: is told of pictures that cannot be read.

    Raises:
        InputError: the loss is no longer a number.
        Stopped: a signal asked to stop; the same call goes on from there.
    """
    repeatable(config.seed)
    course = Course(
        split=train,
        source=source,
        preprocessing=preprocessing,
        classes=model.output_shape[-1],
        config=config,
        broken=broken or BrokenPictures(),
    )
    _check_batch(course, placement)
    with placement.scope():
        trainee = make_trainee(model, course, teacher, placement)
    fitted = loop.train(
        _Classification(trainee, course, validation, placement),
        folder=folder,
        history_file=history_file,
        placement=placement,
        after_epoch=after_epoch,
    )
    if trainee.network is not model:
        # All variables: the weights, and how far dropout has drawn.
        checkpoint.assign(model.variables, [np.asarray(v) for v in trainee.network.variables])
    return fitted


def _check_batch(course: Course, placement: Placement) -> None:
    """Raise InputError if devices cannot share batches evenly, pairs of mixed pictures whole."""
    placement.check_batch(course.batch_size)
    part = course.batch_size // placement.replicas
    mixes = course.config.mixup or course.config.cutmix
    if placement.replicas > 1 and mixes and part % 2:
        raise InputError(
            f"mixed pictures come in pairs, and {course.batch_size} of them give {part} to each "
            f"of {placement.replicas} devices; set batch_size to {(part + 1) * placement.replicas}"
        )


def make_trainee(
    model: keras.Model, course: Course, teacher: Teacher | None, placement: Placement
) -> Trainee:
    """The model, or a twin that trains faster or on many devices, behind its preparation."""
    config = course.config
    weights = factors_of(config, course.split.labels, course.classes)
    prepare = Prepare(preprocessing=course.preprocessing, policy=config.augmentation)
    if teacher is not None:
        teacher = dataclasses.replace(teacher, model=placement.twin(teacher.model))
    return Trainee(placement.twin(model), prepare, class_weights=weights, teacher=teacher)


def compile_trainee(
    trainee: Trainee, config: TrainConfig, rate: Any, placement: Placement = SINGLE
) -> keras.metrics.Metric:
    """Give a trainee its optimiser, loss and metrics; the metric that training keeps.

    Balanced accuracy is there for validation: of a training whose labels are mixed it tells
    nothing, and what an interrupted epoch has counted of it is not kept.
    """
    loss = DistillationLoss.of(config)
    metric = keras.metrics.MeanMetricWrapper(accuracy, name="accuracy")
    optimizer = placement.optimizer(optimizers.build(config, rate))
    trainee.compile(
        optimizer=without_averages_in_place(optimizer),
        loss=loss,
        metrics=[metric, BalancedAccuracy(trainee.network.output_shape[-1])],
        jit_compile=can_jit() and placement.can_jit,
    )
    trainee.optimizer.build(trainee.trainable_variables)
    return metric


def _all_readable(validation: Split, course: Course, placement: Placement) -> Split:
    """What is left of the pictures that choose the epoch, as far as is known.

    Devices share a batch evenly, and their part of one must not vanish: for several of them all
    pictures are looked at.
    """
    if validation.pictures is not None:
        return validation
    known = course.broken.without(validation)
    if placement.replicas == 1:
        return known
    return course.broken.sift(known, lambda i: check_picture(known.encoded(i), known.names[i]))


class _Classification(Work):
    """Pictures with one label each."""

    def __init__(
        self, trainee: Trainee, course: Course, validation: Split | None, placement: Placement
    ) -> None:
        self.trainee, self.network = trainee, trainee.network
        self.config = plan.with_real_batch(course.config, len(course.split))
        self.steps = course.steps
        self._course, self._validation, self._placement = course, validation, placement
        self.broken = course.broken

    def compile(self, config: TrainConfig, rate: Any) -> list[keras.Variable]:
        metric = compile_trainee(self.trainee, config, rate, self._placement)
        # Made with the compilation: the mean loss, and ours.
        return [*self.trainee.metrics[0].variables, *metric.variables]

    def feed(self, first_epoch: int, last_epoch: int, first_step: int) -> Any:
        return self._placement.distribute(
            lambda shard: train_feed(
                dataclasses.replace(self._course, shard=shard),
                first_epoch=first_epoch,
                last_epoch=last_epoch,
                first_step=first_step,
            )
        )

    def validation(self) -> Any:
        if self._validation is None:
            return None
        course, placement = self._course, self._placement
        validation = _all_readable(self._validation, course, placement)
        if not len(validation):
            return None
        size = placement.evaluation_batch(len(validation), course.config.batch_size)
        feed = evaluation_feed(
            validation,
            course.preprocessing,
            classes=course.classes,
            batch_size=size,
            broken=course.broken,
        )
        return placement.distribute_evaluation(feed)

    def names(self, epoch: int, step: int) -> list[str]:
        return self._course.names(epoch, step)

    def is_head(self, layer: keras.Layer) -> bool:
        return layer.name == "logits"

    def note(self, logs: dict[str, float]) -> str:
        return f"loss {float(logs['loss']):.3f}, accuracy {float(logs['accuracy']):.1%}"
