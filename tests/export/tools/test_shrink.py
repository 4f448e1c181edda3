"""Budgets: how they are written, kept, missed, and refused."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from commands import assert_refused, here
from marks import IN_CI
from report_rows import row

from export.artefacts.variants import parse_variant
from export.compress.compress import all_artefacts
from export.report.results import Choice
from export.tflite.convert import to_tflite
from export.tflite.flatbuffer import skeleton
from export.tools import shrink as shrinking
from export.tools.budget import Budget, milliseconds, size
from export.tools.shrink import Search, shrink
from kerascnn.errors import InputError
from training.engine.run import Run


@pytest.fixture
def run(lenet_run: Run, tmp_path: Path) -> Run:
    """A run of its own, without the artefacts that other tests made."""
    shutil.copytree(lenet_run.folder, tmp_path / "lenet5")
    for folder in ("artefacts", "stages"):
        shutil.rmtree(tmp_path / "lenet5" / folder, ignore_errors=True)
    return Run.open(tmp_path / "lenet5")


LADDER = ("float16", "int8", "mixed", "qat_int8")


@pytest.fixture(scope="module")
def shrunk(lenet_run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Search]:
    """A run, and the first file that kept within 80 kB."""
    folder = tmp_path_factory.mktemp("shrunk") / "lenet5"
    shutil.copytree(lenet_run.folder, folder, ignore=shutil.ignore_patterns("artefacts", "stages"))
    run = Run.open(folder)
    return run, shrink(run, Budget(size=80_000, drop=1.0), ladder=LADDER)


@pytest.mark.parametrize(
    ("text", "count"),
    [("300KB", 300_000), ("1.2MB", 1_200_000), ("48000", 48_000), ("64 KiB", 65_536), ("2m", 2e6)],
)
def test_sizes(text: str, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize("text", ["", "KB", "10x", "1e999KB", "ten", "nanKB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(InputError, match="300KB"):
        size(text)


def test_latencies() -> None:
    assert [milliseconds(text) for text in ("5ms", "5", "0.25 s")] == [5, 5, 250]
    with pytest.raises(InputError, match="5ms"):
        milliseconds("fast")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "give --max-size or --max-latency"),
        ({"size": 0}, "must be above 0"),
        ({"size": 1000, "drop": -1}, "between 0 and 100"),
        ({"size": 1000, "metric": "zip"}, "file or download"),
        ({"latency_ms": float("nan")}, "must be above 0"),
    ],
)
def test_no_budgets(given: dict, told: str) -> None:
    with pytest.raises(InputError, match=told):
        Budget(**given)


def test_what_keeps_within_a_budget() -> None:
    one = row("run", "int8", "tflite", 300_000, 98.0, 1.0)
    assert Budget(size=300_000).over(one) <= 1
    assert Budget(size=299_999).over(one) > 1
    assert Budget(size=270_000, metric="download").over(one) <= 1
    assert Budget(size=300_000, drop=0.9).over(one) > 1
    assert one.latency_ms is not None
    assert Budget(latency_ms=one.latency_ms).over(one) <= 1
    assert Budget(latency_ms=0.9 * one.latency_ms).over(one) > 1
    assert Budget(size=300_000).over(dataclasses.replace(one, verified="no")) == float("inf")


def test_what_a_file_lost_is_judged_by_the_images_that_choose() -> None:
    shown = row("run", "int8", "tflite", 300_000, 98.0, 0.1)
    lucky = dataclasses.replace(shown, choice=Choice(pictures=60, value=95.0, float_value=98.0))
    good = dataclasses.replace(
        shown, drop=3.0, choice=Choice(pictures=60, value=98.0, float_value=98.0)
    )
    budget = Budget(size=300_000, drop=1.0)
    assert budget.over(shown) <= 1
    assert budget.over(lucky) > 1
    assert budget.over(good) <= 1
    assert shrinking._figures(good).startswith("98.0% of the validation images (no drop), 300.0")
    assert shrinking._held_out(good) == "; on the held-out images 97.9% (drop 3.0)"
    assert shrinking._held_out(shown) == ""


def test_a_network_that_finds_nothing_is_not_shrunk(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = dataclasses.replace(
        row("run", "float32", "tflite", 1000, 9.0, 0.0), below_floor="it finds nothing yet"
    )
    monkeypatch.setattr(shrinking, "measure", lambda found: [nothing for _ in found])
    with pytest.raises(InputError, match="it finds nothing yet"):
        shrink(run, Budget(size=80_000), ladder=("float16",))
    assert [file.name for file in run.artefacts.glob("*.tflite")] == ["float32.tflite"]


@IN_CI
def test_the_first_that_keeps_within_is_taken_and_all_are_kept(
    shrunk: tuple[Run, Search],
) -> None:
    run, found = shrunk
    assert found.chosen is not None
    assert found.chosen.variant == "int8"
    assert found.tried == ("int8",)
    # LeNet-5 has 61,470 numbers in its kernels, two bytes each.
    assert found.passed_over == {"float16": "its weights alone take 122.9 KB"}
    choice = found.chosen.choice
    assert (choice is None) == (not run.info["dataset"]["validation"])
    text = shrinking.as_text(found, Budget(size=80_000, drop=1.0))
    assert "chosen on the " in text.splitlines()[-1]
    with (run.folder / "results.csv").open() as stream:
        listed = {line["variant"] for line in csv.DictReader(stream)}
    assert listed == {"float32", "int8"} == {r.variant for r in found.rows}
    before = {a.path: a.path.stat().st_mtime_ns for a in all_artefacts(run)}
    again = shrink(run, Budget(size=80_000, drop=1.0), ladder=LADDER)
    assert again.chosen is not None
    assert again.chosen.sha256 == found.chosen.sha256
    assert {a.path: a.path.stat().st_mtime_ns for a in all_artefacts(run)} == before


@IN_CI
def test_a_missed_budget_tells_how_near_it_came(shrunk: tuple[Run, Search], tmp_path: Path) -> None:
    run = Run.open(shutil.copytree(shrunk[0].folder, tmp_path / "lenet5"))
    found = shrink(run, Budget(size=60_000), ladder=("float16", "int8", "qat_int8"))
    assert found.chosen is None
    assert found.nearest.variant == "int8"
    assert "as long as int8's" in found.passed_over["qat_int8"]
    text = shrinking.as_text(found, Budget(size=60_000))
    assert "no file is within the budget (file 60.0 KB" in text
    assert "closest: lenet5 int8" in text


def test_what_more_training_cannot_mend_is_passed_over() -> None:
    int8 = row("run", "int8", "tflite", 100_000, 98.0, 0.0)
    assert int8.latency_ms is not None
    slow, long = Budget(latency_ms=int8.latency_ms / 2), Budget(size=50_000)
    for name, hopeless in (("prune75_qat_int8", True), ("slim50_qat_int8", False)):
        variant = parse_variant(name)
        for budget in (slow, long):
            reason = shrinking._hopeless(variant, {"int8": int8}, budget)
            assert bool(reason) is hopeless
    download = Budget(size=50_000, metric="download")
    assert shrinking._hopeless(parse_variant("qat_int8"), {"int8": int8}, download) is None


def test_weights_alone_may_be_more_than_a_budget() -> None:
    ladder = [parse_variant(name) for name in ("float16", "int8", "mixed", "slim25_int8")]
    long = shrinking._too_long(ladder, 100_000, Budget(size=60_000))
    assert long == {
        "float16": "its weights alone take 200.0 KB",
        "int8": "its weights alone take 100.0 KB",
    }
    # Nothing in the ladder is shorter than the last one that is left.
    assert shrinking._too_long(ladder[:2], 100_000, Budget(size=60_000)).keys() == {"float16"}
    for other in (Budget(size=60_000, metric="download"), Budget(latency_ms=1.0)):
        assert shrinking._too_long(ladder, 100_000, other) == {}


def test_a_file_below_the_graph_itself_is_refused(run: Run) -> None:
    least = skeleton(to_tflite(run.load_model()))
    assert 1000 < least < 10_000
    done = here("shrink", run.folder, "--max-size", f"{least - 1}B")
    assert_refused(done, "lenet5", "without any weight")


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (("--max-size", "10x"), "10x"),
        (("--max-size", "10KB", "--max-drop", "-1"), "--max-drop"),
        ((), "--max-size"),
        (("--max-size", "10KB", "--metric", "zip"), "zip"),
        (("--max-size", "10KB", "--fine-tune-epochs", "0"), "must be at least 1, not 0"),
        (("--max-size", "10KB", "--calibration-pictures", "0"), "calibration"),
    ],
)
def test_nonsense_is_refused(lenet_run: Run, arguments: tuple[str, ...], culprit: str) -> None:
    assert_refused(here("shrink", lenet_run.folder, *arguments), culprit)


def test_as_a_command(run: Run) -> None:
    done = here("shrink", run.folder, "--max-size", "130KB", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["met"]
    assert told["chosen"]["variant"] == "float16"
    assert told["tried"] == ["float16"]
