"""Which form batches come in: tf.data, or NumPy arrays where tensorflow is not to be had."""

from __future__ import annotations

import contextlib
import importlib.util
from typing import Any

import keras

from kerascnn.preprocessing import Preprocessing
from training.classification import batches
from training.classification.batches import TrainingData
from training.datasets.broken import BrokenPictures
from training.datasets.splits import Split


def by_tf_data(split: Split) -> bool:
    """Whether a split's batches come by tf.data.

    Always under tensorflow; under jax and torch for files alone, which tf.data decodes faster
    than Pillow does. Arrays need no tensorflow.
    """
    if keras.backend.backend() == "tensorflow":
        return True
    return split.pictures is None and importlib.util.find_spec("tensorflow") is not None


def training_input(
    training_data: TrainingData, *, first_epoch: int, last_epoch: int, first_step: int = 0
) -> Any:
    """What `fit` trains a `ClassificationTrainingModel` on, from a step of an epoch on."""
    span = {"first_epoch": first_epoch, "last_epoch": last_epoch, "first_step": first_step}
    if by_tf_data(training_data.split):
        _leave_devices_to_the_backend()
        from training.classification.tf_data import training_stream

        return training_stream(training_data, **span)
    return batches.train_batches(training_data, **span)


def evaluation_input(
    split: Split,
    preprocessing: Preprocessing,
    *,
    classes: int,
    batch_size: int,
    broken: BrokenPictures | None = None,
) -> Any:
    """What Keras evaluates a `ClassificationTrainingModel` on, any number of times."""
    given: dict[str, Any] = {"classes": classes, "batch_size": batch_size, "broken": broken}
    if keras.backend.backend() == "tensorflow":
        from training.classification.tf_data import evaluation_stream

        return evaluation_stream(split, preprocessing, **given)
    return batches.EvaluationBatches(split, preprocessing, **given)


def _leave_devices_to_the_backend() -> None:
    """Keep tensorflow, where it only reads images, from taking the memory of all GPUs."""
    if keras.backend.backend() == "tensorflow":
        return
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # it has begun already
        tf.config.set_visible_devices([], "GPU")
