"""Batch normalisation as one operation while training, where Keras 3 writes nine.

On a CPU the nine are up to half of a training step of a depthwise network: each reads and writes
the whole activation. The values are the same to float rounding, the variables the very same.
"""

from __future__ import annotations

import keras
import tensorflow as tf


def with_fused_norms(model: keras.Model) -> keras.Model:
    """A twin to train in place of a functional model, with the same weights in the same order."""
    twin = keras.models.clone_model(model, clone_function=_twin)
    twin.set_weights(model.get_weights())
    twin.dtype_policy = model.dtype_policy  # half precision has its loss scaled
    return twin


def _twin(layer: keras.Layer) -> keras.Layer:
    kind = type(layer)
    fits = kind is keras.layers.BatchNormalization and layer.axis in (-1, 3)
    if fits and layer.scale and layer.center and not layer.renorm:
        kind = FusedBatchNormalization
    return kind.from_config(layer.get_config())


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras' layer, fused for (batch, height, width, channels) in float32 or bfloat16."""

    def call(self, inputs, training=None, mask=None):
        """Normalise by the batch's statistics, and follow them, if `training` and trainable."""
        pictures = len(inputs.shape) == 4 and inputs.dtype in (tf.float32, tf.bfloat16)
        if not (training and self.trainable and pictures):
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance, *_for_the_gradient = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(self.gamma),
            offset=tf.convert_to_tensor(self.beta),
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        # The operation follows the unbiased variance, Keras the biased one.
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        self._follow(self.moving_mean, mean)
        self._follow(self.moving_variance, variance * (count - 1) / count)
        return outputs

    def _follow(self, moving, value) -> None:
        moving.assign(moving * self.momentum + value * (1.0 - self.momentum))
