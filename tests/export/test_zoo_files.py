"""Contract of all classifiers of the zoo with their files: TFLite and ONNX answer as Keras does."""

from __future__ import annotations

import numpy as np
import pytest
from marks import all_but
from networks import outputs_of, with_random_norms

import kerascnn
from export.artefacts.variants import parse_variant
from export.graph.join_branches import deployed
from export.graph.lower import lower_for_int8, needs_lowering
from export.onnx.convert import to_onnx
from export.runtime import load as runtimes
from export.tflite.convert import to_tflite
from export.tflite.quantise import quantise_file
from kerascnn import zoo

# Of those that are quickly made; the demo's networks are in tflite/test_convert.py.
FAST = {"lenet5"}
PHONE = {
    n
    for n in kerascnn.list_models("classification")
    if n.startswith(("mobilenet", "efficientnet", "mobileone", "repvit"))
}
# Between the smallest and the largest of one family: other depths and widths of the same blocks,
# which `test_zoo` counts, in a minute of conversion each.
BETWEEN = {
    *(f"efficientnet_b{size}" for size in range(1, 7)),
    *(f"efficientnet_lite{size}" for size in range(1, 4)),
    *(f"efficientnet_v2_{size}" for size in ("b1", "b2", "b3", "s", "m")),
    *("mobileone_s1", "mobileone_s2", "resnet101", "resnext101_32x8d"),
}
# For servers, and built narrow: as many layers of the same kinds, without gigabytes of weights.
LARGE = {"efficientnet_b7", "efficientnet_v2_l"}
NARROW: dict[str, float] = {
    **dict.fromkeys(LARGE, 0.25),
    **dict.fromkeys(("resnet152", "senet154", "resnext101_64x4d"), 0.5),
}
# XNNPACK takes no products of two activations, nor GELU, in integers.
PIECES = {"mobilenet_v4_hybrid_medium", "mobilenet_v4_hybrid_large", "repvit_m0_9", "repvit_m1_0"}
SIZE = 64


def marked(names, fast) -> list:
    return all_but(fast, sorted({*names} - BETWEEN), pytest.mark.slow)


def small(name: str):
    shape = (SIZE, SIZE, zoo.entry(name).input_shape[2])
    narrow = {"width": NARROW[name]} if name in NARROW else {}
    model = deployed(
        with_random_norms(kerascnn.build(name, input_shape=shape, classes=10, **narrow))
    )
    preprocessing = zoo.entry(name).preprocessing(SIZE, SIZE)
    pictures = np.random.default_rng(1).integers(0, 256, (8, *shape), dtype=np.uint8)
    return model, preprocessing, pictures


@pytest.mark.parametrize("name", marked(kerascnn.list_models("classification"), FAST))
def test_float_files_agree(name: str, tmp_path) -> None:
    model, preprocessing, pictures = small(name)
    wanted = outputs_of(model, preprocessing.normalise(pictures))
    scale = np.abs(wanted).max()
    for suffix, convert in ((".tflite", to_tflite), (".onnx", to_onnx)):
        path = tmp_path / f"float32{suffix}"
        path.write_bytes(convert(model))
        assert path.stat().st_size > 0.9 * 4 * model.count_params()
        runtime = runtimes.load(path, preprocessing)
        np.testing.assert_allclose(runtime.predict(pictures) / scale, wanted / scale, atol=1e-4)
        if suffix == ".tflite" and name in PHONE:
            assert runtime.operations == ("DELEGATE",)


@pytest.mark.parametrize("name", marked(PHONE - LARGE - PIECES, FAST))
def test_int8_files_of_phone_networks_are_one_piece(name: str, tmp_path) -> None:
    model, preprocessing, pictures = small(name)
    path = tmp_path / "int8.tflite"
    lowered = lower_for_int8(model) if needs_lowering(model) else model
    path.write_bytes(
        quantise_file(to_tflite(lowered), parse_variant("int8"), preprocessing, pictures)
    )
    runtime = runtimes.load(path, preprocessing)
    assert runtime.operations == ("QUANTIZE", "DELEGATE")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("alexnet", {"towers": 2}, marks=pytest.mark.slow),
        pytest.param("lenet5", {"original": True}, marks=pytest.mark.slow),
    ],
)
def test_grouped_convolutions_are_exported(name: str, options, tmp_path) -> None:
    shape = (SIZE, SIZE, 3) if name == "alexnet" else (32, 32, 1)
    model = kerascnn.build(name, input_shape=shape, classes=10, **options)
    preprocessing = zoo.entry(name).preprocessing(*shape[:2])
    pictures = np.random.default_rng(1).integers(0, 256, (4, *shape), dtype=np.uint8)
    wanted = outputs_of(model, preprocessing.normalise(pictures))
    for suffix, convert in ((".tflite", to_tflite), (".onnx", to_onnx)):
        path = tmp_path / f"float32{suffix}"
        path.write_bytes(convert(model))
        got = runtimes.load(path, preprocessing).predict(pictures)
        np.testing.assert_allclose(got, wanted, atol=1e-4 * np.abs(wanted).max())
