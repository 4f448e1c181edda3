"""Layer by layer: files are compared tensor by tensor, and a planted fault is found."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math

import keras
import numpy as np
import pytest
from networks import converted
from PIL import Image

from export.artefacts.variants import parse_variant
from export.compress.mixed import kernel_holders
from export.graph.lower import lower_for_int8, with_raw_input
from export.tflite import flatbuffer
from export.tflite.convert import to_tflite
from export.tflite.quantise import quantise_file
from export.tools.debug import (
    Diagnosis,
    as_csv,
    as_json,
    as_text,
    debug,
    first_fall,
    layer_errors,
    write_chart,
)
from kerascnn import zoo
from kerascnn.errors import InputError
from training.engine.run import Run

NAME = "mobilenet_v2"
PREPROCESSING = zoo.entry(NAME).preprocessing(28, 28)
PICTURES = np.random.default_rng(1).integers(0, 256, (4, 28, 28, 3), dtype=np.uint8)
FAULTY = "stage3_block2_project"


@pytest.fixture(scope="module")
def float_file() -> bytes:
    return converted(NAME)[1]


def errors(float_file: bytes, artefact: bytes, **options):
    return layer_errors(float_file, artefact, PREPROCESSING, PICTURES, **options)


def convolutions(file: bytes) -> int:
    return len(list(kernel_holders(flatbuffer.read(file))))


def test_a_file_equals_itself(float_file: bytes) -> None:
    layers = errors(float_file, float_file)
    assert {layer.snr_db for layer in layers} == {math.inf}
    assert all(layer.cosine == pytest.approx(1) and layer.max_abs == 0 for layer in layers)
    assert [layer.layer for layer in (layers[0], layers[-1])] == ["stem_act", "logits"]
    assert first_fall(layers) is None
    assert {layer["snr_db"] for layer in as_json(layers)} == {None}


@pytest.mark.parametrize(
    ("variant", "least", "bits"), [("int8", 15, {8, 32}), ("weight_int8", 25, {32})]
)
def test_all_layers_are_compared(float_file: bytes, variant: str, least: float, bits) -> None:
    artefact = quantise_file(float_file, parse_variant(variant), PREPROCESSING, PICTURES)
    layers = errors(float_file, artefact)
    kernels = [e for e in layers if e.op.endswith("CONV_2D") or e.layer == "logits"]
    assert len(kernels) == convolutions(float_file)
    assert all(least < e.snr_db < 80 and e.cosine > 0.98 and e.max_abs > 0 for e in kernels)
    assert {layer.bits for layer in layers} == bits
    assert all((layer.scale is None) == (layer.bits == 32) for layer in layers)
    assert first_fall(layers) is None


def test_a_planted_fault_is_found(float_file: bytes) -> None:
    model = flatbuffer.read(quantise_file(float_file, parse_variant("weight_int8"), PREPROCESSING))
    graph = model.subgraphs[0]
    maker = {o.outputs[0]: o for o in graph.operators}
    (index,) = (i for layer, _op, i in kernel_holders(model) if FAULTY in layer)
    quantization = graph.tensors[maker[index].inputs[0]].quantization
    quantization.scale = quantization.scale * np.where(
        np.arange(len(quantization.scale)) == 3, 40, 1
    )
    layers = errors(float_file, flatbuffer.write(model))
    suspect = first_fall(layers)
    assert suspect is not None
    assert suspect.layer == f"{FAULTY}_norm"
    assert suspect.snr_db == min(layer.snr_db for layer in layers[: layers.index(suspect) + 1])


def test_layers_of_aware_training_are_recognised(float_file: bytes) -> None:
    """They come from tf_keras, where a wrapped layer is called quant_<layer>."""
    model = flatbuffer.read(float_file)
    for tensor in model.subgraphs[0].tensors:
        net, *inside = tensor.name.decode().split(";")[0].split("/")
        if inside:
            inside[0] = "quant_" + inside[0].removesuffix("_1")
            tensor.name = "/".join([net.removesuffix("_1"), *inside]).encode()
    layers = errors(float_file, flatbuffer.write(model))
    assert [e.layer for e in layers] == [e.layer for e in errors(float_file, float_file)]
    assert {layer.snr_db for layer in layers} == {math.inf}


def test_networks_that_normalise_inside_and_are_lowered() -> None:
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input(PREPROCESSING.input_shape)
    for name in ("stem", "stage1_block1"):
        x = keras.layers.Conv2D(16, 3, strides=2, name=name)(x)
        x = keras.layers.Activation("hard_silu", name=f"{name}_act")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, keras.layers.Dense(10, name="logits")(x), name="net")
    preprocessing = dataclasses.replace(PREPROCESSING, mean=(120.0, 115.0, 100.0), std=57.0)
    twin, raw = with_raw_input(lower_for_int8(model), preprocessing)
    file = to_tflite(twin)
    artefact = quantise_file(file, parse_variant("int8"), raw, PICTURES)
    layers = layer_errors(file, artefact, preprocessing, PICTURES, reference_preprocessing=raw)
    names = [error.layer for error in layers]
    assert names[0] == "normalise"
    assert names[-2:] == ["pool", "logits"]
    assert {"stem", "stem_act", "stage1_block1", "stage1_block1_act"} <= set(names)
    assert min(error.snr_db for error in layers) > 20


def test_table_and_chart(float_file: bytes, tmp_path) -> None:
    artefact = quantise_file(float_file, parse_variant("weight_int4"), PREPROCESSING)
    layers = errors(float_file, artefact)
    rows = list(csv.DictReader(io.StringIO(as_csv(layers))))
    assert [row["layer"] for row in rows] == [layer.layer for layer in layers]
    assert float(rows[3]["snr_db"]) == layers[3].snr_db
    json.dumps(as_json(layers), allow_nan=False)
    path = tmp_path / "layers.png"
    write_chart(path, layers, title="a_$b$_c")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width > 1000
    once = path.read_bytes()
    write_chart(path, layers, title="a_$b$_c")
    assert path.read_bytes() == once
    text = as_text(
        Diagnosis(
            layers=tuple(layers),
            suspect=first_fall(layers),
            dead_channels={"stem": 3},
            table=path,
            chart=path,
        )
    )
    assert "look at" in text or "no single layer is to blame" in text
    assert "channels with a bias and no kernel, which stay constant: stem 3" in text
    assert len(text.splitlines()) > len(layers)


def test_bad_input_is_said(float_file: bytes, tmp_path) -> None:
    with pytest.raises(InputError, match="no images to compare"):
        layer_errors(float_file, float_file, PREPROCESSING, [])
    run = Run(tmp_path, {})
    with pytest.raises(InputError, match=r"int8.tflite: no such file; make it: kerascnn compress"):
        debug(run, "int8")
    with pytest.raises(InputError, match="unknown variant"):
        debug(run, "int9")
