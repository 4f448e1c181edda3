"""From a network and calibration pictures to the file that answers most like it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from export.artefacts.artefact import FLOAT_LAYERS
from export.artefacts.variants import Variant, parse_variant
from export.compress.int8_tensors import FIXED_RANGES, float_layers, has_scale, with_fused_dense
from export.compress.reconstruct.keep_float import Subject, operations_of, with_float_layers
from export.compress.reconstruct.measure import answers, noise
from export.compress.reconstruct.mixed_time import Timed, TimeReport, timed, within_time
from export.compress.reconstruct.network import (
    ALL_PARTS,
    Format,
    Parts,
    Reconstruction,
    looked_at,
)
from export.compress.reconstruct.walk import has_regions, steps
from export.compress.reconstruct.work import Work
from export.tflite.convert import layer_of, to_tflite
from export.tflite.kernel_ranges import kernels
from export.tflite.model import TFLiteModel
from export.tflite.quantise import kernel_bits, quantise, quantise_weights
from kerascnn.preprocessing import Preprocessing
from training.engine.foldable_norms import LINEAR

# Of the calibration pictures, every so many is held back from the fit, to choose by. Few of them
# are looked at where one takes seconds: arithmetic of 16 bits is thirty times as slow on a desktop.
_HELD_BACK = 5
_FEW_HELD_BACK = 10


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
    format_ = file_format(model, float_file, variant, shared_scale)
    if bits is not None:
        rounded = {layer: count for layer, count in bits.items() if count <= 8}
        format_ = dataclasses.replace(format_, bits=lambda layer: rounded.get(layer.name))
    # No file that is weighed has seen what it is weighed on: what was seen is never cut off.
    write = functools.partial(
        _written,
        variant=variant,
        preprocessing=preprocessing,
        pictures=fitted,
        shared_scale=shared_scale,
        bits=bits,
    )
    work = Work(model, format_, preprocessing, fitted, parts, name)
    file = write(work.found)
    if plain is None or not len(judged):
        return file, None
    if work.regions:
        noises = _noises(*work.heads_noise(judged), judged)
        return (file if noises["written"] else plain), noises
    measure = _Measure(float_file, preprocessing, judged)
    rival = plain
    if variant.calibrated:
        rival = quantise(float_file, variant, preprocessing, fitted, shared_scale=shared_scale)
    noises = _noises(measure.noise(rival), measure.noise(file), judged)
    best = file if noises["written"] else plain
    kept = with_float_layers(
        Subject(
            model=work.model,
            format=format_,
            float_file=float_file,
            int8_file=best,
            int8_db=max(noises["plain_db"], noises["reconstructed_db"]),
            fitted=work.x,
            groups=work.groups,
            more=work.more,
            judged=preprocessing.normalise(judged),
            most=variant.keep_float,
            write=lambda made, floats: write(made, floats=floats),
            decibels=measure.noise,
        )
    )
    if kept is None:
        return best, noises
    return kept[0], {**noises, FLOAT_LAYERS: kept[1]}


def reconstructed_in_time(
    model: keras.Model,
    budget: float,
    preprocessing: Preprocessing,
    pictures: np.ndarray,
    *,
    shared_scale: Sequence[str] = (),
    name: str = "",
) -> tuple[TFLiteModel, TimeReport]:
    """Write a network in int8 and float, as much of it in float as is fast enough.

    Args:
        model: as of `reconstructed`, lowered.
        budget: milliseconds for an image on this machine, one thread.
        preprocessing, pictures, shared_scale, name: likewise.

    Raises:
        InputError: no mixture is so fast.
    """
    back = _held_back(len(pictures))
    float_file = TFLiteModel.open(to_tflite(model))
    subject = Timed(
        model=model,
        format=file_format(model, float_file, parse_variant("plain_int8"), shared_scale),
        preprocessing=preprocessing,
        fitted=looked_at(model, pictures[~back]),
        judged=pictures[back],
        milliseconds=timed,
    )
    return within_time(subject, budget, name)


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


def _noises(before: float, after: float, judged: np.ndarray) -> dict[str, Any]:
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
    floats: Collection[str] = (),
) -> TFLiteModel:
    """The file, with the kernels and ranges that were found; some layers may stay float."""
    made = TFLiteModel.open(to_tflite(found.model))
    if bits is not None:
        return quantise_weights(made, _outputs(made, bits), found.bounds)
    ranges = with_fused_dense(found.model, found.ranges)
    return quantise(
        made,
        variant,
        preprocessing,
        pictures if variant.calibrated else (),  # for ranges that were not chosen
        trained=ranges or None,
        shared_scale=shared_scale,
        kernel_bounds=found.bounds,
        floats=operations_of(made, floats, {layer.name for layer in found.model.layers}),
    )


def file_format(
    model: keras.Model,
    float_file: TFLiteModel,
    variant: Variant,
    shared_scale: Container[str],
) -> Format:
    """How a file of a variant will hold a network.

    Args:
        model, variant, shared_scale: as of `reconstructed`.
        float_file: the network as it is written.
    """
    known = {layer.name for layer in model.layers if isinstance(layer, LINEAR)}
    by_constant = kernel_bits(float_file, variant)
    bits: dict[str, int] = {}
    for kernel in kernels(float_file):
        layer = kernel.layer_among(known)
        if layer is not None and kernel.name in by_constant:
            bits[layer] = by_constant[kernel.name]
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
        # Kernels of other networks' ends are int8 or none at all.
        dynamic=floats if has_regions(model) else (),
    )


def _sources(model: keras.Model, floats: Container[str]) -> Iterator[str]:
    """Layers that those read whose outputs stay float."""
    for step in steps(model):
        if step.operation.name in floats:
            yield from (node.operation.name for node in step.parent_nodes)
