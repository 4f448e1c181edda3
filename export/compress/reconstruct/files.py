"""From a network and calibration pictures to the file that answers most like it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from export.artefacts.variants import Variant
from export.compress.qat import FIXED_RANGES, float_layers, fused_dense, has_scale
from export.compress.reconstruct.equalise import better
from export.compress.reconstruct.measure import answers, has_regions, heads_noise, noise
from export.compress.reconstruct.network import (
    ALL_PARTS,
    NEAREST,
    Format,
    Parts,
    Reconstruction,
    looked_at,
    reconstruct,
)
from export.compress.reconstruct.varied import crops, half_varied
from export.compress.reconstruct.walk import steps
from export.tflite.convert import layer_of, to_tflite
from export.tflite.kernel_ranges import kernels
from export.tflite.model import TFLiteModel
from export.tflite.quantise import kernel_bits, quantise, quantise_weights
from kerascnn.preprocessing import Preprocessing

# Of the calibration pictures, every so many is held back from the fit, to choose by. Few of them
# are looked at where one takes seconds: arithmetic of 16 bits is thirty times as slow on a desktop.
_HELD_BACK = 5
_FEW_HELD_BACK = 10
_PART = 32  # images that are made at once


def reconstructed(
    model: keras.Model,
    variant: Variant,
    preprocessing: Preprocessing,
    pictures: np.ndarray,
    *,
    shared_scale: Sequence[str] = (),
    float_file: TFLiteModel | None = None,
    plain: TFLiteModel | None = None,
    name: str = "",
    parts: Parts | None = None,
    bits: Mapping[str, int] | None = None,
) -> tuple[TFLiteModel, dict[str, Any] | None]:
    """Write a network, reconstructed, in a precision.

    Args:
        model: functional; norms folded, lowered where the file has integers for activations, and no
            linear layer carries an activation.
        variant: what to make.
        preprocessing: of the model.
        pictures: (n, height, width, channels) uint8 calibration pictures. A fifth is held back.
        shared_scale: layers whose kernels are clustered; they stay as they are.
        float_file: the same network as a float TFLite file, where there is one already.
        plain: the file without reconstruction. Where it answers more like the float network on the
            pictures held back, it is what is written.
        name: for progress lines.
        parts: what to do; all by default.
        bits: by layer, of `mixed`, where each kernel has its own; 16 is half precision.

    Returns:
        The file, and for its .json the noise of both on the pictures held back, in decibels below
        the float network's answers; None without `plain`.
    """
    parts = parts or ALL_PARTS
    back = _held_back(len(pictures)) if plain is not None else np.zeros(len(pictures), bool)
    slow = variant.activations == "int16" or has_regions(model)
    judged, fitted = pictures[back][: _FEW_HELD_BACK if slow else None], pictures[~back]
    float_file = float_file or TFLiteModel.open(to_tflite(model))
    format_ = _format(model, float_file, variant, shared_scale)
    if bits is not None:
        rounded = {layer: count for layer, count in bits.items() if count <= 8}
        format_ = dataclasses.replace(format_, bits=lambda layer: rounded.get(layer.name))
    write = functools.partial(
        _written,
        variant=variant,
        preprocessing=preprocessing,
        pictures=pictures,
        shared_scale=shared_scale,
        bits=bits,
    )
    work = _Work(model, format_, preprocessing, fitted, parts, name)
    file = write(work.found)
    if plain is None or not len(judged):
        return file, None
    if work.regions:
        told = work.heads(judged)
    else:
        measure = _Measure(float_file, preprocessing, judged)
        told = _told(measure.noise(plain), measure.noise(file), judged)
    return (file if told["written"] else plain), told


class _Work:
    """A network on its way to its file.

    Attributes:
        regions: whether it is a two-stage detector.
        found: what the walk makes of it.
    """

    def __init__(
        self,
        model: keras.Model,
        format_: Format,
        preprocessing: Preprocessing,
        images: np.ndarray,
        parts: Parts,
        name: str,
    ) -> None:
        self._format, self._preprocessing, self._images = format_, preprocessing, images
        self._model, self._name, self.regions = model, name, has_regions(model)
        rng, seen = np.random.default_rng(0), looked_at(model, images)
        self._x = preprocessing.normalise(half_varied(seen, rng) if parts.varied else seen)
        if parts.equalising and format_.activations == "int8" and not self.regions:
            self._model = better(model, format_, self._x)
        whole = parts.varied and not self.regions
        more = functools.partial(self._more, rng) if whole else None
        given = (self._model, format_, self._x)
        self.found = reconstruct(*given, parts=parts, more=more, name=name)

    def _more(self, rng: np.random.Generator, count: int) -> Iterator[np.ndarray]:
        """Normalised images, of other places and colours than those that are looked at."""
        for _ in range(-(-count // _PART)):
            chosen = crops(self._images[rng.integers(0, len(self._images), _PART)], rng)
            yield self._preprocessing.normalise(half_varied(chosen, rng))

    def heads(self, judged: np.ndarray) -> dict[str, Any]:
        """Of a two-stage detector, whose files that look elsewhere say nothing of their rounding.

        Args:
            judged: (n, height, width, channels) uint8 images held back.
        """
        x = self._preprocessing.normalise(judged)
        nearest = reconstruct(self._model, self._format, self._x[:1], parts=NEAREST)
        twins = (nearest.model, self.found.model)
        return _told(*(heads_noise(self._model, twin, x) for twin in twins), judged)


class _Measure:
    """How far files are from the float one on images held back."""

    def __init__(
        self, float_file: TFLiteModel, preprocessing: Preprocessing, pictures: np.ndarray
    ) -> None:
        self._preprocessing, self._pictures = preprocessing, pictures
        self._wanted = answers(float_file.packed(), preprocessing, pictures)

    def noise(self, file: TFLiteModel) -> float:
        """In decibels, see `export.compress.reconstruct.measure`."""
        return noise(answers(file.packed(), self._preprocessing, self._pictures), self._wanted)


def _told(before: float, after: float, judged: np.ndarray) -> dict[str, Any]:
    """For a file's .json."""
    return {
        "plain_db": before,
        "reconstructed_db": after,
        "pictures": len(judged),
        "written": after >= before,
    }


def _held_back(count: int) -> np.ndarray:
    """(count,) bool."""
    back = np.zeros(count, bool)
    if count > 1:
        back[_HELD_BACK - 1 :: _HELD_BACK] = True
        back[-1] = True
    return back


def _outputs(float_file: TFLiteModel, bits: Mapping[str, int]) -> dict[str, int]:
    """Bits by output tensor, of those by layer."""
    layers_of = {one.output: layer_of(one.name, bits) for one in kernels(float_file)}
    return {output: bits[layer] for output, layer in layers_of.items() if layer is not None}


def _written(
    found: Reconstruction,
    *,
    variant: Variant,
    preprocessing: Preprocessing,
    pictures: np.ndarray,
    shared_scale: Sequence[str],
    bits: Mapping[str, int] | None,
) -> TFLiteModel:
    """The file, with the kernels and ranges that were found."""
    made = TFLiteModel.open(to_tflite(found.model))
    if bits is not None:
        return quantise_weights(made, _outputs(made, bits), found.bounds)
    ranges = dict(found.ranges)
    ranges |= {dense: ranges[relu] for dense, relu in _fused(found.model, ranges).items()}
    return quantise(
        made,
        variant,
        preprocessing,
        pictures if variant.calibrated else (),  # for ranges that were not chosen
        trained=ranges or None,
        shared_scale=shared_scale,
        kernel_bounds=found.bounds,
    )


def _format(
    model: keras.Model,
    float_file: TFLiteModel,
    variant: Variant,
    shared_scale: Container[str],
) -> Format:
    known = {layer.name for layer in model.layers}
    bits: dict[str, int] = {}
    for constant, count in kernel_bits(float_file, variant).items():
        layer = layer_of(constant, known)
        if layer is not None:
            bits[layer] = count
    fixed = {
        layer.name: FIXED_RANGES[layer.activation.__name__]
        for layer in model.layers
        if isinstance(layer, layers.Activation) and layer.activation.__name__ in FIXED_RANGES
    }
    floats = float_layers(model) if variant.calibrated else frozenset()
    return Format(
        bits=lambda layer: bits.get(layer.name),
        activations=variant.activations,
        has_scale=functools.partial(has_scale, floats=floats),
        ends=frozenset(_sources(model, floats)),
        fixed=fixed if variant.activations == "int8" else {},
        kept=shared_scale,
    )


def _sources(model: keras.Model, floats: Container[str]) -> Iterator[str]:
    """Layers that those read whose outputs stay float."""
    for step in steps(model):
        if step.operation.name in floats:
            yield from (node.operation.name for node in step.parent_nodes)


def _fused(model: keras.Model, ranges: Any) -> dict[str, str]:
    return {dense: relu for dense, relu in fused_dense(model).items() if relu in ranges}
