"""Post-training quantisation (and half precision) of a float32 TFLite file, by litert-quantizer."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from unittest import mock

import numpy as np
from litert_quantizer import calibrator, qtyping, quantizer, recipe_manager
from litert_quantizer.algorithms.uniform_quantize import uniform_quantize_tensor
from litert_quantizer.qtyping import TFLOperationName as Op
from litert_quantizer.utils import qsv_utils

from export.artefacts.variants import FIRST_LAYERS, PRECISIONS, Variant
from export.graph.signature import INPUT_NAME
from export.tflite import kernel_ranges
from export.tflite.convert import layer_of
from export.tflite.kernel_operations import QUANTISERS
from export.tflite.model import TFLiteModel
from export.tflite.one_piece import SUM, constant_ranges, in_one_piece_of_int8
from export.tflite.regions import integer_operations, integer_scope, without_regions
from export.tflite.tensors import float_scopes, repeated_tensors
from export.tflite.uint8_input import take_uint8
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.common.quiet import native_quiet, quiet

_SIGNATURE = "serving_default"
# Scopes are names of output tensors. The converter calls the graph's own output
# StatefulPartitionedCall, which makes it the name of the logits layer.
_FIRST_AND_LAST = rf".*/({'|'.join(FIRST_LAYERS)})(_\d+)?/.*|StatefulPartitionedCall.*"

_HALF = qtyping.OpQuantizationConfig(
    weight_tensor_config=qtyping.TensorQuantizationConfig(
        num_bits=16, dtype=qtyping.TensorDataType.FLOAT
    ),
    compute_precision=qtyping.ComputePrecision.FLOAT,
    explicit_dequantize=True,
)
_CAST = recipe_manager.AlgorithmName.FLOAT_CASTING
_UNTOUCHED = recipe_manager.AlgorithmName.NO_QUANTIZE


def quantise_file(float_file: bytes, *given: Any, **options: Any) -> bytes:
    """As `quantise`, from bytes to bytes."""
    return quantise(TFLiteModel.open(float_file), *given, **options).packed()


def quantise(
    float_file: TFLiteModel,
    variant: Variant,
    preprocessing: Preprocessing,
    calibration: Iterable[np.ndarray] = (),
    *,
    trained: Mapping[str, tuple[float, float]] | None = None,
    shared_scale: Sequence[str] = (),
    kernel_bounds: Mapping[str, np.ndarray] | None = None,
    floats: Sequence[str] = (),
) -> TFLiteModel:
    """Quantise a TFLite file.

    Args:
        float_file: of `to_tflite`, which is left as it is; of the lowered network where `variant`
            is calibrated (there is neither an int8 HARD_SWISH in the delegate nor an int16 one at
            all).
        variant: what to make; `mixed` has a function of its own, `export.compress.mixed.mixed`.
        preprocessing: of `float_file`; its normalisation becomes the scale of the raw input.
        calibration: training pictures, (height, width, channels) uint8 each, for variants with
            calibrated activations.
        trained: ranges of activations by layer, which go before calibrated ones.
        shared_scale: layers whose kernel gets one scale instead of one for each output channel.
        kernel_bounds: by layer, (channels,) ends of the grid that a kernel lies on already (see
            `export.compress.reconstruct`): the file has these integers. Others get the scale of the
            largest weight, or what a dead channel's bias needs (`export.tflite.kernel_ranges`).
        floats: of a calibrated variant, operations that stay float, as litert-quantizer calls
            them: by the names of all their outputs.

    Returns:
        A file. With int8 activations it takes `image` (1, height, width, channels) uint8, raw
        bytes, else the float32 that `float_file` takes; all give the outputs of `float_file`,
        float32. What stays float at its end is decided by `export.graph.float_ends`, and in a
        two-stage detector by `export.graph.regions`: kernels there are those of `dynamic_int8`.

    Raises:
        InputError: no calibration picture, where the variant needs some.
    """
    if variant.activations == "int8":
        float_file = in_one_piece_of_int8(float_file, _becoming_int8(float_file, floats))
    manager = _recipe_for(float_file, variant, shared_scale, floats)
    given = kernel_ranges.given(float_file, kernel_bounds or {}, _one_scale(float_file, manager))
    with quiet(), native_quiet():
        work = _quantizer(float_file, manager)
        if not variant.calibrated:
            return _compact(_quantized(work, given))
        ranges = _ranges(float_file, manager, preprocessing, calibration)
        if not ranges:
            raise InputError(f"{variant.name} needs calibration images; give at least one")
        _take(ranges, trained or {})
        _take_repeated(ranges, float_file)
        _take_all_bytes(ranges, _input_tensor(work), preprocessing)
        ranges |= given | constant_ranges(float_file, ranges)
        ranges |= kernel_ranges.needed(float_file, ranges, _activation_bits(variant))
        quantised = _compact(_quantized(work, ranges))
    if variant.raw_input:
        quantised.apply(take_uint8, name=INPUT_NAME)
    return quantised


def quantise_parts(
    float_file: TFLiteModel,
    integers: Sequence[str],
    preprocessing: Preprocessing,
    calibration: Iterable[np.ndarray],
    *,
    trained: Mapping[str, tuple[float, float]] | None = None,
    kernel_bounds: Mapping[str, np.ndarray] | None = None,
) -> TFLiteModel:
    """Compute some operations in int8 and all others in float, with kernels in half precision.

    Args:
        float_file: as of `quantise`, of the lowered network.
        integers: the operations in int8, as litert-quantizer calls them: by the names of all their
            outputs.
        preprocessing, calibration, trained, kernel_bounds: as of `quantise`.

    Returns:
        A file with the inputs and outputs of `float_file`.

    Raises:
        InputError: no calibration picture, where any operation is in int8.
    """
    manager = recipe_manager.RecipeManager()
    for kind in QUANTISERS:
        manager.add_quantization_config(".*", kind, _HALF, algorithm_key=_CAST)
    made = {one.removesuffix(";") for one in integers}
    float_file = in_one_piece_of_int8(float_file, made.__contains__)
    for outputs in integers:
        scope = f"^{re.escape(outputs)}({SUM};)?$"
        manager.add_static_config(scope, Op.ALL_SUPPORTED, 8, 8)
    given = kernel_ranges.given(float_file, kernel_bounds or {})
    with quiet(), native_quiet():
        work = _quantizer(float_file, manager)
        if not integers:
            return _compact(_quantized(work, given))
        ranges = _ranges(float_file, manager, preprocessing, calibration)
        if not ranges:
            raise InputError("int8 needs calibration images; give at least one")
        _take(ranges, trained or {})
        _take_repeated(ranges, float_file)
        if _input_tensor(work) in ranges:
            _take_all_bytes(ranges, _input_tensor(work), preprocessing)
        ranges |= given | constant_ranges(float_file, ranges)
        ranges |= kernel_ranges.needed(float_file, ranges, 8)
        return _compact(_quantized(work, ranges))


def _take(ranges: dict[str, Any], trained: Mapping[str, tuple[float, float]]) -> None:
    """Put ranges by layer in the place of calibrated ones."""
    for name in ranges:
        if trained and (layer := layer_of(name, trained)):
            low, high = trained[layer]
            shape = ranges[name]["min"].shape
            ranges[name] = {"min": np.full(shape, low), "max": np.full(shape, high)}


def _take_repeated(ranges: dict[str, Any], float_file: TFLiteModel) -> None:
    """Of a trained range, the copies too: another scale would be another operation."""
    repeated = repeated_tensors(float_file).items()
    ranges |= {name: ranges[one] for name, one in repeated if one in ranges}


def _take_all_bytes(ranges: dict[str, Any], name: str, preprocessing: Preprocessing) -> None:
    """All 256 bytes are in range whatever the calibration saw: the scale is 1 / std exactly."""
    low, high = preprocessing.normalise(np.array([0, 255], np.uint8))
    shape = ranges[name]["min"].shape
    ranges[name] = {"min": np.full(shape, low), "max": np.full(shape, high)}


def quantise_weights(
    float_file: TFLiteModel,
    bits: Mapping[str, int],
    kernel_bounds: Mapping[str, np.ndarray] | None = None,
) -> TFLiteModel:
    """Store each layer's kernel in a number of bits of its own, widened for float arithmetic.

    Args:
        float_file: of `to_tflite`, which is left as it is.
        bits: by layer (the name of its output tensor): 4 or 8 (symmetric, a scale for each
            output channel) or 16 (half precision). Layers that are not named stay float32.
        kernel_bounds: as of `quantise`.

    Returns:
        A file with the inputs and outputs of `float_file`.
    """
    manager = recipe_manager.RecipeManager()
    for layer, number in bits.items():
        scope = f"^{re.escape(layer)};$"
        if number == 16:
            manager.add_quantization_config(scope, Op.ALL_SUPPORTED, _HALF, algorithm_key=_CAST)
        else:
            manager.add_weight_only_config(scope, Op.ALL_SUPPORTED, number)
    with quiet(), native_quiet():
        work = _quantizer(float_file, manager)
        return _compact(_quantized(work, kernel_ranges.given(float_file, kernel_bounds or {})))


def _one_scale(float_file: TFLiteModel, manager: recipe_manager.RecipeManager) -> frozenset[str]:
    """Constants with kernels that get one scale for all channels."""
    found = set()
    for kernel in kernel_ranges.kernels(float_file):
        _key, config = manager.get_quantization_configs(kernel.operation, f"{kernel.output};")
        weights = config.weight_tensor_config
        if weights is not None and weights.granularity == qtyping.QuantGranularity.TENSORWISE:
            found.add(kernel.name)
    return frozenset(found)


def kernel_bits(
    float_file: TFLiteModel, variant: Variant, shared_scale: Sequence[str] = ()
) -> dict[str, int]:
    """Bits of each kernel that `quantise` will store as integers, by the name of its constant."""
    manager = _recipe_for(float_file, variant, shared_scale)
    found = {}
    for kernel in kernel_ranges.kernels(float_file):
        key, config = manager.get_quantization_configs(kernel.operation, f"{kernel.output};")
        weights = config.weight_tensor_config
        if key != _UNTOUCHED and weights is not None:
            found[kernel.name] = int(weights.num_bits)
    return found


def _quantizer(
    float_file: TFLiteModel, manager: recipe_manager.RecipeManager
) -> quantizer.Quantizer:
    return quantizer.Quantizer(bytearray(float_file.packed()), manager.get_quantization_recipe())


def _compact(made: quantizer.QuantizationResult) -> TFLiteModel:
    file = TFLiteModel.open(bytes(made.quantized_model))
    file.compact()
    return file


def _activation_bits(variant: Variant) -> int:
    return 16 if variant.activations == "int16" else 8


def _recipe_for(
    float_file: TFLiteModel,
    variant: Variant,
    shared_scale: Sequence[str],
    floats: Sequence[str] = (),
) -> recipe_manager.RecipeManager:
    """The variant's recipe, with what has to stay float in this file."""
    scope = integer_scope(float_file) if variant.activations == "int8" else None
    if scope is not None:
        return _until_regions(scope)
    manager = _recipe(variant, shared_scale)
    if variant.calibrated:
        for outputs in (*float_scopes(float_file), *floats):
            scope = f"^{re.escape(outputs)}$"
            manager.add_quantization_config(scope, Op.ALL_SUPPORTED, algorithm_key=_UNTOUCHED)
    return manager


def _becoming_int8(float_file: TFLiteModel, floats: Sequence[str]) -> Callable[[str], bool]:
    """Whether the operation that makes the tensor of a name will be in int8."""
    tensors = float_file.graph.tensors
    early = {tensors[one.outputs[0]].name.decode() for one in integer_operations(float_file)}
    if early:
        return early.__contains__
    kept = {one.removesuffix(";") for one in (*float_scopes(float_file), *floats)}
    return lambda name: name not in kept


def _until_regions(scope: str) -> recipe_manager.RecipeManager:
    """int8 in a scope and for the input; all other kernels as of `dynamic_int8`."""
    manager = _recipe(PRECISIONS["dynamic_int8"], ())
    for operations, kind in ((scope, Op.ALL_SUPPORTED), (".*", Op.INPUT)):
        manager.add_static_config(operations, kind, 8, 8)
    return manager


def _recipe(variant: Variant, shared_scale: Sequence[str]) -> recipe_manager.RecipeManager:
    manager = recipe_manager.RecipeManager()
    if variant.weight_bits == 16:
        for kind in QUANTISERS:
            manager.add_quantization_config(".*", kind, _HALF, algorithm_key=_CAST)
    elif variant.calibrated:
        bits = _activation_bits(variant)
        manager.add_static_config(".*", Op.ALL_SUPPORTED, bits, variant.weight_bits)
        # Float logits: one operation more, and no client has to know their scale.
        manager.add_quantization_config(".*", Op.OUTPUT, algorithm_key=_UNTOUCHED)
        if not variant.raw_input:
            manager.add_quantization_config(".*", Op.INPUT, algorithm_key=_UNTOUCHED)
    elif variant.activations == "dynamic":
        manager.add_dynamic_config(".*", Op.ALL_SUPPORTED, variant.weight_bits)
    else:
        manager.add_weight_only_config(".*", Op.ALL_SUPPORTED, variant.weight_bits)
    if variant.depthwise_bits:
        manager.add_weight_only_config(".*", Op.DEPTHWISE_CONV_2D, variant.depthwise_bits)
    if variant.weight_bits == 4:
        # The quantiser has none of 4 bits, and would leave them float.
        manager.add_weight_only_config(".*", Op.CONV_2D_TRANSPOSE, 8)
    if variant.first_and_last_bits:
        for kind in (Op.CONV_2D, Op.FULLY_CONNECTED):
            manager.add_weight_only_config(_FIRST_AND_LAST, kind, variant.first_and_last_bits)
    if shared_scale and variant.weight_bits == 8:
        _share_scales(manager, variant, shared_scale)
    return manager


def _share_scales(
    manager: recipe_manager.RecipeManager, variant: Variant, layers: Sequence[str]
) -> None:
    scope = rf".*/({'|'.join(map(re.escape, layers))})(_\d+)?/.*"
    tensorwise = qtyping.QuantGranularity.TENSORWISE
    for kind in (Op.CONV_2D, Op.CONV_2D_TRANSPOSE, Op.FULLY_CONNECTED):
        if variant.calibrated:
            bits = _activation_bits(variant)
            manager.add_static_config(scope, kind, bits, 8, weight_granularity=tensorwise)
        elif variant.activations == "dynamic":
            manager.add_dynamic_config(scope, kind, 8, granularity=tensorwise)
        else:
            manager.add_weight_only_config(scope, kind, 8, granularity=tensorwise)


def _ranges(
    float_file: TFLiteModel,
    manager: recipe_manager.RecipeManager,
    preprocessing: Preprocessing,
    pictures: Iterable[np.ndarray],
) -> dict[str, qtyping.QSV]:
    """Smallest and largest value of each activation over all pictures.

    `Quantizer.calibrate` takes a moving average instead, which follows the last 20 pictures and
    clips what the others need: 12 to 23 dB more noise in the logits of the demo's networks.
    """
    looked_at = without_regions(float_file).packed()
    work = calibrator.Calibrator(looked_at, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    for picture in pictures:  # of many, `calibrate` would make one list of floats
        feed = {INPUT_NAME: preprocessing.normalise(picture[None])}
        work.calibrate({_SIGNATURE: [feed]}, manager)
    ranges: dict[str, qtyping.QSV] = work.get_model_qsvs()
    return ranges


def _quantized(work: quantizer.Quantizer, *given: Any) -> Any:
    """As `Quantizer.quantize`, which refuses scales by channel of kernels of more than 32 MB."""
    with mock.patch.object(uniform_quantize_tensor, "uniform_quantize", _in_parts):
        return work.quantize(*given)


_PART_BYTES = 32 << 20
_quantize_whole = uniform_quantize_tensor.uniform_quantize


def _in_parts(
    kernel: np.ndarray, params: qtyping.UniformQuantParams, *blockwise: bool, **options: bool
) -> np.ndarray:
    """The library's own, for some channels of a large kernel at a time."""
    scales, zeros = params.scale, params.zero_point
    by_channel = params.quantized_dimension == 0 and np.size(scales) == len(np.atleast_1d(kernel))
    if kernel.ndim < 3 or kernel.nbytes <= _PART_BYTES or not by_channel:
        return _quantize_whole(kernel, params, *blockwise, **options)
    step = max(1, _PART_BYTES // kernel[0].nbytes)
    parts = []
    for start in range(0, len(kernel), step):
        part = slice(start, start + step)
        of_part = dataclasses.replace(params, scale=scales[part], zero_point=zeros[part])
        parts.append(_quantize_whole(kernel[part], of_part, *blockwise, **options))
    return np.concatenate(parts)


def _input_tensor(work: quantizer.Quantizer) -> str:
    graph = work._float_model.subgraphs[0]
    name: str = graph.tensors[graph.inputs[0]].name.decode()
    return name
