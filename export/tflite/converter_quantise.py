"""Post-training quantisation by tf.lite's own converter: a second opinion on `quantise`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf

from export.artefacts.variants import Variant
from export.graph.signature import INPUT_NAME
from export.tflite.convert import converter
from export.tflite.model import TFLiteModel
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.common.quiet import native_quiet

_16X8 = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8


def converter_quantise(
    model: keras.Model,
    variant: Variant,
    preprocessing: Preprocessing,
    calibration: Iterable[np.ndarray] = (),
) -> TFLiteModel:
    """Convert and quantise a functional classifier in one go.

    Args:
        model: from (batch, height, width, channels) to (batch, classes); the lowered network
            where `variant` is calibrated.
        variant: one with the tool "converter".
        preprocessing: of `model`; its normalisation becomes the scale of the raw input.
        calibration: training pictures, (height, width, channels) uint8 each, for variants with
            calibrated activations.

    Returns:
        A file. With int8 activations it takes `image` (1, height, width, channels) uint8,
        raw bytes, else float32; all give `logits` (1, classes) float32.

    Raises:
        InputError: no calibration picture, where the variant needs some.
        OSError: the folder for temporary files has no room.
    """
    pictures = list(calibration)
    if variant.calibrated and not pictures:
        raise InputError(f"{variant.name} needs calibration images; give at least one")
    with converter(model) as work, native_quiet():
        work.optimizations = [tf.lite.Optimize.DEFAULT]
        if variant.weight_bits == 16:
            work.target_spec.supported_types = [tf.float16]
        elif variant.calibrated:
            work.representative_dataset = lambda: _representative(pictures, preprocessing)
            # One set alone: an operation without integers is an error, not silently float.
            ops = _16X8 if variant.activations == "int16" else tf.lite.OpsSet.TFLITE_BUILTINS_INT8
            work.target_spec.supported_ops = [ops]
            if variant.raw_input:
                work.inference_input_type = tf.uint8
        converted: bytes = work.convert()
    file = TFLiteModel.open(converted)
    file.compact()
    return file


def _representative(
    pictures: list[np.ndarray], preprocessing: Preprocessing
) -> Iterator[dict[str, np.ndarray]]:
    first = pictures[0].copy()
    # Two pixels of a corner see to it that bytes 0 and 255 are in range: the input's scale is
    # 1 / std. A whole black or white picture would widen the ranges behind, too.
    first[0, 0], first[-1, -1] = 0, 255
    for picture in (first, *pictures[1:]):
        yield {INPUT_NAME: preprocessing.normalise(picture[None])}
