"""The table of the Android demo: read, refused by line and column, joined with the files."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from pathlib import Path
from typing import Any

import pytest
from report_rows import HOSTILE, Table, page, rows

from export.report import chart, device_results, results
from export.report.device_results import (
    COLUMNS,
    File,
    join,
    on_phone,
    read,
)
from export.report.results import best_choices
from kerascnn.errors import InputError

SHA = "a" * 64


def table_of(*lines: dict[str, Any], columns: tuple[str, ...] = COLUMNS) -> str:
    """What the app shares; a line has what matters to a test."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(line_of(**line) for line in lines)
    return text.getvalue()


def line_of(**given: Any) -> dict[str, Any]:
    """Of `rows()[0]`, unless told otherwise."""
    return {
        "model": "lenet5",
        "variant": "float32",
        "format": "tflite",
        "bytes": 250000,
        "latency_ms": "2.5",
        "latency_p95_ms": "3.25",
        "threads": 4,
        "device": "Google Pixel 7",
        "android": "14",
        "accelerator": "CPU",
        "file": "lenet5-float32.tflite",
    } | given


@pytest.fixture
def shared(tmp_path: Path) -> Any:
    """Write a table and read it."""

    def reads(text: str | bytes) -> list[device_results.DeviceResult]:
        path = tmp_path / "phone.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read(path)

    return reads


def files() -> list[File]:
    """Those of `rows()`, each with a hash of its own."""
    return [
        File(run=r.run, model=r.model, variant=r.variant, bytes=r.bytes, metric=r.metric,
             sha256=f"{i:064x}")
        for i, r in enumerate(rows())
    ]  # fmt: skip


def test_the_columns_are_those_of_results_csv_and_the_phone_s_own() -> None:
    assert COLUMNS[:3] == ("run", "model", "variant")
    own = COLUMNS.index("device")
    assert COLUMNS[own - 1 : own + 5] == (
        *("sha256", "device", "android", "accelerator", "pictures", "file"),
    )
    assert len(set(COLUMNS)) == len(COLUMNS) == len(results.COLUMNS) + 15
    assert (*COLUMNS, "gpu", "npu", "float_layers") == device_results.WRITTEN


def test_tables_of_earlier_apps_are_read(shared: Any) -> None:
    earlier = COLUMNS[: COLUMNS.index("file") + 1]
    (one,) = shared(table_of({}, columns=earlier))
    assert (one.latency_p99_ms, one.runs, one.rounds, one.ended) == (None, None, "", "")


def test_what_a_phone_tells_of_a_measurement_is_kept(shared: Any) -> None:
    told = {
        **{"latency_p90_ms": "3", "latency_p99_ms": "4", "init_ms": "20.5", "runs": 400},
        **{"nodes": 65, "plan_nodes": 2, "rounds": "1/3", "ended": "background"},
        **{"accelerator_used": "GPU in part", "runtime": "1.4.1", "soc": "Google Tensor G2"},
        **{"thermal_before": "none", "thermal_after": "light", "accelerator": "GPU"},
        "selftest": "verified",
    }
    read_back = shared(table_of(told))
    phones, said = join(read_back, files())
    assert said == [
        "line 2: lenet5 float32 (250,000 bytes) was not measured to the end (background, after 1/3 "
        "rounds)"
    ]
    line = dict(zip(device_results.WRITTEN, device_results.table(rows(), phones)[-1], strict=True))
    assert {name: str(line[name]) for name in told} == {
        **{name: str(value) for name, value in told.items()},
        **{"latency_p90_ms": "3.0", "latency_p99_ms": "4.0"},
    }


def test_files_that_answer_otherwise_on_a_phone_are_named(shared: Any) -> None:
    for word, named in (("differs by 3.2%", True), ("differs", True), ("verified", False)):
        phones, said = join(shared(table_of({"selftest": word})), files())
        assert len(phones) == 1  # their times are true all the same
        assert [
            f"does not answer there as the file says that it does ({word})" in one for one in said
        ] == ([True] if named else [])


def test_a_cell_that_no_sheet_is_to_work_out_is_read_without_its_apostrophe(shared: Any) -> None:
    one, two = shared(table_of({"model": "'=SUM(A1)"}, {"model": "'quoted'"}))
    assert (one.model, two.model) == ("=SUM(A1)", "'quoted'")


def test_a_table_is_read_as_it_stands(shared: Any) -> None:
    judged = {"metric": "accuracy", "value": "97.5", "pictures": 40, "sha256": SHA.upper()}
    one, two = shared(table_of({}, {**judged, "run": "digits", "latency_ms": "1e1"}))
    assert (one.line, two.line) == (2, 3)
    assert one.setup.label == "Google Pixel 7 (Android 14), CPU, 4 threads"
    assert one.setup.short == "Google Pixel 7 CPU\N{MULTIPLICATION SIGN}4"
    assert (one.latency_ms, one.latency_p95_ms, one.bytes) == (2.5, 3.25, 250_000)
    assert (one.value, one.pictures, one.sha256, one.run) == (None, None, "", "")
    assert (two.value, two.pictures, two.metric) == (97.5, 40, "accuracy")
    assert (two.sha256, two.run, two.latency_ms) == (SHA, "digits", 10.0)


def test_a_spreadsheet_may_have_had_it_between(shared: Any) -> None:
    """Byte-order mark, columns in another order and of its own, blank lines, quoted cells."""
    text = table_of({"device": 'a "great"\nphone, really'}, columns=(*COLUMNS[::-1], "remark"))
    (one,) = shared(b"\xef\xbb\xbf" + text.replace("\r\n", "\n").encode() + b"\n\n")
    assert one.setup.device == 'a "great" phone, really'
    assert one.line == 3  # where it ends


@pytest.mark.parametrize(
    ("given", "column"),
    [
        ({"device": ""}, "device"),
        ({"device": "x" * 81}, "device"),
        ({"device": "Pixel\x1b[31m"}, "device"),
        ({"accelerator": " "}, "accelerator"),
        ({"model": "x" * 81}, "model"),
        ({"variant": "\x07"}, "variant"),
        ({"threads": "0"}, "threads"),
        ({"threads": "four"}, "threads"),
        ({"threads": "4.0"}, "threads"),
        ({"bytes": "-1"}, "bytes"),
        ({"bytes": "1_000"}, "bytes"),
        ({"bytes": "9" * 400}, "bytes"),
        ({"latency_ms": "nan"}, "latency_ms"),
        ({"latency_ms": "0"}, "latency_ms"),
        ({"latency_ms": "-2"}, "latency_ms"),
        ({"latency_ms": "1e400"}, "latency_ms"),
        ({"latency_ms": "2,5"}, "latency_ms"),
        ({"latency_ms": "٢"}, "latency_ms"),
        ({"latency_p95_ms": ""}, "latency_p95_ms"),
        ({"latency_ms": "", "latency_p95_ms": ""}, "latency_ms"),
        ({"value": "101", "pictures": 9, "metric": "accuracy"}, "value"),
        ({"value": "50", "pictures": "", "metric": "accuracy"}, "pictures"),
        ({"value": "50", "pictures": 9, "metric": ""}, "metric"),
        ({"value": "", "pictures": 9, "metric": "accuracy"}, "value"),
        ({"sha256": "abc"}, "sha256"),
    ],
)
def test_a_broken_cell_is_refused_by_line_and_column(
    shared: Any, given: dict[str, Any], column: str
) -> None:
    with pytest.raises(InputError, match=rf"phone\.csv, line 3: column '{column}' is ") as refused:
        shared(table_of({}, given))
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: no column 'model'"),
        ("a,b\n1,2\n", "line 1: no column 'model'"),
        (table_of({}, columns=COLUMNS).replace("device", "devise"), "line 1: no column 'device'"),
        (table_of({}).replace("format", "bytes"), "line 1: column 'bytes' stands there twice"),
        (table_of(), "line 2: nothing was measured"),
        (table_of({}) + "lenet5,int8\r\n", "line 3: ends before column 'variant'"),
        (table_of({}) + "," * 99, "line 3: goes on after the last column, 'selftest'"),
        (table_of({}) + '"lenet5', "line 3: not a line of CSV"),
        (b"PK\x03\x04\n\xff", "line 2: not UTF-8"),
    ],
)
def test_what_is_no_such_table_is_refused(shared: Any, text: str | bytes, told: str) -> None:
    with pytest.raises(InputError, match=rf"phone\.csv, {told}"):
        shared(text)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.csv: no such file"):
        read(tmp_path / "no.csv")


def test_lines_find_their_files(shared: Any) -> None:
    """By hash alone where there is one, else by model, variant, size, and run if told."""
    told = shared(
        table_of(
            {"sha256": f"{1:064x}", "model": "renamed"},
            {"run": "lenet5", "latency_ms": "7"},
            {"model": "mobilenet_v3_small", "variant": "float16", "bytes": 3_000_000},
            {"sha256": SHA},
            {"bytes": 250_001},
            {"run": "another"},
            {"variant": "int8"},
            {"accelerator": "GPU"},
            {"latency_ms": "1.5"},
            {"model": "", "variant": ""},
        )
    )
    phones, left_out = join(told, files())
    assert [phone.setup.accelerator for phone in phones] == ["CPU", "GPU"]
    found = {i: one.latency_ms for i, one in phones[0].results.items()}
    assert found == {1: 2.5, 0: 1.5, 5: 2.5}  # of two lines on one file the last
    assert list(phones[1].results) == [0]
    assert left_out == [
        "line 5: no file here is lenet5 float32 (250,000 bytes); it is left out",
        "line 6: no file here is lenet5 float32 (250,001 bytes); it is left out",
        "line 7: no file here is another float32 (250,000 bytes); it is left out",
        "line 8: no file here is lenet5 int8 (250,000 bytes); it is left out",
        "line 11: no file here is a file without a name (250,000 bytes); it is left out",
    ]


def test_a_line_that_may_be_of_two_files_is_of_none(shared: Any) -> None:
    told, known = shared(table_of({})), files()
    twin = dataclasses.replace(known[0], run="another", sha256=SHA)
    assert join(told, [known[0], twin]) == (
        [],
        ["line 2: several files here may be lenet5 float32 (250,000 bytes); it is left out"],
    )
    # The same bytes in two runs are one file.
    (phone,), none = join(told, [known[0], dataclasses.replace(known[0], run="another")])
    assert (list(phone.results), none) == ([0, 1], [])


def test_figures_of_another_metric_are_left_out(shared: Any) -> None:
    told = shared(table_of({"metric": "mIoU", "value": 50, "pictures": 9}))
    phones, (line,) = join(told, files())
    assert phones == []
    assert line.startswith("line 2: lenet5 float32")
    assert "measured by accuracy, not by mIoU" in line


def measured(shared: Any, *lines: dict[str, Any]) -> list[device_results.Phone]:
    phones, left_out = join(shared(table_of(*lines)), files())
    assert not left_out
    return phones


def test_the_report_has_columns_and_a_chart_of_each_phone(shared: Any, tmp_path: Path) -> None:
    judged = {"metric": "accuracy", "value": "97.5", "pictures": 40}
    phones = measured(
        shared, judged, {"variant": "float16", "bytes": 125_000, "latency_ms": "1.5"},
        {"accelerator": "GPU", "latency_ms": "0.75"},
    )  # fmt: skip
    plain, text = page(tmp_path), page(tmp_path, phones=phones)
    head, *body = Table(text).rows
    times = "\N{MULTIPLICATION SIGN}4"
    cpu, gpu = f"Google Pixel 7 CPU{times}", f"Google Pixel 7 GPU{times}"
    start = head.index("Latency, ms") + 1
    added = [f"{cpu}, ms", f"{cpu}, p95", f"{cpu}, %", f"{gpu}, ms", f"{gpu}, p95"]
    assert head[start : start + 5] == added
    assert head[:start] + head[start + 5 :] == Table(plain).rows[0]
    dash = "\N{EN DASH}"
    assert body[0][start : start + 5] == ["2.50", "3.25", "97.5", "0.750", "3.25"]
    assert body[1][start : start + 5] == ["1.50", "3.25", dash, dash, dash]
    assert body[2][start : start + 5] == [dash] * 5
    assert all(len(cells) == len(head) for cells in body)
    captions = re.findall(r"<figcaption>([^<]*)</figcaption>\n<div class=\"wide\">", text)
    assert captions == [
        "Accuracy against size",
        "Accuracy against latency",
        "Accuracy against latency on Google Pixel 7 (Android 14), CPU, 4 threads",
        "Accuracy against latency on Google Pixel 7 (Android 14), GPU, 4 threads",
    ]
    assert "40 of them: other images than the held-out ones" in text
    assert "Measured on phones" in text
    assert "Measured on phones" not in plain
    # Every name that a drawing refers to is its own.
    names = re.findall(r' id="([^"]*)"', text)
    assert len(set(names)) == len(names)


def test_the_chart_of_a_phone_shows_what_was_timed_there(shared: Any) -> None:
    phones = measured(
        shared, {}, {"variant": "float16", "bytes": 125_000, "latency_ms": "9"},
        {"model": "mobilenet_v3_small", "variant": "float16", "bytes": 3_000_000},
    )  # fmt: skip
    timed = on_phone(rows(), phones[0])
    assert [r.latency_ms for r in timed] == [2.5, 9, None, None, None, 2.5, None, None]
    assert {r.threads for r in timed} == {4}
    # What is fastest here may not be there.
    assert best_choices(rows())["fastest"].label == "lenet5 float16"
    # Both of the two fastest took 2.5 ms; the smaller one is taken.
    assert best_choices(timed)["fastest"].label == "lenet5 float32"
    svg = chart.phone_svg(timed, phones[0].setup.label)
    assert svg.count("<title>") == 3
    assert "lenet5 float16: 98.3%, 125.0 KB, 9.00 ms" in svg
    assert "on the phone" in svg


def test_a_phone_that_timed_nothing_has_no_chart(shared: Any, tmp_path: Path) -> None:
    judged = {"metric": "accuracy", "value": "97.5", "pictures": 40}
    text = page(tmp_path, phones=measured(
        shared, {**judged, "latency_ms": "", "latency_p95_ms": ""}
    ))  # fmt: skip
    assert "against latency on" not in text
    head = Table(text).rows[0]
    assert [name for name in head if "Pixel" in name] == [
        "Google Pixel 7 CPU\N{MULTIPLICATION SIGN}4, %"
    ]


def test_phones_that_differ_in_android_alone_are_told_apart(shared: Any, tmp_path: Path) -> None:
    phones = measured(shared, {}, {"android": "15"})
    head = Table(page(tmp_path, phones=phones)).rows[0]
    assert "Google Pixel 7 (Android 14), CPU, 4 threads, ms" in head
    assert "Google Pixel 7 (Android 15), CPU, 4 threads, ms" in head


def test_names_of_phones_are_text_and_nothing_else(shared: Any, tmp_path: Path) -> None:
    text = page(tmp_path, phones=measured(shared, {"device": HOSTILE, "android": HOSTILE}))
    assert "<script>alert" not in text
    assert text.count("<script") == 1


def test_the_csv_has_both(shared: Any, tmp_path: Path) -> None:
    judged = {"metric": "accuracy", "value": "97.5", "pictures": 40}
    phones = measured(shared, judged)
    path = tmp_path / "results.csv"
    results.write_table(path, device_results.WRITTEN, device_results.table(rows(), phones))
    with path.open(newline="", encoding="utf-8") as stream:
        *here, there = csv.DictReader(stream)
    assert len(here) == 8
    assert (here[0]["value"], here[0]["device"], here[0]["pictures"]) == ("98.3", "", "")
    assert (there["run"], there["variant"], there["macs"]) == ("lenet5", "float32", "416520")
    assert (there["device"], there["threads"], there["pictures"]) == ("Google Pixel 7", "4", "40")
    assert (there["value"], there["latency_ms"], there["latency_p95_ms"]) == ("97.5", "2.5", "3.25")
    # What was measured here is not true there.
    assert {there[name] for name in ("float_value", "drop", "seconds", "fits", "agreement")} == {""}
