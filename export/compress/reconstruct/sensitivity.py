"""What each rounding of a network does to its answers, of all roundings at once, by gradients.

A rounding adds a small error e to a tensor t, and the answers change by J e, where J is their
derivative by t. The power of J e is the mean of (v' J e)^2 over vectors v of random signs, and
v' J is what one backward pass gives for all tensors of the network together. So a few passes tell
what hundreds of trial files would, and since each rounding's share has its sign, what any of them
do together or without some others, with those that make up for each other.

It is a first order: roundings that ruin a network are told from those that do not, and how large
the ruin is, a file has to say.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from export.compress.reconstruct.measure import comparable, weights_of
from export.compress.reconstruct.ranges import Range
from export.graph.signature import output_names
from training.engine.evaluation import at_once

# What is rounded, and how: ("stem", "kernel") or ("stem_relu", "activation").
Source = tuple[str, str]

_AT_ONCE = 4
_COPIES = 6  # of all activations: values, errors, gradients, and what the passes need between
_SIGNS = np.array([-1, 1], np.float32)
_DRAWS = 4  # vectors v of each image


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Change:
    """What rounding does to a layer's weights.

    Attributes:
        kernel: of the kernel's shape; rounded less float.
        bias: (channels,) likewise; None where there is none, or it stays.
    """

    kernel: np.ndarray
    bias: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rounding:
    """Of an activation.

    Attributes:
        bits: 8 or 16.
        range: its ends; None: the least and the largest value of the images at hand.
    """

    bits: int = 8
    range: Range | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Noises:
    """Samples of what roundings do.

    Attributes:
        sources: in the order of the last axis of `samples`.
        samples: (draws, images, sources), signed; squares are shares of the signal.
    """

    sources: tuple[Source, ...]
    samples: np.ndarray

    def share(self, chosen: Collection[Source]) -> float:
        """Noise of these roundings together, over the signal."""
        columns = [i for i, source in enumerate(self.sources) if source in chosen]
        return self._share(self.samples[..., columns])

    def left(self, removed: Collection[Source]) -> float:
        """Noise of all but these."""
        columns = [i for i, source in enumerate(self.sources) if source not in removed]
        return self._share(self.samples[..., columns])

    def scaled(self, chosen: Collection[Source], factor: float) -> Noises:
        """With these roundings' noise as much times as large."""
        factors = [np.sqrt(factor) if source in chosen else 1.0 for source in self.sources]
        return dataclasses.replace(self, samples=self.samples * np.array(factors))

    @staticmethod
    def _share(samples: np.ndarray) -> float:
        return float(np.square(samples.sum(axis=-1)).mean(axis=0).sum())


def noises(
    model: keras.Model,
    changes: Mapping[Source, Change],
    roundings: Mapping[Source, Rounding],
    x: np.ndarray,
    *,
    seed: int = 0,
    centred: bool = False,
) -> Noises:
    """Sample what roundings do to the answers of a network.

    Args:
        model: functional; its outputs by the names of `output_names` are what is compared, as
            `export.compress.reconstruct.measure.noise` does it.
        changes: of kernels; the first of a source is a linear layer that is called once.
        roundings: of what layers give; likewise.
        x: (n, height, width, channels) normalised images.
        seed: of the random signs.
        centred: count nothing that a bias can take back, as where these are corrected.
    """
    count = min(len(x), at_once(model, _AT_ONCE, copies=_COPIES))
    x = x[: len(x) // count * count]  # one size: each would be compiled anew
    parts = [x[start : start + count] for start in range(0, len(x), count)]
    names = output_names(model)
    network = keras.Model(model.inputs, model.outputs)  # however the inputs are nested
    answers = [keras.tree.flatten(network([part], training=False)) for part in parts]
    found = [[np.asarray(one) for one in each] for each in answers]
    wanted = {name: np.concatenate([one[i] for one in found]) for i, name in enumerate(names)}
    weights = weights_of(wanted)
    probe = _Probe(model, [comparable(name, wanted) for name in names], changes, roundings)
    centres = probe.centres(parts) if centred else probe.nothing()
    rng = np.random.default_rng(seed)
    samples = np.empty((_DRAWS, len(x), len(changes) + len(roundings)))
    for start, part in zip(range(0, len(x), count), parts, strict=True):
        rows = slice(start, start + count)
        sizes = {name: np.sqrt(weights[name][rows]).astype(np.float32) for name in names}
        for draw in range(_DRAWS):
            signed = [sizes[name] * rng.choice(_SIGNS, wanted[name][rows].shape) for name in names]
            samples[draw, rows] = probe.samples(part, centres, signed)
    return Noises(sources=(*changes, *roundings), samples=samples)


class _Probe:
    """A network whose tensors are looked into.

    Args:
        model, changes, roundings: as of `noises`.
        compared: what each output is before it is compared.
    """

    def __init__(
        self,
        model: keras.Model,
        compared: Sequence[Callable[[Any], Any]],
        changes: Mapping[Source, Change],
        roundings: Mapping[Source, Rounding],
    ) -> None:
        linear = [model.get_layer(layer) for layer, _ in changes]
        rounded = [model.get_layer(layer) for layer, _ in roundings]
        self._compared, self._roundings = compared, tuple(roundings.values())
        self._twins = [_error_of(*pair) for pair in zip(linear, changes.values(), strict=True)]
        self._made = [layer.output for layer in (*linear, *rounded)]
        given = [layer.input for layer in linear]
        self._network = keras.Model(model.inputs, [*given, *self._made, *model.outputs])
        self._sampled = tf.function(self._samples, autograph=False)
        self._averaged = tf.function(self._means, autograph=False)

    def nothing(self) -> list[np.ndarray]:
        """What errors are less where they are not centred."""
        return [np.zeros(one.shape[-1], np.float32) for one in self._made]

    def centres(self, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Mean error of each channel of each source."""
        found = [self._averaged(tf.constant(part)) for part in parts]
        return [
            np.mean([np.asarray(one) for one in each], axis=0) for each in zip(*found, strict=True)
        ]

    def samples(
        self, x: np.ndarray, centres: Sequence[np.ndarray], signed: Sequence[np.ndarray]
    ) -> np.ndarray:
        """(images, sources) of one draw."""
        given = ([tf.constant(one) for one in each] for each in (centres, signed))
        found: np.ndarray = self._sampled(tf.constant(x), *given).numpy()
        return found

    def _samples(
        self, x: tf.Tensor, centres: list[tf.Tensor], signed: list[tf.Tensor]
    ) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)  # or layers that do not train would be no part of it
            inputs, values, outputs = self._walked(x)
            total = tf.add_n([
                tf.reduce_sum(sign * compare(output))
                for sign, compare, output in zip(signed, self._compared, outputs, strict=True)
            ])  # fmt: skip
        slopes = tape.gradient(total, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        errors = self._errors(inputs, values)
        columns = [
            tf.reduce_sum(slope * (error - centre), axis=tuple(range(1, len(slope.shape))))
            for slope, error, centre in zip(slopes, errors, centres, strict=True)
        ]
        return tf.stack(columns, axis=1)

    def _means(self, x: tf.Tensor) -> list[tf.Tensor]:
        inputs, values, _ = self._walked(x)
        errors = self._errors(inputs, values)
        return [tf.reduce_mean(one, axis=tuple(range(len(one.shape) - 1))) for one in errors]

    def _walked(self, x: tf.Tensor) -> tuple[list[Any], list[Any], list[Any]]:
        """What linear layers are given, what the sources' layers make, and the outputs."""
        found = self._network([x], training=False)
        first, behind = len(self._twins), len(self._twins) + len(self._made)
        return found[:first], found[first:behind], found[behind:]

    def _errors(self, inputs: Sequence[Any], values: Sequence[Any]) -> list[Any]:
        rounded = values[len(inputs) :]
        return [
            *(twin(one) for twin, one in zip(self._twins, inputs, strict=True)),
            *(_rounded(*pair) - pair[0] for pair in zip(rounded, self._roundings, strict=True)),
        ]


def _error_of(layer: layers.Layer, change: Change) -> Callable[[Any], Any]:
    """What a layer adds to its outputs where its weights change."""
    config = layer.get_config() | {"activation": "linear", "use_bias": change.bias is not None}
    twin = type(layer).from_config(config)
    twin.build(layer.input.shape)
    given = [change.kernel] if change.bias is None else [change.kernel, change.bias]
    twin.set_weights(given)
    error: Callable[[Any], Any] = twin
    return error


def _rounded(x: tf.Tensor, rounding: Rounding) -> tf.Tensor:
    """As `export.compress.reconstruct.ranges.fake_quantised`."""
    if rounding.range is None:
        low, high = tf.minimum(tf.reduce_min(x), 0.0), tf.maximum(tf.reduce_max(x), 0.0)
    else:
        low, high = (tf.constant(end, tf.float32) for end in rounding.range)
    if rounding.bits == 16:
        scale = tf.maximum(tf.maximum(tf.abs(low), tf.abs(high)), 1e-9) / 32767
        return tf.clip_by_value(tf.round(x / scale), -32768.0, 32767.0) * scale
    scale = tf.maximum(high - low, 1e-9) / 255
    zero = tf.round(-low / scale)
    return tf.clip_by_value(tf.round(x / scale), -zero, 255 - zero) * scale
