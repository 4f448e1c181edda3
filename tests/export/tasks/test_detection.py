"""From a detector's run to files that find what Keras finds; and what `compare`, `predict` tell."""

from __future__ import annotations

import collections
import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tiny_detectors
from commands import assert_refused, here
from marks import IN_CI
from networks import with_random_norms
from PIL import Image
from scans import scans_of_commands

from export.artefacts.artefact import Artefact
from export.artefacts.description import read_description
from export.artefacts.variants import parse_variant
from export.compress.compress import VariantBuilder, compress
from export.onnx.model import ONNXModel
from export.report.compare import compare
from export.report.table import table
from export.runtime.answers import Boxes
from export.runtime.model_facts import facts
from export.runtime.predict import Order, answers
from export.tasks import base as tasks
from export.tasks.agreement import (
    PIXELS,
    agreement,
    errors,
    np_iou,
    sure_found,
)
from export.tasks.detectors import Found
from export.tflite import flatbuffer
from kerascnn import zoo
from kerascnn.detection.specs import DetectorSpec
from kerascnn.errors import InputError
from training.datasets import detection_sets, scenes
from training.detection.metrics import Detections
from training.detection.train import opened as open_detector
from training.engine.request import request
from training.engine.run import Run, write_info

VARIANTS = ("float32", "float16", "dynamic_int8", "int8", "float32_raw", "int8_raw")
DATA = "scenes:96@12+6"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of a detector whose network is sure of something, without a training."""
    return untrained(tmp_path_factory.mktemp("runs") / "boxes")


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Of a network that is quickly converted, and sure of nothing."""
    with pytest.MonkeyPatch.context() as patch:
        tiny_detectors.in_place_of_the_zoo(patch)
        return untrained(tmp_path_factory.mktemp("runs") / "tiny")


def untrained(folder: Path) -> Run:
    asked = request(
        "ssdlite_mobilenet_v3_small",
        data=DATA,
        image_size=(96, 96),
        model_options={"alpha": 0.35},
        epochs=1,
    )
    training = open_detector(asked)
    model = with_random_norms(training.model)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name.startswith("class_") and layer.name.endswith("_predict"):
            kernel, bias = layer.get_weights()
            layer.set_weights([rng.normal(0, 0.5, kernel.shape), bias])
    folder.mkdir()
    model.save(folder / "model.keras")
    write_info(folder, {
        "request": asked.to_dict(), "task": "detection", "created": "2026-01-01T00:00:00+00:00",
        "versions": {"keras": keras.__version__}, "machine": {"processor": "a processor"},
        "preprocessing": training.preprocessing.to_dict(), "labels": list(training.classes),
        "dataset": {"name": DATA, "fingerprint": training.fingerprint, **training.counts()},
        "parameters": 1, "macs": 1, "complete": True, **training.facts(),
        "results": {"metric": "AP", "held_out": 0.0, "ap50": 0.0, "best_epoch": 1, "seconds": 1.0},
    })  # fmt: skip
    return Run.open(folder)


# A network of the zoo is converted for half a minute. In test_every_task.py files of a small one
# are made, described, compared and asked; single operations are in ../tflite and ../onnx.
SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def made(run: Run) -> dict[str, Artefact]:
    return {artefact.path.name: artefact for artefact in compress(run, VARIANTS)[0]}


@SLOW
def test_files_find_what_keras_finds(run: Run, made: dict[str, Artefact]) -> None:
    assert set(made) == {*(f"{name}.tflite" for name in VARIANTS), "float32.onnx"}
    for name, artefact in made.items():
        measured = artefact.info["evaluation"]
        assert measured["metric"] == "AP"
        assert measured["pictures"] == 6
        if name.startswith("float"):
            assert measured["fits"], (name, measured["rule"])
            assert measured["agreement"] >= 99.5
    # The network is sure of something, so that this was no comparison of nothing with nothing.
    task = tasks.of(run)
    found, _detector = task.file_answers(made["float32.tflite"].path)
    assert sum(int((one.scores > 0.3).sum()) for one in found.pictures) > 20


@SLOW
def test_both_forms_say_the_same(run: Run, made: dict[str, Artefact]) -> None:
    task = tasks.of(run)
    spec = DetectorSpec.from_dict(run.info["detector"])
    for precision in ("float32", "int8"):
        inside, raw = (
            task.file_answers(made[f"{name}.tflite"].path)[0].pictures
            for name in (precision, f"{precision}_raw")
        )
        same, score = agreement(inside, raw, (96, 96), spec)
        assert same > 99.9
        assert score < 1e-5


@SLOW
def test_a_file_is_described(run: Run, made: dict[str, Artefact]) -> None:
    anchors = DetectorSpec.from_dict(run.info["detector"]).anchors.count
    inside, raw = made["int8.tflite"].info, made["int8_raw.tflite"].info
    assert [(o["name"], o["shape"]) for o in inside["outputs"]] == [
        ("boxes", [1, 100, 4]), ("labels", [1, 100]), ("scores", [1, 100]), ("count", [1]),
    ]  # fmt: skip
    assert [(o["name"], o["shape"]) for o in raw["outputs"]] == [
        ("boxes", [1, anchors, 4]),
        ("scores", [1, anchors, 11]),
    ]
    for info in (inside, raw):
        assert info["task"] == "detection"
        assert info["category_ids"] == list(range(1, 11))
        assert DetectorSpec.from_dict(info["detector"]).anchors.count == anchors
    assert inside["input"]["type"] == "uint8"
    for name, artefact in made.items():
        # The file alone says the same as the .json beside it.
        told, info = read_description(artefact.path), artefact.info
        assert (told["task"], told["variant"]) == ("detection", info["variant"]["name"])
        assert told["labels"] == info["labels"]
        named = [(one["name"], one["shape"], one["type"]) for one in info["outputs"]]
        assert [(one["name"], one["shape"], one["type"]) for one in told["outputs"]] == named
        assert {key: told["input"][key] for key in ("name", "type", "values")} == {
            key: info["input"][key] for key in ("name", "type", "values")
        }
        written = json.loads(json.dumps(info["detector"]))
        kind = "codes" if name.partition(".")[0].endswith("_raw") else "detections"
        assert told["decoding"].pop("kind") == kind
        assert told["decoding"] == (written if kind == "codes" else {})
    # Anchors are no weights.
    assert inside["nonzero_parameters"] == raw["nonzero_parameters"]


@SLOW
def test_what_is_there_is_not_made_again(run: Run, made: dict[str, Artefact]) -> None:
    assert compress(run, VARIANTS)[1] is False


@pytest.mark.slow
def test_a_file_is_unpacked_once_whatever_is_done_to_it(
    run: Run, made: dict[str, Artefact], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = collections.Counter[str]()
    for name in ("read", "write"):
        plain = getattr(flatbuffer, name)
        monkeypatch.setattr(flatbuffer, name, _counting(counts, name, plain))
    monkeypatch.setattr(ONNXModel, "open", _counting(counts, "open", ONNXModel.open))
    builder = VariantBuilder(run)
    # Reconstruction makes several files to choose from; this is of one.
    builder.make(parse_variant("plain_int8"), ".tflite")
    # The float file is looked into, the quantised one edited; packed for its version's sake, and
    # with what it says of itself.
    assert counts == {"read": 2, "write": 2}
    counts.clear()
    builder.make(parse_variant("float16"), ".tflite")
    # The float file, since int8 was made of a lowered one; its own, and the float file with kernels
    # rounded to half, to hold it against.
    assert counts["read"] == 3
    counts.clear()
    builder.make(parse_variant("float32"), ".onnx")
    assert not counts  # the converter's own graph is described, and written


def _counting(
    counts: collections.Counter[str], name: str, plain: Callable[..., Any]
) -> Callable[..., Any]:
    def counted(*args: Any, **kwargs: Any) -> Any:
        counts[name] += 1
        return plain(*args, **kwargs)

    return counted


@pytest.mark.parametrize("name", ["int8_converter", "dynamic_int8_converter"])
def test_variants_for_classifiers_are_refused(run: Run, name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: for classifiers only"):
        compress(run, [name])


def test_a_classifier_has_no_raw_form(run: Run) -> None:
    variant = parse_variant("int8_raw")
    assert variant.raw_outputs
    assert (variant.precision, variant.raw_input) == ("int8", True)
    classifier = Run(run.folder, {**run.info, "task": "classification"})
    with pytest.raises(InputError, match="only detectors"):
        tasks.of(classifier).check(variant)


@SLOW
def test_compare_speaks_of_ap(run: Run, made: dict[str, Artefact], tmp_path: Path) -> None:
    rows = compare([run], tmp_path)
    assert {row.metric for row in rows} == {"AP"}
    assert all(row.drop_low <= row.drop <= row.drop_high for row in rows)
    text = table(rows)
    assert " AP " in text.splitlines()[0]
    assert "% " in text.splitlines()[2]
    page = (tmp_path / "report.html").read_text("utf-8")
    for wanted in ("AP against size", "held-out AP", "Same detections, %", "missed", "dashed"):
        assert wanted in page
    assert "Accuracy" not in page
    with (tmp_path / "results.csv").open(newline="") as stream:
        assert {row["metric"] for row in csv.DictReader(stream)} == {"AP"}


@IN_CI
def test_the_data_is_scanned_once_a_command(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = scans_of_commands(tiny_run, tmp_path, monkeypatch, detection_sets, "scan_objects")
    assert found == [1, 1]


@SLOW
def test_predict_draws_boxes(run: Run, made: dict[str, Artefact], tmp_path: Path) -> None:
    picture = scenes.scan(DATA).held_out.picture(0)
    wide = np.asarray(Image.fromarray(picture).resize((192, 96)))
    Image.fromarray(wide).save(tmp_path / "wide.png")
    path = made["float32.tflite"].path
    assert facts(path).task == "detection"
    (found,) = answers(
        path, [str(tmp_path / "wide.png")], score=0.3, order=Order(out=tmp_path / "drawn")
    )
    assert found.objects
    assert found.drawn == str(tmp_path / "drawn" / "wide.png")
    with Image.open(found.drawn) as drawn:
        assert drawn.size == (192, 96)
        assert (np.asarray(drawn) != wide).any()
    for box in found.objects:
        assert 0 <= box.left <= box.right <= 192
        assert 0 <= box.top <= box.bottom <= 96
        assert box.score >= 0.3
    (keras_found,) = answers(run.model_path, [str(tmp_path / "wide.png")], score=0.3)
    _assert_equal(found, keras_found)
    (tmp_path / "other").mkdir()
    Image.fromarray(wide).save(tmp_path / "other" / "wide.png")
    two = [str(tmp_path / "wide.png"), str(tmp_path / "other" / "wide.png")]
    with pytest.raises(InputError, match=r"both be drawn as wide\.png"):
        list(answers(path, two, order=Order(out=tmp_path / "drawn")))


@SLOW
def test_a_file_alone_finds_what_it_does_beside_its_json(
    run: Run, made: dict[str, Artefact], tmp_path: Path
) -> None:
    Image.fromarray(scenes.scan(DATA).held_out.picture(0)).save(tmp_path / "one.png")
    for name, one in made.items():
        alone = shutil.copy(one.path, tmp_path / name)
        (found,) = answers(alone, [str(tmp_path / "one.png")], score=0.2)
        (beside,) = answers(one.path, [str(tmp_path / "one.png")], score=0.2)
        assert found == beside
        assert found.objects


def _assert_equal(one: Boxes, other: Boxes) -> None:
    assert [box.label for box in one.objects] == [box.label for box in other.objects]
    for a, b in zip(one.objects, other.objects, strict=True):
        assert abs(a.score - b.score) < 0.01
        for edge in ("top", "left", "bottom", "right"):
            assert abs(getattr(a, edge) - getattr(b, edge)) < 1


@SLOW
def test_predict_as_a_command(run: Run, made: dict[str, Artefact], tmp_path: Path) -> None:
    Image.fromarray(scenes.scan(DATA).held_out.picture(1)).save(tmp_path / "one.png")
    (tmp_path / "text.png").write_text("no picture")
    file = str(made["int8.tflite"].path)
    done = here("predict", file, str(tmp_path / "one.png"), "--json")
    assert done.returncode == 0, done.stderr
    (told,) = json.loads(done.stdout)
    assert set(told) == {"image", "objects", "drawn"}
    assert_refused(here("predict", file, str(tmp_path / "text.png")), "text.png")


@pytest.mark.slow
def test_a_trained_step_in_front(run: Run) -> None:
    """Quantisation-aware training and pruning of a detector end in files that run."""
    variants = ["qat_int8", "qat_weight_int4", "prune50_float32"]
    found = {a.info["variant"]["name"]: a for a in compress(run, variants, onnx=False)[0]}
    assert set(found) == set(variants)
    assert found["prune50_float32"].info["evaluation"]["fits"]
    assert found["prune50_float32"].info["evaluation"]["sparsity"] > 0.2
    assert found["qat_int8"].info["input"]["type"] == "uint8"
    assert found["qat_weight_int4"].info["input"]["type"] == "float32"
    assert found["qat_weight_int4"].info["evaluation"]["fits"]


# --- By hand --------------------------------------------------------------------------------------


def _found(*rows: tuple[float, float, float, float, int, float]) -> Detections:
    boxes = np.array([row[:4] for row in rows], np.float32).reshape(-1, 4)
    labels = np.array([row[4] for row in rows], np.int32)
    return Detections(boxes=boxes, labels=labels, scores=np.array([r[5] for r in rows], np.float32))


@pytest.fixture(scope="module")
def spec() -> DetectorSpec:
    return zoo.detector_spec("ssdlite_mobilenet_v2", (96, 96, 3), score_threshold=0.1)


def test_agreement_by_hand(spec: DetectorSpec) -> None:
    one = _found((0.1, 0.1, 0.5, 0.5, 3, 0.9), (0.2, 0.2, 0.6, 0.6, 4, 0.5))
    assert agreement([one], [one], (100, 100), spec) == (100.0, 0.0)
    near = _found((0.109, 0.1, 0.5, 0.5, 3, 0.895), (0.2, 0.2, 0.6, 0.6, 4, 0.5))
    same, score = agreement([near], [one], (100, 100), spec)
    assert same == 100
    assert score == pytest.approx(0.005, abs=1e-6)
    # A pixel and a half, another class, another score: each is one of two on either side.
    for other in (
        (0.115, 0.1, 0.5, 0.5, 3, 0.9),
        (0.1, 0.1, 0.5, 0.5, 5, 0.9),
        (0.1, 0.1, 0.5, 0.5, 3, 0.8),
    ):
        changed = _found(other, (0.2, 0.2, 0.6, 0.6, 4, 0.5))
        assert agreement([changed], [one], (100, 100), spec)[0] == 50
    assert PIXELS == 1
    # What is at the threshold may be missing; nothing at all is the same as nothing.
    faint = _found(
        (0.1, 0.1, 0.5, 0.5, 3, 0.9), (0.2, 0.2, 0.6, 0.6, 4, 0.5), (0, 0, 1, 1, 0, 0.105)
    )
    assert agreement([faint], [one], (100, 100), spec)[0] == 100
    assert agreement([_found()], [_found()], (100, 100), spec) == (100.0, 0.0)
    assert agreement([_found()], [one], (100, 100), spec)[0] == 0


def test_sure_found_by_hand() -> None:
    sure = _found(
        (0.0, 0.0, 0.5, 0.5, 1, 0.9), (0.5, 0.5, 1.0, 1.0, 2, 0.4), (0.0, 0.5, 0.5, 1.0, 3, 0.2)
    )

    def share(*rows: tuple[float, float, float, float, int, float]) -> float:
        return sure_found([_found(*rows)], [sure], 4).overall

    first = (0.0, 0.0, 0.5, 0.5, 1, 0.5)
    # The third is nothing that Keras is sure of; the second has moved too far, then is too faint.
    assert share(first) == 50
    assert share(first, (0.8, 0.8, 1.0, 1.0, 2, 0.4)) == 50
    assert share(first, (0.5, 0.5, 1.0, 1.0, 2, 0.1)) == 50
    assert share(first, (0.5, 0.5, 1.0, 1.0, 2, 0.2)) == 100
    whole = sure_found([sure], [sure], 4)
    assert (whole.overall, whole.count, whole.classes) == (100, 2, 2)
    assert sure_found([_found()], [_found()], 4).count == 0


def test_one_detection_stands_for_one_alone() -> None:
    twice = _found((0.0, 0.0, 0.5, 0.5, 1, 0.9), (0.0, 0.0, 0.5, 0.48, 1, 0.8))
    once = _found((0.0, 0.0, 0.5, 0.49, 1, 0.9))
    assert sure_found([once], [twice], 2).overall == 50
    assert sure_found([twice], [once], 2).overall == 100
    # The nearest one is not taken from another that has no other.
    near = _found((0.0, 0.0, 0.5, 0.5, 1, 0.9), (0.0, 0.0, 0.5, 0.8, 1, 0.9))
    wide = _found((0.0, 0.0, 0.5, 0.55, 1, 0.9), (0.0, 0.0, 0.5, 0.26, 1, 0.9))
    assert sure_found([wide], [near], 2).overall == 100


Rows = list[tuple[float, float, float, float, int, float]]
# 24 objects, four in each of the six pictures, of one class but for one in the last.
OBJECTS: Rows = [(y, x, y + 0.3, x + 0.3, 0, 0.9) for y in (0.1, 0.6) for x in (0.1, 0.6)]
ONES: list[Rows] = [OBJECTS] * 5 + [[*OBJECTS[:3], (*OBJECTS[3][:4], 1, 0.9)]]
# 20 boxes a picture that are nothing, above all that is there.
FALSE: Rows = [(y / 10, x, y / 10 + 0.1, x + 0.1, 0, 0.95) for y in range(10) for x in (0.0, 0.5)]


def scored(rows: list[Rows], score: float) -> list[Rows]:
    return [[(*one[:5], score) for one in picture] for picture in rows]


@pytest.mark.parametrize(
    ("wanted", "found", "verified", "told"),
    [
        (ONES, ONES, "yes", "of 24 detections of Keras 100.0%"),
        # A little less sure, here and there, is the same.
        (ONES, scored(ONES, 0.5), "yes", "of 24 detections of the file 100.0%"),
        (ONES, [[]] * 6, "no", "of 24 detections of Keras 0.0%"),
        (ONES, [picture + FALSE for picture in ONES], "no", "of the file 16.7%"),
        # Keras is unsure: all it is sure of is found, as there is nothing.
        (scored(ONES, 0.2), [FALSE] * 6, "no", "of 120 detections of the file 0.0%"),
        (scored(ONES, 0.2), scored(ONES, 0.2), "not verified", "Keras is sure of nothing"),
        (scored(ONES, 0.29), scored(ONES, 0.31), "not verified", "Keras is sure of nothing"),
        (scored(ONES, 0.2), [[]] * 6, "not verified", "Keras is sure of nothing"),
        # 95.8% of all is found, and nothing of the other class.
        (ONES, [*ONES[:5], OBJECTS[:3]], "no", "of 24 detections of Keras 95.8%: 0.0% outside"),
    ],
)
def test_verdicts_on_quantised_files(
    run: Run, wanted: list[Rows], found: list[Rows], verified: str, told: str
) -> None:
    task = tasks.of(run)
    reference, answers = (
        task.measured([_found(*rows) for rows in pictures]) for pictures in (wanted, found)
    )
    verdict = task.verify(parse_variant("int8"), answers, reference, None)
    assert verdict.verified == verified, verdict.rule
    assert told in verdict.rule
    assert verdict.is_verified == (verified == "yes")


def test_a_float_file_of_a_network_that_finds_nothing_is_not_verified(run: Run) -> None:
    task = tasks.of(run)
    nothing, something = (task.measured([_found(*rows)] * 6) for rows in ([], OBJECTS))
    variant = parse_variant("float32")
    assert task.verify(variant, nothing, nothing, None).verified == "not verified"
    assert task.verify(variant, something, nothing, None).verified == "no"
    assert task.verify(variant, something, something, None).verified == "yes"


def test_a_file_with_less_ap_is_not_verified(run: Run) -> None:
    """Boxes that cover the objects and lie a little beside: IoU 0.5 holds, AP falls."""
    task = tasks.of(run)
    truth = [task.held_out.objects(index) for index in range(6)]

    def at(shift: float) -> Found:
        return task.measured([
            Detections.of(one.boxes + np.float32(shift) * np.tile(sides(one.boxes), 2),
                          one.labels, np.full(len(one.labels), 0.9))
            for one in truth
        ])  # fmt: skip

    exact, beside = at(0.0), at(0.1)
    assert exact.value == pytest.approx(100)
    verdict = task.verify(parse_variant("int8"), beside, exact, None)
    assert verdict.verified == "no"
    assert "of Keras 100.0%" in verdict.rule
    assert "but AP is " in verdict.rule


def sides(boxes: np.ndarray) -> np.ndarray:
    """(d, 2) heights and widths."""
    return boxes[:, 2:] - boxes[:, :2]


def test_errors_by_hand() -> None:
    boxes = np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0.5, 0.5, 1]], np.float32)
    labels, crowd = np.array([1, 2, 3]), np.array([False, False, True])
    # Found once and once more; missed; on the crowd; below the shown score.
    found = _found(
        (0.0, 0.0, 0.5, 0.5, 1, 0.9),
        (0.0, 0.0, 0.5, 0.45, 1, 0.8),
        (0.0, 0.5, 0.5, 1.0, 7, 0.7),
        (0.5, 0.5, 1.0, 1.0, 2, 0.2),
    )
    assert errors(found, boxes, labels, crowd) == (1, 1)
    assert errors(_found(), boxes, labels, crowd) == (2, 0)
    assert errors(found, boxes[:0], labels[:0], crowd[:0]) == (0, 3)


def test_iou_by_hand() -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 1, 1, 1]], np.float32)
    np.testing.assert_allclose(np_iou(boxes, np.array([[1, 1, 3, 3]], np.float32)), [[1 / 7], [0]])
