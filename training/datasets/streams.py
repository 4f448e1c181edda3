"""How every tf.data stream here is run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

_AHEAD = 2
FIRST_GPU = "/GPU:0"  # which a step of one device computes on


def ready(stream: tf.data.Dataset) -> tf.data.Dataset:
    """Prefetch, and never tune: the end of a tuned stream waits for its tuner's next turn.

    TensorFlow 2.21's tuner sleeps for 10 ms, then twice as long each time, up to a minute, and
    nothing wakes it: the last batch of a stream came up to a minute before its end.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return stream.prefetch(_AHEAD).with_options(options)


def is_stream(batches: Any) -> bool:
    """Whether batches come by tf.data."""
    return isinstance(batches, tf.data.Dataset)


def noted(stream: tf.data.Dataset, note: Callable[[], None]) -> tf.data.Dataset:
    """The same batches; `note` is called when one is ready, in their order."""

    def called() -> bool:
        note()
        return True

    def ready(*batch: Any) -> Any:
        parts = tf.nest.flatten(batch)
        with tf.control_dependencies(parts):
            done = tf.numpy_function(called, [], tf.bool)
        with tf.control_dependencies([done]):
            passed = [tf.identity(part) for part in parts]
        return tf.nest.pack_sequence_as(stream.element_spec, passed)

    return stream.map(ready)


def on_device(stream: tf.data.Dataset, device: str, ahead: int) -> tf.data.Dataset:
    """The same batches, copied to a device while earlier ones are used.

    Args:
        device: such as "/GPU:0".
        ahead: batches that wait there.
    """
    return stream.apply(tf.data.experimental.prefetch_to_device(device, ahead))
