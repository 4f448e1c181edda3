"""What the command line prints: figures, notes and recommendations."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from commands import here
from report_rows import result

from export.report.results import Choice
from export.report.table import table
from training.engine.request import request


def test_a_table_by_hand() -> None:
    aside = Choice(pictures=60, value=98.0, float_value=98.0)
    rows = [
        result(pictures=1000, choice=aside, latency_ms=5.079, drop_low=0.0, drop_high=0.0),
        result(
            **{"variant": "int8", "bytes": 62_000, "download_bytes": 55_000, "latency_ms": 5.038},
            **{"value": 97.9, "drop": 0.1, "drop_low": -0.1, "drop_high": 0.3, "agreement": 99.0},
            **{"pictures": 1000, "choice": aside},
        ),
        result(
            **{"variant": "weight_int4", "bytes": 40_000, "verified": "not verified"},
            **{"value": 98.5, "drop": -0.5, "drop_low": -0.9, "drop_high": -0.1, "agreement": 97.0},
            **{"pictures": 1000, "choice": aside, "latency_ms": None},
        ),
    ]
    lines = table(rows).splitlines()
    assert len({len(line) for line in lines[:5]}) == 1
    assert [" ".join(line.split()) for line in (lines[0], *lines[2:5])] == [
        "run variant format accuracy drop KB zipped KB ms verified",
        "* digits float32 tflite 98.0% same answers 250.0 230.0 5.08 yes",
        "* digits int8 tflite 97.9% ~+0.1 [-0.1, +0.3] 62.0 55.0 5.04 yes",
        "digits weight_int4 tflite 98.5% -0.5 [-0.9, -0.1] 40.0 230.0 not verified",
    ]
    assert lines[5:] == [
        "",
        "* Pareto-optimal in size",
        "drop: points of accuracy lost against the Keras model; negative is a gain",
        "[] 95% interval of the drop on other images of the same kind; too narrow where images are "
        "alike, as tiles of one image are",
        "~ within noise: the images are too few to tell that drop from none",
        "latency: median of one image on this computer, not on a phone; 1 thread",
        "smallest       digits int8: 97.9%, 62.0 KB, 5.04 ms",
        "fastest        digits int8: 97.9%, 62.0 KB, 5.04 ms",
        "most accurate  digits int8: 97.9%, 62.0 KB, 5.04 ms",
        "(smallest and fastest among the files within 1 point of the most accurate; of equally "
        "fast ones the smallest)",
        "(chosen on the 60 validation images; the figures are of the 1,000 held-out ones)",
    ]


def test_a_star_is_explained_where_there_is_one() -> None:
    assert "Pareto" in table([result()])
    assert "Pareto" not in table([result(verified="no"), result(verified="not verified")])


def test_few_pictures_have_no_interval_and_say_so() -> None:
    text = table([result(pictures=20, drop=5.0, drop_low=0.0, drop_high=15.0, agreement=95.0)])
    assert "+5.0  " in text
    assert "[" not in text
    assert "no interval: 20 held-out images are too few (below 50)" in text
    assert (
        "(chosen on the 20 held-out images that are shown: there was no validation split)" in text
    )


def test_nothing_is_recommended_of_a_network_that_finds_nothing() -> None:
    nothing = "this network finds nothing yet: AP 0.0, less than 1. Likely causes: too few epochs"
    text = table([result(metric="AP", value=0.0, below_floor=nothing)])
    assert text.endswith(nothing)
    for word in ("smallest", "fastest", "most accurate", "chosen"):
        assert word not in text


def test_the_table_is_printed_where_the_report_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export.report import compare

    def full(*_arguments: object, **_options: object) -> None:
        error = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "report.html"))
        raise compare.NotWritten(error, [result(), result(variant="int8", bytes=62_000)])

    monkeypatch.setattr(compare, "compare", full)
    run = tmp_path / "run"
    (run / "artefacts").mkdir(parents=True)
    for name in ("model.keras", "artefacts/int8.tflite"):
        (run / name).write_text("")
    asked = request("lenet5", data="mnist").to_dict()
    (run / "run.json").write_text(json.dumps({"request": asked, "complete": True}))
    done = here("compare", run)
    assert done.returncode == 1
    assert "int8" in done.stdout
    assert "report:" not in done.stdout
    assert done.stderr.endswith("report.html: No space left on device; make room, or choose "
                                "another disk\n")  # fmt: skip
    told = json.loads(here("compare", run, "--json").stdout)
    assert [row["variant"] for row in told["results"]] == ["float32", "int8"]
    assert told["report"] is None
