"""Channels whose kernel is nothing and whose bias is not keep their bias in every precision.

Trained networks have them: EfficientNet-Lite0's ImageNet weights 93.
"""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
from dead_channels import SIDE, every_kind, pictures_of
from keras import layers
from marks import IN_CI
from networks import lively, outputs_of

from export.artefacts.variants import parse_variant
from export.graph.fold_norm import fold_batch_norms
from export.runtime import load as runtimes
from export.tflite import kernel_ranges
from export.tflite.convert import to_tflite
from export.tflite.converter_quantise import converter_quantise
from export.tflite.model import TFLiteModel
from export.tflite.quantise import quantise_file
from kerascnn import zoo
from kerascnn.preprocessing import Preprocessing

PRECISIONS = ("dynamic_int8", "weight_int8", "weight_int4", "int8", "int16x8")


@functools.cache
def converted(dead: float) -> tuple[keras.Model, bytes]:
    model = every_kind(dead)
    return model, to_tflite(model)


def answers(file: bytes, preprocessing: Preprocessing, pictures: np.ndarray, path):
    path.write_bytes(file)
    runtime = runtimes.load(path, preprocessing)
    return runtime.predict(pictures), runtime


def decibels(got: np.ndarray, wanted: np.ndarray) -> float:
    """Of the wanted answers over the difference: a lost constant is no noise, but far off."""
    return float(10 * np.log10(np.sum(wanted**2) / np.sum((got - wanted) ** 2)))


@pytest.mark.parametrize("dead", [0.0, 1e-13, 1e-9])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_kind_of_layer_keeps_the_bias(precision: str, dead: float, tmp_path) -> None:
    model, float_file = converted(dead)
    preprocessing = Preprocessing(height=SIDE, width=SIDE, channels=3, mean=127.0, std=128.0)
    pictures, calibration = pictures_of(1, 24, SIDE), pictures_of(2, 24, SIDE)
    file = quantise_file(float_file, parse_variant(precision), preprocessing, calibration)
    got, runtime = answers(file, preprocessing, pictures, tmp_path / "x.tflite")
    wanted = outputs_of(model, preprocessing.normalise(pictures))
    # Without a single dead channel 42 to 47 dB, with a lost constant 0.
    assert decibels(got, wanted) > (15 if precision == "weight_int4" else 30)
    if precision == "int8":
        assert runtime.operations == ("QUANTIZE", "DELEGATE")


@functools.cache
def folded(name: str, share: float) -> tuple[keras.Model, keras.Model, bytes]:
    """The network with dead channels, without its norms, and as a file."""
    model = with_dead_channels(name, share)
    without = fold_batch_norms(model)
    return model, without, to_tflite(without)


def with_dead_channels(name: str, share: float) -> keras.Model:
    """Of each norm, so many gammas are 0 and their betas 0.2 to 0.7."""
    model, rng = lively(name), np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            dead = rng.random(len(gamma)) < share
            gamma[dead], beta[dead] = 0, rng.uniform(0.2, 0.7, dead.sum())
            layer.set_weights([gamma, beta, mean, variance])
        elif layer.weights:
            kernel, *bias = layer.get_weights()
            depthwise = isinstance(layer, layers.DepthwiseConv2D)
            fan_in = np.prod(kernel.shape[: 2 if depthwise else -1])
            layer.set_weights([rng.normal(0, np.sqrt(2 / fan_in), kernel.shape), *bias])
    return model


@IN_CI
@pytest.mark.parametrize("precision", ["int8", "int8_converter", "int16x8"])
def test_a_tenth_of_the_norms_dead(precision: str, tmp_path) -> None:
    """The int8 file of this network answered all zeros."""
    model, without, float_file = folded("mobilenet_v2", 0.1)
    preprocessing = zoo.entry("mobilenet_v2").preprocessing(28, 28, resize="pad")
    pictures, calibration = pictures_of(1, 16, 28), pictures_of(2, 16, 28)
    variant = parse_variant(precision)
    if variant.tool == "converter":
        file = converter_quantise(without, variant, preprocessing, calibration).packed()
    else:
        file = quantise_file(float_file, variant, preprocessing, calibration)
    got, runtime = answers(file, preprocessing, pictures, tmp_path / "x.tflite")
    wanted = outputs_of(model, preprocessing.normalise(pictures))
    # Without dead channels 14 (int8) and 18 dB, with lost constants 8.
    assert decibels(got, wanted) > 12
    if precision == "int8":
        assert runtime.operations == ("QUANTIZE", "DELEGATE")


def test_dead_channels_are_counted() -> None:
    found = kernel_ranges.dead_channels(TFLiteModel.open(converted(1e-13)[1]))
    assert found == {"stem": 4, "depthwise": 4, "up": 4, "project": 6, "dense": 8}
    assert not kernel_ranges.dead_channels(TFLiteModel.open(to_tflite(every_kind(0.1))))
