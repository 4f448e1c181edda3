"""Post-training quantisation (and half precision) of a float32 TFLite file, by litert-quantizer."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from litert_quantizer import qtyping, quantizer, recipe_manager
from litert_quantizer.qtyping import TFLOperationName as Op

from export.convert_tflite import INPUT_NAME
from export.flatbuffer import prepend_uint8_input
from export.recipes import Variant
from kerascnn.preprocessing import Preprocessing
from training.quiet import native_quiet, quiet

_SIGNATURE = "serving_default"
# Scopes are names of output tensors. The converter calls the graph's own output
# StatefulPartitionedCall, which makes it the name of the logits layer.
_FIRST_AND_LAST = r".*/stem(_\d+)?/.*|StatefulPartitionedCall.*"

_KERNEL_HOLDERS = (Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.FULLY_CONNECTED)
_HALF = qtyping.OpQuantizationConfig(
    weight_tensor_config=qtyping.TensorQuantizationConfig(
        num_bits=16, dtype=qtyping.TensorDataType.FLOAT
    ),
    compute_precision=qtyping.ComputePrecision.FLOAT,
    explicit_dequantize=True,
)


def quantise(
    float_file: bytes,
    variant: Variant,
    preprocessing: Preprocessing,
    calibration: Iterable[np.ndarray] = (),
) -> bytes:
    """Quantise a TFLite file.

    Args:
        float_file: from `to_tflite`; of the lowered network where `variant` is calibrated.
        variant: what to make.
        preprocessing: of the network; its normalisation becomes the scale of the raw input.
        calibration: training pictures, (height, width, channels) uint8 each, for variants with
            calibrated activations.

    Returns:
        A TFLite file. Calibrated ones take `image` (1, height, width, channels) uint8, raw bytes;
        all give `logits` (1, classes) float32.
    """
    with quiet(), native_quiet():
        work = quantizer.Quantizer(bytearray(float_file), _recipe(variant))
        if not variant.calibrated:
            return bytes(work.quantize().quantized_model)
        pictures = [{INPUT_NAME: preprocessing.normalise(p[None])} for p in calibration]
        ranges = work.calibrate({_SIGNATURE: pictures}, num_threads=1)
        # All 256 bytes are in range whatever the calibration saw: the scale is 1 / std exactly.
        low, high = preprocessing.normalise(np.array([0, 255], np.uint8))
        shape = ranges[_input_tensor(work)]["min"].shape
        ranges[_input_tensor(work)] = {"min": np.full(shape, low), "max": np.full(shape, high)}
        quantised = bytes(work.quantize(ranges).quantized_model)
    return prepend_uint8_input(quantised, name=INPUT_NAME)


def _recipe(variant: Variant) -> list:
    manager = recipe_manager.RecipeManager()
    if variant.weight_bits == 16:
        for kind in _KERNEL_HOLDERS:
            manager.add_quantization_config(".*", kind, _HALF, algorithm_key="float_casting")
    elif variant.activations == "int8":
        manager.add_static_config(".*", Op.ALL_SUPPORTED, 8, variant.weight_bits)
        # Float logits: one operation more, and no client has to know their scale.
        manager.add_quantization_config(".*", Op.OUTPUT, algorithm_key="no_quantize")
    elif variant.activations == "dynamic":
        manager.add_dynamic_config(".*", Op.ALL_SUPPORTED, variant.weight_bits)
    else:
        manager.add_weight_only_config(".*", Op.ALL_SUPPORTED, variant.weight_bits)
    if variant.depthwise_bits:
        manager.add_weight_only_config(".*", Op.DEPTHWISE_CONV_2D, variant.depthwise_bits)
    if variant.first_and_last_bits:
        for kind in (Op.CONV_2D, Op.FULLY_CONNECTED):
            manager.add_weight_only_config(_FIRST_AND_LAST, kind, variant.first_and_last_bits)
    return manager.get_quantization_recipe()


def _input_tensor(work: quantizer.Quantizer) -> str:
    graph = work._float_model.subgraphs[0]
    name: str = graph.tensors[graph.inputs[0]].name.decode()
    return name
