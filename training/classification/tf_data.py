"""tf.data streams of labelled images: what the training loop and the evaluators take.

`training.engine.pipeline` runs them; here is what loads an image, and what a batch holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.classification.batches import EvaluationBatches, TrainingData, split_rows
from training.classification.prepare import Prepare
from training.common.cores import WORKERS
from training.datasets import streams
from training.datasets.broken import BrokenPictures
from training.datasets.fused_decode import decode_window
from training.datasets.pictures import check_picture
from training.datasets.splits import Split
from training.engine import pipeline
from training.engine.config import TrainConfig


def training_stream(
    training_data: TrainingData, *, first_epoch: int, last_epoch: int, first_step: int = 0
) -> tf.data.Dataset:
    """Batches from a step of `first_epoch` up to `last_epoch`, as `batches.train_batches`.

    Returns:
        ({"pictures": (n, h, w, c) uint8, "drawn": {...}, "mix": (n, 5)}, (n, classes) float32).
    """
    labels = tf.constant(training_data.split.labels)

    def finish(index: tf.Tensor, pictures: tf.Tensor, batch: dict) -> tuple:
        targets = _one_hot(tf.gather(labels, index), training_data.classes)
        return {"pictures": pictures, **batch}, targets

    batches = pipeline.batches_of_rows(
        training_data, first_epoch=first_epoch, last_epoch=last_epoch, first_step=first_step
    )
    if training_data.split.pictures is not None:
        stored = tf.constant(training_data.split.pictures)

        def gather(rows: dict[str, tf.Tensor]) -> tuple:
            index, batch = split_rows(rows)
            return finish(index, tf.gather(stored, index), batch)

        return streams.ready(batches.map(gather, num_parallel_calls=WORKERS))

    def gathered(pictures: tf.Tensor, rows: dict[str, tf.Tensor]) -> tuple:
        index, batch = split_rows(rows)
        return finish(index, pictures, batch)

    load, load_again = _loader(training_data), _second_loader(training_data)
    read = pipeline.loaded(
        batches,
        lambda row: load(row["index"], row.get("window")),
        lambda row: load_again(row["index"], row.get("window")),
        batch_size=training_data.batch_size,
        used="window",
    )
    return streams.ready(read.map(gathered))


def _one_hot(labels: tf.Tensor, classes: int) -> tf.Tensor:
    """As `batches.one_hot`."""
    return tf.cast(labels, tf.float32) if labels.shape.rank == 2 else tf.one_hot(labels, classes)


def train_stream(
    split: Split,
    *,
    source: Preprocessing,
    preprocessing: Preprocessing,
    classes: int,
    config: TrainConfig,
    first_epoch: int,
) -> tf.data.Dataset:
    """Shuffled, augmented, mixed and normalised batches from `first_epoch` to the last epoch.

    Args:
        split: images, in memory or as files.
        source: geometry of the images in `split`.
        preprocessing: geometry and normalisation of the network's input.
        classes: length of the one-hot labels.

    Returns:
        Batches of ((n, height, width, channels) float32, (n, classes) float32).
    """
    training_data = TrainingData(
        split=split, source=source, preprocessing=preprocessing, classes=classes, config=config
    )
    prepare = Prepare(preprocessing=preprocessing, policy=config.augmentation)

    def finish(batch: dict, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return prepare.for_training(batch), prepare.labels(batch, labels)

    stream = training_stream(training_data, first_epoch=first_epoch, last_epoch=config.epochs)
    return streams.ready(stream.map(finish, num_parallel_calls=WORKERS))


def with_teacher(
    stream: tf.data.Dataset, teacher_logits: Callable[[tf.Tensor], tf.Tensor]
) -> tf.data.Dataset:
    """Put a teacher's logits behind the labels of every batch.

    Args:
        stream: batches of ((n, height, width, channels), (n, classes)), as `train_stream` gives.
        teacher_logits: a pure function of the images.

    Returns:
        Batches of (the same images, (n, 2 classes) float32).
    """

    def add(pictures: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return pictures, tf.concat([labels, teacher_logits(pictures)], axis=-1)

    # One batch at a time: the teacher has all cores, while the student trains on the batch before.
    return streams.ready(stream.map(add))


def evaluation_stream(
    split: Split,
    preprocessing: Preprocessing,
    *,
    classes: int,
    batch_size: int,
    broken: BrokenPictures | None = None,
) -> tf.data.Dataset:
    """Batches in order, with nothing random, as `batches.EvaluationBatches`.

    Returns:
        Batches of ({"pictures": (n, height, width, channels) uint8}, (n, classes) float32).
    """
    if split.pictures is not None:
        pictures = tf.data.Dataset.from_tensor_slices(split.pictures)
        labels = tf.data.Dataset.from_tensor_slices(split.labels)
        batches = tf.data.Dataset.zip((pictures, labels)).batch(batch_size)
        return streams.ready(batches.map(lambda p, y: ({"pictures": p}, _one_hot(y, classes))))
    given = EvaluationBatches(
        split, preprocessing, classes=classes, batch_size=batch_size, broken=broken
    )

    def batches_of_files() -> Iterator[tuple]:
        for number in range(len(given)):
            yield given[number]

    shape = (None, *preprocessing.input_shape)
    signature = ({"pictures": (shape, np.uint8)}, ((None, classes), np.float32))
    return streams.ready(pipeline.generated(batches_of_files, signature, count=len(given)))


def _loader(training_data: TrainingData) -> Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]:
    """From an image's number and window to its (h, w, c) bytes at the stored geometry."""
    split = training_data.split
    kinds = tf.constant(
        np.zeros(len(split), np.uint8) if split.kinds is None else split.kinds, tf.uint8
    )

    def read(index: np.ndarray) -> bytes:
        return split.encoded(int(index))

    def load(index: tf.Tensor, window: tf.Tensor | None) -> tf.Tensor:
        encoded = tf.numpy_function(read, [index], tf.string, stateful=False)
        encoded = tf.ensure_shape(encoded, ())
        return decode_window(encoded, window, kinds[index], training_data.read_at)

    return load


def _second_loader(
    training_data: TrainingData,
) -> Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]:
    """The same, where that fails: another image stands in for one that is broken."""
    split, load = training_data.split, _loader(training_data)

    def read(index: np.ndarray, window: np.ndarray) -> np.ndarray:
        part = tf.constant(window) if len(window) else None

        def of(place: int) -> np.ndarray:
            split.encoded(place)  # what is gone is named in our words
            try:
                return load(tf.constant(place), part).numpy()
            except (tf.errors.OpError, InputError) as error:
                raise _unreadable(split, place, str(error)) from None

        return training_data.read(int(index), of)

    def load_again(index: tf.Tensor, window: tf.Tensor | None) -> tf.Tensor:
        part = tf.zeros([0]) if window is None else window
        pixels = tf.numpy_function(read, [index, part], tf.uint8, stateful=False)
        return tf.ensure_shape(pixels, training_data.read_at.input_shape)

    return load_again


def _unreadable(split: Split, place: int, error: str) -> InputError:
    """Why, as Pillow says it; libjpeg's reason where Pillow can read the image."""
    name = split.names[place]
    try:
        check_picture(split.encoded(place), name)
    except InputError as known:
        return known
    reason = error.partition("\n")[0]
    return InputError(f"{name} is not a readable image ({reason}); replace or remove it")
