"""Quantisation-aware training: a network learns while it feels the rounding of its int8 file.

What is trained is the very graph that the file computes: batch norms folded, hard activations
lowered (`export.graph.lower`), one fake quantiser for each tensor that gets a scale there and none
for those that it does not have.

tensorflow-model-optimization's issues 368 and 1107 tell of a MobileNetV3 that is much worse as a
TFLite file than after its training there. `benchmarks/qat_gap.py` does not find that:
mobilenet_v3_small, trained on digits, answers 97.8% right in both, and the same on all 1,000
pictures (here 97.8% and 98.1%, the same on 99.7%). What it finds is that their logits differ, with
a signal-to-noise ratio of 28 dB (here 33 dB). Of the causes, each changed alone:

- Coarse steps: what is rounded the other way is a step off. The default ranges begin at [-6, 6]
  and follow with a momentum of 0.999, so that after a hundred steps they are mostly that still.
  Begun calibrated, as here, they give 31 dB, with a momentum of 0.9 32 dB; begun at [-48, 48]
  12.5 dB, and another top-1 on 1.8% of the pictures.
- Hard activations and products, which the default scheme refuses: left without quantisers they
  stay float in the file (33.5 dB, but 75 float operations and a third more bytes); as HARD_SWISH
  they give 30 dB, and 20 pieces.
- Batch norms folded beforehand, or a scale for each channel of depthwise kernels: nothing (28 dB).

Afterwards the file is written as every int8 file here (`export.tflite.quantise`), with the ranges
that were trained with in place of calibrated ones.

What pruning and clustering made is kept (PQAT, CQAT, PCQAT): zeros stay zeros, and weights that
were equal stay equal, since a cluster is replaced by its mean, through which all its weights get
one gradient. A clustered kernel has one scale for the whole layer, so that its values stay few in
the file.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from keras import layers
from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import (
    QuantizeLayer,
)
from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import (
    QuantizeWrapperV2,
)

from export.compress import finetune
from export.graph import float_ends
from export.graph.fold_norm import fold_batch_norms
from export.graph.legacy_keras import bring_back, to_tf_keras
from export.graph.linear import LINEAR
from export.graph.lower import (
    HardGate,
    Scale,
    lower_for_int8,
    with_raw_input,
)
from export.tasks.fine_tuning import FineTuningData
from export.tasks.trained import Range
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.common.quiet import quiet
from training.engine.config import TrainConfig
from training.engine.evaluation import at_once
from training.engine.loop import repeatable

# They hand their input's scale on.
_TRANSPARENT = (
    *(layers.Cropping2D, layers.Dropout, layers.Flatten, layers.MaxPooling2D, layers.Reshape),
    *(layers.UpSampling2D, layers.ZeroPadding2D, layers.GlobalMaxPooling2D),
)
# Scales that the runtime prescribes: 1/256 and 1/128.
FIXED_RANGES = {"sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}
_MOMENTUM = 0.99
# With more values than this, a kernel is not a clustered one.
_MOST_CLUSTERS = 256
_ENTRANCE = "image"
_PROBED_AT_ONCE = 8
_ANSWERED_AT_ONCE = 64


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class QATResult:
    """What quantisation-aware training gives.

    Attributes:
        model: the lowered network, in Keras 3, with float weights that int8 holds exactly.
        preprocessing: what the pictures for `model` go through.
        ranges: of activations, by the name of the layer that makes them; `image` is the input.
            Those of `fused_dense` are there by both names.
        answers: what `judge` made of the network with all rounding simulated; or None.
    """

    model: keras.Model
    preprocessing: Preprocessing
    ranges: Mapping[str, Range]
    answers: Any


def train_aware(
    model: keras.Model,
    fine_tuning_data: FineTuningData,
    config: TrainConfig,
    folder: pathlib.Path,
    *,
    calibration: np.ndarray,
    judge: Callable[[Callable[[np.ndarray], np.ndarray]], Any] | None = None,
    clustered: Container[str] = (),
) -> QATResult:
    """Train on while feeling int8.

    Args:
        model: functional, as trained; it is left as it is. The zeros of its kernels are kept.
        fine_tuning_data, config, folder: see `finetune.fine_tune`.
        calibration: (n, height, width, channels) uint8 training pictures that the ranges begin
            with.
        judge: is given the network with all rounding simulated, as a function from (n, height,
            width, channels) uint8 to its outputs; what it returns becomes `QATResult.answers`.
        clustered: layers whose kernels keep their clusters, and get one scale for all channels.

    Raises:
        InputError: a batch norm that cannot be folded, or a layer without a twin in tf_keras.
    """
    repeatable(config.seed)
    lowered, preprocessing = lowered_for_training(model, fine_tuning_data.preprocessing)
    teacher = fine_tuning_data.teacher and dataclasses.replace(
        fine_tuning_data.teacher, student=preprocessing
    )
    fine_tuning_data = dataclasses.replace(
        fine_tuning_data, preprocessing=preprocessing, teacher=teacher
    )
    kept = {
        layer.name: Kept.of(layer, clustered=layer.name in clustered)
        for layer in lowered.layers
        if isinstance(layer, LINEAR)
    }
    ranges = calibrated(lowered, preprocessing, calibration)
    with quiet():
        aware = to_tf_keras(
            lowered,
            wrap=lambda layer: _wrapped(layer, ranges, kept.get(layer.name)),
            entrance=QuantizeLayer(FixedRange(*ranges[_ENTRANCE]), name="rounded_image"),
        )
    finetune.fine_tune(aware, fine_tuning_data, config, folder, name=f"{model.name} qat")
    count = at_once(lowered, _ANSWERED_AT_ONCE, copies=2)  # each is rounded
    answers = judge and judge(functools.partial(_predict, aware, preprocessing, count))
    with quiet():
        bring_back(_Stripped(aware), lowered)
    for name, one in kept.items():
        layer = lowered.get_layer(name)
        kernel, *rest = layer.get_weights()
        layer.set_weights([one.on_grid(kernel), *rest])
    found = _trained_ranges(aware, ranges)
    found |= {dense: found[relu] for dense, relu in fused_dense(lowered).items()}
    return QATResult(model=lowered, preprocessing=preprocessing, ranges=found, answers=answers)


def lowered_for_training(
    model: keras.Model, preprocessing: Preprocessing
) -> tuple[keras.Model, Preprocessing]:
    """The graph that the int8 file computes, and what pictures for it go through."""
    folded = fold_batch_norms(model)
    for layer in folded.layers:
        if isinstance(layer, layers.BatchNormalization):
            raise InputError(
                f"{model.name}: batch norm {layer.name!r} has no convolution of its own in front, "
                "so no int8 file can have it folded; quantisation-aware training needs that"
            )
    return with_raw_input(lower_for_int8(folded), preprocessing)


def calibrated(
    lowered: keras.Model, preprocessing: Preprocessing, pictures: np.ndarray
) -> dict[str, Range]:
    """Least and largest value of every tensor that int8 has to give a scale.

    Args:
        lowered: from `lowered_for_training`.
        pictures: (n, height, width, channels) uint8.

    Returns:
        Ranges that hold zero, by the name of the tensor's layer; the input's is that of all bytes.
    """
    floats = float_layers(lowered)
    chosen = [layer for layer in lowered.layers if has_scale(layer, floats)]
    probe = keras.Model(lowered.inputs, [layer.output for layer in chosen])
    low, high = (float(preprocessing.normalise(np.array(b, np.uint8))) for b in (0, 255))
    found = {_ENTRANCE: (low, high), **{layer.name: (0.0, 0.0) for layer in chosen}}
    # Few at a time: every activation of every layer is there at once.
    for start in range(0, len(pictures), _PROBED_AT_ONCE):
        block = preprocessing.normalise(pictures[start : start + _PROBED_AT_ONCE])
        for layer, value in zip(chosen, probe([block], training=False), strict=True):
            low, high = found[layer.name]
            array = np.asarray(value)
            found[layer.name] = min(low, float(array.min())), max(high, float(array.max()))
    return found | {
        layer.name: fixed for layer in chosen if (fixed := FIXED_RANGES.get(_function(layer)))
    }


def float_layers(model: keras.Model) -> frozenset[str]:
    """Layers whose outputs stay float in the int8 file, see `export.graph.float_ends`."""

    def made_by(name: str) -> tuple[str, Sequence[str]]:
        layer = model.get_layer(name)
        kind = _JOINING.get(type(layer), _JOINING_FUNCTIONS.get(_function(layer), ""))
        read = [one for node in layer._inbound_nodes for one in node.parent_nodes] if kind else []
        return kind, [node.operation.name for node in read]

    outputs = [one._keras_history.operation.name for one in model.outputs]
    ranks = {name: len(model.get_layer(name).output.shape) for name in outputs}
    return frozenset(float_ends.float_ends(outputs, made_by, rank=ranks.__getitem__))


_JOINING: dict[type, str] = {
    layers.Concatenate: float_ends.CONCATENATION,
    layers.Reshape: float_ends.RESHAPE,
}
_JOINING_FUNCTIONS = {"sigmoid": float_ends.LOGISTIC, "softmax": float_ends.SOFTMAX}


def has_scale(layer: keras.Layer, floats: Container[str]) -> bool:
    """Whether the layer's output is a tensor of the int8 file, with a scale of its own.

    Args:
        floats: of `float_layers`.
    """
    if isinstance(layer, (layers.InputLayer, *_TRANSPARENT)) or layer.name in floats:
        return False
    readers = list(_readers(layer))
    if len(readers) != 1:
        return True
    (reader,) = readers
    # An int8 concatenation takes its inputs at its own scale.
    if isinstance(reader, layers.Concatenate):
        return False
    # The converter makes one operation of these pairs.
    if isinstance(layer, LINEAR) and isinstance(reader, HardGate | Scale):
        return False
    return not (isinstance(layer, _FUSING) and _function(reader) in _FUSED)


def fused_dense(lowered: keras.Model) -> dict[str, str]:
    """Dense layers that a ReLU alone reads, with its name.

    The converter names their common tensor by the dense layer, and not by the ReLU as behind a
    convolution.
    """
    dense = (layer for layer in lowered.layers if isinstance(layer, layers.Dense))
    readers = {layer.name: list(_readers(layer)) for layer in dense}
    return {
        name: found[0].name
        for name, found in readers.items()
        if len(found) == 1 and _function(found[0]) in _FUSED
    }


_FUSING = (*LINEAR, layers.Add, layers.Multiply)
_FUSED = ("relu", "relu6")


def _readers(layer: keras.Layer) -> Iterator[Any]:
    """What reads the layer's output in the file, where there is no dropout."""
    for node in layer._outbound_nodes:
        if isinstance(node.operation, layers.Dropout):
            yield from _readers(node.operation)
        else:
            yield node.operation


def _function(layer: Any) -> str:
    if isinstance(layer, layers.ReLU) and not layer.negative_slope and not layer.threshold:
        return {None: "relu", 6: "relu6"}.get(layer.max_value, "")
    return layer.activation.__name__ if isinstance(layer, layers.Activation) else ""


def clustered_layers(model: keras.Model) -> tuple[str, ...]:
    """Names of layers whose kernel has few values, each of several weights."""
    kinds = (layers.Conv2D, layers.Conv2DTranspose, layers.Dense)
    linear = (layer for layer in model.layers if isinstance(layer, kinds))
    return tuple(layer.name for layer in linear if _is_clustered(np.asarray(layer.kernel)))


def _is_clustered(kernel: np.ndarray) -> bool:
    # Of a pruned kernel that is not clustered, all weights but the zeros differ.
    weights = kernel[kernel != 0]
    values = len(np.unique(weights))
    return values <= _MOST_CLUSTERS and values < weights.size


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """What a training must not change in a kernel.

    Attributes:
        mask: (kernel's shape) 0 where it was pruned, or None.
        members: (kernel's shape) number of the cluster that a weight is of, or None.
        clusters: how many there are; 0 for none.
        channels: axes of the kernel that are the output's channels.
    """

    mask: np.ndarray | None
    members: np.ndarray | None
    clusters: int
    channels: tuple[int, ...]

    @classmethod
    def of(cls, layer: keras.Layer, *, clustered: bool) -> Kept:
        """What pruning, and clustering if there was one, left in a layer's kernel."""
        kernel = np.asarray(layer.kernel)
        zero = kernel == 0
        values: np.ndarray | tuple[()] = ()
        members = None
        if clustered:
            values, members = np.unique(kernel, return_inverse=True)
            members = members.reshape(kernel.shape).astype(np.int32)
        return cls(
            mask=(~zero).astype(np.float32) if zero.any() else None,
            members=members,
            clusters=len(values),
            channels=_CHANNELS.get(type(layer), (kernel.ndim - 1,)),
        )

    @property
    def shares(self) -> bool:
        """Whether the kernel has one scale for all channels."""
        return bool(self.clusters)

    def apply(self, kernel: tf.Tensor) -> tf.Tensor:
        """The kernel with its clusters' means and its zeros; differentiable."""
        if self.members is not None:
            flat = tf.reshape(self.members, [-1])
            means = tf.math.unsorted_segment_mean(tf.reshape(kernel, [-1]), flat, self.clusters)
            kernel = tf.reshape(tf.gather(means, flat), self.members.shape)
        return kernel if self.mask is None else kernel * self.mask

    def on_grid(self, kernel: np.ndarray) -> np.ndarray:
        """The values that int8 holds, as floats."""
        return np.asarray(self.rounded(tf.constant(kernel)))

    def rounded(self, kernel: tf.Tensor) -> tf.Tensor:
        """The same, differentiable."""
        return _rounded(self.apply(kernel), () if self.shares else self.channels)


# Where they are not the kernel's last axis: (height, width, channels, multiplier) and (height,
# width, outputs, inputs).
_CHANNELS = {layers.DepthwiseConv2D: (2, 3), layers.Conv2DTranspose: (2,)}


def _rounded(kernel: tf.Tensor, channels: tuple[int, ...]) -> tf.Tensor:
    """A kernel as int8 holds it: symmetric, [-127, 127], a scale for each index of `channels`."""
    axes = [axis for axis in range(len(kernel.shape)) if axis not in channels]
    order = [*axes, *channels]
    last = tf.transpose(kernel, order)
    flat = tf.reshape(last, [-1, math.prod(kernel.shape[axis] for axis in channels)])
    largest = tf.maximum(tf.stop_gradient(tf.reduce_max(tf.abs(flat), axis=0)), 1e-9)
    rounded = tf.quantization.fake_quant_with_min_max_vars_per_channel(
        flat, -largest, largest, num_bits=8, narrow_range=True
    )
    return tf.transpose(tf.reshape(rounded, last.shape), np.argsort(order))


class KernelQuantizer(tfmot.quantization.keras.quantizers.Quantizer):
    """Rounds a kernel by its present range, and keeps its zeros and clusters."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def build(self, tensor_shape, name, layer) -> dict[str, Any]:
        """No variables: the range is the kernel's own."""
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        """The kernel that the file will hold."""
        return self._kept.rounded(inputs)

    def get_config(self) -> dict[str, Any]:
        """Made anew from the network, never loaded."""
        return {}


class FixedRange(tfmot.quantization.keras.quantizers.Quantizer):
    """Rounds to 256 values of a range that does not move."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def build(self, tensor_shape, name, layer) -> dict[str, Any]:
        """No variables."""
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        """Rounded values."""
        return tf.quantization.fake_quant_with_min_max_args(inputs, self.low, self.high)

    def get_config(self) -> dict[str, Any]:
        """For tf_keras."""
        return {"low": self.low, "high": self.high}


class MovingRange(tfmot.quantization.keras.quantizers.Quantizer):
    """Rounds to 256 values of a range that follows the batches from where it began."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def build(self, tensor_shape, name, layer) -> dict[str, Any]:
        """The range, as two variables of the layer."""
        return {
            key: layer.add_weight(
                f"{name}_{key}",
                initializer=tf_keras.initializers.Constant(value),
                trainable=False,
            )
            for key, value in (("low", self.low), ("high", self.high))
        }

    def __call__(self, inputs, training, weights, **kwargs):
        """Rounded values; in training the range moves first."""
        low, high = weights["low"], weights["high"]
        if training:
            batch = tf.stop_gradient(inputs)
            moved = (
                low.assign(_moved(low, tf.minimum(tf.reduce_min(batch), 0.0))),
                high.assign(_moved(high, tf.maximum(tf.reduce_max(batch), 0.0))),
            )
            with tf.control_dependencies(moved):
                inputs = tf.identity(inputs)
        return tf.quantization.fake_quant_with_min_max_vars(
            inputs, tf.convert_to_tensor(low), tf.convert_to_tensor(high)
        )

    def get_config(self) -> dict[str, Any]:
        """For tf_keras."""
        return {"low": self.low, "high": self.high}


def _moved(old, new):
    return old * _MOMENTUM + new * (1 - _MOMENTUM)


class LayerConfig(tfmot.quantization.keras.QuantizeConfig):
    """What of a layer is rounded: its kernel, its output, both or neither."""

    def __init__(self, kernel: str = "", quantizer: Any = None, output: Any = None) -> None:
        self._kernel, self._quantizer, self._output = kernel, quantizer, output

    def get_weights_and_quantizers(self, layer):
        """The kernel."""
        return [(getattr(layer, self._kernel), self._quantizer)] if self._kernel else []

    def get_activations_and_quantizers(self, layer):
        """Activations are layers of their own here."""
        return []

    def set_quantize_weights(self, layer, quantize_weights) -> None:
        """Let the layer compute with the rounded kernel."""
        if self._kernel:
            setattr(layer, self._kernel, quantize_weights[0])

    def set_quantize_activations(self, layer, quantize_activations) -> None:
        """None to set."""

    def get_output_quantizers(self, layer):
        """The output's."""
        return [self._output] if self._output else []

    def get_config(self) -> dict[str, Any]:
        """Made anew from the network, never loaded."""
        return {}


def _wrapped(
    layer: tf_keras.layers.Layer, ranges: Mapping[str, Range], kept: Kept | None
) -> tf_keras.layers.Layer:
    kernel, quantizer, output = "", None, None
    if kept is not None and layer.trainable:
        depthwise = isinstance(layer, tf_keras.layers.DepthwiseConv2D)
        kernel = "depthwise_kernel" if depthwise else "kernel"
        quantizer = KernelQuantizer(kept)
    elif kept is not None:
        # The wrapper would train it: the mean of a pooling, or a fixed normalisation.
        frozen, *rest = layer.get_weights()
        layer.set_weights([kept.on_grid(frozen), *rest])
    if layer.name in ranges:
        fixed = ranges[layer.name] in FIXED_RANGES.values()
        output = (FixedRange if fixed else MovingRange)(*ranges[layer.name])
    if not kernel and output is None:
        return layer
    return QuantizeWrapperV2(layer, LayerConfig(kernel, quantizer, output))


class _Stripped:
    """The layers inside the wrappers, by their own names."""

    def __init__(self, aware: tf_keras.Model) -> None:
        self._layers = {}
        for layer in aware.layers:
            inner = layer.layer if isinstance(layer, QuantizeWrapperV2) else layer
            self._layers[inner.name] = (layer, inner)

    def get_layer(self, name: str) -> Any:
        """An object with `get_weights`."""
        wrapper, inner = self._layers[name]
        return _Trained(wrapper, inner)


class _Trained:
    def __init__(self, wrapper: Any, inner: Any) -> None:
        self._wrapper, self._inner = wrapper, inner

    def get_weights(self) -> list[np.ndarray]:
        """Kernel and bias; in the layer itself the last rounded kernel is in the kernel's place."""
        kernels = [
            np.asarray(weight) for weight, _, _ in getattr(self._wrapper, "_weight_vars", [])
        ]
        if not kernels:
            return self._inner.get_weights()
        bias = getattr(self._inner, "bias", None)
        return kernels + ([] if bias is None else [np.asarray(bias)])


def _trained_ranges(aware: tf_keras.Model, begun: Mapping[str, Range]) -> dict[str, Range]:
    found = dict(begun)
    for layer in aware.layers:
        variables = getattr(layer, "_output_quantizer_vars", None)
        if variables:
            found[layer.layer.name] = (float(variables["low"]), float(variables["high"]))
    return found


def _predict(
    aware: tf_keras.Model, preprocessing: Preprocessing, count: int, pictures: np.ndarray
) -> np.ndarray:
    parts = [
        aware(preprocessing.normalise(pictures[i : i + count]), training=False)
        for i in range(0, len(pictures), count)
    ]
    return np.concatenate([np.asarray(part) for part in parts])
