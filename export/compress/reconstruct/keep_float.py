"""Layers of an int8 file that go back to float: the one or two that cost most.

In some networks nearly all that int8 loses is lost at one place, mostly a tensor whose channels
differ so much in size that one scale cannot serve them. Kept in float it costs little time and few
bytes. So where an int8 file is far from the float network, the noise of each kernel and each
activation is sampled (`export.compress.reconstruct.sensitivity`), sets of layers that are float
together are weighed against each other by what they would take away, and files are made of the
best few alone. One is taken if, on images that were held back from the fit, it is nearer to the
float network than the int8 file by `LEAST_GAIN`.

A kernel that is float takes its own rounding away. That of an activation is gone only where both
the layer that makes it and all that read it are float, so those go together; one alone would be
given a rounded tensor, and what it makes would be rounded again.

NPUs take no such file whole; `--keep-float 0` keeps all layers in int8.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.compress.int8_tensors import fused_dense
from export.compress.reconstruct import rounding
from export.compress.reconstruct.inputs import kernel_of, matrix, shares_scales
from export.compress.reconstruct.network import (
    Format,
    Reconstruction,
    reconstruct,
)
from export.compress.reconstruct.ranges import Range, range_by_error, whole_range
from export.compress.reconstruct.sensitivity import Change, Noises, Rounding, Source, noises
from export.compress.reconstruct.walk import called_once
from export.runtime.load import partitions
from export.tflite.convert import layer_of
from export.tflite.kernel_operations import KERNEL_OPERATIONS
from export.tflite.model import TFLiteModel
from export.tflite.tensors import float_tensors
from training.engine.evaluation import at_once
from training.engine.foldable_norms import LINEAR

# Half of the noise. On EfficientNet-Lite0's ImageNet weights an int8 file of 23.5 dB has another
# top-1 on 8% of the photos and weight_int8, of 28.2 dB, on 3%: less than 3 dB is one image in a
# hundred, and not worth a file that NPUs no longer take whole. There the noise is that of all
# layers, and the best two would take 1.1 dB away; where int8 ruins one, it is 10 dB and more.
LEAST_GAIN = 3.0
# An int8 file that is this near to the float network has nothing to buy back: weight_int8, whose
# 28 dB are as good as float arithmetic gets, answers 97% alike.
ENOUGH = 30.0
MOST_PARTITIONS = 3
MOST_GROWTH = 0.1
"""Of the file's bytes: each weight that is float takes three more."""

_FEWEST = 4  # images held back: of fewer nothing is chosen by
_TRIED = 2  # sets that files are made of
_PAIRED = 12  # that are joined with each other
_BETWEEN = 4  # operations without a kernel, in one set
_WORTH = 0.5  # dB: for less, one layer more is not float
# Of the noise of kernels that are rounded to the nearest: reconstruction leaves no less.
_LEAST_SHARE = 0.05
_AT_ONCE = 8
_DRAWN = 10_000  # values of a layer that its range is chosen by, of so many images


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """An int8 file, with what it was made of.

    Attributes:
        model: the float network, lowered, its linear layers bare.
        format: of the file.
        float_file: `model` as a float TFLite file.
        int8_file: what was written.
        int8_db: its answers, in decibels below the float network's, on images held back.
        fitted, judged: (n, height, width, channels) normalised images: of the fit, held back.
        groups, more: of `fitted`, and other images of the fit, as of `reconstruct`.
        most: layers with kernels that may be float.
        write: makes a file of a network, with layers that stay float.
        decibels: of a file, as `int8_db`.
    """

    model: keras.Model
    format: Format
    float_file: TFLiteModel
    int8_file: TFLiteModel
    int8_db: float
    fitted: np.ndarray
    judged: np.ndarray
    most: int
    write: Callable[[Reconstruction, Collection[str]], TFLiteModel]
    decibels: Callable[[TFLiteModel], float]
    groups: np.ndarray | None = None
    more: Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class FloatLayers:
    """A set of layers that are float together.

    Attributes:
        layers: in the order of the file.
        kernels: how many of them have one.
        weights: in these kernels.
        removed: roundings that are gone with it.
    """

    layers: tuple[str, ...]
    kernels: int
    weights: int
    removed: frozenset[Source]


def with_float_layers(subject: Subject) -> tuple[TFLiteModel, dict[str, Any]] | None:
    """The file with the layers back in float that buy most.

    Returns:
        The file, and what its .json says of it; None where no layer buys back enough, or the file
        would be cut into too many pieces or grow too much.
    """
    if subject.int8_db >= ENOUGH or not subject.most or len(subject.judged) < _FEWEST:
        return None
    plan = Plan(subject.float_file, subject.model)
    try:
        found = sampled(subject)
    except LookupError:  # an operation without a derivative
        return None
    most_bytes = MOST_GROWTH * len(subject.int8_file.packed())
    candidates: list[FloatLayers] = []
    for one in best_sets(plan, found, subject.most):
        fits = 3 * one.weights <= most_bytes and gain(found, one.removed) >= LEAST_GAIN - _WORTH
        # What a better one needs and others beside brings nothing more.
        if fits and not any(set(better.layers) <= set(one.layers) for better in candidates):
            candidates.append(one)
    tried = [(one, made) for one in candidates[:_TRIED] if (made := _made(subject, one))]
    if not tried:
        return None
    chosen, (decibels, file) = max(tried, key=lambda one: one[1][0] - _WORTH * one[0].kernels)
    if decibels - subject.int8_db < LEAST_GAIN:
        return None
    return file, {
        "layers": list(chosen.layers),
        "int8_db": subject.int8_db,
        "db": decibels,
        "least_gain_db": LEAST_GAIN,
    }


def sampled(subject: Subject) -> Noises:
    """Noise of all roundings of the file, on the images held back.

    How much less all kernels together do in the file than rounded to the nearest is what its own
    noise leaves to them.
    """
    found = int8_noises(subject.model, subject.format, subject.judged)
    changes = [source for source in found.sources if source[1] == "kernel"]
    kernels, activations = found.share(changes), found.left(changes)
    left = max(10 ** (-subject.int8_db / 10) - activations, _LEAST_SHARE * kernels)
    return found.scaled(changes, min(1.0, left / max(kernels, 1e-12)))


def int8_noises(model: keras.Model, format_: Format, x: np.ndarray) -> Noises:
    """Noise of the roundings of an int8 file.

    Kernels are rounded to the nearest, and ranges are those of the float network: what
    reconstruction makes of a layer makes up for those before it, too, and would be counted as its
    own noise.

    Args:
        model: lowered, its linear layers bare.
        format_: of the file.
        x: (n, height, width, channels) normalised images.

    Returns:
        By layers that are called once, of their "kernel" and their "activation".
    """
    once = called_once(model)
    known = [layer for layer in model.layers if layer.name in once]
    changes = {
        (layer.name, "kernel"): _nearest(layer, bits)
        for layer in known
        if isinstance(layer, LINEAR) and (bits := format_.bits(layer)) is not None
    }
    scaled = [layer for layer in known if format_.has_scale(layer)]
    roundings = {
        (name, "activation"): Rounding(range=chosen)
        for name, chosen in _ranges(model, format_, scaled, x)
    }
    return noises(model, changes, roundings, x, centred=True)


def gain(found: Noises, removed: Collection[Source]) -> float:
    """Decibels by which answers are nearer without these roundings, where noise is small."""
    left = max(found.left(removed), 1e-12)
    return float(10 * np.log10(max(found.left(()), 1e-12) / left))


def best_sets(plan: Plan, found: Noises, most: int) -> list[FloatLayers]:
    """Sets of layers by what they buy, the best first; of nearly equal ones that with fewer.

    Args:
        most: layers with kernels in each.
    """
    known = {layer for layer, _ in found.sources}
    sets = {one.layers: one for one in plan.sets(known, most)}

    def worth(one: FloatLayers) -> float:
        return gain(found, one.removed) - _WORTH * one.kernels

    first = sorted(sets.values(), key=worth, reverse=True)[:_PAIRED]
    for one, other in itertools.combinations(first, 2):
        joined = plan.closed({*one.layers, *other.layers}, known)
        if joined.kernels <= most:
            sets[joined.layers] = joined
    return sorted(sets.values(), key=worth, reverse=True)


class Plan:
    """Operations of a float file by the Keras layers that they are of, and what they read."""

    def __init__(self, float_file: TFLiteModel, model: keras.Model) -> None:
        self._known = {layer.name for layer in model.layers}
        self._names = [tensor.name.decode() for tensor in float_file.graph.tensors]
        self._fused = fused_dense(model)
        self._floats = {self._names.index(name) for name in float_tensors(float_file)}
        self._makers: dict[int, str | None] = {}
        self._readers: dict[int, list[tuple[str | None, int]]] = {}
        self._made: dict[str, list[int]] = {}
        self._weights: dict[str, int] = {}
        self._reads: dict[str, set[int]] = {}
        for operator in float_file.graph.operators:
            unit = layer_of_operator(float_file, operator, self._known)
            kernel = _kernel(float_file, operator)
            for tensor in map(int, operator.outputs):
                self._makers[tensor] = unit
                for read in map(int, operator.inputs):
                    self._readers.setdefault(read, []).append((unit, tensor))
                if unit is not None:
                    self._made.setdefault(unit, []).append(tensor)
                    computed = {one for one in map(int, operator.inputs) if one in self._makers}
                    self._reads.setdefault(unit, set()).update(computed)
            if unit is not None and kernel is not None:
                self._weights[unit] = int(np.prod(float_file.graph.tensors[kernel].shape))

    def sets(self, sources: Collection[str], most: int) -> Iterator[FloatLayers]:
        """Each layer with a kernel alone; and of each activation all that makes and reads it.

        Args:
            sources: layers whose roundings are known.
            most: layers with kernels in each.
        """
        for unit in self._made:
            members = [{unit}] if unit in self._weights else []
            for tensor in self._made[unit]:
                readers = self._read_by(tensor, sources)
                if readers is not None and tensor not in self._floats:
                    members.append({unit, *readers})
            for one in members:
                found = self.closed(one, sources)
                if found.kernels <= most and len(found.layers) <= found.kernels + _BETWEEN:
                    yield found

    @property
    def kernels(self) -> list[str]:
        """Layers with a kernel whose outputs may be integers, in the order of the file."""
        return [unit for unit in self._weights if not {*self._made[unit]} & self._floats]

    def in_integers(self, kernels: Collection[str]) -> list[str]:
        """These layers, and those without a kernel that read of such alone, in the file's order."""
        found: list[str] = []
        for unit, made in self._made.items():
            makers = {self._makers[tensor] for tensor in self._reads[unit]} - {unit}
            follows = unit not in self._weights and makers and makers <= {*found}
            if unit in kernels or (follows and not {*made} & self._floats):
                found.append(unit)
        return found

    def rounded_by(self, units: Collection[str]) -> set[str]:
        """Layers whose activations are integers where these units make or read them."""
        found: set[str] = set()
        for tensor, maker in self._makers.items():
            readers = {unit for unit, _ in self._readers.get(tensor, [])}
            if maker in units or readers & {*units}:
                found.update(self._source(tensor))
        return found

    def closed(self, members: Collection[str], sources: Collection[str]) -> FloatLayers:
        """A set with what is gone with it."""
        removed = {(unit, "kernel") for unit in members if unit in self._weights}
        for unit in members:
            for tensor in self._made[unit]:
                readers = self._read_by(tensor, sources)
                if readers is not None and readers <= {*members}:
                    removed |= {(name, "activation") for name in self._source(tensor)}
        return FloatLayers(
            layers=tuple(unit for unit in self._made if unit in members),
            kernels=sum(unit in self._weights for unit in members),
            weights=sum(self._weights.get(unit, 0) for unit in members),
            removed=frozenset(removed),
        )

    def _source(self, tensor: int) -> list[str]:
        """The Keras layer whose rounding a tensor's is."""
        name = layer_of(self._names[tensor], self._known)
        return [] if name is None else [self._fused.get(name, name)]

    def _read_by(self, tensor: int, sources: Collection[str]) -> set[str] | None:
        """Layers that read a tensor, through those that hand its scale on; None: others, too."""
        found: set[str] = set()
        for unit, made in self._readers.get(tensor, []):
            if made in self._floats:
                continue
            if unit is None:
                return None
            found.add(unit)
            own = self._source(made)
            if not any(name in sources for name in own) and unit not in self._weights:
                behind = self._read_by(made, sources)
                if behind is None:
                    return None
                found |= behind
        return found


def layer_of_operator(
    file: TFLiteModel, operator: schema.OperatorT, known: Collection[str]
) -> str | None:
    """The Keras layer that an operation of a float file is of; of fused ones that with a kernel."""
    kernel = _kernel(file, operator)
    tensor = int(operator.outputs[0]) if kernel is None else kernel
    name = file.graph.tensors[tensor].name.decode()
    found = layer_of(name, known)
    if found is None and kernel is not None:
        found = layer_of(file.graph.tensors[int(operator.outputs[0])].name.decode(), known)
    return found


def operations_of(file: TFLiteModel, layers: Collection[str], known: Collection[str]) -> list[str]:
    """How litert-quantizer calls the operations of some Keras layers: by all their outputs."""
    names = [tensor.name.decode() for tensor in file.graph.tensors]
    return [
        "".join(f"{names[int(one)]};" for one in operator.outputs)
        for operator in file.graph.operators
        if layer_of_operator(file, operator, known) in layers
    ]


def _kernel(file: TFLiteModel, operator: schema.OperatorT) -> int | None:
    """Index of an operation's constant kernel."""
    code = file.unpacked.operatorCodes[operator.opcodeIndex].builtinCode
    if code not in KERNEL_OPERATIONS:
        return None
    index = int(operator.inputs[KERNEL_OPERATIONS[code].kernel])
    buffer = file.graph.tensors[index].buffer
    return index if file.unpacked.buffers[buffer].data is not None else None


def _ranges(
    model: keras.Model, format_: Format, scaled: Sequence[Any], x: np.ndarray
) -> Iterator[tuple[str, Range]]:
    """Of what layers give in the float network, as reconstruction chooses them."""
    probe = keras.Model(model.inputs, [layer.output for layer in scaled])
    rng = np.random.default_rng(0)
    count = at_once(probe, _AT_ONCE)
    drawn: list[list[np.ndarray]] = [[] for _ in scaled]
    for start in range(0, len(x), count):
        values = probe([x[start : start + count]], training=False)
        for one, value in zip(drawn, keras.tree.flatten(values), strict=True):
            one.append(_drawn(np.asarray(value), max(1, _DRAWN // count), rng))
    ends = {one._keras_history.operation.name for one in model.outputs}
    for layer, some in zip(scaled, drawn, strict=True):
        if layer.name in format_.fixed:
            yield layer.name, format_.fixed[layer.name]
        elif layer.name in ends or layer.name in format_.ends:
            yield layer.name, whole_range(np.concatenate(some))
        else:
            yield layer.name, range_by_error(np.concatenate(some), rng)


def _drawn(values: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """(n, some) of each image, and its least and largest; at most so many where it has more."""
    rows = values.reshape(len(values), -1)
    if rows.shape[1] <= most:
        return rows
    drawn = rng.integers(0, rows.shape[1], (len(rows), most))
    ends = rows.min(axis=1, keepdims=True), rows.max(axis=1, keepdims=True)
    return np.concatenate([np.take_along_axis(rows, drawn, 1), *ends], axis=1)


def _nearest(layer: Any, bits: int) -> Change:
    kernel = layer.get_weights()[0]
    rounded = rounding.by_range(matrix(layer, kernel), bits, tied=shares_scales(layer))
    return Change(kernel=kernel_of(layer, rounded.values) - kernel)


def _made(subject: Subject, one: FloatLayers) -> tuple[float, TFLiteModel] | None:
    """The better of two files in which these layers are float, and its decibels.

    One is reconstructed anew: the kernels of the other file make up for what is not done any more.
    The other is plain. None where they are in too many pieces.
    """
    free = {name for name, what in one.removed if what == "activation"}
    bits, has_scale = subject.format.bits, subject.format.has_scale
    format_ = dataclasses.replace(
        subject.format,
        bits=lambda layer: None if layer.name in one.layers else bits(layer),
        has_scale=lambda layer: layer.name not in free and has_scale(layer),
    )
    plain = Reconstruction(model=subject.model, bounds={}, ranges=format_.fixed)
    anew = reconstruct(
        subject.model, format_, subject.fitted, groups=subject.groups, more=subject.more
    )
    files = [subject.write(found, one.layers) for found in (anew, plain)]
    most = max(MOST_PARTITIONS, partitions(subject.int8_file.packed()))
    whole = [file for file in files if partitions(file.packed()) <= most and _is_static(file)]
    measured = [(subject.decibels(file), file) for file in whole]
    return max(measured, key=lambda made: made[0], default=None)


def _is_static(file: TFLiteModel) -> bool:
    """Whether all shapes are known."""
    signatures = (tensor.shapeSignature for tensor in file.graph.tensors)
    return all(one is None or min(one, default=0) >= 0 for one in signatures)
