"""tf.data streams of any task's batches: the task brings rows and what loads them, or a signature.

What is random was drawn beforehand (`training.engine.epoch_schedule`), so that a stream begun in
the middle of epoch 7 gives what a stream from the start would have given there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from training.common.cores import WORKERS
from training.datasets import streams
from training.engine.tiled_batches import TiledTrainingData, tiled_batches

# A shape, whose None is any number, and a type of NumPy's.
Signature = Mapping[str, tuple[tuple[int | None, ...], Any]]
# From a row to what is read for it.
Loader = Callable[[dict[str, tf.Tensor]], tf.Tensor]


class Rows(Protocol):
    """Training data whose epochs are drawn as rows; see `TrainingData`."""

    @property
    def steps(self) -> int:
        """Batches in an epoch."""

    @property
    def batch_size(self) -> int:
        """Rows in a batch."""

    def epoch(self, number: int) -> dict[str, np.ndarray]:
        """Rows of all batches of an epoch, with the axes (step, row, ...)."""

    def one_batch(self) -> dict[str, np.ndarray]:
        """Rows with the types and shapes of all: (1, row, ...)."""


def batches_of_rows(
    data: Rows, *, first_epoch: int, last_epoch: int, first_step: int = 0
) -> tf.data.Dataset:
    """Rows from a step of `first_epoch` up to `last_epoch`, a batch of them at a time."""
    example = data.one_batch()

    def draw(number: np.ndarray) -> list[np.ndarray]:
        rows = data.epoch(int(number))
        return [np.ascontiguousarray(rows[key]) for key in example]

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        kinds = [rows.dtype for rows in example.values()]
        tensors = tf.numpy_function(draw, [number], kinds, stateful=False)
        rows = {
            key: tf.ensure_shape(value, (data.steps, *shape.shape[1:]))
            for (key, shape), value in zip(example.items(), tensors, strict=True)
        }
        skipped = tf.where(number == first_epoch, first_step, 0)
        return tf.data.Dataset.from_tensor_slices(rows).skip(tf.cast(skipped, tf.int64))

    return tf.data.Dataset.range(first_epoch, last_epoch).flat_map(epoch)


def loaded(
    batches: tf.data.Dataset, load: Loader, load_again: Loader, *, batch_size: int, used: str
) -> tf.data.Dataset:
    """Rows with what is read for each, in their order, by threads.

    Args:
        batches: of `batches_of_rows`.
        load: reads for a row.
        load_again: is asked where that fails.
        used: the part of a row that is left out behind it, since it is done then.

    Returns:
        Batches of (what was read, the rows).
    """

    def one(rows: dict[str, tf.Tensor]) -> tf.data.Dataset:
        single = tf.data.Dataset.from_tensors(rows)
        # What fails is tried again in Python, which can find another image. What does not is
        # enough: the second one is never asked for.
        image = single.map(load).ignore_errors().concatenate(single.map(load_again)).take(1)
        left = {key: row for key, row in rows.items() if key != used}
        return image.map(lambda pixels: (pixels, left))

    single = batches.unbatch().interleave(
        one, cycle_length=WORKERS, block_length=1, num_parallel_calls=WORKERS, deterministic=True
    )
    return single.batch(batch_size, drop_remainder=True)


def generated(
    make: Callable[[], Iterator[Any]], signature: Any, *, count: int | None = None
) -> tf.data.Dataset:
    """Batches that Python makes.

    Args:
        signature: a `Signature`, or a tuple of such and of single shapes and types.
        count: how many there are, where that is known: else Keras warns at the end that it ran
            out of batches.
    """
    stream = tf.data.Dataset.from_generator(make, output_signature=_specs(signature))
    if count is None:
        return stream
    return stream.apply(tf.data.experimental.assert_cardinality(count))


def _specs(signature: Any) -> Any:
    if isinstance(signature, Mapping):
        return {name: tf.TensorSpec(shape, kind) for name, (shape, kind) in signature.items()}
    return tuple(
        _specs(part) if isinstance(part, Mapping) else tf.TensorSpec(*part) for part in signature
    )


def tiled_stream(
    data: TiledTrainingData, *, first_epoch: int, last_epoch: int, first_step: int = 0
) -> tf.data.Dataset:
    """`tiled_batches` from a step of `first_epoch` up to `last_epoch`.

    Returns:
        (batch,), as `TiledTrainingData.batch` has it: as Keras takes inputs without labels.
    """
    span = {"first_epoch": first_epoch, "last_epoch": last_epoch, "first_step": first_step}
    stream = generated(lambda: tiled_batches(data, **span), data.signature)
    return streams.ready(stream.map(lambda batch: (batch,)))
