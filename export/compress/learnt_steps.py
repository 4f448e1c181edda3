"""Rounding with learnt step sizes, as a network in tf_keras trains with it.

Kernels: "Learned step size quantization" (Esser et al. 2020, arXiv 1902.08153). A weight w is
rounded to s round(clip(w / s, low, top)), with a step s for each output channel, which is trained
like the weights (equations 1 to 5). Activations: two ends of a range in place of a step and an
offset, which is LSQ+ (Bhalgat et al. 2020, arXiv 2004.09576) written otherwise.

The paper trains by SGD, and divides a step's gradient by sqrt(n top) so that steps move, in
proportion to themselves, as the weights do. The gradients here are the paper's; but Adam, which
trains here, takes no notice of a gradient's size. So what is trained of a step is `grown`, from 0
on, in units of the channel's weights: s = s0 (1 + grown / u), with u the root mean square of the
channel's weights. A move of `grown` is to the step what the same move is to a weight of usual size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from export.tasks.trained import Range

# Of where it began, a step or a range is at least so much.
_LEAST = 0.1
# An end of a range moves, in proportion to itself, as a weight of 1/20 does.
_RANGE_UNIT = 1 / 20
_MOMENTUM = 0.99
_STEPS = 255  # of an activation's range


def on_grid(values: tf.Tensor, steps: tf.Tensor, low: int, top: int) -> tf.Tensor:
    """Values as integers of `low` to `top` times their steps give them back; differentiable.

    Args:
        values: any shape.
        steps: above 0, of the same rank, 1 where it is the same along an axis.
        low, top: least and largest integer, -Qn and Qp of the paper.

    Returns:
        The shape of `values`. Gradients are the paper's: of values equation 5, of steps equation 3
        times 1 / sqrt(n top) (section 2.2), with n values for each step.
    """
    shared = [axis for axis, size in enumerate(steps.shape) if size == 1]
    count = math.prod(values.shape[axis] for axis in shared)
    slower = 1 / math.sqrt(count * top)

    @tf.custom_gradient
    def rounded(values: tf.Tensor, steps: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
        ratio = values / steps
        integers = tf.round(tf.clip_by_value(ratio, low, top))

        def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            inside = tf.logical_and(ratio > low, ratio < top)
            of_values = tf.where(inside, upstream, tf.zeros_like(upstream))
            of_steps = upstream * tf.where(inside, integers - ratio, integers)
            return of_values, slower * tf.reduce_sum(of_steps, axis=shared, keepdims=True)

        return integers * steps, gradients

    found: tf.Tensor = rounded(values, steps)
    return found


def in_range(values: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
    """Values rounded to the 256 of a range, as the file has them; differentiable.

    Args:
        values: (n, ...).
        low, high: (), at most 0 and at least 0.

    Returns:
        The shape of `values`. What is cut off moves the end that cuts it; what is rounded moves
        both, as far as they make the step (high - low) / 255: the gradients of `on_grid`.
    """
    count = math.prod(size or 1 for size in values.shape[1:])
    slower = 1 / math.sqrt(count * _STEPS)

    @tf.custom_gradient
    def rounded(
        values: tf.Tensor, low: tf.Tensor, high: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[..., Any]]:
        found = tf.quantization.fake_quant_with_min_max_vars(values, low, high)
        step = tf.maximum((high - low) / _STEPS, 1e-12)
        zero = tf.round(-low / step)

        def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            below, above = values < -zero * step, values > (_STEPS - zero) * step
            cut = tf.logical_or(below, above)
            nothing = tf.zeros_like(upstream)
            of_step = tf.reduce_sum(tf.where(cut, nothing, upstream * (found - values) / step))
            of_low = tf.reduce_sum(tf.where(below, upstream, nothing)) - of_step / _STEPS
            of_high = tf.reduce_sum(tf.where(above, upstream, nothing)) + of_step / _STEPS
            return tf.where(cut, nothing, upstream), slower * of_low, slower * of_high

        return found, gradients

    found: tf.Tensor = rounded(values, low, high)
    return found


class LearntSteps:
    """The steps of one kernel.

    Args:
        begun: (kernel's rank) above 0, 1 where a step is the same along an axis.
        units: of the same shape, above 0: what the weights of a step are like.
        low, top: least and largest integer.
    """

    def __init__(self, begun: np.ndarray, units: np.ndarray, low: int, top: int) -> None:
        self.begun, self.low, self.top = begun.astype(np.float32), low, top
        self._units = units.astype(np.float32)
        self._grown: tf.Variable

    def build(self, owner: tf_keras.layers.Layer) -> None:
        """The variable, as one of a layer."""
        self._grown = owner.add_weight("grown_steps", shape=self.begun.shape, initializer="zeros")

    def now(self) -> tf.Tensor:
        """(shape of `begun`)."""
        return self.begun * tf.maximum(1 + self._grown / self._units, _LEAST)

    def rounded(self, kernel: tf.Tensor) -> tf.Tensor:
        """A kernel by these steps."""
        return on_grid(kernel, self.now(), self.low, self.top)


def units_of(kernel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Root mean square of the weights of each step, for `LearntSteps`.

    Args:
        shape: of the steps. Of a channel of zeros the unit is a hundredth of the kernel's.
    """
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    squares = np.mean(np.square(kernel, dtype=np.float64), axis=axes, keepdims=True)
    units: np.ndarray = np.sqrt(np.maximum(squares, 1e-4 * squares.mean()))
    return np.maximum(units, 1e-6).reshape(shape)


class FixedRange:
    """Rounds to 256 values of a range that does not move."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def build(self, owner: tf_keras.layers.Layer) -> None:
        """No variables."""

    def __call__(self, values: tf.Tensor, training: bool) -> tf.Tensor:
        """Rounded values."""
        return tf.quantization.fake_quant_with_min_max_args(values, self.low, self.high)

    def now(self) -> Range:
        """The range."""
        return self.low, self.high


class MovingRange(FixedRange):
    """Rounds to 256 values of a range that follows the batches from where it began: none is cut."""

    def build(self, owner: tf_keras.layers.Layer) -> None:
        """The range, as two variables of the layer."""
        self._ends = [
            owner.add_weight(
                name, initializer=tf_keras.initializers.Constant(value), trainable=False
            )
            for name, value in (("low", self.low), ("high", self.high))
        ]

    def __call__(self, values: tf.Tensor, training: bool) -> tf.Tensor:
        """Rounded values; in training the range moves first."""
        low, high = self._ends
        if training:
            batch = tf.stop_gradient(values)
            moved = (
                low.assign(_moved(low, tf.minimum(tf.reduce_min(batch), 0.0))),
                high.assign(_moved(high, tf.maximum(tf.reduce_max(batch), 0.0))),
            )
            with tf.control_dependencies(moved):
                values = tf.identity(values)
        return tf.quantization.fake_quant_with_min_max_vars(
            values, tf.convert_to_tensor(low), tf.convert_to_tensor(high)
        )

    def now(self) -> Range:
        """The range."""
        low, high = self._ends
        return float(low), float(high)


class LearntRange(FixedRange):
    """Rounds to 256 values of a range whose ends are learnt; one that is 0 stays 0."""

    def build(self, owner: tf_keras.layers.Layer) -> None:
        """By how much each end has grown."""
        self._grown = owner.add_weight("grown_range", shape=(2,), initializer="zeros")

    def __call__(self, values: tf.Tensor, training: bool) -> tf.Tensor:
        """Rounded values."""
        low, high = tf.unstack(self._ends())
        return in_range(values, low, high)

    def now(self) -> Range:
        """The range."""
        low, high = self._ends().numpy()
        return float(low), float(high)

    def _ends(self) -> tf.Tensor:
        begun = np.array([self.low, self.high], np.float32)
        return begun * tf.maximum(1 + self._grown / _RANGE_UNIT, _LEAST)


def _moved(old: Any, new: tf.Tensor) -> tf.Tensor:
    return old * _MOMENTUM + new * (1 - _MOMENTUM)


class RoundedLayer(tf_keras.layers.Layer):
    """A layer that computes with the kernel, and makes the values, that the file will have.

    Args:
        layer: built.
        kernel: what its kernel becomes; None leaves it as it is.
        output: what its output becomes; None leaves it as it is.
        steps: variables of `kernel` that are this layer's own.
    """

    def __init__(
        self,
        layer: tf_keras.layers.Layer,
        *,
        kernel: Callable[[tf.Tensor], tf.Tensor] | None = None,
        steps: LearntSteps | None = None,
        output: FixedRange | None = None,
    ) -> None:
        super().__init__(name=f"quant_{layer.name}")
        self.layer, self.kernel, self.output_range = layer, kernel, output
        for one in (steps, output):
            if one is not None:
                one.build(self)

    @tf.autograph.experimental.do_not_convert
    def call(self, inputs, training=None):
        """What the layer makes of it, rounded."""
        if self.kernel is None:
            values = self._of_layer(inputs, training)
        else:
            name = kernel_name(self.layer)
            attributes: Mapping[str, Any] = vars(self.layer)
            variable = attributes[name]
            # Past the layer's own bookkeeping: the variable stays its weight.
            vars(self.layer)[name] = self.kernel(tf.convert_to_tensor(variable))
            try:
                values = self._of_layer(inputs, training)
            finally:
                vars(self.layer)[name] = variable
        return values if self.output_range is None else self.output_range(values, bool(training))

    def rounded_kernel(self) -> np.ndarray:
        """The kernel that the file will have."""
        kernel = tf.convert_to_tensor(getattr(self.layer, kernel_name(self.layer)))
        return np.asarray(kernel if self.kernel is None else self.kernel(kernel))

    def _of_layer(self, inputs, training):
        return self.layer(inputs, training=training)


class RoundedInput(tf_keras.layers.Layer):
    """The network's input as the file takes it."""

    def __init__(self, range_: FixedRange, name: str) -> None:
        super().__init__(name=name)
        self._range = range_

    def call(self, inputs):
        """Rounded values."""
        return self._range(inputs, False)


def kernel_name(layer: tf_keras.layers.Layer) -> str:
    """What a linear layer calls its kernel."""
    depthwise = isinstance(layer, tf_keras.layers.DepthwiseConv2D)
    return "depthwise_kernel" if depthwise else "kernel"
