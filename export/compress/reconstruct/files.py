"""From a network and calibration pictures to the file that answers most like it."""

from __future__ import annotations

import functools
from collections.abc import Container, Sequence
from typing import Any

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from export.artefacts.variants import Variant
from export.compress.qat import FIXED_RANGES, float_layers, fused_dense, has_scale
from export.compress.reconstruct.network import Format, Parts, reconstruct
from export.graph.signature import OUTPUT_NAME
from export.tflite.convert import layer_of, to_tflite
from export.tflite.model import TFLiteModel
from export.tflite.quantise import kernel_bits, quantise
from kerascnn.preprocessing import Preprocessing
from training.common.quiet import native_quiet

# Of the calibration pictures, every so many is held back from the fit, to choose by.
_HELD_BACK = 5


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

    Returns:
        The file, and for its .json the noise of both on the pictures held back, in decibels below
        the float network's answers; None without `plain`.
    """
    back = np.zeros(len(pictures), bool)
    if plain is not None and len(pictures) > 1:
        back[_HELD_BACK - 1 :: _HELD_BACK] = True
        back[-1] = True
    float_file = float_file or TFLiteModel.open(to_tflite(model))
    found = reconstruct(
        model,
        _format(model, float_file, variant, preprocessing, shared_scale),
        preprocessing.normalise(pictures[~back]),
        parts=parts or Parts(),
        name=name,
    )
    ranges = dict(found.ranges)
    ranges |= {dense: ranges[relu] for dense, relu in _fused(model, ranges).items()}
    file = quantise(
        TFLiteModel.open(to_tflite(found.model)),
        variant,
        preprocessing,
        pictures[~back] if variant.calibrated else (),
        trained=ranges or None,
        shared_scale=shared_scale,
        kernel_bounds=found.bounds,
    )
    if plain is None or not back.any():
        return file, None
    wanted = answers(float_file.packed(), preprocessing, pictures[back])
    decibels = {
        "plain_db": noise(answers(plain.packed(), preprocessing, pictures[back]), wanted),
        "reconstructed_db": noise(answers(file.packed(), preprocessing, pictures[back]), wanted),
    }
    better = decibels["reconstructed_db"] >= decibels["plain_db"]
    told = {**decibels, "pictures": int(back.sum()), "written": better}
    return (file if better else plain), told


def answers(
    file: bytes, preprocessing: Preprocessing, pictures: np.ndarray
) -> dict[str, np.ndarray]:
    """What a TFLite file answers, by output: (n, ...) float32."""
    with native_quiet():
        runtime = Interpreter(model_content=file, num_threads=1)
        call = runtime.get_signature_runner()
        (given,) = call.get_input_details().values()
        found = []
        for picture in pictures:
            raw = given["dtype"] == np.uint8
            x = picture[None] if raw else preprocessing.normalise(picture[None])
            found.append(call(**{given_name(call): x}))
    return {key: np.concatenate([np.atleast_1d(one[key]) for one in found]) for key in found[0]}


def given_name(call: Any) -> str:
    """The name of a signature's only input."""
    (name,) = call.get_input_details()
    return str(name)


def noise(got: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> float:
    """How far answers are from what was wanted: signal over noise in decibels, of all outputs.

    A signal is what an answer varies by, from picture to picture and place to place: each output
    counts alike, and what is the same for all classes of logits does not count.
    """
    shares = []
    for key, values in wanted.items():
        error, signal = got[key].astype(np.float64) - values, values.astype(np.float64)
        if key == OUTPUT_NAME and error.ndim == 2:
            error = error - error.mean(axis=-1, keepdims=True)
            signal = signal - signal.mean(axis=-1, keepdims=True)
        shares.append(np.mean(error**2) / max(float(np.var(signal)), 1e-12))
    return round(float(-10 * np.log10(max(np.mean(shares), 1e-12))), 2)


def _format(
    model: keras.Model,
    float_file: TFLiteModel,
    variant: Variant,
    preprocessing: Preprocessing,
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
    return Format(
        bits=lambda layer: bits.get(layer.name),
        activations=variant.activations,
        has_scale=functools.partial(has_scale, floats=float_layers(model)),
        fixed=fixed if variant.calibrated else {},
        kept=shared_scale,
    )


def _fused(model: keras.Model, ranges: Any) -> dict[str, str]:
    return {dense: relu for dense, relu in fused_dense(model).items() if relu in ranges}
