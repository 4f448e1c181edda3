"""The walk over a whole network; see the package."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from export.compress.reconstruct import rounding
from export.compress.reconstruct.groups import alike
from export.compress.reconstruct.inputs import (
    Moments,
    channel_scales,
    kernel_of,
    matrix,
    moments,
    shares_scales,
)
from export.compress.reconstruct.loud import weights_of_images
from export.compress.reconstruct.measure import noise
from export.compress.reconstruct.ranges import (
    Range,
    fake_quantised,
    range_by_error,
    whole_range,
)
from export.compress.reconstruct.targets import aimed
from export.compress.reconstruct.tied import Tied, tied_kernels
from export.compress.reconstruct.walk import (
    Walk,
    called_once,
    chooses,
    floats_at_each,
    floats_at_once,
    steps,
    twin_steps,
)
from export.graph.signature import output_names
from training.common.progress import Progress
from training.common.spread import spread
from training.engine.foldable_norms import LINEAR

# Bytes of activations, of both networks together.
_MEMORY = 1.2e9
_FEWEST, _ENOUGH = 8, 96  # pictures, whatever they take, and however many there are
_MEASURED = 16
_LATE = 288  # pictures that join on the way


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """What is done; all but one can be left out, to see what each brings.

    Attributes:
        rounding: "compensated", "scales" (scales by error, weights to the nearest) or "range".
        targets: whether compensated kernels make up for what those before them did
            (`export.compress.reconstruct.targets`).
        biases: whether they are corrected.
        ranges: whether those of activations are chosen by error, not least and largest value.
        equalising: whether channels of int8 activations are brought to one size where that helps,
            and what reads a channel in four bits (`export.compress.reconstruct.equalise`).
        splitting: whether dead channels of int8 networks become copies of others
            (`export.compress.reconstruct.split`).
        varied: whether images made of the calibration images are looked at too
            (`export.compress.reconstruct.varied`).
    """

    rounding: str = "compensated"
    targets: bool = True
    biases: bool = True
    ranges: bool = True
    equalising: bool = True
    splitting: bool = True
    varied: bool = True


ALL_PARTS = Parts()
# As the quantiser does it.
NEAREST = Parts(
    rounding="range",
    targets=False,
    biases=False,
    ranges=False,
    equalising=False,
    splitting=False,
    varied=False,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """How a file holds a network.

    Attributes:
        bits: of a layer's kernel, 4 or 8; None leaves it as it is.
        activations: "float32", "dynamic", "int8" or "int16".
        has_scale: whether a layer's output has a scale in the file; asked for "int8" and "int16".
        ends: layers whose outputs are the network's but for what joins them: no value of theirs is
            clipped, as that of a rare object among a thousand places without one.
        fixed: ranges that are not to be chosen, by layer.
        kept: layers whose kernels stay as they are, as a clustered one.
        dynamic: layers that are given floats and round them as they run, beside those of "dynamic".
    """

    bits: Callable[[layers.Layer], int | None]
    activations: str
    has_scale: Callable[[layers.Layer], bool] = lambda _layer: False
    ends: Container[str] = ()
    fixed: Mapping[str, Range] = dataclasses.field(default_factory=dict)
    kept: Container[str] = ()
    dynamic: Container[str] = ()

    def is_dynamic(self, layer: layers.Layer) -> bool:
        """Whether the file rounds what a layer is given by the range that it has in an image."""
        asked = self.activations == "dynamic" or layer.name in self.dynamic
        return asked and not isinstance(layer, layers.DepthwiseConv2D)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reconstruction:
    """What the walk made.

    Attributes:
        model: the network with rounded kernels and corrected biases.
        bounds: by layer, (channels,) largest value that its kernel's grid holds.
        ranges: of activations, by layer, where one was chosen; others have all that is calibrated.
        decibels: of its answers below the float network's, on some of what it was made with
            (`export.compress.reconstruct.measure.noise`); nan where nothing was measured.
    """

    model: keras.Model
    bounds: Mapping[str, np.ndarray]
    ranges: Mapping[str, Range]
    decibels: float = math.nan


def reconstruct(
    model: keras.Model,
    format_: Format,
    x: np.ndarray,
    *,
    parts: Parts = ALL_PARTS,
    groups: np.ndarray | None = None,
    more: Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]] | None = None,
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
        groups: (n,) of pictures that are alike; by default those of
            `export.compress.reconstruct.groups`.
        more: gives at least so many others, a few at a time, with their groups. They join as soon
            as activations are small enough: the last layers have the most weights and the fewest
            places to see.
        seed: of the places that are looked at.
        name: for the progress line; none without.
    """
    x, groups = looked_at(model, x), None if groups is None else looked_at(model, groups)
    if groups is None and (parts.targets or parts.ranges):
        groups = alike(model, x)
    twin = with_bare_layers(model)
    work = _Work(twin, format_, parts, groups, seed)
    work.survey(model, x)
    before, after = Walk(model, x), Walk(twin, x)
    pairs = twin_steps(model, twin)
    joined = _joined_at(model, len(x)) if more is not None else None
    with Progress(name or "reconstruction", len(pairs), unit="layer", lines=bool(name)) as shown:
        for number, (old, new) in enumerate(pairs):
            if more is not None and number == joined:
                walks = []
                for part, theirs in more(_LATE):
                    walks.append(work.walked(pairs[:number], (model, twin), part))
                    work.join(theirs)
                for one, others in zip((before, after), zip(*walks, strict=True), strict=True):
                    one.join(others)
                del walks, others
            work.round(old, new, before, after)
            wanted = before.outputs(old)
            before.keep(old, wanted)  # what it was made of goes before the other network's is made
            after.keep(new, wanted if chooses(new) else work.step(new, after, wanted))
            shown.step()
            shown.note(old.operation.name)
    got, wanted = (_named(model, walk) for walk in (after, before))
    return Reconstruction(
        model=twin, bounds=work.bounds, ranges=work.ranges, decibels=noise(got, wanted)
    )


def _joined_at(model: keras.Model, count: int) -> int | None:
    """The step from which on many more images than so many fit into memory."""
    sizes = floats_at_each(model)
    for number in range(1, len(sizes)):
        if 8 * max(sizes[number:]) * (count + _LATE) <= _MEMORY:
            return number
    return None


def _named(model: keras.Model, walk: Walk) -> dict[str, np.ndarray]:
    few = (one[:_MEASURED] for one in walk.results())  # in doubles, maps of classes are large
    return dict(zip(output_names(model), few, strict=True))


def looked_at(model: keras.Model, pictures: np.ndarray) -> np.ndarray:
    """As many pictures as memory allows and are enough, evenly spread."""
    most = int(_MEMORY / (8 * floats_at_once(model)))
    count = max(_FEWEST, min(_ENOUGH, most))
    chosen: np.ndarray = pictures[spread(len(pictures), count)]
    return chosen


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


class _Work:
    """State of one walk."""

    def __init__(
        self,
        model: keras.Model,
        format_: Format,
        parts: Parts,
        groups: np.ndarray | None,
        seed: int,
    ) -> None:
        self.bounds: dict[str, np.ndarray] = {}
        self.ranges: dict[str, Range] = dict(format_.fixed)
        self._format, self._parts, self._seed = format_, parts, seed
        self._groups = groups
        self._rng = np.random.default_rng(seed)
        self._once = called_once(model)
        self._ends = {id(tensor) for tensor in model.outputs}
        self._felt: dict[int, Range] = {}  # by step, what its output was rounded to
        self._tied: dict[str, Tied] = {}
        self._shared: dict[str, Moments] = {}  # what all of several tied kernels meet, by the first
        self._done: dict[str, rounding.Rounded] = {}

    def survey(self, model: keras.Model, x: np.ndarray) -> None:
        """Find kernels that are rounded together, and what all of them are given."""
        linear = (step.operation for step in steps(model) if isinstance(step.operation, LINEAR))
        self._tied = tied_kernels([layer for layer in linear if self._is_rounded(layer)])
        if not self._tied or self._parts.rounding == "range":
            return
        found: dict[str, list[np.ndarray]] = {}
        walk = Walk(model, x)
        for step in steps(model):
            layer = step.operation
            if tied := self._tied.get(layer.name):
                met = moments(layer, walk.inputs(step)[0], self._seed).inputs
                size = np.float32(np.mean(tied.factors**2))
                found.setdefault(tied.first, []).append(size * met)
                if sum(map(len, found.values())) == len(self._tied):
                    break
            walk.keep(step, walk.outputs(step))
        self._shared = {
            first: Moments(inputs=np.mean(each, axis=0), crossed=None, places=0)
            for first, each in found.items()
        }

    def join(self, groups: np.ndarray) -> None:
        """Of images that join those that are looked at."""
        if self._groups is not None:
            self._groups = np.concatenate([self._groups, groups])

    def round(self, old: Any, new: Any, before: Walk, after: Walk) -> None:
        """Round a step's kernel, if it has one that is rounded.

        Args:
            old: the step in the float network, which `before` walks over.
        """
        layer = new.operation
        if isinstance(layer, LINEAR) and self._is_rounded(layer):
            self._round_kernel(layer, after.inputs(new)[0], before.inputs(old)[0])

    def step(self, step: Any, walk: Walk, wanted: Any) -> Any:
        """What the step gives once it has become what it will be.

        Args:
            wanted: what it gives in the float network.
        """
        layer, found = step.operation, walk.outputs(step)
        corrected = isinstance(layer, LINEAR) and layer.name in self._once and layer.use_bias
        if corrected and self._parts.biases:
            _correct(layer, found, wanted)
        return self._felt_by(step, found)

    def walked(
        self,
        done: Sequence[tuple[Any, Any]],
        models: tuple[keras.Model, keras.Model],
        x: np.ndarray,
    ) -> tuple[Walk, Walk]:
        """Walks of other images over both networks, up to where theirs are.

        Args:
            done: steps of both networks.
            models: both networks, float and as it has become.
            x: (n, height, width, channels) normalised images.
        """
        one, other = (Walk(model, x) for model in models)
        for old, new in done:
            one.keep(old, one.outputs(old))
            other.keep(new, self._felt_by(new, other.outputs(new)))
        return one, other

    def _felt_by(self, step: Any, found: Any) -> Any:
        """With the rounding of activations, if the file rounds them."""
        integers = self._format.activations in ("int8", "int16")
        if integers and self._format.has_scale(step.operation):
            return self._rounded(step, found)
        return found

    def _is_rounded(self, layer: layers.Layer) -> bool:
        kept = layer.name in self._format.kept or layer.name not in self._once
        return not kept and self._format.bits(layer) is not None

    def _round_kernel(self, layer: layers.Layer, x: np.ndarray, given: np.ndarray) -> None:
        kernel, *bias = layer.get_weights()
        tied = self._tied.get(layer.name)
        if tied and tied.first in self._done:
            done = self._done[tied.first]
            found = rounding.Rounded(integers=done.integers, scales=done.scales * tied.factors)
        else:
            found = self._found(layer, matrix(layer, kernel), x, given)
        self._done[layer.name] = found
        top = rounding.limits(self._bits(layer))[1]
        self.bounds[layer.name] = top * channel_scales(layer, found.scales)
        layer.set_weights([kernel_of(layer, found.values), *bias])

    def _found(
        self, layer: layers.Layer, weights: np.ndarray, x: np.ndarray, given: np.ndarray
    ) -> rounding.Rounded:
        bits, tied = self._bits(layer), shares_scales(layer)
        if self._parts.rounding == "range":
            return rounding.by_range(weights, bits, tied=tied)
        met = self._shared.get(layer.name)
        if met is None:
            if self._format.is_dynamic(layer):
                x = _by_image(x)
            wanted = given if self._parts.targets else None
            met = moments(layer, x, self._seed, wanted, self._groups)
        if self._parts.rounding == "scales":
            return rounding.by_error(weights, met.inputs, bits, tied=tied)
        target = aimed(weights, met, bits)
        return rounding.compensated(weights, met.inputs, bits, tied=tied, target=target)

    def _bits(self, layer: layers.Layer) -> int:
        bits = self._format.bits(layer)
        assert bits is not None  # of `_is_rounded`
        return bits

    def _rounded(self, step: Any, found: np.ndarray) -> np.ndarray:
        """As the file's integers give it back, at a range that is chosen when it is first felt."""
        bits = 16 if self._format.activations == "int16" else 8
        if id(step) not in self._felt:
            self._felt[id(step)] = whole_range(found) if bits == 16 else self._range(step, found)
        return fake_quantised(found, *self._felt[id(step)], bits, out=found)

    def _range(self, step: Any, found: np.ndarray) -> Range:
        name = step.operation.name
        end = name in self._format.ends or any(id(one) in self._ends for one in step.outputs)
        if name not in self.ranges:
            if end or not self._parts.ranges:
                return whole_range(found)
            self.ranges[name] = range_by_error(found, self._rng, self._groups)
        return self.ranges[name]


def _correct(layer: layers.Layer, found: np.ndarray, wanted: np.ndarray) -> None:
    """Move a bias, and with it what was found."""
    weights = weights_of_images(wanted)
    means = (_of_images(one).mean(axis=1, dtype=np.float64) for one in (wanted, found))
    moved = np.average(np.subtract(*means), axis=0, weights=weights)
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, (bias + moved).astype(np.float32)])
    found += moved.astype(np.float32)


def _of_images(x: np.ndarray) -> np.ndarray:
    """(n, ..., channels) -> (n, places, channels)."""
    return x.reshape(len(x), -1, x.shape[-1])


def _by_image(x: np.ndarray) -> np.ndarray:
    """As dynamic int8 takes it: 256 steps over each picture's own range."""
    made = np.empty_like(x)
    for one, out in zip(x, made, strict=True):
        fake_quantised(one, *whole_range(one), out=out)
    return made
