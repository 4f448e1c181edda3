"""Fronts and best choices on hand-made rows; the columns of results.csv."""

from __future__ import annotations

import csv
import pathlib
from typing import Any

import pytest

from export.results import Result, best_choices, pareto, write_csv


def result(**given: Any) -> Result:
    values = {
        "run": "digits",
        "model": "lenet5",
        "variant": "float32",
        "format": "tflite",
        "parameters": 61_706,
        "macs": 416_520,
        "bytes": 250_000,
        "download_bytes": 230_000,
        "metric": "accuracy",
        "value": 98.0,
        "float_value": 98.0,
        "drop": 0.0,
        "latency_ms": 0.05,
        "latency_p95_ms": 0.06,
        "threads": 1,
        "peak_arena_bytes": None,
        "sparsity": 0.0,
        "fits": True,
        "agreement": 100.0,
        "max_logit_diff": 1e-6,
        "partitions": 1,
        "sha256": "0" * 64,
    }
    return Result(**(values | given))


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
    misfit = result(bytes=1, latency_ms=0.001, value=99.9, fits=False)
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
    assert best_choices([result(fits=False)]) == {}
    assert best_choices([]) == {}


def test_nothing_is_fastest_where_nothing_was_timed():
    assert set(best_choices([result(latency_ms=None)])) == {"smallest", "most accurate"}


def test_csv_has_the_promised_columns_and_reads_back(tmp_path: pathlib.Path):
    path = tmp_path / "results.csv"
    misfit = result(fits=False, latency_ms=None, latency_p95_ms=None, partitions=None)
    write_csv(path, [result(run='a "name", with commas', value=98.1), misfit])
    with path.open(newline="", encoding="utf-8") as stream:
        first, second = csv.DictReader(stream)
    promised = (
        "model variant format parameters macs bytes download_bytes metric value float_value drop "
        "latency_ms latency_p95_ms threads peak_arena_bytes sparsity fits sha256"
    )
    assert set(promised.split()) <= set(first)
    assert first["run"] == 'a "name", with commas'
    assert (first["fits"], second["fits"]) == ("true", "false")
    assert (first["latency_ms"], second["latency_ms"]) == ("0.05", "")
    assert (first["peak_arena_bytes"], second["partitions"]) == ("", "")
    assert float(first["value"]) == 98.1
    assert first["bytes"] == "250000"


def test_label_tells_onnx_files_apart():
    assert result().label == "digits float32"
    assert result(format="onnx").label == "digits float32 (onnx)"
