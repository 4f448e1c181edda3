"""Calibrated 16x8, tf.lite's own quantiser, ranges, and activations with outliers."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
from litert_quantizer import quantizer, recipe
from marks import IN_CI
from networks import converted, lively, outputs_of

from export.artefacts.variants import parse_variant
from export.runtime import load as runtimes
from export.tflite.convert import to_tflite
from export.tflite.converter_quantise import converter_quantise
from export.tflite.quantise import quantise_file
from kerascnn import zoo
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.common.quiet import native_quiet, quiet

lowered = functools.partial(converted, lowered=True)


def bytes_of(preprocessing, seed: int, count: int = 16) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *preprocessing.input_shape), dtype=np.uint8)


def preprocessing_of(name: str):
    return zoo.entry(name).preprocessing(28, 28, resize="pad")


def loaded(file: bytes, preprocessing, folder) -> runtimes.LiteRT:
    path = folder / "x.tflite"
    path.write_bytes(file)
    return runtimes.load(path, preprocessing)


def correlation(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.corrcoef(got.ravel(), wanted.ravel())[0, 1])


@pytest.mark.parametrize("name", ["lenet5", "mobilenet_v3_small"])
def test_int16x8_takes_floats_and_agrees(name: str, tmp_path) -> None:
    model, file = lowered(name)
    preprocessing = preprocessing_of(name)
    pictures = bytes_of(preprocessing, seed=1)
    variant = parse_variant("int16x8")
    runtime = loaded(
        quantise_file(file, variant, preprocessing, bytes_of(preprocessing, seed=2)),
        preprocessing,
        tmp_path,
    )
    assert runtime._input["dtype"] == np.float32
    # Integers from end to end: nothing is left that the delegate would compute in float.
    assert runtime.operations[0] == "QUANTIZE"
    assert runtime.operations[-1] == "DEQUANTIZE"
    assert not {"DELEGATE", "DEQUANTIZE"} & set(runtime.operations[1:-1])
    wanted = outputs_of(model, preprocessing.normalise(pictures))
    assert correlation(runtime.predict(pictures), wanted) > 0.999


def test_ranges_are_of_all_pictures_whatever_their_order() -> None:
    preprocessing = preprocessing_of("lenet5")
    file = lowered("lenet5")[1]
    loud = bytes_of(preprocessing, seed=1, count=1)
    faint = np.full((30, *preprocessing.input_shape), 120, np.uint8)
    variant = parse_variant("int8")
    first, last = (
        quantise_file(file, variant, preprocessing, np.concatenate(order))
        for order in ((loud, faint), (faint, loud))
    )
    assert first == last
    assert first != quantise_file(file, variant, preprocessing, faint)


def test_no_calibration_pictures_is_said() -> None:
    model, file = lowered("lenet5")
    preprocessing = preprocessing_of("lenet5")
    with pytest.raises(InputError, match="int8 needs calibration images"):
        quantise_file(file, parse_variant("int8"), preprocessing)
    with pytest.raises(InputError, match="int16x8_converter needs calibration images"):
        converter_quantise(model, parse_variant("int16x8_converter"), preprocessing)


@pytest.mark.parametrize("precision", ["float16", "dynamic_int8", "int8", "int16x8"])
def test_the_converter_agrees_with_litert_quantizer(precision: str, tmp_path) -> None:
    model, file = lowered("lenet5")
    preprocessing = preprocessing_of("lenet5")
    pictures = bytes_of(preprocessing, seed=1)
    # No picture is quite black or white anywhere: the input's range is not theirs to set.
    calibration = bytes_of(preprocessing, seed=2).clip(9, 240)
    own = converter_quantise(
        model, parse_variant(f"{precision}_converter"), preprocessing, calibration
    ).packed()
    runtime = loaded(own, preprocessing, tmp_path)
    if precision == "int8":
        assert runtime._input["quantization"] == (1 / 128, 127)
        assert runtime.operations == ("QUANTIZE", "DELEGATE")
    else:
        assert runtime._input["dtype"] == np.float32
    shares = {"float16": 0.6, "dynamic_int8": 0.32, "int8": 0.32, "int16x8": 0.33}
    assert len(own) < shares[precision] * len(file)
    other = quantise_file(file, parse_variant(precision), preprocessing, calibration)
    got = runtime.predict(pictures)
    wanted = loaded(other, preprocessing, tmp_path).predict(pictures)
    assert correlation(got, wanted) > (0.98 if precision == "int8" else 0.999)
    reference = outputs_of(model, preprocessing.normalise(pictures))
    assert correlation(got, reference) > (0.97 if precision == "int8" else 0.999)


def with_outliers(model: keras.Model, factor: float) -> keras.Model:
    """One channel of each expansion `factor` times too large, its depthwise kernel as much less."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        if not depthwise and not isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            continue
        kernel, *bias = layer.get_weights()
        # By fan-in, or a random network forgets its picture.
        fan_in = np.prod(kernel.shape[: 2 if depthwise else -1])
        kernel = rng.normal(0, np.sqrt(2 / fan_in), kernel.shape)
        expansion = layer.name.replace("_depthwise", "_expand_norm")
        if depthwise and any(other.name == expansion for other in model.layers):
            gamma, beta, mean, variance = model.get_layer(expansion).get_weights()
            channel = rng.integers(len(gamma))
            gamma[channel] *= factor
            # Far from zero, where swish is the identity.
            beta[channel] = factor * (1 + abs(beta[channel]))
            model.get_layer(expansion).set_weights([gamma, beta, mean, variance])
            kernel[:, :, channel] /= factor
        layer.set_weights([kernel, *bias])
    return model


@IN_CI
def test_dynamic_int8_survives_outliers_before_depthwise_layers(tmp_path) -> None:
    """litert-community's EfficientNet-B0 had correlation 0.72 with float as dynamic int8.

    The published weights are not at hand, so the cause is provoked: one loud channel sets the
    scale that a dynamic depthwise convolution gives all of its input. Without outliers random,
    digit-trained and EfficientNet-Lite0's ImageNet weights keep 0.995 and more either way. On
    efficientnet_b0 trained on digits, outliers of factor 300 left 0.02 to a file dynamic
    throughout and 0.9999 to ours.
    """
    model = with_outliers(lively("efficientnet_b0"), 300)
    preprocessing = preprocessing_of("efficientnet_b0")
    pictures = bytes_of(preprocessing, seed=1)
    wanted = outputs_of(model, preprocessing.normalise(pictures))
    file = to_tflite(model)
    with quiet(), native_quiet():
        work = quantizer.Quantizer(bytearray(file), recipe.dynamic_wi8_afp32())
        throughout = bytes(work.quantize().quantized_model)
    collapsed = loaded(throughout, preprocessing, tmp_path).predict(pictures)
    assert correlation(collapsed, wanted) < 0.95
    for name in ("dynamic_int8", "weight_int8"):
        ours = quantise_file(file, parse_variant(name), preprocessing)
        assert correlation(loaded(ours, preprocessing, tmp_path).predict(pictures), wanted) > 0.99


def test_kernels_of_any_size_have_a_scale_for_each_channel(tmp_path) -> None:
    """The quantiser alone refuses convolutions of more than 32 MB, such as KerasHub's VGG has."""
    given = keras.Input((2, 2, 3))
    x = keras.layers.Conv2D(2100, 1, activation="relu")(given)
    x = keras.layers.Conv2D(4096, 1, activation="relu", name="large")(x)
    model = keras.Model(given, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x)))
    preprocessing = Preprocessing(height=2, width=2, channels=3)
    pictures = bytes_of(preprocessing, seed=1)
    variant = parse_variant("weight_int8")
    file = quantise_file(to_tflite(model), variant, preprocessing, ())
    assert len(file) < 1.1 * model.count_params()
    answers = loaded(file, preprocessing, tmp_path).predict(pictures)
    assert correlation(answers, outputs_of(model, preprocessing.normalise(pictures))) > 0.999
