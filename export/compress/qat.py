"""Quantisation-aware training: a network learns while it feels the rounding of its file.

What is trained is the very graph that the file computes: batch norms folded, and for int8 hard
activations lowered (`export.graph.lower`), one rounding for each tensor that gets a scale there and
none for those that it does not have.

It begins where post-training quantisation ends: with the kernels, scales, biases and ranges of
`export.compress.reconstruct`, so that its first step is the reconstructed file. From there the
weights learn, and with them the steps of their grid and the ranges of activations
(`export.compress.learnt_steps`). A weight begins within the step that reconstruction rounded it to,
as near to its float value as that allows. Where validation images say that the training made
nothing better, what it began with is kept.

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

Afterwards the file is written as every file here (`export.tflite.quantise`), with the steps and
ranges that were trained with: it has the integers of the training.

What pruning and clustering made is kept (PQAT, CQAT, PCQAT): zeros stay zeros, and weights that
were equal stay equal, since a cluster is replaced by its mean, through which all its weights get
one gradient. A clustered kernel of 8 bits has one scale for the whole layer, so that its values
stay few in the file. Kernels that are one kernel of several calls, as a detector's head has them,
are trained as one, and stand in the file once (`export.compress.reconstruct.tied`).
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Container, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from keras import layers

from export.artefacts.variants import Variant
from export.compress import finetune, int8_tensors
from export.compress.int8_tensors import FIXED_RANGES, IMAGE, with_fused_dense
from export.compress.learnt_steps import (
    FixedRange,
    LearntRange,
    LearntSteps,
    MovingRange,
    RoundedInput,
    RoundedLayer,
    kernel_name,
    units_of,
)
from export.compress.reconstruct.equalise import with_even_columns
from export.compress.reconstruct.files import file_format
from export.compress.reconstruct.inputs import channel_scales
from export.compress.reconstruct.network import (
    Format,
    Reconstruction,
    looked_at,
    reconstruct,
    with_bare_layers,
)
from export.compress.reconstruct.rounding import limits
from export.compress.reconstruct.tied import Tied, tied_kernels
from export.compress.reconstruct.walk import steps
from export.graph.fold_norm import fold_batch_norms
from export.graph.legacy_keras import to_tf_keras
from export.graph.lower import lower_for_int8, with_raw_input
from export.tasks.fine_tuning import FineTuningData
from export.tasks.trained import Range
from export.tflite.convert import to_tflite
from export.tflite.model import TFLiteModel
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.common.progress import say
from training.common.quiet import quiet
from training.engine.config import TrainConfig
from training.engine.evaluation import at_once
from training.engine.foldable_norms import LINEAR
from training.engine.loop import repeatable

# With more values than this, a kernel is not a clustered one.
_MOST_CLUSTERS = 256
_ANSWERED_AT_ONCE = 64
# Of a step: how far from its integer a weight may begin, and how near to the ends of the grid,
# beyond which it would have no gradient.
_ROOM, _INSIDE = 0.45, 0.05


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class QATResult:
    """What quantisation-aware training gives.

    Attributes:
        model: the network as its file has it, in Keras 3; for int8 the lowered one. Kernels are
            float, on the grid of their integers.
        preprocessing: what the pictures for `model` go through.
        bounds: by layer, (channels,) or (1,) largest value that its kernel's grid holds.
        ranges: of activations, by the name of the layer that makes them; `image` is the input.
            Those of `fused_dense` are there by both names. None where activations are float.
        answers: what `judge` made of the network with all rounding simulated; or None.
        validation: what `figure` said of the network as it began, and trained (None: it is of no
            use); or None where it said nothing. The latter is what is kept, unless it is less.
    """

    model: keras.Model
    preprocessing: Preprocessing
    bounds: Mapping[str, np.ndarray]
    ranges: Mapping[str, Range] | None
    answers: Any = None
    validation: tuple[float, float | None] | None = None


def train_aware(
    model: keras.Model,
    fine_tuning_data: FineTuningData,
    config: TrainConfig,
    folder: pathlib.Path,
    *,
    variant: Variant,
    calibration: np.ndarray,
    judge: Callable[[Callable[[np.ndarray], np.ndarray]], Any] | None = None,
    figure: Callable[[QATResult], float | None] | None = None,
    clustered: Container[str] = (),
    written: Callable[[keras.Model], keras.Model] = lambda model: model,
) -> QATResult:
    """Train on while feeling the rounding of a file.

    Args:
        model: functional, as trained; it is left as it is. The zeros of its kernels are kept.
        fine_tuning_data, config, folder: see `finetune.fine_tune`.
        variant: how the file will be written.
        calibration: (n, height, width, channels) uint8 training pictures that it is reconstructed
            with before.
        judge: is given the network with all rounding simulated, as a function from (n, height,
            width, channels) uint8 to its outputs; what it returns becomes `QATResult.answers`. It
            is asked where activations are rounded: else `QATResult.model` answers the same.
        figure: what validation images say, the more the better; None of the network as it began:
            they say nothing.
        clustered: layers whose kernels keep their clusters; of 8 bits they get one scale for all
            channels.
        written: the network that the file holds.

    Raises:
        InputError: a batch norm that cannot be folded, or a layer without a twin in tf_keras.
    """
    work = _Aware(model, fine_tuning_data.preprocessing, variant, calibration, clustered, written)
    teacher = fine_tuning_data.teacher and dataclasses.replace(
        fine_tuning_data.teacher, student=work.preprocessing
    )
    fine_tuning_data = dataclasses.replace(
        fine_tuning_data, preprocessing=work.preprocessing, teacher=teacher
    )
    repeatable(config.seed)  # whatever reconstruction drew
    work.make_twin()
    begun, state = work.result(), work.state()
    before = figure and figure(begun)
    repeatable(config.seed)
    finetune.fine_tune(work.twin, fine_tuning_data, config, folder, name=f"{model.name} qat")
    found, validation = work.result(), None
    if figure and before is not None:
        validation = before, figure(found)
        if not is_better(validation):
            shown = ["none" if one is None else f"{one:.2f}%" for one in validation]
            say(
                f"{variant.name}: on validation images {shown[1]} after training, {shown[0]} "
                "before: what it began with is kept"
            )
            work.go_back(state)
            found = begun
    answers = judge(work.predict) if judge and variant.calibrated else None
    return dataclasses.replace(found, answers=answers, validation=validation)


def is_better(validation: tuple[float, float | None]) -> bool:
    """Whether a training is kept, by `QATResult.validation`."""
    before, after = validation
    return after is not None and after >= before


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
    """

    mask: np.ndarray | None
    members: np.ndarray | None
    clusters: int

    @classmethod
    def of(cls, kernel: np.ndarray, *, clustered: bool) -> Kept:
        """What pruning, and clustering if there was one, left in a kernel."""
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
        )

    def apply(self, kernel: tf.Tensor) -> tf.Tensor:
        """The kernel with its clusters' means and its zeros; differentiable."""
        if self.members is not None:
            flat = tf.reshape(self.members, [-1])
            means = tf.math.unsorted_segment_mean(tf.reshape(kernel, [-1]), flat, self.clusters)
            kernel = tf.reshape(tf.gather(means, flat), self.members.shape)
        return kernel if self.mask is None else kernel * self.mask


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Kernel:
    """A kernel on its grid, as a layer of the twin has it.

    Attributes:
        kept: what it keeps.
        steps: of its grid.
        factors: (shape of the steps) of a kernel that is another's but for these; else None.
    """

    kept: Kept
    steps: LearntSteps
    factors: np.ndarray | None = None

    def __call__(self, kernel: tf.Tensor) -> tf.Tensor:
        rounded = self.steps.rounded(self.kept.apply(kernel))
        return rounded if self.factors is None else rounded * self.factors

    def bound(self) -> np.ndarray:
        """(channels,) or (1,), see `QATResult`."""
        now = np.asarray(self.steps.now())
        whole: np.ndarray = self.steps.top * (now if self.factors is None else now * self.factors)
        return whole.reshape(-1)


class _Aware:
    """A network, its reconstruction, and its twin in tf_keras that is trained.

    Attributes:
        twin: from normalised pictures to the network's outputs, all rounding simulated.
        preprocessing: of its pictures.
    """

    def __init__(
        self,
        model: keras.Model,
        preprocessing: Preprocessing,
        variant: Variant,
        calibration: np.ndarray,
        clustered: Container[str],
        written: Callable[[keras.Model], keras.Model],
    ) -> None:
        self._variant, self._clustered = variant, clustered
        if variant.calibrated:
            lowered, preprocessing = lowered_for_training(model, preprocessing)
        else:
            lowered = fold_batch_norms(model)
        self.preprocessing, self._model = preprocessing, with_bare_layers(lowered)
        self._made = _made_linear(self._model, model)
        self._format = self._format_of(written)
        self._model = with_even_columns(self._model, self._format)
        x = preprocessing.normalise(looked_at(self._model, calibration))
        name = f"{model.name}: reconstruction for {variant.name}"
        self._begun = begun = reconstruct(self._model, self._format, x, name=name)
        self._ranges = self._ranges_of(begun, calibration) if variant.calibrated else {}
        self._frozen_bounds = dict[str, np.ndarray]()
        self._first = dict[str, tuple[_Kernel, tf.Variable]]()
        self._tied = self._tied_of(begun)
        self.twin: tf_keras.Model
        self._layers: dict[str, tf_keras.layers.Layer]

    def make_twin(self) -> None:
        """Build what is trained; what is random in it is drawn now."""
        with quiet():
            self.twin = to_tf_keras(
                self._begun.model, wrap=self._wrapped, entrance=self._entrance()
            )
        self._layers = {_inner(layer).name: layer for layer in self.twin.layers}

    def _format_of(self, written: Callable[[keras.Model], keras.Model]) -> Format:
        float_file = TFLiteModel.open(to_tflite(written(self._model)))
        shared = tuple(one.name for one in self._model.layers if one.name in self._clustered)
        found = file_format(self._model, float_file, self._variant, shared)
        return dataclasses.replace(found, kept={*shared, *self._made})

    def _ranges_of(self, begun: Reconstruction, calibration: np.ndarray) -> dict[str, Range]:
        ranges = int8_tensors.calibrated(begun.model, self.preprocessing, calibration)
        return ranges | {name: one for name, one in begun.ranges.items() if name in ranges}

    def _tied_of(self, begun: Reconstruction) -> dict[str, Tied]:
        linear = [step.operation for step in steps(self._model)]
        linear = [one for one in linear if one.name in begun.bounds and one.trainable]
        return tied_kernels(linear)

    def _entrance(self) -> tf_keras.layers.Layer | None:
        if not self._variant.calibrated:
            return None
        return RoundedInput(FixedRange(*self._ranges[IMAGE]), "rounded_image")

    def _wrapped(self, layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        """A layer of the twin, rounded as the file has it."""
        kernel, steps_, name = None, None, layer.name
        bits = self._format.bits(layer) if isinstance(layer, _TF_LINEAR) else None
        if bits is not None and layer.trainable:
            kernel, steps_ = self._learnt(layer, bits)
        elif name in self._begun.bounds:
            self._frozen_bounds[name] = self._begun.bounds[name]
        # The mean of a pooling, or a fixed normalisation, is on its grid: one value a channel.
        output = self._output(name)
        if kernel is None and output is None:
            return layer
        return RoundedLayer(layer, kernel=kernel, steps=steps_, output=output)

    def _learnt(
        self, layer: tf_keras.layers.Layer, bits: int
    ) -> tuple[_Kernel, LearntSteps | None]:
        """What a layer's kernel becomes, and the steps that are its own."""
        name, tied = layer.name, self._tied.get(layer.name)
        if tied and tied.first in self._first:
            leader, variable = self._first[tied.first]
            _share(layer, variable)
            scales = channel_scales(self._model.get_layer(name), tied.factors)
            factors = scales.reshape(leader.steps.begun.shape).astype(np.float32)
            return dataclasses.replace(leader, factors=factors), None
        source = np.asarray(self._model.get_layer(name).kernel)
        clustered = name in self._clustered
        shape = self._axes(name, shared=clustered and self._variant.weight_bits == 8)
        low, top = limits(bits)
        if name in self._begun.bounds:
            first = self._begun.bounds[name].reshape(shape) / top
            rounded, *rest = layer.get_weights()
            layer.set_weights([_within(source, rounded, first, low, top), *rest])
        else:
            first = _by_range(source, shape, bits)
        steps_ = LearntSteps(first, units_of(source, shape), low, top)
        kernel = _Kernel(kept=Kept.of(source, clustered=clustered), steps=steps_)
        self._first[name] = kernel, getattr(layer, kernel_name(layer))
        return kernel, steps_

    def _axes(self, name: str, *, shared: bool) -> tuple[int, ...]:
        """Shape of the steps of a layer's kernel."""
        layer = self._model.get_layer(name)
        shape = layer.kernel.shape
        channels = () if shared else _CHANNELS.get(type(layer), (len(shape) - 1,))
        return tuple(size if axis in channels else 1 for axis, size in enumerate(shape))

    def _output(self, name: str) -> FixedRange | None:
        if name not in self._ranges:
            return None
        range_ = self._ranges[name]
        if range_ in FIXED_RANGES.values():
            return FixedRange(*range_)
        # What the network ends in is not cut off, see `Format.ends`.
        return (MovingRange if self._is_end(name) else LearntRange)(*range_)

    def _is_end(self, name: str) -> bool:
        outputs = {one._keras_history.operation.name for one in self._model.outputs}
        return name in self._format.ends or name in outputs

    def result(self) -> QATResult:
        """The network as it is now."""
        found = with_bare_layers(self._model)
        bounds = dict(self._frozen_bounds)
        for layer in found.layers:
            if not layer.weights:
                continue
            trained = self._layers[layer.name]
            weights = _inner(trained).get_weights()
            if isinstance(trained, RoundedLayer) and isinstance(trained.kernel, _Kernel):
                bounds[layer.name] = trained.kernel.bound()
                bias = [np.asarray(trained.layer.bias)] if layer.use_bias else []
                weights = [trained.rounded_kernel(), *bias]
            layer.set_weights(weights)
        ranges = dict(self._ranges)
        for name, layer in self._layers.items():
            if isinstance(layer, RoundedLayer) and layer.output_range is not None:
                ranges[name] = layer.output_range.now()
        ranges = with_fused_dense(found, ranges)
        return QATResult(
            model=found,
            preprocessing=self.preprocessing,
            bounds=bounds,
            ranges=ranges if self._variant.calibrated else None,
        )

    def state(self) -> list[np.ndarray]:
        """All that `go_back` needs."""
        return [np.asarray(variable) for variable in self.twin.variables]

    def go_back(self, state: list[np.ndarray]) -> None:
        """Be what it was."""
        for variable, value in zip(self.twin.variables, state, strict=True):
            variable.assign(value)

    def predict(self, pictures: np.ndarray) -> np.ndarray:
        """(n, height, width, channels) uint8 -> what the simulated network answers."""
        count = at_once(self._model, _ANSWERED_AT_ONCE, copies=2)  # each is rounded
        parts = [
            self.twin(self.preprocessing.normalise(pictures[i : i + count]), training=False)
            for i in range(0, len(pictures), count)
        ]
        return np.concatenate([np.asarray(part) for part in parts])


_TF_LINEAR = tuple(getattr(tf_keras.layers, kind.__name__) for kind in LINEAR)
# Where they are not the kernel's last axis: (height, width, channels, multiplier) and (height,
# width, outputs, inputs).
_CHANNELS = {layers.DepthwiseConv2D: (2, 3), layers.Conv2DTranspose: (2,)}


def _made_linear(model: keras.Model, source: keras.Model) -> set[str]:
    """Layers with kernels that lowering made of others, or put in front: they are not trained."""
    known = {layer.name for layer in source.layers if isinstance(layer, LINEAR)}
    linear = (layer for layer in model.layers if isinstance(layer, LINEAR))
    return {layer.name for layer in linear if layer.name not in known}


def _by_range(kernel: np.ndarray, shape: tuple[int, ...], bits: int) -> np.ndarray:
    """Steps of a shape by the largest weights, as the quantiser has them."""
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    largest = np.abs(kernel).max(axis=axes, keepdims=True)
    found: np.ndarray = np.maximum(largest, 1e-9) / limits(bits)[1]
    return found.reshape(shape).astype(np.float32)


def _within(
    kernel: np.ndarray, rounded: np.ndarray, steps_: np.ndarray, low: int, top: int
) -> np.ndarray:
    """Float weights, moved to where they are rounded to what reconstruction rounded them to."""
    integers = np.rint(rounded / steps_)
    least = np.maximum(integers - _ROOM, low + _INSIDE)
    most = np.minimum(integers + _ROOM, top - _INSIDE)
    moved: np.ndarray = np.clip(kernel / steps_, least, most) * steps_
    return moved.astype(np.float32)


def _share(layer: tf_keras.layers.Layer, kernel: tf.Variable) -> None:
    """Let a layer have another's kernel in the place of its own."""
    name = kernel_name(layer)
    delattr(layer, name)  # else both would be its weights
    setattr(layer, name, kernel)


def _inner(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
    return layer.layer if isinstance(layer, RoundedLayer) else layer
