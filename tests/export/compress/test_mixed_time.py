"""`mixed` under a budget of time: what is int8, what stays float, and what is promised of it."""

from __future__ import annotations

import functools
import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from dead_channels import SIDE, pictures_of
from keras import layers
from marks import IN_CI

from export.artefacts.variants import Settings, parse_variant
from export.compress.compress import compress
from export.compress.reconstruct import files
from export.compress.reconstruct.keep_float import Plan
from export.compress.reconstruct.measure import answers, noise
from export.compress.reconstruct.mixed_time import TimeReport, multiply_adds, timed
from export.graph.lower import lower_for_int8
from export.runtime.load import partitions
from export.tflite.convert import to_tflite
from export.tflite.kernel_operations import KERNEL_OPERATIONS
from export.tflite.model import TFLiteModel
from export.tools.budget import size_or_time
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.engine.run import Run

PREPROCESSING = Preprocessing(height=SIDE, width=SIDE, channels=3, mean=127.0, std=128.0)
FLOAT_MS, INT8_MS = 3.0, 1.0  # of a layer with a kernel, in `by_count`


@functools.cache
def network() -> keras.Model:
    """Two blocks, the second around an addition and hard-swish; a channel of the first is loud."""
    keras.utils.set_random_seed(0)
    image = keras.Input((SIDE, SIDE, 3), name="image")
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="stem")(image)
    x = layers.Conv2D(16, 1, activation="relu", name="expand")(x)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="depthwise")(x)
    y = layers.Conv2D(16, 1, activation="hard_silu", name="gate")(x)
    y = layers.Conv2D(16, 1, name="project")(y)
    x = layers.Add(name="add")([x, y])
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    model = keras.Model(image, layers.Dense(20, name="logits")(x))
    for name, place, factor in (
        ("expand", (..., 0), 300.0),
        ("depthwise", (..., 0, slice(None)), 1 / 300),
    ):
        kernel, bias = model.get_layer(name).get_weights()
        kernel[place] *= factor
        model.get_layer(name).set_weights([kernel, bias])
    return lower_for_int8(model)


def int8_kernels(file: bytes) -> int:
    """Operations with a kernel that compute in int8."""
    model = TFLiteModel.open(file).unpacked
    graph, count = model.subgraphs[0], 0
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode in KERNEL_OPERATIONS:
            given = graph.tensors[operator.inputs[0]]
            count += given.type == schema.TensorType.INT8
    return count


def by_count(many: Sequence[bytes]) -> list[float]:
    """A machine on which every layer of six takes 3 ms in float and 1 ms in int8."""
    return [6 * FLOAT_MS - int8_kernels(one) * (FLOAT_MS - INT8_MS) for one in many]


@functools.cache
def made(budget: float) -> tuple[TFLiteModel, TimeReport]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "timed", by_count)
        pictures = pictures_of(2, 40, SIDE)
        return files.reconstructed_in_time(network(), budget, PREPROCESSING, pictures)


@IN_CI
@pytest.mark.parametrize("budget", [6.0, 13.0, 18.0])
def test_a_budget_of_time_is_kept_and_not_more_than_that(budget: float) -> None:
    file, report = made(budget)
    (took,) = by_count([file.packed()])
    assert report.milliseconds == took <= budget
    assert budget - took < FLOAT_MS - INT8_MS  # one more in float would be too slow
    assert (report.float_ms, report.int8_ms, report.budget_ms) == (18, 6, budget)
    assert len(report.floats) == 6 - int8_kernels(file.packed())
    assert not {*report.floats} & {*report.int8}
    assert partitions(file.packed()) == 1
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()


@IN_CI
def test_more_time_never_makes_a_float_layer_int8() -> None:
    budgets = (6.0, 13.0, 18.0)
    reports = [made(budget)[1] for budget in budgets]
    for less, more in itertools.pairwise(reports):
        assert {*less.floats} < {*more.floats}
        assert less.db < more.db
    assert not reports[0].floats
    assert not reports[-1].int8
    # Between what is loud is the last that int8 gets.
    assert {*reports[1].floats} & {"expand", "depthwise"}


@IN_CI
def test_the_file_runs_and_is_as_near_as_it_says() -> None:
    float_file = to_tflite(network())
    pictures = pictures_of(1, 24, SIDE)
    wanted = answers(float_file, PREPROCESSING, pictures)
    found = [
        noise(answers(made(b)[0].packed(), PREPROCESSING, pictures), wanted)
        for b in (6.0, 13.0, 18.0)
    ]
    assert found == sorted(found)
    assert found[2] > 55  # kernels in half precision


@IN_CI
def test_what_is_too_slow_is_refused_with_what_there_is() -> None:
    with pytest.raises(
        InputError, match=r"mixed cannot take 5 ms: .* takes 18 ms in float and 6 ms in int8"
    ):
        made(5.0)


def test_operations_between_follow_their_layers() -> None:
    plan = Plan(TFLiteModel.open(to_tflite(network())), network())
    assert plan.kernels == ["stem", "expand", "depthwise", "gate", "project", "logits"]
    assert "add" not in plan.in_integers(["project"])  # one side is float
    assert "add" in plan.in_integers(["depthwise", "project"])
    assert "mean" in plan.in_integers(["depthwise", "project"])
    assert plan.in_integers([]) == []
    counts = multiply_adds(network(), plan.kernels)
    assert counts["stem"] == SIDE * SIDE * 9 * 3 * 16
    assert counts["depthwise"] == SIDE * SIDE * 9 * 16
    assert counts["logits"] == 16 * 20


def test_files_are_timed() -> None:
    found = timed([to_tflite(network())] * 2)
    assert len(found) == 2
    assert all(np.isfinite(found))
    assert min(found) > 0


def test_a_budget_is_a_size_or_a_time() -> None:
    assert size_or_time("2MB", "--budget") == {"max_bytes": 2_000_000}
    assert size_or_time("8ms", "--budget") == {"max_ms": 8.0}
    assert size_or_time("0.2s", "--budget") == {"max_ms": 200.0}
    for wrong in ("fast ms", "2 parsecs"):
        with pytest.raises(InputError, match="--budget must be like 2MB or 8ms"):
            size_or_time(wrong, "--budget")
    variant = parse_variant("mixed", Settings(max_ms=8.0))
    assert variant.to_dict()["max_ms"] == 8
    assert Settings.of(variant.to_dict()).max_ms == 8
    assert "max_ms" not in parse_variant("mixed").to_dict()
    with pytest.raises(InputError, match="--budget is a size or a time, not both"):
        Settings(max_ms=8.0, max_bytes=2_000_000)


@IN_CI
def test_a_run_has_a_file_within_a_time(
    lenet_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "timed", by_count)
    shutil.copytree(lenet_run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("artefacts"))
    run = Run.open(tmp_path / "run")
    settings = Settings(calibration_pictures=20, max_ms=13.0)
    ((made,), _new) = compress(run, ["mixed"], onnx=False, settings=settings)
    told = made.info["layers"]
    assert told["milliseconds"] == 12
    assert len(told["floats"]) == 4  # of seven, as averages are convolutions in int8
    assert made.info["evaluation"]["verified"] == "yes"
    assert made.info["evaluation"]["partitions"] == 1
    assert made.info["input"]["type"] == "float32"
    assert made.info["variant"]["max_ms"] == 13
    assert compress(run, ["mixed"], onnx=False, settings=settings)[1] is False


@IN_CI
def test_a_run_has_a_file_within_a_size(lenet_run: Run, tmp_path: Path) -> None:
    """What stands behind the network counts, too."""
    shutil.copytree(lenet_run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("artefacts"))
    run = Run.open(tmp_path / "run")
    settings = Settings(calibration_pictures=10, max_bytes=60_000)
    ((made,), _new) = compress(run, ["mixed"], onnx=False, settings=settings)
    assert 45_000 < made.path.stat().st_size <= 60_000
    assert made.info["layers"]["budget"] == 60_000
    assert {layer["bits"] for layer in made.info["layers"]["layers"]} == {4, 8}
