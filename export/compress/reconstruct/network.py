"""The walk over a whole network; see the package."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from export.compress.reconstruct import rounding
from export.compress.reconstruct.inputs import (
    channel_scales,
    covariances,
    kernel_of,
    matrix,
)
from export.compress.reconstruct.ranges import (
    Range,
    fake_quantised,
    range_by_error,
    whole_range,
)
from export.compress.reconstruct.walk import (
    Walk,
    called_once,
    floats_at_once,
    steps,
)
from export.graph.linear import LINEAR
from training.common.progress import Progress

# Bytes of activations, of both networks together.
_MEMORY = 1.2e9
_FEWEST, _ENOUGH = 8, 96  # pictures, whatever they take, and however many there are


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """What is done; all but one can be left out, to see what each brings.

    Attributes:
        rounding: "compensated", "scales" (scales by error, weights to the nearest) or "range".
        biases: whether they are corrected.
        ranges: whether those of activations are chosen by error, not least and largest value.
    """

    rounding: str = "compensated"
    biases: bool = True
    ranges: bool = True


ALL_PARTS = Parts()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """How a file holds a network.

    Attributes:
        bits: of a layer's kernel, 4 or 8; None leaves it as it is.
        activations: "float32", "dynamic", "int8" or "int16".
        has_scale: whether a layer's output has a scale in the file; asked for "int8" and "int16".
        fixed: ranges that are not to be chosen, by layer.
        kept: layers whose kernels stay as they are, as a clustered one.
    """

    bits: Callable[[layers.Layer], int | None]
    activations: str
    has_scale: Callable[[layers.Layer], bool] = lambda _layer: False
    fixed: Mapping[str, Range] = dataclasses.field(default_factory=dict)
    kept: Container[str] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reconstruction:
    """What the walk made.

    Attributes:
        model: the network with rounded kernels and corrected biases.
        bounds: by layer, (channels,) largest value that its kernel's grid holds.
        ranges: by layer, of activations; empty where the file has floats.
    """

    model: keras.Model
    bounds: Mapping[str, np.ndarray]
    ranges: Mapping[str, Range]


def reconstruct(
    model: keras.Model,
    format_: Format,
    x: np.ndarray,
    *,
    parts: Parts = ALL_PARTS,
    seed: int = 0,
    name: str = "",
) -> Reconstruction:
    """Round a network's kernels by what they do to its activations.

    Args:
        model: functional, batch norms folded, lowered where the file has integers for activations,
            linear layers bare (`with_bare_layers`). It is left as it is.
        x: (n, height, width, channels) normalised calibration pictures; evenly spread ones are
            looked at, as many as memory allows.
        parts: what to do.
        seed: of the places that are looked at.
        name: for the progress line; none without.
    """
    most = int(_MEMORY / (8 * floats_at_once(model)))
    count = min(len(x), max(_FEWEST, min(_ENOUGH, most)))
    # Samples come in the order of their classes.
    x = x[np.linspace(0, len(x) - 1, count).round().astype(int)]
    twin = with_bare_layers(model)
    work = _Work(twin, format_, parts, np.random.default_rng(seed))
    before, after = Walk(model, x), Walk(twin, x)
    twins = {_key(step, twin): step for step in steps(twin)}
    pairs = [(step, twins[_key(step, model)]) for step in steps(model)]
    with Progress(name or "reconstruction", len(pairs), unit="layer", lines=bool(name)) as shown:
        for old, new in pairs:
            wanted = before.outputs(old)
            before.keep(old, wanted)  # what it was made of goes before the other network's is made
            after.keep(new, work.step(new, after, wanted))
            shown.step()
            shown.note(old.operation.name)
    return Reconstruction(model=twin, bounds=work.bounds, ranges=work.ranges)


def with_bare_layers(model: keras.Model) -> keras.Model:
    """A twin whose linear layers carry no activation: it has a layer of its own behind them.

    Biases are corrected in front of it. The file is the same: the converter fuses the two again.
    """

    def clone(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if isinstance(layer, LINEAR):
            config["activation"] = "linear"
        return type(layer).from_config(config)

    def call(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        outputs = layer(*args, **kwargs)
        if not isinstance(layer, LINEAR):  # it may be an operation, which is no layer
            return outputs
        carried = model.get_layer(layer.name)
        if carried.activation is keras.activations.linear:
            return outputs
        return layers.Activation(carried.activation, name=f"{layer.name}_activation")(outputs)

    twin = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer in model.layers:
        if layer.weights:
            twin.get_layer(layer.name).set_weights(layer.get_weights())
    return twin


def _key(step: Any, model: keras.Model) -> tuple[str, int]:
    """A call of a layer, so that it is found again in a twin."""
    calls = [one for one in steps(model) if one.operation is step.operation]
    return step.operation.name, [id(one) for one in calls].index(id(step))


class _Work:
    """State of one walk."""

    def __init__(
        self, model: keras.Model, format_: Format, parts: Parts, rng: np.random.Generator
    ) -> None:
        self.bounds: dict[str, np.ndarray] = {}
        self.ranges: dict[str, Range] = dict(format_.fixed)
        self._format, self._parts, self._rng = format_, parts, rng
        self._once = called_once(model)
        self._ends = {id(tensor) for tensor in model.outputs}

    def step(self, step: Any, walk: Walk, wanted: Any) -> Any:
        """What the step gives once it has become what it will be."""
        layer = step.operation
        if isinstance(layer, LINEAR) and layer.name in self._once:
            found = self._linear(step, walk, wanted)
        else:
            found = walk.outputs(step)
        if self._format.activations in ("int8", "int16") and self._format.has_scale(layer):
            return self._rounded(step, found)
        return found

    def _linear(self, step: Any, walk: Walk, wanted: np.ndarray) -> np.ndarray:
        layer = step.operation
        bits = None if layer.name in self._format.kept else self._format.bits(layer)
        if bits is not None:
            self._round_kernel(layer, walk.inputs(step)[0], bits)
        found: np.ndarray = walk.outputs(step)
        if not (self._parts.biases and layer.use_bias):
            return found
        axes = tuple(range(found.ndim - 1))
        moved = wanted.mean(axis=axes, dtype=np.float64) - found.mean(axis=axes, dtype=np.float64)
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel, (bias + moved).astype(np.float32)])
        found += moved.astype(np.float32)
        return found

    def _round_kernel(self, layer: layers.Layer, x: np.ndarray, bits: int) -> None:
        kernel, *bias = layer.get_weights()
        if self._format.activations == "dynamic" and not isinstance(layer, layers.DepthwiseConv2D):
            x = _by_picture(x)
        tied = isinstance(layer, layers.Conv2DTranspose)
        weights = matrix(layer, kernel)
        if self._parts.rounding == "range":
            found = rounding.by_range(weights, bits, tied=tied)
        else:
            moments = covariances(layer, x, self._rng)
            method = {"scales": rounding.by_error, "compensated": rounding.compensated}
            found = method[self._parts.rounding](weights, moments, bits, tied=tied)
        top = rounding.limits(bits)[1]
        self.bounds[layer.name] = top * channel_scales(layer, found.scales)
        layer.set_weights([kernel_of(layer, found.values), *bias])

    def _rounded(self, step: Any, found: np.ndarray) -> np.ndarray:
        """As the file's integers give it back, at a range that is chosen here."""
        name = step.operation.name
        if name not in self._format.fixed:
            end = any(id(tensor) in self._ends for tensor in step.outputs)
            whole = end or not self._parts.ranges or self._format.activations == "int16"
            self.ranges[name] = whole_range(found) if whole else range_by_error(found, self._rng)
        bits = 16 if self._format.activations == "int16" else 8
        return fake_quantised(found, *self.ranges[name], bits, out=found)


def _by_picture(x: np.ndarray) -> np.ndarray:
    """As dynamic int8 takes it: 256 steps over each picture's own range."""
    made = np.empty_like(x)
    for one, out in zip(x, made, strict=True):
        fake_quantised(one, *whole_range(one), out=out)
    return made
