"""The page and the chart: complete, offline, escaped, the same for the same figures."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import pathlib
import re
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest
from marks import IN_CI
from PIL import Image
from report_rows import HOSTILE, Table, mistake, page, row, rows

from export.artefacts.artefact import Artefact
from export.artefacts.significance import Difference
from export.artefacts.variants import PRECISIONS
from export.report import chart, compare
from export.report import page as report
from export.report.compare import NotWritten
from export.report.page import (
    ByClass,
    Mistakes,
    Named,
    NamedPhoto,
    RunSummary,
    milliseconds,
)
from export.report.results import Choice, Result, best_choices
from export.report.table import table
from export.tasks.classification import by_kind, kinds_first
from kerascnn.preprocessing import Preprocessing
from training.classification.evaluate import class_report
from training.detection.floor import below_floor
from training.engine.run import Run


def many_rows() -> list[Result]:
    """Three runs of every precision and a few trainings: 45 files."""
    names = [*(n for n in PRECISIONS if not n.endswith("converter")), *TRAINED]
    return [
        row(run, name, "tflite", int(size * 0.93**i), value, 0.05 * (i % 7))
        for run, size, value in (("lenet5", 250_000, 98.4), ("vgg16", 6e6, 98.9), ("b0", 2e6, 98))
        for i, name in enumerate(names)
    ]


TRAINED = (
    *("qat_int8", "prune75_int8", "cluster16_int8", "slim50_int8", "slim25_qat_int8"),
    *("prune75_cluster16_qat_int8", "distil_slim25_prune2of4_cluster32_qat_int8"),
)


def test_the_page_asks_the_network_for_nothing(tmp_path: pathlib.Path):
    text = page(tmp_path)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", text)
    assert set(re.findall(r'(?:src|href)="([^"]{5})', text)) == {"data:"} | {
        reference[:5] for reference in re.findall(r'xlink:href="(#[^"]*)"', text)
    }
    assert "default-src 'none'" in text


def test_the_table_has_one_row_an_artefact_and_every_column(tmp_path: pathlib.Path):
    head, *body = Table(page(tmp_path)).rows
    assert len(body) == 8
    assert all(len(cells) == len(head) for cells in body)
    by_name = dict(zip(head, body[0], strict=True))
    assert head[:8] == [
        *("File", "Run", "Accuracy, %", "Drop", "Size, KB", "Download, KB", "Latency, ms"),
        "Verified",
    ]
    assert head[-1] == "Marks"  # an empty column first would hide the figures of a narrow window
    assert by_name["File"] == "float32.tflitelenet5"  # the run is shown where its column is not
    assert by_name["Run"] == "lenet5"
    assert by_name["Accuracy, %"] == "98.3"
    assert by_name["Size, KB"] == "250.0"
    assert by_name["Download, KB"] == "225.0"
    assert by_name["Parameters"] == "61,706"
    assert by_name["Partitions"] == "1"
    assert by_name["Non-zero"] == "61,000"
    assert by_name["Cost, s"] == "12.3"
    untimed = dict(zip(head, body[7], strict=True))
    assert untimed["Latency, ms"] == "\N{EN DASH}"
    assert untimed["File"].startswith("float32.onnx")


def test_the_table_says_what_is_noise(tmp_path: pathlib.Path):
    one = dataclasses.replace(rows()[0], drop=0.02, drop_low=-0.04, drop_high=1.2)
    two = dataclasses.replace(rows()[1], drop=2.0, drop_low=1.0, drop_high=3.0)
    text = page(tmp_path, [one, two])
    head, *body = Table(text).rows
    assert [cells[head.index("Drop")] for cells in body] == ["0.00.0 to 1.2", "2.01.0 to 3.0"]
    assert "middle 95% of the drops on 10,000 random draws" in text
    lines = table([one, two]).splitlines()
    assert "98.3%  ~+0.0 [+0.0, +1.2]  250.0" in lines[2]
    assert "98.3%   +2.0 [+1.0, +3.0]  125.0" in lines[3]
    assert "~ within noise" in table([one, two])
    assert "~" not in table([two])


def test_recommended_files_say_how_certain_their_loss_is(tmp_path: pathlib.Path):
    best = best_choices(rows())
    behind = {best["smallest"]: Difference(points=0.7, low=0.1, high=1.2)}
    text = page(tmp_path, behind=behind)
    minus = "\N{MINUS SIGN}"
    certainty = f"(95% interval {minus}0.3 to 0.4), within noise"
    assert f"drop against the Keras model: 0.0 {certainty}" in text
    assert "behind the most accurate: 0.7 (95% interval 0.1 to 1.2)<" in text


def test_failed_files_are_shown_and_never_recommended(tmp_path: pathlib.Path):
    text = page(tmp_path)
    head, *body = Table(text).rows
    cells = dict(zip(head, body[2], strict=True))
    assert (cells["Marks"], cells["Verified"]) == ("failed", "no")
    assert "1 of them failed verification." in text
    assert "lenet5 int8: 50.0%, 65.0 KB, 0.016 ms, failed" in text  # the title of its point
    assert '<tr class="failed">' in text


def test_the_verdict_is_the_smallest_of_the_good_files(tmp_path: pathlib.Path):
    text = page(tmp_path)
    assert "Take lenet5/artefacts/float16.tflite: 98.3% accuracy, 125.0 KB." in text
    assert text.count('class="card choice"') == 2  # the smallest is the fastest, too
    assert "smallest and fastest" in text


def test_the_verdict_of_one_run_is_a_path_from_the_page(tmp_path: pathlib.Path):
    text = page(tmp_path, rows()[:2])
    assert "Take artefacts/float16.tflite: 98.3% accuracy, 125.0 KB." in text
    assert "artefacts/float16.tflite</span></h3>" in text
    assert "Run" not in Table(text).rows[0]
    one = dataclasses.replace(rows()[0], metric="AP", value=31.04)
    assert "Take artefacts/float32.tflite: 31.0% AP, 250.0 KB." in page(tmp_path, [one])


def test_latencies_are_told_apart_from_a_phone_s(tmp_path: pathlib.Path):
    text = page(tmp_path)
    assert text.count("Latency on this computer, one thread; not a phone.") == 2  # the cards
    assert "Latency: median of one image on this computer, one thread; not a phone." in text
    assert "median time of one image on this computer, which is named below; not a phone" in text
    drawn = chart.latency_accuracy_svg(rows())
    assert "median latency on this computer, 1 thread; not a phone (ms)" in drawn
    narrow = chart.latency_accuracy_svg(rows(), narrow=True)  # in two lines there
    assert "not a phone (ms)" not in "".join(re.findall(r">(median [^<]*)<", narrow))


def test_the_subtitle_says_how_many_images_and_what_chose(tmp_path: pathlib.Path):
    counted = [dataclasses.replace(r, pictures=1234) for r in rows()]
    text = page(tmp_path, counted)
    assert "on the same 1,234 held-out images." in text
    assert "Chosen on the 1,234 held-out images that are shown" in text
    aside = Choice(pictures=120, value=98.0, float_value=98.0)
    chosen = page(tmp_path, [dataclasses.replace(r, choice=aside) for r in counted])
    assert "Chosen on the 120 validation images" in chosen
    assert "may be a little less accurate" not in chosen


def test_few_images_give_no_interval(tmp_path: pathlib.Path):
    few = [dataclasses.replace(r, pictures=8) for r in rows()]
    text = page(tmp_path, few)
    head, *body = Table(text).rows
    assert body[6][head.index("Drop")] == "0.2"
    assert "Fewer than 50 held-out images: one image is 12.5 points" in text
    assert "95% interval, from" not in text


def test_same_answers_are_said_so(tmp_path: pathlib.Path):
    same = [
        dataclasses.replace(r, drop=0.0, drop_low=0.0, drop_high=0.0, agreement=100.0)
        for r in rows()[:2]
    ]
    text = page(tmp_path, same)
    head, *body = Table(text).rows
    assert body[0][head.index("Drop")] == "0.0same answers"
    assert "same answers as the Keras model on every held-out image" in text
    level = Difference(points=0.0, low=0.0, high=0.0)
    said = report.remarks(same[0], level)
    assert said[-1] == "as good as the most accurate on every held-out image"


def test_a_network_that_finds_nothing_is_not_recommended(tmp_path: pathlib.Path):
    why = below_floor("AP", 0.1)
    assert why is not None
    found = [
        dataclasses.replace(r, metric="AP", value=0.1, below_floor=why, verified="yes")
        for r in rows()
    ]
    text = page(tmp_path, found)
    assert '<p class="verdict">This network finds nothing yet.</p>' in text
    assert '<p class="lead">AP 0.1%, less than 1%.</p>' in text
    assert "<li>too few epochs</li>" in text
    assert "Take " not in text
    assert 'class="card choice"' not in text
    assert "ringed: recommended" not in text


def test_unequal_classes_are_told_one_by_one(tmp_path: pathlib.Path):
    table_of = ByClass(
        label="int8.tflite",
        figures=["Recall", "Precision"],
        rows=[("ok", 204, [94.1, 76.2]), ("defect", 96, [37.5, None]), ("new", 0, [None, 0.0])],
        majority="ok",
        baseline=68.0,
        summary="balanced accuracy 65.8%; recall: defect 37.5%, ok 94.1%",
    )
    balanced = [dataclasses.replace(r, balanced_accuracy=65.8) for r in rows()]
    text = page(tmp_path, balanced, by_class=table_of)
    assert "“ok” would have 68.0% accuracy. int8.tflite: balanced accuracy 65.8%" in text
    section = text[text.index('id="classes"') :]
    names = re.findall(r'<th scope="row">([^<]*)</th>', section)
    assert names == ["defect", "ok", "new"]  # the worst first, those without a figure last
    head, *body = Table(text[: text.index('id="classes"')]).rows
    assert head[3] == "Balanced, %"
    assert body[0][3] == "65.8"
    assert "Balanced, %" not in Table(page(tmp_path)).rows[0]
    many = ByClass(label="a", figures=["AP"], rows=[(str(i), None, [i / 9]) for i in range(900)])
    text = page(tmp_path, by_class=many)
    assert "The 200 lowest of 900 classes." in text
    assert text.count('<th scope="row">') == 200


def test_raw_files_are_marked(tmp_path: pathlib.Path):
    raw = dataclasses.replace(rows()[0], variant="int8_raw")
    assert ">raw output</small>" in page(tmp_path, [*rows(), raw])
    assert ">raw output</small>" not in page(tmp_path)


def test_mistakes_of_every_kind_come_first():
    def made(truth: str, predicted: str, probability: float) -> dict[str, Any]:
        return {"truth": truth, "predicted": predicted, "probability": probability}

    common = [made("defect", "ok", p) for p in (0.6, 0.9, 0.8)]
    rare = [made("ok", "defect", p) for p in (0.55, 0.7)]
    assert by_kind([*common, *rare]) == [common[1], rare[1], common[2], rare[0], common[0]]
    boxes = [{"name": "b", "missed": 3}, {"name": "a", "missed": 1}]
    assert by_kind(boxes) == boxes
    assert by_kind([]) == []


@pytest.mark.parametrize("count", [0, 1, 7, 400])
def test_a_million_mistakes_are_ordered_as_a_few(count: int):
    rng = np.random.default_rng(count)
    kinds = rng.integers(0, 6, (count, 2))
    confidence = rng.integers(1, 30, count) / 29  # some are equal
    told = [
        {"place": place, "truth": int(a), "predicted": int(b), "probability": float(p)}
        for place, ((a, b), p) in enumerate(zip(kinds, confidence.round(4), strict=True))
    ]
    wanted = [one["place"] for one in by_kind(told)]
    assert kinds_first(kinds, confidence).tolist() == wanted


def test_graded_answers_are_weak_not_wrong(tmp_path: pathlib.Path):
    shown = [mistake((8, 8, 3), counted="mIoU 40%")] * 7
    weak = Mistakes(label="a", total=7, pictures=7, shown=shown, graded=True, how="How.")
    text = page(tmp_path, mistakes=weak)
    assert "Where a is weakest" in text
    assert "All 7 held-out images, the weakest first. How." in text
    some = dataclasses.replace(weak, pictures=90, total=80)
    assert "The 7 weakest of 90 held-out images. How." in page(tmp_path, mistakes=some)


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [0.1, 0.0], [0.5, 3.0], [1.0, 60.0, 61.0],
                                    [100.0], [100.0, 100.0], [99.9, 12.0, 99.8, 99.7]])  # fmt: skip
def test_no_axis_leaves_what_a_metric_can_be(values: list[float]):
    made = [
        dataclasses.replace(row("a", "float32", "tflite", 1000 * (i + 1), v, 0.0), metric="AP")
        for i, v in enumerate(values)
    ]
    for narrow in (False, True):
        svg = chart.accuracy_size_svg(made, narrow=narrow)
        assert not re.search(r">-\d", svg)
        ticks = [float(tick) for tick in re.findall(r">(\d+(?:\.\d+)?)</text>", svg)]
        assert len(ticks) >= 4  # both axes' together
        assert 0 <= min(ticks) <= max(ticks) <= 100
        assert svg.count("<title>") == len(values)


def test_every_latency_axis_has_two_ticks():
    for low, high in ((0.031, 0.069), (1.1, 1.2), (4.4, 4.4), (0.9, 1100.0)):
        made = [
            dataclasses.replace(rows()[i], latency_ms=latency)
            for i, latency in enumerate((low, high))
        ]
        svg = chart.latency_accuracy_svg(made, narrow=True)
        ends = svg[svg.index("matplotlib.axis_2") :] if "matplotlib.axis_2" in svg else svg
        texts = re.findall(r">([\d.,]+)</text>", ends)
        assert len([t for t in texts if 0.1 * low <= float(t.replace(",", "")) <= 10 * high]) >= 2


def test_a_file_that_cannot_be_written_stops_no_other(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", "chart.png")

    for name in ("_mistakes", "_behind", "_by_class"):
        monkeypatch.setattr(compare, name, lambda *_: None)
    monkeypatch.setattr(report, "write_report", full)
    with pytest.raises(OSError, match="No space"):
        compare.write(tmp_path, [], [], rows())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["chart.png", "results.csv"]


def test_the_figures_outlive_a_report_that_cannot_be_written(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", "report.html")

    monkeypatch.setattr(compare.allowed, "require_same_data", lambda runs: runs)
    monkeypatch.setattr(compare, "_distinctly_labelled", lambda runs: runs)
    monkeypatch.setattr(compare, "measure", lambda _found: rows())
    monkeypatch.setattr(compare, "write", full)
    with pytest.raises(NotWritten, match="No space") as caught:
        compare.compare([], tmp_path)
    assert len(caught.value.rows) == 8
    assert (caught.value.filename, caught.value.strerror) == (
        "report.html",
        "No space left on device",
    )


def told(evaluation: dict[str, Any]) -> Any:
    """An artefact of which these figures are known."""
    return Artefact(pathlib.Path("a.tflite"), {"evaluation": evaluation})


def test_the_recommended_file_is_shown_class_by_class():
    per_class = class_report(np.array([0, 1, 1, 1]), np.array([1, 1, 1, 1]), 2)
    measured = {"metric": "accuracy", **per_class.to_dict(["defect", "ok"])}
    results = rows()[:2]
    found: Any = [(None, told({})), (None, told(measured))]
    shown = compare._by_class(found, results)  # the second is the smallest
    assert shown is not None
    assert (shown.label, shown.majority, shown.baseline) == ("float16.tflite", "ok", 75.0)
    assert shown.summary == "balanced accuracy 50.0%; recall: defect 0.0%, ok 100.0%"
    assert shown.lowest == [("defect", 1, [0.0, None]), ("ok", 3, [100.0, 75.0])]
    old: Any = [(None, told({})), (None, told({}))]
    assert compare._by_class(old, results) is None


def test_equal_classes_have_no_majority():
    per_class = class_report(np.array([0, 0, 1, 1]), np.array([1, 0, 1, 1]), 2)
    measured = {"metric": "accuracy", **per_class.to_dict(["a", "b"])}
    found: Any = [(None, told(measured))]
    shown = compare._by_class(found, rows()[:1])
    assert shown is not None
    assert shown.majority == ""


def test_where_nothing_is_recommended_the_best_file_is_shown():
    bad = [dataclasses.replace(r, below_floor="nothing yet", metric="AP") for r in rows()]
    assert bad[compare.looked_at(bad)].label == "mobilenet_v3_small float16"
    found: Any = [(None, told({"metric": "AP", "per_class": {"a": 0.0, "b": None}}))] * len(bad)
    shown = compare._by_class(found, bad)
    assert shown is not None
    assert (shown.label, shown.figures) == ("mobilenet_v3_small float16.tflite", ["AP"])
    assert shown.lowest == [("a", None, [0.0]), ("b", None, [None])]


def test_where_nothing_fits_the_page_says_so(tmp_path: pathlib.Path):
    misfits = [dataclasses.replace(r, verified="no") for r in rows()]
    text = page(tmp_path, misfits, mistakes=None)
    assert '<p class="verdict">No file is recommended.</p>' in text
    assert "None is verified to answer as the Keras model does." in text
    assert 'class="card choice"' not in text
    assert len(Table(text).rows) == 9


def test_where_nothing_was_timed_there_is_no_latency_chart(tmp_path: pathlib.Path):
    untimed = [dataclasses.replace(r, latency_ms=None, latency_p95_ms=None) for r in rows()]
    text = page(tmp_path, untimed)
    assert "Accuracy against size" in text
    assert "Accuracy against latency" not in text
    assert "no file was timed" in chart.latency_accuracy_svg(untimed)
    chart.write_png(tmp_path / "chart.png", untimed)


def test_names_are_text_and_nothing_else(tmp_path: pathlib.Path):
    hostile = [dataclasses.replace(r, run=HOSTILE + r.run) for r in rows()]
    text = page(
        tmp_path,
        hostile,
        title=HOSTILE,
        runs=[RunSummary(name=HOSTILE, facts={HOSTILE: HOSTILE})],
        machine={HOSTILE: HOSTILE},
        mistakes=Mistakes(
            label=HOSTILE,
            total=1,
            pictures=9,
            shown=[mistake((8, 8, 3), name=HOSTILE, truth=HOSTILE, predicted=HOSTILE)],
            note=HOSTILE,
        ),
    )
    assert "<script>alert" not in text
    assert text.count("<script") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;$x^2$_&amp;" in text
    chart.write_png(tmp_path / "chart.png", hostile)


def test_letters_that_the_chart_font_lacks_are_no_error(tmp_path: pathlib.Path):
    named = [dataclasses.replace(r, run="_数字") for r in rows()]
    assert "_数字" in chart.accuracy_size_svg(named)
    chart.write_png(tmp_path / "chart.png", named)


@pytest.mark.parametrize("shape", [(28, 28, 1), (40, 30, 3)])
def test_mistakes_are_the_very_pixels(tmp_path: pathlib.Path, shape: tuple[int, int, int]):
    wrong = mistake(shape)
    text = page(tmp_path, mistakes=Mistakes(label="a", total=1, pictures=9, shown=[wrong]))
    (data,) = re.findall(r'src="data:image/png;base64,([^"]*)"', text)
    with Image.open(io.BytesIO(base64.b64decode(html.unescape(data)))) as image:
        np.testing.assert_array_equal(np.asarray(image).reshape(shape), wrong.picture)
    assert "4 → <b>9</b>, 71%" in text
    assert 'title="mnist[17]"' in text


def test_what_cannot_be_shown_is_explained(tmp_path: pathlib.Path):
    none = Mistakes(label="a", total=0, pictures=1000, shown=[])
    assert "No mistakes: all 1,000 held-out images are right." in page(tmp_path, mistakes=none)
    hidden = Mistakes(label="a", total=3, pictures=1000, shown=[], note="The folder is gone.")
    text = page(tmp_path, mistakes=hidden)
    assert "3 of 1,000 held-out images." in text
    assert "The folder is gone." in text


def test_the_page_says_what_was_run(tmp_path: pathlib.Path):
    text = page(tmp_path)
    for fact in ("mnist (fingerprint 5f0c)", "Seed", "a processor", "version of keras"):
        assert fact in text


def facts_of(**changes: Any) -> dict[str, str]:
    """What the page says of a run."""
    info: dict[str, Any] = {
        "task": "classification",
        "created": "2026-11-29T00:00:00+00:00",
        "request": {
            **{"model": "lenet5", "model_options": {}, "weights": None, "recipe": "digits"},
            "config": {
                **{"epochs": 1, "batch_size": 8, "optimizer": "adamw", "learning_rate": 1e-3},
                **{"augmentation": "none", "seed": 0},
            },
        },
        "dataset": {
            **{"name": "mnist", "fingerprint": "5f", "train": 4000, "validation": 0},
            **{"held_out": 1000, "skipped": []},
        },
        "results": {"metric": "accuracy", "held_out": 90.0, "best_epoch": 1, "seconds": 2.0},
        "machine": {"processor": "a processor"},
        "versions": {"keras": "3.15.1"},
        "preprocessing": Preprocessing(height=28, width=28, channels=1).to_dict(),
    }
    for name, value in changes.items():
        part = next(
            p for p in (info["request"], info["dataset"], info["results"], info) if name in p
        )
        part[name] = value
    return compare._facts(Run(pathlib.Path("runs/a"), info))


def test_the_facts_of_a_run():
    facts = facts_of()
    assert facts["Initial weights"] == "random"
    assert facts["Images"] == "4,000 training, 0 validation, 1,000 held out"
    assert "1 epoch, batch 8, adamw, learning rate 0.001, augmentation: none" in facts["Recipe"]
    assert "balanced" not in facts["Keras model"]  # a run of an earlier version


@pytest.mark.parametrize(
    ("weights", "model", "text"),
    [
        ("imagenet", "lenet5", "imagenet"),
        ("imagenet", "ssdlite_mobilenet_v2", "imagenet (backbone alone)"),
        ("/home/jane/runs/a/model.keras", "ssdlite_mobilenet_v2", "a/model.keras"),
        ("/home/jane/resnet50-0676ba61.pth", "lenet5", "resnet50-0676ba61.pth"),
    ],
)
def test_initial_weights_are_named_without_the_user_s_folders(weights: str, model: str, text: str):
    assert facts_of(weights=weights, model=model)["Initial weights"] == text


def test_data_is_named_without_the_user_s_folders():
    for name, text in (
        ("mnist", "mnist"),
        ("/home/jane/plates", "plates"),
        ("/home/jane/trees/train.json", "trees/train.json"),
    ):
        assert facts_of(name=name)["Data"] == f"{text} (fingerprint 5f)"


def test_the_same_figures_give_the_same_bytes(tmp_path: pathlib.Path):
    pages = [page(tmp_path) for _ in range(2)]
    assert pages[0] == pages[1]
    for name in ("a.png", "b.png"):
        chart.write_png(tmp_path / name, rows())
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_crash_while_writing_leaves_the_old_files(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    page(tmp_path)
    old = (tmp_path / "report.html").read_text("utf-8")
    chart.write_png(tmp_path / "chart.png", rows())
    before = (tmp_path / "chart.png").read_bytes()

    def crash(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("training.common.atomic.os.fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        page(tmp_path, title="another")
    with pytest.raises(OSError, match="disk full"):
        chart.write_png(tmp_path / "chart.png", rows()[:3])
    assert (tmp_path / "report.html").read_text("utf-8") == old
    assert (tmp_path / "chart.png").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["chart.png", "report.html"]


def test_the_chart_for_readme_is_a_picture(tmp_path: pathlib.Path):
    chart.write_png(tmp_path / "chart.png", rows())
    with Image.open(tmp_path / "chart.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[1] > 2000
    colours = {tuple(colour) for colour in pixels.reshape(-1, 3)[::7].tolist()}
    for series in chart.SERIES[:2]:
        assert tuple(bytes.fromhex(series[1:])) in colours


def test_one_failure_does_not_squash_the_others():
    svg = chart.accuracy_size_svg(rows())
    ticks = [float(tick) for tick in re.findall(r">(\d+\.\d)</text>", svg)]
    assert len(ticks) >= 3
    assert min(ticks) > 90
    assert "failed ↓ 50.0%" in svg
    assert "1 file lies below the scale" in svg


@pytest.mark.parametrize("count", [1, 2])
def test_few_files_are_drawn_as_well(count: int):
    for draw in (chart.accuracy_size_svg, chart.latency_accuracy_svg):
        svg = draw(rows()[:count], narrow=True)
        assert svg.count("<title>") == count
        assert svg.startswith("<svg")


def test_the_legend_stays_short_however_many_variants():
    """Shape and colour tell precision and run; what was trained is a dot."""
    entries = chart.legend(many_rows())
    kinds = [entry.kind for entry in entries]
    assert (kinds.count("run"), kinds.count("precision")) == (3, 8)
    assert len({entry.svg for entry in entries}) == len(entries)
    assert "dotted: fine-tuned first (slim, prune, cluster, qat)" in {e.text for e in entries}
    assert "dotted" not in " ".join(e.text for e in chart.legend(rows()))


def test_every_precision_has_a_shape_of_its_own():
    shapes = {
        chart.legend([row("a", name, "tflite", 9, 98.0, 0.0)])[1].svg
        for name in [*PRECISIONS, "another"]
    }
    assert len(shapes) == len(PRECISIONS) + 1


def test_files_on_the_front_say_what_was_trained(tmp_path: pathlib.Path):
    made = [
        row("lenet5", "float32", "tflite", 250_000, 98.4, 0.0),
        row("lenet5", "slim50_prune75_int8", "tflite", 30_000, 98.4, 0.2),
        row("lenet5", "prune75_int8", "tflite", 60_000, 98.4, 0.4),
        row("lenet5", "slim25_qat_int8", "tflite", 20_000, 98.4, 0.9),
    ]
    svg = chart.accuracy_size_svg(made)
    texts = re.findall(r">([^<>]+)</text>", svg)
    assert "slim50 prune75" in texts
    assert "slim25_qat_int8" in texts  # recommended: by its whole name
    assert "prune75" not in texts  # beaten
    crowd = many_rows()
    for draw in (chart.accuracy_size_svg, chart.latency_accuracy_svg):
        for narrow in (False, True):
            assert draw(crowd, narrow=narrow).count("<title>") == len(crowd)
    chart.write_png(tmp_path / "chart.png", crowd)


def test_long_names_are_cut_within_a_word():
    long = "distil_slim25_prune2of4_cluster32_qat_int8"
    made = [
        row(run, long, "tflite", size, 98.4, 0.0)
        for run, size in (("lenet5", 9_000), ("b", 10_000))
    ]
    for results in (made, made[:1]):
        svg = chart.accuracy_size_svg(results)
        assert ">distil_slim25_prune2of4_cluster32…</text>" in svg


def test_a_perfect_score_has_its_tick():
    svg = chart.accuracy_size_svg([row("lenet5", "float32", "tflite", 250_000, 100.0, 0.0)])
    assert ">100.0</text>" in svg


def test_colours_follow_the_page():
    svg = chart.accuracy_size_svg(rows())
    assert "var(--series-1, #d55e00)" in svg
    # Each colour has a name, or it would not be seen on a dark page.
    assert not re.search(r"(?<!, )#[0-9a-f]{6}", re.sub(r'(id|href|path)="[^"]*"', "", svg))


def test_the_user_s_matplotlib_settings_do_not_matter(monkeypatch: pytest.MonkeyPatch):
    import matplotlib as mpl

    plain = chart.accuracy_size_svg(rows())
    monkeypatch.setitem(mpl.rcParams, "lines.linewidth", 9.0)
    monkeypatch.setitem(mpl.rcParams, "font.size", 30.0)
    assert chart.accuracy_size_svg(rows()) == plain


def test_sizes_of_one_page_are_in_one_unit(tmp_path: pathlib.Path):
    small, large = (
        dataclasses.replace(rows()[0], bytes=n, download_bytes=n) for n in (65_432, 10**6)
    )
    text = page(tmp_path, [small, dataclasses.replace(large, variant="float16", bytes=1_234_560)])
    assert "Size, KB" in text
    assert "1,234.6" in text
    assert "file size (KB)" in text
    assert " MB" not in text.replace("1 MB is", "")
    text = page(tmp_path, [dataclasses.replace(large, bytes=101_239_999)])
    assert "Size, MB" in text
    assert "101.24" in text
    assert "file size (MB)" in text
    assert " KB" not in text.replace("1 KB is", "").replace("1000 KB", "")


def test_charts_of_equal_figures_say_so(tmp_path: pathlib.Path):
    one, other = rows()[0], dataclasses.replace(rows()[1], value=rows()[0].value)
    said = "All 2 files have the same accuracy, 98.3%: they differ in size and latency alone."
    assert said in page(tmp_path, [one, other])
    assert "have the same" not in page(tmp_path, [one, dataclasses.replace(other, value=98.2)])
    assert "have the same" not in page(tmp_path, [one])


def test_latencies_are_written_for_people():
    values = [0.0612, 1.239, 15.26, None]
    assert [milliseconds(v) for v in values] == ["0.061", "1.24", "15.3", "\N{EN DASH}"]


def test_figures_that_are_no_numbers_have_no_place_in_the_order(tmp_path: pathlib.Path):
    broken = dataclasses.replace(rows()[0], verified="no", max_logit_diff=float("nan"))
    text = page(tmp_path, [broken, *rows()[1:]])
    assert '<td class="number" data-sort="">no number</td>' in text


def dumped(page_file: pathlib.Path) -> str:
    """The document as a browser has it after its scripts ran; empty where it cannot open files."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("needs chromium")
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            f"--user-data-dir={page_file.parent / 'profile'}",
            *("--virtual-time-budget=5000", page_file.as_uri()),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where chromium is missing, or may not read temporary files (as a snap may not)."""
    probe = tmp_path_factory.mktemp("probe") / "probe.html"
    probe.write_text("<p>a page</p>", "utf-8")
    if "a page" not in dumped(probe):
        pytest.skip("chromium opens no files here")


def browse(tmp_path: pathlib.Path, script: str) -> str:
    """What the script says of the page in a window 360 pixels wide."""
    inner = html.escape((tmp_path / "report.html").read_text("utf-8"))
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<iframe id="f" style="width:360px;height:800px;border:0" srcdoc="{inner}"></iframe>'
        "<pre id=said></pre><script>f.onload = () => {const page = f.contentDocument;"
        f"said.textContent = 'said:' + ({script}) + ';'}}</script>",
        "utf-8",
    )
    found = re.search(r"said:(.*?);</pre>", dumped(frame))
    assert found
    return found[1]


@IN_CI
@pytest.mark.usefixtures("browser")
def test_a_phone_never_scrolls_the_page_sideways(tmp_path: pathlib.Path):
    long = dataclasses.replace(rows()[3], run="a_run_with_a_very_long_name_" + "x" * 60)
    page(tmp_path, [*rows(), *many_rows(), long], title="t" * 200)
    assert int(browse(tmp_path, "page.documentElement.scrollWidth")) <= 360


@pytest.mark.usefixtures("browser")
def test_a_click_sorts_by_number_and_blanks_come_last(tmp_path: pathlib.Path):
    page(tmp_path)
    head = Table((tmp_path / "report.html").read_text("utf-8")).rows[0]
    column = head.index("Latency, ms")
    script = (
        f"(() => {{const head = page.querySelectorAll('thead th')[{column}];"
        "const button = head.querySelector('button'); const seen = [];"
        "for (const _ of [1, 2]) {button.click(); seen.push(head.getAttribute('aria-sort'),"
        "...[...page.querySelector('tbody').rows].map("
        f"(row) => row.cells[{column}].textContent))}}"
        "return seen.join(' ')})()"
    )
    up = ["0.016", "0.031", "0.062", "0.064", "0.390", "0.750", "1.50"]
    dash = ["\N{EN DASH}"]
    expected = ["ascending", *up, *dash, "descending", *reversed(up), *dash]
    assert browse(tmp_path, script).split() == expected


def test_the_template_lies_beside_the_code():
    assert (pathlib.Path(report.__file__).parent / "report.html.j2").is_file()


def test_photos_stand_with_what_files_call_them(tmp_path: pathlib.Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    photo = NamedPhoto(name="chelsea", picture=picture, labels=(("tabby", 0.434), (HOSTILE, 1.0)))
    named = Named(
        title="ImageNet weights",
        files=("float32", "int8"),
        sizes=("18.59 MB", "4.98 MB"),
        notes=("100.0% of answers as before", "96.0% of answers as before"),
        photos=(photo,),
        report="photos.html",
    )
    text = page(tmp_path, named=named)
    assert HOSTILE not in text
    for words in ("ImageNet weights", "4.98 MB", "96.0% of answers", "tabby", "43%", "chelsea"):
        assert words in text
    assert '<a href="photos.html">' in text
    assert "ImageNet weights" not in page(tmp_path)
