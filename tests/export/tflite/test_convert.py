"""Every demo network as float32 and int8: one piece, right answers, raw bytes."""

from __future__ import annotations

import keras
import numpy as np
import onnx
import pytest
from marks import IN_CI, all_but, marks_of
from networks import DEMO_MODELS, converted, lively, outputs_of, with_random_weights

from export.artefacts.variants import parse_variant
from export.graph.lower import lower_for_int8, needs_lowering, with_raw_input
from export.onnx.convert import to_onnx
from export.runtime import load as runtimes
from export.tflite.convert import to_tflite
from export.tflite.half_precision import round_to_half
from export.tflite.model import TFLiteModel
from export.tflite.quantise import quantise_file
from kerascnn import zoo
from kerascnn.blocks import squeeze_excite

PICTURES = 24
# `make demo` converts and verifies them, too.
SEEN_IN_THE_DEMO = ("mobilenet_v2", "efficientnet_lite0")


def bytes_of(preprocessing, seed: int, count: int = PICTURES) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *preprocessing.input_shape), dtype=np.uint8)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=marks_of(n, ci={"mobilenet_v3_small"}, slow=SEEN_IN_THE_DEMO))
        for n in DEMO_MODELS
    ],
)
def test_float32_and_int8_are_one_piece_and_agree(name: str, tmp_path) -> None:
    model, float_file = converted(name)
    preprocessing = zoo.entry(name).preprocessing(28, 28, resize="pad")
    pictures = bytes_of(preprocessing, seed=1)
    wanted = outputs_of(model, preprocessing.normalise(pictures))

    float_path = tmp_path / "float32.tflite"
    float_path.write_bytes(float_file)
    runtime = runtimes.load(float_path, preprocessing)
    assert runtime.operations == ("DELEGATE",)
    np.testing.assert_allclose(runtime.predict(pictures), wanted, atol=1e-3)
    assert float_path.stat().st_size < 4.4 * model.count_params() + 60_000

    lowered = converted(name, lowered=True)[1] if needs_lowering(model) else float_file
    int8_path = tmp_path / "int8.tflite"
    int8_path.write_bytes(
        quantise_file(
            lowered, parse_variant("int8"), preprocessing, bytes_of(preprocessing, seed=2)
        )
    )
    runtime = runtimes.load(int8_path, preprocessing)
    assert runtime.partitions == 1
    assert runtime.operations == ("QUANTIZE", "DELEGATE")
    assert runtime._input["dtype"] == np.uint8
    # Raw bytes must mean what normalised floats mean: scale 1/128 and zero point 127, exactly.
    assert runtime._input["quantization"] == (1 / 128, 127)
    got = runtime.predict(pictures)
    correlation = np.corrcoef(got.ravel(), wanted.ravel())[0, 1]
    assert correlation > 0.9  # noise through random weights; trained ones in test_compress.py
    assert int8_path.stat().st_size < 0.45 * float_path.stat().st_size


@pytest.mark.slow
def test_large_network_is_one_piece_in_int8_too(tmp_path) -> None:
    model = lively("mobilenet_v3_large", stem_strides=1)
    preprocessing = zoo.entry("mobilenet_v3_large").preprocessing(28, 28)
    path = tmp_path / "int8.tflite"
    pictures = bytes_of(preprocessing, seed=2, count=8)
    path.write_bytes(
        quantise_file(
            to_tflite(lower_for_int8(model)), parse_variant("int8"), preprocessing, pictures
        )
    )
    assert runtimes.load(path, preprocessing).partitions == 1


@pytest.mark.parametrize("name", ["lenet5", "mobilenet_v3_small"])
def test_lowering_keeps_the_outputs_and_the_model(name: str) -> None:
    model = lively(name)
    before = [w.copy() for w in model.get_weights()]
    x = np.random.default_rng(0).uniform(-1, 1, (4, *model.input_shape[1:])).astype(np.float32)
    twin = lower_for_int8(model)
    np.testing.assert_allclose(outputs_of(twin, x), outputs_of(model, x), rtol=1e-4, atol=1e-5)
    assert not needs_lowering(twin)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def gated(kind: str) -> keras.Model:
    """One activation or squeeze-excite between two convolutions."""
    x = inputs = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(16, 3, name="before")(x)
    if kind.startswith("se_"):
        x = squeeze_excite(x, 4, activation="relu", gate=kind.removeprefix("se_"), name="se")
    else:
        x = keras.layers.Activation(kind)(x)
    return keras.Model(inputs, keras.layers.Conv2D(8, 1, name="after")(x))


@pytest.mark.parametrize(
    "kind", ["hard_silu", "hard_sigmoid", "silu", "se_hard_sigmoid", "se_sigmoid"]
)
def test_each_lowering_is_equal_in_float(kind: str) -> None:
    keras.utils.set_random_seed(0)
    model = gated(kind)
    x = np.random.default_rng(0).normal(0, 3, (16, 8, 8, 4)).astype(np.float32)
    wanted, got = (outputs_of(m, x) for m in (model, lower_for_int8(model)))
    assert np.abs(got - wanted).max() < 1e-6 * np.abs(wanted).max()
    assert needs_lowering(model) == ("hard" in kind)


def coloured() -> keras.Model:
    """A stem that pads, and a depthwise block."""
    x = inputs = keras.Input((28, 28, 3), name="image")
    x = keras.layers.Conv2D(16, 3, 2, padding="same", use_bias=False, name="stem")(x)
    x = keras.layers.BatchNormalization(name="stem_norm")(x)
    x = keras.layers.ReLU(6.0, name="stem_act")(x)
    x = keras.layers.DepthwiseConv2D(3, 2, padding="same", name="depthwise")(x)
    x = keras.layers.Conv2D(32, 1, activation="relu", name="project")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return with_random_weights(
        keras.Model(inputs, keras.layers.Dense(10, name="logits")(x), name="coloured")
    )


@pytest.mark.parametrize("network", ["small", pytest.param("mobilenet_v2", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "normalisation",
    [
        {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)},
        {"mean": (103.939, 116.779, 123.68), "std": 1.0, "order": "bgr"},
        {"mean": 127.5, "std": 127.5},
    ],
    ids=["imagenet", "caffe", "inception"],
)
def test_int8_takes_raw_bytes_whatever_the_normalisation(
    normalisation, network: str, tmp_path
) -> None:
    model = coloured() if network == "small" else lively(network)
    preprocessing = zoo.entry("mobilenet_v2").preprocessing(28, 28, **normalisation)
    pictures = bytes_of(preprocessing, seed=1)
    wanted = outputs_of(model, preprocessing.normalise(pictures))
    twin, raw = with_raw_input(model, preprocessing)
    got = outputs_of(twin, raw.normalise(pictures))
    np.testing.assert_allclose(got, wanted, atol=2e-5 * np.abs(wanted).max())
    path = tmp_path / "int8.tflite"
    calibration = bytes_of(preprocessing, seed=2)
    path.write_bytes(quantise_file(to_tflite(twin), parse_variant("int8"), raw, calibration))
    runtime = runtimes.load(path, preprocessing)
    assert runtime._input["dtype"] == np.uint8
    assert runtime._input["quantization"] == (1, 0)
    assert runtime.operations == ("QUANTIZE", "DELEGATE")
    assert np.corrcoef(runtime.predict(pictures).ravel(), wanted.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(
    "variant",
    [
        pytest.param("dynamic_int8", marks=IN_CI),
        "weight_int4",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("float16", "weight_int8")),
    ],
)
def test_weight_variants_of_a_depthwise_network(variant: str, tmp_path) -> None:
    model, float_file = converted("mobilenet_v2")
    preprocessing = zoo.entry("mobilenet_v2").preprocessing(28, 28)
    pictures = bytes_of(preprocessing, seed=1)
    wanted = outputs_of(model, preprocessing.normalise(pictures))
    path = tmp_path / "x.tflite"
    path.write_bytes(quantise_file(float_file, parse_variant(variant), preprocessing))
    runtime = runtimes.load(path, preprocessing)
    shares = {"float16": 0.6, "dynamic_int8": 0.4, "weight_int8": 0.4, "weight_int4": 0.28}
    assert path.stat().st_size < shares[variant] * len(float_file)
    if variant != "weight_int4":
        assert runtime.operations == ("DELEGATE",)
    least = 0.97 if variant == "weight_int4" else 0.999
    assert np.corrcoef(runtime.predict(pictures).ravel(), wanted.ravel())[0, 1] > least
    if variant == "float16":
        half = tmp_path / "half.tflite"
        half.write_bytes(TFLiteModel.edited(float_file, round_to_half))
        reference = runtimes.load(half, preprocessing).predict(pictures)
        np.testing.assert_allclose(runtime.predict(pictures), reference, atol=1e-5)


def squeezed() -> keras.Model:
    x = inputs = keras.Input((28, 28, 3), name="image")
    x = keras.layers.Conv2D(16, 3, 2, activation="hard_silu", name="stem")(x)
    x = squeeze_excite(x, 4, activation="relu", gate="hard_sigmoid", name="se")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return with_random_weights(
        keras.Model(inputs, keras.layers.Dense(10, name="logits")(x), name="squeezed")
    )


@pytest.mark.parametrize("network", all_but({"squeezed"}, ("squeezed", "mobilenet_v3_small")))
def test_onnx_agrees_for_any_batch(network: str, tmp_path) -> None:
    model = squeezed() if network == "squeezed" else lively(network)
    preprocessing = zoo.entry("mobilenet_v3_small").preprocessing(28, 28)
    pictures = bytes_of(preprocessing, seed=1)
    path = tmp_path / "float32.onnx"
    path.write_bytes(to_onnx(model))
    # How many of these the exporter leaves differs from process to process.
    assert "Reshape" not in {node.op_type for node in onnx.load(path).graph.node}
    got = runtimes.load(path, preprocessing).predict(pictures)
    wanted = outputs_of(model, preprocessing.normalise(pictures))
    np.testing.assert_allclose(got, wanted, atol=1e-3)


def test_sparsity_is_read_from_the_file() -> None:
    model = lively("lenet5")
    head = model.get_layer("head")
    kernel, bias = head.get_weights()
    kernel[:, ::2] = 0
    head.set_weights([kernel, bias])
    total = sum(w.size for w in model.get_weights() if w.ndim > 1)
    assert TFLiteModel.open(to_tflite(model)).weight_sparsity() == pytest.approx(
        kernel.size / 2 / total, abs=1e-6
    )
