"""Hard, class-agnostic and soft suppression: one table, and every form that a detector has."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
import small_sets
import suppression_cases
import tiny_detectors
from marks import IN_CI
from onnxruntime import InferenceSession
from suppression import drawn, passing_on, run, spec_of
from suppression_cases import CASES, CODES, SCORES, Case

from export.artefacts.description import inside
from export.compress.compress import compress
from export.graph.detection import with_scores
from export.onnx.convert import to_onnx
from export.onnx.model import ONNXModel
from export.onnx.postprocess import append_nms
from export.runtime import suppression
from export.runtime.model_facts import facts
from export.tflite.convert import to_tflite
from export.tflite.model import TFLiteModel
from export.tflite.postprocess import append_postprocess, network_ends
from kerascnn.detection import postprocess
from kerascnn.detection.specs import DetectorSpec
from training.engine.request import request
from training.engine.train import train

WAYS = [
    {"class_agnostic": True},
    {"suppression": "soft"},
    {"suppression": "soft", "class_agnostic": True, "soft_nms_sigma": 0.3},
]
NAMES = ["agnostic", "soft", "soft and agnostic"]
every_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def assert_found(case: Case, boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> None:
    np.testing.assert_array_equal(labels, case.labels)
    np.testing.assert_allclose(scores, case.scores, rtol=2e-6)
    np.testing.assert_allclose(boxes, case.boxes, atol=1e-6)


@every_case
def test_keras_and_numpy_answer_what_is_worked_by_hand(case: Case) -> None:
    found = postprocess.of_picture(postprocess.select(case.spec, CODES[None], SCORES[None]), 0)
    assert_found(case, **found)
    (plain,) = suppression.select(case.spec, CODES[None], SCORES[None])
    assert_found(case, plain.boxes, plain.labels, plain.scores)


@functools.cache
def _files(background: bool, columns: int, *grids: int) -> tuple[bytes, bytes]:
    """Raw files whose picture is their outputs; the table's anchors without grids."""
    spec = spec_of(*grids, background=background) if grids else suppression_cases.SPEC
    model = with_scores(passing_on(spec, columns), spec)
    return to_tflite(model), to_onnx(model)


def _inside(
    spec: DetectorSpec, codes: np.ndarray, logits: np.ndarray, *grids: int
) -> list[dict[str, np.ndarray]]:
    """What both files find, without what pads."""
    tflite, onnx = _files(spec.background, logits.shape[-1], *grids)
    picture = np.concatenate([codes, logits], axis=-1)[..., None].astype(np.float32)
    session = InferenceSession(
        ONNXModel.edited(onnx, append_nms, spec=spec), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    outputs = (
        run(TFLiteModel.edited(tflite, append_postprocess, spec=spec), picture),
        dict(zip(names, session.run(names, {"image": picture}), strict=True)),
    )
    found = []
    for one in outputs:
        count, most = int(one["count"][0]), spec.max_detections
        assert one["boxes"].shape == (1, most, 4)
        assert not one["boxes"][0, count:].any()
        assert not one["scores"][0, count:].any()
        assert (one["labels"][0, count:] <= 0).all()
        found.append({name: one[name][0, :count] for name in ("boxes", "labels", "scores")})
    return found


@every_case
def test_files_answer_what_is_worked_by_hand(case: Case) -> None:
    logits = np.log(SCORES.astype(np.float64) / (1 - SCORES))
    for found in _inside(case.spec, CODES[None], logits[None]):
        assert_found(case, **found)


@pytest.mark.parametrize(
    "background", [False, pytest.param(True, marks=IN_CI)], ids=["sigmoid", "softmax"]
)
@pytest.mark.parametrize(
    "options",
    [pytest.param(way, marks=() if way == {"suppression": "soft"} else IN_CI) for way in WAYS],
    ids=NAMES,
)
def test_files_equal_keras_and_numpy(options: dict, background: bool) -> None:
    grids, classes = (5, 3), 3
    spec = spec_of(*grids, background=background, score_threshold=0.2, max_detections=40)
    spec = dataclasses.replace(spec, **options)
    for seed in range(3):
        codes, logits = drawn(spec, classes + background, seed, False)
        wanted = postprocess.of_picture(postprocess.detect(spec, codes, logits), 0)
        assert len(wanted["scores"]) > 10
        scores = np.asarray(postprocess.scores(spec, logits))
        (plain,) = suppression.select(spec, codes, scores)
        found = [*_inside(spec, codes, logits, *grids), vars(plain)]
        for one in found:
            np.testing.assert_array_equal(one["labels"], wanted["labels"])
            np.testing.assert_allclose(one["scores"], wanted["scores"], rtol=1e-4)
            np.testing.assert_allclose(one["boxes"], wanted["boxes"], atol=2e-6)


@pytest.mark.parametrize("options", [{}, *WAYS], ids=["hard", *NAMES])
def test_the_ends_of_the_network_are_found_again(options: dict) -> None:
    spec = dataclasses.replace(spec_of(5, 3, background=True), **options)
    tflite, _onnx = _files(True, 4, 5, 3)
    raw = TFLiteModel.open(tflite)
    ends = {name: raw.named(name) for name in ("boxes", "scores")}
    whole = TFLiteModel.open(TFLiteModel.edited(tflite, append_postprocess, spec=spec))
    found = {name: whole.graph.tensors[index].name for name, index in network_ends(whole).items()}
    assert found == {name: raw.graph.tensors[index].name for name, index in ends.items()}


@pytest.mark.parametrize("options", WAYS, ids=NAMES)
def test_numpy_equals_keras_with_many_equal_scores(options: dict) -> None:
    spec = dataclasses.replace(spec_of(5, 3, score_threshold=0.2, max_detections=60), **options)
    rng = np.random.default_rng(3)
    codes = rng.normal(0, 0.3, (2, spec.anchors.count, 4)).astype(np.float32)
    scores = rng.integers(0, 9, (2, spec.anchors.count, 3)).astype(np.float32) / 8
    detected = postprocess.select(spec, codes, scores)
    for index, found in enumerate(suppression.select(spec, codes, scores)):
        wanted = postprocess.of_picture(detected, index)
        np.testing.assert_allclose(np.sort(found.scores), np.sort(wanted["scores"]), rtol=1e-5)
        if not spec.rule.soft:
            np.testing.assert_array_equal(found.labels, wanted["labels"])
            np.testing.assert_allclose(found.boxes, wanted["boxes"], atol=1e-6)


@IN_CI
def test_a_run_s_choice_goes_with_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_detectors.in_place_of_the_zoo(monkeypatch)
    data = small_sets.coco(tmp_path / "data", 12)
    options = {"suppression": "soft", "class_agnostic": True, "soft_nms_sigma": 0.3}
    asked = request(
        "ssdlite_mobilenet_v2",
        data=str(data),
        epochs=1,
        batch_size=4,
        image_size=(32, 48),
        validation_fraction=0.2,
        detector_options=options,
    )
    run = train(asked, tmp_path / "run")
    assert options.items() <= run.info["detector"].items()
    whole, raw, onnx = compress(run, ["float32", "float32_raw"])[0]
    for one in (whole, raw, onnx):
        decoding = inside(one.path)["decoding"]  # type: ignore[index]
        assert options.items() <= decoding.items()
        assert one.info["evaluation"]["verified"] == "yes", one.info["evaluation"]
        assert facts(one.path).suppression.soft_nms_sigma == 0.3
