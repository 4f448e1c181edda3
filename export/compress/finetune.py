"""Train a tf_keras model on, as tensorflow-model-optimization wants it, resumably.

Order, augmentation and learning rate are functions of (seed, epoch, step) alone, and a checkpoint
holds every variable of network, wrappers and optimiser: a training that was killed ends with the
weights of an unbroken one.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from kerascnn.detection.specs import DetectorSpec
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.classification.distillation import DistillationLoss, Teacher, accuracy
from training.classification.training_model import factors_of
from training.common.progress import Progress, say
from training.datasets import streams
from training.datasets.detection import DetectionSplit
from training.datasets.segmentation import SegmentationSplit
from training.datasets.splits import Split
from training.detection.batches import DetectionTrainingData
from training.detection.losses import DetectionLoss
from training.engine import checkpoint
from training.engine.config import TrainConfig
from training.engine.epoch_schedule import steps_per_epoch
from training.engine.pipeline import (
    map_stream,
    object_stream,
    train_stream,
    with_teacher,
)
from training.segmentation.batches import SegmentationTrainingData
from training.segmentation.losses import SegmentationLoss

# What stands for the run's learning rate where it is SGD's or RMSprop's, which says nothing here.
_ADAM_RATE = 2e-3


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FineTuningData:
    """What every fine-tuning of a run learns from.

    Attributes:
        train: pictures, at the geometry of `source`; none that figures are measured on.
        source, preprocessing: as of `training.classification.fit.fit`.
        classes: length of the logits.
        teacher: whose answers are part of the loss, or None.
    """

    train: Split
    source: Preprocessing
    preprocessing: Preprocessing
    classes: int
    teacher: Teacher | None = None

    def stream(self, config: TrainConfig, first_epoch: int = 0) -> tf.data.Dataset:
        """Batches from `first_epoch` to the last epoch, with the teacher's logits if there is one.

        Returns:
            ((n, height, width, channels) float32, (n, classes or 2 classes) float32), and (n,)
            float32 weights where classes have some.
        """
        stream: tf.data.Dataset = train_stream(
            self.train,
            source=self.source,
            preprocessing=self.preprocessing,
            classes=self.classes,
            config=config,
            first_epoch=first_epoch,
        )
        if self.teacher:
            stream = with_teacher(stream, self.teacher.teacher_logits)
        factors = factors_of(config, self.train.labels, self.classes)
        return stream if factors is None else self._weighed(stream, factors)

    def _weighed(self, stream: tf.data.Dataset, factors: np.ndarray) -> tf.data.Dataset:
        """The batches with a weight for each picture, by the class, or the mixture, that it is."""

        def weigh(pictures: tf.Tensor, labels: tf.Tensor) -> tuple:
            return pictures, labels, tf.linalg.matvec(labels[:, : self.classes], factors)

        return streams.ready(stream.map(weigh))

    def compiled(self, config: TrainConfig) -> dict[str, Any]:
        """Loss and metrics that fit `stream`; without a teacher the smoothed cross-entropy."""
        return {"loss": DistillationLoss.of(config).call, "metrics": [accuracy]}

    def note(self, figures: Mapping[str, float]) -> str:
        """What is shown of a step."""
        return f"loss {figures['loss']:.3f}, accuracy {figures['accuracy']:.1%}"

    def steps(self, config: TrainConfig) -> int:
        """Batches in an epoch."""
        return steps_per_epoch(self.train, config)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DetectionFineTuningData:
    """What every fine-tuning of a detector learns from.

    Attributes:
        train: pictures, none that figures are measured on.
        preprocessing: geometry and normalisation of the network's input.
        classes: how many there are.
        spec: of the detector; gives its loss.
        teacher: None; detectors have no teachers.
    """

    train: DetectionSplit
    preprocessing: Preprocessing
    classes: int
    spec: DetectorSpec
    teacher: Teacher | None = None

    def stream(self, config: TrainConfig, first_epoch: int = 0) -> tf.data.Dataset:
        """Batches from `first_epoch` to the last epoch.

        Returns:
            ((n, height, width, channels) float32, ((n, a, 5) coded boxes and label of each anchor,
            (n, a, 1) the labels alone)), float32.
        """
        loss = DetectionLoss(spec=self.spec)

        def item(batch: dict[str, tf.Tensor]) -> tuple:
            wanted, labels = loss.targets(batch["gt_boxes"], batch["gt_labels"], batch["gt_crowd"])
            labels = tf.cast(labels[..., None], tf.float32)
            pictures = tf.cast(batch["pictures"], tf.float32)
            boxes = tf.concat([wanted, labels], axis=-1)
            return self.preprocessing.normalise_floats(pictures), (boxes, labels)

        training_data = self._course(config)
        stream = object_stream(training_data, first_epoch=first_epoch, last_epoch=config.epochs)
        return streams.ready(stream.map(item))

    def compiled(self, config: TrainConfig) -> dict[str, Any]:
        """The loss of each of the two outputs."""
        loss = DetectionLoss(spec=self.spec)

        def boxes(wanted: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
            return loss.of_boxes(wanted[..., :4], tf.cast(wanted[..., 4], tf.int32), codes)

        def classes(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
            return loss.of_classes(tf.cast(labels[..., 0], tf.int32), logits)

        return {"loss": [boxes, classes]}

    def note(self, figures: Mapping[str, float]) -> str:
        """What is shown of a step."""
        return f"loss {figures['loss']:.3f}"

    def steps(self, config: TrainConfig) -> int:
        """Batches in an epoch."""
        return self._course(config).steps

    def _course(self, config: TrainConfig) -> DetectionTrainingData:
        return DetectionTrainingData(
            split=self.train,
            preprocessing=self.preprocessing,
            classes=self.classes,
            config=config,
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationFineTuningData:
    """What every fine-tuning of a segmentation network learns from.

    Attributes:
        train: pictures, none that figures are measured on.
        preprocessing: geometry and normalisation of the network's input.
        output_size: (h', w') of its answer.
        loss: of its logits.
        teacher: None; segmentation networks have no teachers.
    """

    train: SegmentationSplit
    preprocessing: Preprocessing
    output_size: tuple[int, int]
    loss: SegmentationLoss
    teacher: Teacher | None = None

    def stream(self, config: TrainConfig, first_epoch: int = 0) -> tf.data.Dataset:
        """Batches from `first_epoch` to the last epoch.

        Returns:
            ((n, height, width, channels) float32, (n, h', w', 2) classes and weights), float32.
        """

        def item(batch: dict[str, tf.Tensor]) -> tuple:
            classes = tf.cast(batch["gt_map"], tf.float32)
            weights = batch.get("gt_weights", tf.ones_like(classes))
            pictures = tf.cast(batch["pictures"], tf.float32)
            wanted = tf.stack([classes, weights], axis=-1)
            return self.preprocessing.normalise_floats(pictures), wanted

        training_data = self._course(config)
        stream = map_stream(training_data, first_epoch=first_epoch, last_epoch=config.epochs)
        return streams.ready(stream.map(item))

    def compiled(self, config: TrainConfig) -> dict[str, Any]:
        """The loss."""

        def loss(wanted: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
            return self.loss(wanted[..., 0], logits, wanted[..., 1])

        return {"loss": loss}

    def note(self, figures: Mapping[str, float]) -> str:
        """What is shown of a step."""
        return f"loss {figures['loss']:.3f}"

    def steps(self, config: TrainConfig) -> int:
        """Batches in an epoch."""
        return self._course(config).steps

    def _course(self, config: TrainConfig) -> SegmentationTrainingData:
        return SegmentationTrainingData(
            split=self.train,
            preprocessing=self.preprocessing,
            classes=self.loss.classes,
            config=config,
            output_size=self.output_size,
        )


AnyFineTuningData = FineTuningData | DetectionFineTuningData | SegmentationFineTuningData


def fine_tune(
    model: tf_keras.Model,
    fine_tuning_data: AnyFineTuningData,
    config: TrainConfig,
    folder: pathlib.Path,
    *,
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
    name: str,
) -> None:
    """Train `model` in place, going on from the checkpoint in `folder` if there is one.

    Args:
        model: wrapped as the method needs; from normalised pictures to the network's outputs.
        config: its epochs, batch size, peak learning rate (cosine decay to zero), label smoothing
            and seed hold.
        folder: for checkpoints, this training's own.
        callbacks: the method's, called before a checkpoint is written.
        name: for the progress bar.

    Raises:
        InputError: the loss is no longer a number.
    """
    steps = fine_tuning_data.steps(config)
    rate = tf_keras.optimizers.schedules.CosineDecay(config.learning_rate, config.epochs * steps)
    optimizer = tf_keras.optimizers.Adam(rate)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer, jit_compile=False, **fine_tuning_data.compiled(config))
    done = _restore(model, folder)
    if done >= config.epochs:
        return
    with Progress(name, config.epochs * steps, done=done * steps) as progress:
        model.fit(
            fine_tuning_data.stream(config, done),
            epochs=config.epochs,
            initial_epoch=done,
            steps_per_epoch=steps,
            shuffle=False,
            callbacks=[*callbacks, _Watch(folder, progress, name, fine_tuning_data.note)],
            verbose=0,
        )


def share_of(
    config: TrainConfig, *, epochs: float, learning_rate: float, tuning: Any = None
) -> TrainConfig:
    """A fine-tuning's configuration out of the run's own: adamw, without warm-up, cosine decay.

    Args:
        epochs, learning_rate: shares of the run's; of `_ADAM_RATE` where that was another
            optimiser's.
        tuning: a `FineTuning`, whose numbers go before.
    """
    rate = config.peak_learning_rate if config.optimizer == "adamw" else _ADAM_RATE
    tuned: dict[str, Any] = {
        "epochs": math.ceil(epochs * config.epochs),
        "learning_rate": learning_rate * rate,
        **dict.fromkeys(("warmup_epochs", "validation_fraction", "ema"), 0.0),
        **dict.fromkeys(("freeze_epochs", "reference_batch", "patience"), 0),
        "optimizer": "adamw",
        "schedule": "cosine",
        "milestones": (),
        "accumulate": 1,
    }
    if tuning is not None:
        chosen = {"epochs": tuning.epochs, "learning_rate": tuning.learning_rate}
        tuned |= {key: value for key, value in chosen.items() if value is not None}
        tuned |= {"distil_weight": tuning.distil_weight, "temperature": tuning.temperature}
    return dataclasses.replace(config, **tuned)


def _state(model: tf_keras.Model) -> list:
    return [*model.variables, *model.optimizer.variables]


def _restore(model: tf_keras.Model, folder: pathlib.Path) -> int:
    """Load the newest sound checkpoint; the number of epochs that it holds."""
    for path in checkpoint.latest_first(folder):
        try:
            arrays, state = checkpoint.read(path, ("epochs",))
            checkpoint.assign(_state(model), arrays)
        except ValueError as error:
            say(f"{error}; going back to the one before")
            continue
        return int(state["epochs"])
    return 0


class _Watch(tf_keras.callbacks.Callback):
    """Shows progress, stops at a loss that is no number, keeps every epoch."""

    def __init__(
        self,
        folder: pathlib.Path,
        progress: Progress,
        name: str,
        note: Callable[[Mapping[str, float]], str],
    ) -> None:
        super().__init__()
        self._folder, self._progress, self._name, self._note = folder, progress, name, note

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        figures = logs or {}
        if not math.isfinite(figures["loss"]):
            raise InputError(
                f"{self._name}: the loss is {figures['loss']} at step {batch + 1} of an epoch; "
                "take a smaller --learning-rate"
            )
        self._progress.step()
        self._progress.note(self._note(figures))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        arrays = [np.asarray(variable) for variable in _state(self.model)]
        checkpoint.save(
            checkpoint.epoch_path(self._folder, epoch + 1), arrays, {"epochs": epoch + 1}
        )
        checkpoint.prune(self._folder)
