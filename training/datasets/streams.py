"""How every tf.data stream here is run."""

from __future__ import annotations

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


def on_device(stream: tf.data.Dataset, device: str, ahead: int) -> tf.data.Dataset:
    """The same batches, copied to a device while earlier ones are used.

    Args:
        device: such as "/GPU:0".
        ahead: batches that wait there.
    """
    return stream.apply(tf.data.experimental.prefetch_to_device(device, ahead))
