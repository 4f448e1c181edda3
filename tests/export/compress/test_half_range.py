"""What half precision does not hold is found, named and, where it is a mean, written otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import colours
import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers
from marks import IN_CI

import kerascnn
from export.artefacts.half_precision import ENDLESS, LARGEST, NEAR, summary, warnings
from export.compress.half_range import HalfRange, half_range
from export.runtime import load as runtimes
from export.runtime.info import as_text, info
from export.tflite.convert import to_tflite
from export.tflite.model import TFLiteModel
from export.tflite.two_step_means import in_two_steps
from kerascnn.preprocessing import Preprocessing

QUIET = {"progress": False}
NAMES = ["float32", "float16", "plain_weight_int8", "plain_int8"]


def network(side: int, value: float = 6.0) -> keras.Model:
    """A map of one value, less the image's light, its mean, and three logits."""
    x = inputs = keras.Input((side, side, 3), name="image")
    x = layers.Conv2D(4, 1, name="flat")(x)
    x = layers.GlobalAveragePooling2D(name="squeeze")(x)
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x), name="flat")
    kernel = np.zeros((1, 1, 3, 4), np.float32)
    kernel[0, 0, range(3), range(3)] = -1e-3
    model.get_layer("flat").set_weights([kernel, np.full(4, value, np.float32)])
    logits = np.zeros((4, 3), np.float32)
    logits[range(3), range(3)] = 0.1
    model.get_layer("logits").set_weights([logits, np.zeros(3, np.float32)])
    return model


def reached(side: int, value: float = 6.0) -> HalfRange:
    model = network(side, value)
    plain = Preprocessing(height=side, width=side, channels=3, mean=0.0)
    pictures = np.zeros((2, side, side, 3), np.uint8)
    names = {layer.name for layer in model.layers}
    return half_range(TFLiteModel.open(to_tflite(model)), plain, pictures, names)


def test_places_that_are_masked_out_reach_nothing() -> None:
    """As suppression masks what is no candidate, by the lowest number that there is."""
    inputs = keras.Input((8, 8, 3), name="image")
    masked = keras.ops.where(inputs > 1e6, inputs, np.finfo(np.float32).min)
    x = layers.GlobalMaxPooling2D()(keras.ops.maximum(masked, inputs))
    model = keras.Model(inputs, layers.Dense(3, kernel_initializer="zeros")(x))
    pictures = np.full((1, 8, 8, 3), 255, np.uint8)
    plain = Preprocessing(height=8, width=8, channels=3, mean=0.0, std=1.0)
    assert half_range(TFLiteModel.open(to_tflite(model)), plain, pictures).activation == 255.0


def test_the_largest_are_measured_and_named() -> None:
    """By hand: 32 x 32 sixes are 6,144; in two steps 32 of them."""
    found = reached(32)
    assert (found.activation, found.activation_layer) == (6.0, "flat")
    assert (found.sum, found.sum_layer) == (6144.0, "squeeze")
    assert found.two_steps == {}  # nothing is to be mended
    told = found.to_dict(rewritten=True)
    assert warnings(told) == []
    assert summary(told) == "activations up to 6, sums of means up to 6,144, of 65,504"
    assert json.loads(json.dumps(told)) == told


@pytest.mark.parametrize("sign", [1, -1])
def test_sums_of_both_signs_count(sign: int) -> None:
    found = reached(40, sign * 6.0)
    assert found.sum == 9600.0 > NEAR
    ((_name, two_steps),) = found.two_steps.items()
    assert two_steps == 240.0
    (line,) = warnings(found.to_dict(rewritten=False))
    assert line.startswith("the mean squeeze adds up 9,600: half precision ends at 65,504, and ")
    (line,) = warnings(found.to_dict(rewritten=True))
    assert "is written in two steps that add up 240 at most" in line


def test_each_limit_from_both_sides() -> None:
    def lines(**changed: float) -> list[str]:
        plain = {"activation": 1.0, "activation_layer": "a", "sum": 1.0, "sum_layer": "s"}
        return warnings({**plain, "two_steps": None, **changed})

    assert lines(activation=NEAR - 1, sum=NEAR - 1) == []
    (near,) = lines(activation=NEAR)
    assert near.startswith("activations of a reach 8,188: ")
    assert "infinity" not in near
    (held,) = lines(activation=LARGEST)
    assert "infinity" not in held
    (beyond,) = lines(activation=LARGEST + 1)
    assert "infinity or NaN" in beyond
    (summed,) = lines(sum=LARGEST + 1)
    assert summed.startswith("the mean s adds up 65,505: ")
    assert "infinity or NaN" in summed
    # Two steps that are too large themselves are no remedy.
    (large,) = lines(sum=1e6, two_steps=NEAR)
    assert "infinity or NaN" in large
    assert "no finite number" in lines(activation=ENDLESS)[0]


def test_means_in_two_steps_answer_the_same(tmp_path: Path) -> None:
    side = 24
    keras.utils.set_random_seed(0)
    model, plain = network(side), Preprocessing(height=side, width=side, channels=3)
    model.get_layer("flat").set_weights(
        [np.random.default_rng(1).normal(size=(1, 1, 3, 4)).astype(np.float32), np.ones(4)]
    )
    pictures = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), np.uint8)
    file = TFLiteModel.open(to_tflite(model))
    (mean,) = (
        file.graph.tensors[one.outputs[0]].name.decode()
        for one in file.graph.operators
        if file.unpacked.operatorCodes[one.opcodeIndex].builtinCode == schema.BuiltinOperator.MEAN
    )
    found = {}
    for name, outputs in (("plain", {"another"}), ("two", {mean})):
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(TFLiteModel.edited(file.packed(), in_two_steps, outputs=outputs))
        runtime = runtimes.load(path, plain)
        assert runtime.partitions == 1
        found[name] = runtime.predict(pictures)
    np.testing.assert_allclose(found["two"], found["plain"], rtol=1e-5)
    edited = TFLiteModel.open((tmp_path / "two.tflite").read_bytes())
    assert len(edited.graph.operators) == len(file.graph.operators) + 1
    # Measured again: the columns of 24, and the row of 24 means of them.
    before = half_range(file, plain, pictures)
    after = half_range(edited, plain, pictures)
    assert after.sum < before.sum / (side / 2)


@IN_CI
def test_the_whole_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of one run files are warned of in compress, info and the report; of another none is."""
    colours.folders(tmp_path / "pets", 12)
    told = {}
    for side in (112, 24):
        network(side).save(tmp_path / f"net{side}.keras")
        run = kerascnn.import_model(
            tmp_path / f"net{side}.keras", data=tmp_path / "pets", out=tmp_path / f"run{side}",
            preprocessing="none", **QUIET,
        )  # fmt: skip
        capsys.readouterr()
        run.compress(NAMES, onnx=False)
        err = capsys.readouterr().err
        page = (run.folder / "report.html").read_text("utf-8")
        for name in NAMES:
            path = run.folder / "artefacts" / f"{name}.tflite"
            beside = json.loads(path.with_suffix(".json").read_text("utf-8"))
            told[side, name] = warnings(beside["half_precision"])
            assert beside["half_precision"]["images"] > 0
            for line in told[side, name]:
                assert line in err
                assert line in as_text(info(path))
                assert line in page
        assert ("half precision ends" in page) == (side == 112)
        assert ("half precision ends" in err) == (side == 112)
    for name in NAMES[:-1]:
        (line,) = told[112, name]
        assert "in two steps that add up 672 at most" in line
    (int8,) = told[112, "plain_int8"]
    assert "infinity or NaN" in int8
    assert not any(told[24, name] for name in NAMES)
    shown = as_text(info(tmp_path / "run24" / "artefacts" / "float32.tflite"))
    assert "float16     activations up to 6, sums of means up to 3,456, of 65,504" in shown
    assert "XNNPACK     1 partition" in shown
