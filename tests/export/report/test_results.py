"""Fronts and best choices on hand-made rows; the columns of results.csv."""

from __future__ import annotations

import csv
import dataclasses
import json
import pathlib
import types
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from report_rows import result

from export.artefacts import artefact
from export.artefacts.artefact import Artefact
from export.artefacts.significance import drop_interval, pack
from export.artefacts.variants import parse_variant
from export.onnx.convert import to_onnx
from export.onnx.model import ONNXModel
from export.report import compare
from export.report.results import (
    Choice,
    Result,
    best_choices,
    chosen_text,
    drop_words,
    metric_of,
    nothing_recommended,
    pareto,
    signed,
    usable,
    write_csv,
)
from export.report.table import table
from export.runtime.benchmark import Latency
from export.tflite import flatbuffer
from export.tflite.convert import to_tflite
from export.tflite.model import TFLiteModel
from export.tflite.quantise import quantise_file
from kerascnn import zoo
from kerascnn.errors import InputError


def test_front_keeps_what_no_cheaper_file_equals_or_beats():
    small, worse, same, best = (
        result(bytes=10, value=90.0),
        result(bytes=20, value=89.0),
        result(bytes=30, value=90.0),
        result(bytes=40, value=95.0),
    )
    assert pareto([best, same, worse, small], "bytes") == [small, best]


def test_of_equally_large_files_the_more_accurate_is_on_the_front():
    low, high = result(bytes=10, value=90.0), result(bytes=10, value=91.0)
    assert pareto([low, high], "bytes") == [high]


def test_twins_are_on_the_front_once():
    assert len(pareto([result(variant="a"), result(variant="b")], "bytes")) == 1


def test_misfits_and_untimed_files_are_never_on_the_front():
    misfit = result(bytes=1, latency_ms=0.001, value=99.9, verified="no")
    untimed, timed = result(bytes=2, latency_ms=None), result(bytes=3)
    assert pareto([misfit, untimed, timed], "bytes") == [untimed]
    assert pareto([misfit, untimed, timed], "latency_ms") == [timed]


def test_best_choices_stay_within_one_point_of_the_most_accurate():
    best = result(value=98.0, bytes=900, latency_ms=0.9)
    small = result(value=97.5, bytes=100, latency_ms=0.5)
    fast = result(value=97.2, bytes=200, latency_ms=0.1)
    tiny = result(value=96.9, bytes=1, latency_ms=0.01)
    assert best_choices([tiny, fast, small, best]) == {
        "smallest": small,
        "fastest": fast,
        "most accurate": best,
    }


@pytest.mark.parametrize("tenths", range(900, 1001))
def test_a_file_exactly_one_point_below_still_counts(tenths: int):
    best = result(value=100 * (tenths / 1000), bytes=2)
    small = result(value=100 * ((tenths - 10) / 1000), bytes=1)
    assert best_choices([best, small])["smallest"] is small


def test_ties_go_to_the_smaller_and_then_to_the_more_accurate():
    large, small = result(bytes=200), result(bytes=100, latency_ms=0.2)
    assert best_choices([large, small])["most accurate"] is small
    better = result(bytes=100, value=98.5, latency_ms=0.2)
    assert best_choices([small, better])["smallest"] is better
    assert best_choices([small, better])["fastest"] is better


def test_nothing_is_chosen_where_nothing_fits():
    assert best_choices([result(verified="no")]) == {}
    assert best_choices([]) == {}


def test_nothing_is_fastest_where_nothing_was_timed():
    assert set(best_choices([result(latency_ms=None)])) == {"smallest", "most accurate"}


def test_csv_has_the_promised_columns_and_reads_back(tmp_path: pathlib.Path):
    path = tmp_path / "results.csv"
    misfit = result(verified="no", latency_ms=None, latency_p95_ms=None, partitions=None)
    write_csv(path, [result(run='a "name", with commas', value=98.1), misfit])
    with path.open(newline="", encoding="utf-8") as stream:
        first, second = csv.DictReader(stream)
    promised = (
        "model variant format parameters macs bytes download_bytes metric value float_value drop "
        "latency_ms latency_p95_ms threads peak_arena_bytes sparsity fits sha256"
    )
    assert set(promised.split()) <= set(first)
    columns = list(first)
    for before, after in (
        ("parameters", ["nonzero_parameters"]),
        ("drop", ["drop_low", "drop_high"]),
        ("latency_p95_ms", ["latency_low_ms", "latency_high_ms"]),
        ("sparsity", ["seconds"]),
        ("fits", ["verified"]),
        ("sha256", ["pictures"]),
    ):
        start = columns.index(before) + 1
        assert columns[start : start + len(after)] == after
    assert (first["drop_low"], first["drop_high"], first["seconds"]) == ("-0.2", "0.3", "12.5")
    assert first["run"] == 'a "name", with commas'
    assert (first["fits"], second["fits"]) == ("true", "false")
    assert (first["verified"], second["verified"]) == ("yes", "no")
    assert (first["choice_value"], first["chosen_on"]) == ("98.1", "held-out")
    assert (first["latency_ms"], second["latency_ms"]) == ("0.05", "")
    assert (first["peak_arena_bytes"], second["partitions"]) == ("", "")
    assert float(first["value"]) == 98.1
    assert first["bytes"] == "250000"


def test_label_tells_onnx_files_apart():
    assert result().label == "digits float32"
    assert result(format="onnx").label == "digits float32 (onnx)"


@pytest.mark.parametrize(
    ("low", "high", "noise"),
    [(-0.1, 0.2, True), (0.0, 0.2, True), (0.0, 0.0, True), (0.1, 0.4, False), (-2, -1, False)],
)
def test_a_drop_is_noise_where_its_interval_holds_zero(low: float, high: float, noise: bool):
    drop = (low + high) / 2
    assert result(drop=drop, drop_low=low, drop_high=high).within_noise is noise


def test_a_drop_that_is_written_as_zero_is_noise():
    assert result(drop=0.03, drop_low=0.01, drop_high=0.04).within_noise
    assert not result(drop=0.06, drop_low=0.01, drop_high=0.09).within_noise


@pytest.mark.parametrize(
    ("points", "words", "sign"),
    [
        (0.1, "drop 0.1", "+0.1"),
        (-0.1, "gain 0.1", "-0.1"),
        (0.04, "no drop", "+0.0"),
        (-0.04, "no drop", "+0.0"),
        (12.34, "drop 12.3", "+12.3"),
    ],
)
def test_a_loss_is_a_positive_drop_in_words_and_figures(points: float, words: str, sign: str):
    assert drop_words(points) == words
    assert signed(points) == sign
    assert result(drop=points, agreement=99.0).drop_text == words


def test_equal_answers_are_told_as_equal():
    equal = result(drop=0.0, drop_low=0.0, drop_high=0.0)
    assert equal.drop_text == "same answers"
    assert not equal.has_interval
    # Right on the same pictures, but not the same answers.
    assert result(drop=0.0, drop_low=0.0, drop_high=0.0, agreement=99.9).drop_text == "no drop"


def test_an_interval_is_told_from_fifty_pictures_on():
    assert not result(pictures=49).has_interval
    assert result(pictures=50).has_interval
    assert result(pictures=None).has_interval  # of a phone, or unknown
    assert not result(drop_low=float("nan"), drop_high=float("nan")).has_interval


def rounds_of(*medians: float) -> tuple[float, ...]:
    return tuple(medians[i % len(medians)] for i in range(20))


@pytest.mark.parametrize(("float_ms", "int8_ms"), [(5.079, 5.038), (4.579, 4.684), (1.0, 1.049)])
def test_latencies_that_differ_by_little_tie_and_the_smaller_file_is_taken(
    float_ms: float, int8_ms: float
):
    """The figures of two runs on one idle machine, which named one file each the fastest."""
    large = result(bytes=13_460_000, latency_ms=float_ms, rounds_ms=rounds_of(float_ms))
    small = result(bytes=3_670_000, latency_ms=int8_ms, rounds_ms=rounds_of(int8_ms), value=97.9)
    for order in ([large, small], [small, large]):
        assert best_choices(order)["fastest"] is small


def test_a_machine_that_is_not_calm_ties_what_it_cannot_tell_apart():
    """In half of the rounds the one is faster, in half the other; the medians are 9% apart."""
    wild, calm = rounds_of(1.0, 1.6, 1.05, 1.7), rounds_of(1.5, 1.1, 1.6, 1.0)
    first = result(bytes=20, latency_ms=1.2, rounds_ms=wild)
    second = result(bytes=10, latency_ms=1.32, rounds_ms=calm)
    assert best_choices([first, second])["fastest"] is second
    # The same medians, each round alike: the slower file is slower.
    steady = [
        dataclasses.replace(r, rounds_ms=rounds_of(r.latency_ms or 0)) for r in (first, second)
    ]
    assert best_choices(steady)["fastest"] is steady[0]
    # A slow moment that hits both in the same rounds is no doubt.
    slow = np.where(np.arange(20) % 3 == 0, 3.0, 1.0)
    shared = [
        dataclasses.replace(r, rounds_ms=tuple(slow * (r.latency_ms or 0))) for r in (first, second)
    ]
    assert best_choices(shared)["fastest"] is shared[0]


def test_raw_files_stand_beside_whole_ones_and_are_not_taken():
    whole = result(variant="int8", bytes=100, latency_ms=1.0)
    slower = result(variant="float32", bytes=400, latency_ms=2.0)
    raw = result(variant="int8_raw", bytes=90, latency_ms=0.5)
    assert set(best_choices([raw, whole, slower]).values()) == {whole}
    assert pareto([raw, whole, slower], "latency_ms") == [whole]
    assert set(best_choices([raw]).values()) == {raw}


def test_choices_are_made_on_the_set_aside_pictures_where_all_files_have_them():
    def aside(value: float) -> Choice:
        return Choice(pictures=60, value=value, float_value=98.0)

    lucky = result(variant="lucky", bytes=10, value=99.0, choice=aside(90.0), pictures=100)
    good = result(variant="good", bytes=20, value=97.0, choice=aside(98.0), pictures=100)
    assert set(best_choices([lucky, good]).values()) == {good}
    assert pareto([lucky, good], "bytes") == [lucky]
    assert pareto([lucky, good], "bytes", by_choice=True) == [lucky, good]
    assert (good.choice_value, good.chosen_on, good.choice_pictures) == (98.0, "validation", 60)
    assert chosen_text([lucky, good]) == (
        "chosen on the 60 validation images; the figures are of the 100 held-out ones"
    )
    # Figures of two splits do not mix.
    old = dataclasses.replace(good, choice=None)
    assert set(best_choices([lucky, old]).values()) == {lucky}
    assert (old.choice_value, old.chosen_on, old.choice_pictures) == (97.0, "held-out", 100)
    assert chosen_text([lucky, old]) == (
        "chosen on the 100 held-out images that are shown: there was no validation split"
    )


def test_of_a_network_that_finds_nothing_no_file_is_recommended():
    nothing = result(metric="AP", value=0.0, below_floor="this network finds nothing yet: AP 0.0")
    good = result(metric="AP", value=30.0)
    assert not usable([nothing])
    assert best_choices([nothing]) == {}
    assert nothing_recommended([nothing]) == "this network finds nothing yet: AP 0.0"
    assert usable([nothing, good])
    assert set(best_choices([nothing, good]).values()) == {good}
    assert nothing_recommended([nothing, good]) is None
    told = nothing_recommended([result(verified="not verified")])
    assert told is not None
    assert "none is verified" in told


FLOAT_RIGHT, RIGHT = (np.arange(100) % 10 != k for k in (0, 1))


def described(**given: Any) -> dict[str, Any]:
    """What lies beside a file of 100 pictures, as `compress` writes it, where it matters here."""
    return {
        "sha256": "0" * 64,
        "bytes": 30_000,
        "download_bytes": 20_000,
        "model": "lenet5",
        "variant": {"name": "slim50_int8"},
        "parameters": 30_000,
        "macs": 200_000,
        "nonzero_parameters": 29_000,
        "seconds": 61.5,
        "wrong_pictures": 3,
        "preprocessing": zoo.entry("lenet5").preprocessing(28, 28, resize="pad").to_dict(),
        "labels": list("0123456789"),
        "evaluation": {
            "metric": "accuracy",
            "value": 90.0,
            "float_value": 90.0,
            "pictures": 100,
            "data_fingerprint": "5f0c",
            "right": pack(RIGHT),
            "float_right": pack(FLOAT_RIGHT),
            "sparsity": 0.1,
            "fits": True,
            "agreement": 80.0,
            "max_logit_diff": 0.5,
            "partitions": 1,
        },
    } | given


def test_a_row_is_what_stands_beside_the_file():
    made = Artefact(pathlib.Path("slim50_int8.tflite"), described())
    row = compare.result(
        types.SimpleNamespace(name="digits", info={"request": {}}),
        made,
        Latency(median_ms=0.1, p95_ms=0.2),
    )
    assert (row.parameters, row.macs, row.nonzero_parameters) == (30_000, 200_000, 29_000)
    assert row.seconds == 61.5
    assert (row.drop_low, row.drop_high) == drop_interval(FLOAT_RIGHT, RIGHT)
    assert row.within_noise
    assert (row.pictures, row.choice, row.below_floor) == (100, None, "")


def row_of(*, imported: dict[str, str] | None = None, **evaluation: Any) -> Result:
    """Of a file of 100 pictures, with what its .json says beside what `described` has."""
    info = described()
    info["evaluation"] |= evaluation
    made = Artefact(pathlib.Path("int8.tflite"), info)
    return compare.result(
        types.SimpleNamespace(name="digits", info={"request": {"imported": imported}}),
        made,
        Latency(median_ms=0.1, p95_ms=0.2),
    )


def test_files_of_earlier_versions_have_a_verdict():
    assert row_of().verified == "yes"
    assert row_of(fits=False).verified == "no"
    told = row_of(fits=False, verified="not verified")
    assert (told.verified, told.fits) == ("not verified", False)


def test_a_row_has_what_its_file_is_chosen_by():
    told = {"split": "validation", "pictures": 40, "value": 87.5, "float_value": 90.0}
    row = row_of(choice=told)
    assert (row.choice_value, row.choice_float_value) == (87.5, 90.0)
    assert (row.chosen_on, row.choice_pictures, row.pictures) == ("validation", 40, 100)


def test_a_row_knows_whether_its_network_finds_anything():
    # Ten classes, as many pictures of each.
    assert row_of(value=10.0).below_floor.startswith("this network finds nothing yet")
    assert not row_of(value=11.0).below_floor  # of an earlier version: luck is not told from skill
    even = [10] * 10
    assert row_of(value=14.0, class_pictures=even).below_floor
    assert not row_of(value=16.0, class_pictures=even).below_floor
    told = row_of(value=14.0, class_pictures=even, imported={"source": "net.keras"}).below_floor
    assert "--preprocessing" in told
    assert "epochs" not in told
    # 90 of 100 pictures are of one class.
    most = [90, 10, *[0] * 8]
    assert row_of(value=91.0, class_pictures=most).below_floor
    assert not row_of(value=88.0, class_pictures=most, balanced_accuracy=88.0).below_floor


def test_files_of_different_networks_are_told_apart_on_the_same_pictures_alone():
    first, second = (Artefact(pathlib.Path(f"{name}.tflite"), described()) for name in "ab")
    assert compare.difference(first, second).within_noise
    worse = described()
    worse["evaluation"] |= {"right": pack(RIGHT & (np.arange(100) > 50)), "value": 44.0}
    found = compare.difference(first, Artefact(pathlib.Path("worse.tflite"), worse))
    assert found.points == pytest.approx(46.0)
    assert 0 < found.low < 46 < found.high
    other = described()
    other["evaluation"] |= {"data_fingerprint": "beef"}
    with pytest.raises(InputError, match="different images"):
        compare.difference(first, Artefact(pathlib.Path("c.tflite"), other))


@pytest.mark.parametrize(
    "lost",
    [
        *("parameters", "macs", "nonzero_parameters", "seconds", "wrong_pictures"),
        *("right", "float_right"),
    ],
)
def test_descriptions_of_earlier_versions_are_refused(tmp_path: pathlib.Path, lost: str):
    path = tmp_path / "int8.tflite"
    path.write_bytes(b"a file")
    info = described(sha256=artefact.atomic.sha256(path))
    artefact.write_info(path, info)
    np.testing.assert_array_equal(Artefact.open(path).answers[1], RIGHT)
    (info if lost in info else info["evaluation"]).pop(lost)
    artefact.write_info(path, info)
    with pytest.raises(InputError, match=rf"lacks '{lost}'.*run kerascnn compress"):
        Artefact.open(path)


def test_answers_of_another_number_of_pictures_are_damage(tmp_path: pathlib.Path):
    path = tmp_path / "int8.tflite"
    path.write_bytes(b"a file")
    info = described(sha256=artefact.atomic.sha256(path))
    info["evaluation"] |= {"pictures": 1000}
    artefact.sidecar(path).write_text(json.dumps(info), "utf-8")
    with pytest.raises(InputError, match="is damaged"):
        Artefact.open(path)


def file_of(*constants: tuple[str, list[int], np.ndarray, list[int] | None]) -> bytes:
    """A TFLite file of constants alone: type, shape, stored numbers, zero points (scale 1)."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.operatorCodes, model.signatureDefs = 3, [], []
    model.buffers, model.subgraphs = [schema.BufferT()], [graph]
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
    for kind, shape, stored, zeros in constants:
        tensor, buffer = schema.TensorT(), schema.BufferT()
        tensor.type, tensor.shape = getattr(schema.TensorType, kind), shape
        tensor.buffer = len(model.buffers)
        if zeros is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = [1.0] * len(zeros)
            tensor.quantization.zeroPoint = zeros
        buffer.data = stored.view(np.uint8)
        model.buffers.append(buffer)
        graph.tensors.append(tensor)
    return flatbuffer.write(model)


@pytest.mark.parametrize(
    ("kind", "shape", "stored", "zeros", "count"),
    [
        ("FLOAT32", [4], np.array([0, 1, -0.0, 1e-9], np.float32), None, 2),
        ("FLOAT16", [3, 1], np.array([0, 1, 2], np.float16), None, 2),
        ("FLOAT32", [], np.array([6], np.float32), None, 0),  # arithmetic
        ("INT8", [1, 3], np.array([0, -5, 5], np.int8), [0], 2),
        ("INT8", [3], np.array([3, 4, 0], np.int8), [3], 2),
        ("INT8", [2, 2], np.array([0, 1, 5, 0], np.int8), [0, 5], 2),
        ("INT4", [1, 3], np.array([0x01, 0x5F], np.uint8), [0], 2),  # 1 0 -1, half a byte over
        ("INT32", [2], np.array([0, 7], np.int32), [0], 1),  # a bias
        ("INT64", [2], np.array([0, 7], np.int64), [0], 1),
        ("INT32", [2], np.array([1, 2], np.int32), None, 0),  # axes
        ("BOOL", [2], np.array([1, 1], np.uint8), None, 0),
    ],
)
def test_weights_that_are_not_zero_are_counted(kind, shape, stored, zeros, count: int):
    one = (kind, shape, stored, zeros)
    assert TFLiteModel.open(file_of(one)).nonzero_weights() == count
    assert TFLiteModel.open(file_of(one, one)).nonzero_weights() == 2 * count


def test_every_kind_of_file_has_the_weights_of_its_network():
    """5x5x1x8 kernel and a 200x10 one, a third of each zero, and all biases; a MEAN has axes."""
    inputs = keras.Input((28, 28, 1))
    x = keras.layers.Conv2D(8, 5, strides=3, activation="relu")(inputs)
    x = keras.layers.Conv2D(16, 1, bias_initializer="ones")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(10)(x))
    rng = np.random.default_rng(0)
    # Of one size, so that no rounding makes further zeros.
    model.set_weights([rng.choice([-1, 0, 1], w.shape).astype("float32") for w in model.weights])
    wanted = sum(int(np.count_nonzero(w)) for w in model.get_weights())
    file = to_tflite(model)
    preprocessing = zoo.entry("lenet5").preprocessing(28, 28, resize="pad")
    assert TFLiteModel.open(file).nonzero_weights() == wanted
    for name in ("float16", "dynamic_int8", "weight_int4"):
        written = quantise_file(file, parse_variant(name), preprocessing)
        assert TFLiteModel.open(written).nonzero_weights() == wanted, name
    exported = to_onnx(model)
    assert ONNXModel.open(exported).nonzero_weights() == wanted
    assert ONNXModel.open(exported).weight_sparsity() == pytest.approx(
        TFLiteModel.open(file).weight_sparsity()
    )


def test_the_choices_are_for_phones() -> None:
    onnx = result(format="onnx", bytes=200_000, latency_ms=0.01, value=98.5)
    phone = result(variant="int8", bytes=250_000, latency_ms=0.05)
    assert set(best_choices([onnx, phone]).values()) == {phone}
    assert set(best_choices([onnx]).values()) == {onnx}
    assert "among the .tflite files within" in table([onnx, phone])
    assert "among the .onnx files within" in table([onnx, result(verified="no")])
    assert "among the files within" in table([phone])


def test_every_figure_is_a_percentage() -> None:
    for metric in ("accuracy", "AP", "mask AP", "mIoU"):
        one = result(metric=metric, value=37.04)
        assert one.figure == "37.0%"
        assert metric_of([one], unit=True) == f"{metric} (%)"
