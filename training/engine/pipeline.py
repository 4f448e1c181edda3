"""tf.data streams: what the training loop and the evaluators eat.

What chance decides was drawn beforehand (`training.engine.epoch_schedule`), so that a stream begun
in the middle of epoch 7 gives what a stream from the start would have given there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.classification.batches import EvaluationBatches, TrainingData, split_rows
from training.classification.prepare import Prepare
from training.common.cores import WORKERS
from training.datasets import mask_bits, streams
from training.datasets.broken import BrokenPictures
from training.datasets.fused_decode import decode_window
from training.datasets.pictures import check_picture
from training.datasets.splits import Split
from training.detection.batches import DetectionTrainingData
from training.engine import epoch_schedule as plan
from training.engine.config import TrainConfig
from training.engine.tiled_batches import TiledTrainingData, tiled_batches
from training.segmentation.batches import SegmentationTrainingData


def training_stream(
    training_data: TrainingData, *, first_epoch: int, last_epoch: int, first_step: int = 0
) -> tf.data.Dataset:
    """Batches from a step of `first_epoch` up to `last_epoch`, as `batches.train_batches`.

    Returns:
        ({"pictures": (n, h, w, c) uint8, "drawn": {...}, "mix": (n, 5)}, (n, classes) float32).
    """
    example = _one_batch(training_data)
    labels = tf.constant(training_data.split.labels)

    def draw(number: np.ndarray) -> list[np.ndarray]:
        rows = training_data.epoch(int(number))
        return [np.ascontiguousarray(rows[key]) for key in example]

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        kinds = [rows.dtype for rows in example.values()]
        drawn = tf.numpy_function(draw, [number], kinds, stateful=False)
        rows = {
            key: tf.ensure_shape(value, (training_data.steps, *shape.shape[1:]))
            for (key, shape), value in zip(example.items(), drawn, strict=True)
        }
        skipped = tf.where(number == first_epoch, first_step, 0)
        return tf.data.Dataset.from_tensor_slices(rows).skip(tf.cast(skipped, tf.int64))

    def finish(index: tf.Tensor, pictures: tf.Tensor, batch: dict) -> tuple:
        one_hot = tf.one_hot(tf.gather(labels, index), training_data.classes)
        return {"pictures": pictures, **batch}, one_hot

    batches = tf.data.Dataset.range(first_epoch, last_epoch).flat_map(epoch)
    if training_data.split.pictures is not None:
        stored = tf.constant(training_data.split.pictures)

        def gather(rows: dict[str, tf.Tensor]) -> tuple:
            index, batch = split_rows(rows)
            return finish(index, tf.gather(stored, index), batch)

        return streams.ready(batches.map(gather, num_parallel_calls=WORKERS))
    load, load_again = _loader(training_data), _second_loader(training_data)

    def one(rows: dict[str, tf.Tensor]) -> tf.data.Dataset:
        single = tf.data.Dataset.from_tensors(rows)

        def by(loader: Callable) -> tf.data.Dataset:
            return single.map(lambda row: loader(row["index"], row.get("window")))

        # What fails is tried again in Python, which can find another picture. What does not is
        # enough: the second one is never asked for.
        picture = by(load).ignore_errors().concatenate(by(load_again)).take(1)
        left = {key: row for key, row in rows.items() if key != "window"}  # cut already
        return picture.map(lambda pixels: (pixels, left))

    def gathered(pictures: tf.Tensor, rows: dict[str, tf.Tensor]) -> tuple:
        index, batch = split_rows(rows)
        return finish(index, pictures, batch)

    single = batches.unbatch().interleave(
        one, cycle_length=WORKERS, block_length=1, num_parallel_calls=WORKERS, deterministic=True
    )
    return streams.ready(single.batch(training_data.batch_size, drop_remainder=True).map(gathered))


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
        split: pictures, in memory or as files.
        source: geometry of the pictures in `split`.
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
        teacher_logits: a pure function of the pictures.

    Returns:
        Batches of (the same pictures, (n, 2 classes) float32).
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
    """Batches in order and without chance, as `batches.EvaluationBatches`.

    Returns:
        Batches of ({"pictures": (n, height, width, channels) uint8}, (n, classes) float32).
    """
    if split.pictures is not None:
        pictures = tf.data.Dataset.from_tensor_slices(split.pictures)
        labels = tf.data.Dataset.from_tensor_slices(split.labels)
        batches = tf.data.Dataset.zip((pictures, labels)).batch(batch_size)
        return streams.ready(batches.map(lambda p, y: ({"pictures": p}, tf.one_hot(y, classes))))
    given = EvaluationBatches(
        split, preprocessing, classes=classes, batch_size=batch_size, broken=broken
    )

    def batches_of_files() -> Iterator[tuple]:
        for number in range(len(given)):
            yield given[number]

    shape = (None, *preprocessing.input_shape)
    signature = (
        {"pictures": tf.TensorSpec(shape, tf.uint8)},
        tf.TensorSpec((None, classes), tf.float32),
    )
    stream = tf.data.Dataset.from_generator(batches_of_files, output_signature=signature)
    # Else Keras warns at the end that it ran out of batches.
    return streams.ready(stream.apply(tf.data.experimental.assert_cardinality(len(given))))


def object_stream(
    training_data: DetectionTrainingData, *, first_epoch: int, last_epoch: int, first_step: int = 0
) -> tf.data.Dataset:
    """Batches of `object_batches.object_batches`, from a step of `first_epoch` up to `last_epoch`.

    Returns:
        ({"pictures": (n, h, w, 3) uint8, "gt_boxes": ..., "gt_labels": ..., "gt_crowd": ...},), as
        `DetectionTrainingData.batch` has it.
    """
    count, most = training_data.batch_size, training_data.most_objects
    signature = {
        "pictures": tf.TensorSpec((count, *training_data.preprocessing.input_shape), tf.uint8),
        "gt_boxes": tf.TensorSpec((count, most, 4), tf.float32),
        "gt_labels": tf.TensorSpec((count, most), tf.int32),
        "gt_crowd": tf.TensorSpec((count, most), tf.bool),
    }
    if training_data.masks:
        height, width = training_data.preprocessing.input_shape[:2]
        shape = (count, most, height, mask_bits.row_bytes(width))
        signature["gt_masks"] = tf.TensorSpec(shape, tf.uint8)
    if training_data.chance:
        signature["chance"] = tf.TensorSpec((count, training_data.chance), tf.float32)
    return _tiled_stream(training_data, signature, first_epoch, last_epoch, first_step)


def map_stream(
    training_data: SegmentationTrainingData,
    *,
    first_epoch: int,
    last_epoch: int,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Batches of `map_batches.map_batches`, from a step of `first_epoch` up to `last_epoch`.

    Returns:
        ({"pictures": (n, h, w, 3) uint8, "gt_map": (n, h', w') uint8, ...},), as
        `SegmentationTrainingData.batch` has it.
    """
    count, answer = training_data.batch_size, training_data.answer
    signature = {
        "pictures": tf.TensorSpec((count, *training_data.preprocessing.input_shape), tf.uint8),
        "gt_map": tf.TensorSpec((count, *answer), tf.uint8),
    }
    if training_data.config.border_weight:
        signature["gt_weights"] = tf.TensorSpec((count, *answer), tf.float32)
    return _tiled_stream(training_data, signature, first_epoch, last_epoch, first_step)


def _tiled_stream(
    training_data: TiledTrainingData,
    signature: dict[str, tf.TensorSpec],
    first_epoch: int,
    last_epoch: int,
    first_step: int,
) -> tf.data.Dataset:
    stream = tf.data.Dataset.from_generator(
        lambda: tiled_batches(
            training_data, first_epoch=first_epoch, last_epoch=last_epoch, first_step=first_step
        ),
        output_signature=signature,
    )
    return streams.ready(stream.map(lambda batch: (batch,)))


def _one_batch(training_data: TrainingData) -> dict[str, np.ndarray]:
    """Rows with the types and shapes of all: (1, n, ...)."""
    whole = plan.batch_size(training_data.split, training_data.config)
    config = dataclasses.replace(training_data.config, batch_size=whole, min_steps=0)
    few = dataclasses.replace(
        training_data, split=training_data.split.take(range(whole)), config=config
    )
    return few.epoch(0)


def _loader(training_data: TrainingData) -> Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]:
    """From a picture's number and window to its (h, w, c) bytes at the stored geometry."""
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
    """The same, where that fails: another picture stands in for one that is broken."""
    split, load = training_data.split, _loader(training_data)

    def read(index: np.ndarray, window: np.ndarray) -> np.ndarray:
        part = tf.constant(window) if len(window) else None

        def of(place: int) -> np.ndarray:
            split.encoded(place)  # what is gone is told in our words
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
    """Why, as Pillow says it; libjpeg's reason where Pillow can read the picture."""
    name = split.names[place]
    try:
        check_picture(split.encoded(place), name)
    except InputError as known:
        return known
    reason = error.partition("\n")[0]
    return InputError(f"{name} is not a readable image ({reason}); replace or remove it")
