"""Batch normalisation that costs a training step on a CPU little.

Keras 3 writes nine operations for it, up to half of a training step of a depthwise network: each
reads and writes the whole activation. A norm that follows its batches is one operation here. One
that normalises by what it has stored, in evaluation or because it is frozen, is none: the
convolution in front of it has its scale in the kernel and its shift as a bias, and gradients go
back through both. The values are the same to float rounding, the variables the very same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from training.engine.foldable_norms import by_output, foldable_norms


def with_fused_norms(model: keras.Model) -> keras.Model:
    """A twin to train in place of a functional model, with the same weights in the same order."""
    in_front = {
        linear.name: norm.name
        for norm, linear in foldable_norms(model).values()
        if type(linear) in _FOLDING and _fuses(norm) and linear.compute_dtype == "float32"
    }
    norms: dict[str, FusedBatchNormalization] = {}

    def clone(layer: keras.Layer) -> keras.Layer:
        if _fuses(layer):
            norm = FusedBatchNormalization.from_config(layer.get_config())
            norm.folds = layer.name in in_front.values()
            norms[layer.name] = norm
            return norm
        if layer.name not in in_front:
            return type(layer).from_config(layer.get_config())
        linear = _FOLDING[type(layer)].from_config(layer.get_config())
        # A function, as a layer's layers are parts of it.
        linear.norm = lambda: norms[in_front[layer.name]]
        return linear

    twin = keras.models.clone_model(model, clone_function=clone)
    twin.set_weights(model.get_weights())
    twin.dtype_policy = model.dtype_policy  # half precision has its loss scaled
    return twin


def _fuses(layer: keras.Layer) -> bool:
    fits = type(layer) is layers.BatchNormalization and layer.axis in (-1, 3)
    return fits and layer.scale and layer.center and not layer.renorm


class FusedBatchNormalization(layers.BatchNormalization):
    """Keras' layer, fused for (batch, height, width, channels) in float32 or bfloat16.

    Attributes:
        folds: whether the layer in front does its work where it follows no batches.
    """

    folds = False

    def follows(self, training: bool | None) -> bool:
        """Whether it normalises by its batches."""
        return bool(training) and self.trainable

    def call(self, inputs, training=None, mask=None):
        """Normalise by the batch's statistics, and follow them, if `training` and trainable."""
        if self.folds and not self.follows(training):
            return inputs
        pictures = len(inputs.shape) == 4 and inputs.dtype in (tf.float32, tf.bfloat16)
        if not (self.follows(training) and pictures):
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


class _Folding:
    """A convolution that does the work of the norm behind it, unless that follows its batches.

    Attributes:
        norm: gives that norm.
    """

    norm: Callable[[], FusedBatchNormalization]

    def call(self: Any, inputs, training=None):
        """As Keras, or with the norm's scale and shift."""
        norm = self.norm()
        if norm.follows(training):
            return super().call(inputs)  # type: ignore[misc]
        gain = norm.gamma * tf.math.rsqrt(norm.moving_variance + norm.epsilon)
        bias = self.bias if self.use_bias else 0.0
        kernel = self.kernel * tf.reshape(gain, by_output(self))
        shift = norm.beta + (bias - norm.moving_mean) * gain
        # Its gradient is several times as fast as that of a sum.
        return tf.nn.bias_add(self._convolved(inputs, kernel), shift)


class _FoldingConv2D(_Folding, layers.Conv2D):
    def _convolved(self, inputs, kernel):
        return self.convolution_op(inputs, kernel)


class _FoldingDepthwiseConv2D(_Folding, layers.DepthwiseConv2D):
    def _convolved(self, inputs, kernel):
        return keras.ops.depthwise_conv(
            inputs, kernel, self.strides, self.padding, self.data_format, self.dilation_rate
        )


_FOLDING: dict[type[keras.Layer], type[keras.Layer]] = {
    layers.Conv2D: _FoldingConv2D,
    layers.DepthwiseConv2D: _FoldingDepthwiseConv2D,
}
