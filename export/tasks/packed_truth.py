"""A batch's objects as one tensor, for losses of tf_keras that need all outputs at once.

tf_keras gives each output a loss and a truth of its own. Where what a point is to answer depends on
its box and on its logits, the network ends in one tensor, and the truth is one, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras

_OF_OBJECT = 6  # a box, a label, and whether it is a crowd


@dataclasses.dataclass(frozen=True, kw_only=True)
class Packed:
    """How objects, and a teacher's answers, lie in one row per image.

    Attributes:
        objects: of an image, with padding.
        points: of the network.
        classes: of its logits.
    """

    objects: int
    points: int
    classes: int

    def pack(self, truth: tuple[Any, Any, Any], taught: Sequence[Any]) -> tf.Tensor:
        """(n, ...) float32 of boxes (n, m, 4), labels and crowds (n, m), and a teacher's answers.

        Args:
            taught: deltas (n, a, 4) and logits (n, a, c) or nothing.
        """
        boxes, labels, crowd = truth
        columns = [boxes, labels[..., None], crowd[..., None]]
        objects = tf.concat([tf.cast(one, tf.float32) for one in columns], axis=-1)
        rows = [objects, *([tf.concat(list(taught), axis=-1)] if taught else [])]
        return tf.concat([tf.reshape(one, (tf.shape(one)[0], -1)) for one in rows], axis=-1)

    def unpack(self, rows: tf.Tensor) -> tuple[tuple[Any, Any, Any], list[tf.Tensor]]:
        """What `pack` was given."""
        end = self.objects * _OF_OBJECT
        objects = tf.reshape(rows[:, :end], (-1, self.objects, _OF_OBJECT))
        truth = (objects[..., :4], tf.cast(objects[..., 4], tf.int32), objects[..., 5] > 0.5)
        if rows.shape[1] == end:
            return truth, []
        taught = tf.reshape(rows[:, end:], (-1, self.points, 4 + self.classes))
        return truth, [taught[..., :4], taught[..., 4:]]


def joined_outputs(model: tf_keras.Model) -> tf_keras.Model:
    """The same network, whose outputs (n, a, 4) and (n, a, c) are one (n, a, 4 + c)."""
    joined = tf_keras.layers.Concatenate(axis=-1, name="joined_outputs")(model.outputs)
    return tf_keras.Model(model.inputs, joined, name=model.name)
