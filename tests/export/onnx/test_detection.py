"""The ONNX file's detections are those of NumPy, and its bytes repeat."""

from __future__ import annotations

import functools

import numpy as np
import onnx
import onnxruntime
import pytest
from shared_heads import CLASSES, SIDE, answers, pictures, toy
from suppression import (
    PREPROCESSING,
    assert_equal,
    assert_in_order,
    by_numpy,
    clipping_case,
    drawn,
    passing_on,
    picture_of,
    raw_file,
    spec_of,
    tied_case,
    written,
)
from suppression import run as run_tflite

from export.graph.detection import with_scores
from export.onnx.convert import to_onnx
from export.onnx.model import ONNXModel
from export.onnx.postprocess import append_nms
from export.tflite.model import TFLiteModel
from export.tflite.postprocess import append_postprocess
from kerascnn.detection.specs import DetectorSpec
from kerascnn.errors import InputError


def run(file: bytes, picture: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": picture}), strict=True))


@functools.cache
def passing_file(spec: DetectorSpec, columns: int) -> bytes:
    return to_onnx(with_scores(passing_on(spec, columns), spec))


def fed(spec: DetectorSpec, codes: np.ndarray, logits: np.ndarray) -> dict[str, np.ndarray]:
    return run(
        ONNXModel.edited(passing_file(spec, logits.shape[-1]), append_nms, spec=spec),
        picture_of(codes, logits),
    )


@pytest.mark.parametrize("ties", [False, True], ids=["plain", "ties"])
@pytest.mark.parametrize("background", [False, True], ids=["sigmoid", "softmax"])
def test_the_file_equals_numpy(background: bool, ties: bool) -> None:
    spec = spec_of(5, 3, background=background, score_threshold=0.3, max_detections=40)
    for seed in range(4):
        codes, logits = drawn(spec, CLASSES + background, seed, ties)
        raw = run(passing_file(spec, logits.shape[-1]), picture_of(codes, logits))
        assert_equal(fed(spec, codes, logits), by_numpy(spec, codes, raw["scores"]))


def test_the_rest_is_padded() -> None:
    spec = spec_of(5, 3, score_threshold=0.8, max_detections=60)
    found = fed(spec, *drawn(spec, CLASSES, 0, False))
    count = int(found["count"][0])
    assert 0 < count < 60
    assert (found["labels"][0, :count] >= 0).all()
    assert (found["labels"][0, count:] == -1).all()
    assert not found["boxes"][0, count:].any()
    assert not found["scores"][0, count:].any()


def test_no_more_than_the_most_and_the_best_of_all_classes() -> None:
    spec = spec_of(5, 3, score_threshold=0.05, max_detections=7)
    codes, logits = drawn(spec, CLASSES, 0, False)
    raw = run(passing_file(spec, CLASSES), picture_of(codes, logits))
    found = fed(spec, codes, logits)
    assert found["count"].tolist() == [7]
    assert_equal(found, by_numpy(spec, codes, raw["scores"]))


@pytest.mark.parametrize(("logit", "count"), [(0.0, 1), (-1e-6, 0)])
def test_a_score_at_the_threshold_counts(logit: float, count: int) -> None:
    spec = spec_of(2, score_threshold=0.5)
    codes, logits = np.zeros((1, 8, 4), np.float32), np.full((1, 8, 1), -9, np.float32)
    logits[0, 3] = logit
    found = fed(spec, codes, logits)
    assert found["count"].tolist() == [count]
    assert found["labels"].shape == (1, 100)


def test_boxes_are_clipped_after_suppression() -> None:
    spec, codes, logits, wanted = clipping_case()
    found = fed(spec, codes, logits)
    np.testing.assert_allclose(found["boxes"][0, :4], wanted, atol=1e-6)
    assert found["boxes"].min() == 0
    assert found["boxes"].max() == 1


def test_equal_scores_go_by_label_and_anchor() -> None:
    spec, codes, logits = tied_case()
    assert_in_order(fed(spec, codes, logits), spec, 2)


def test_it_is_a_checked_file_of_one_picture_with_named_outputs() -> None:
    spec = spec_of(6, 3, max_detections=5)
    model = onnx.load_from_string(ONNXModel.edited(raw_file(), append_nms, spec=spec))
    onnx.checker.check_model(model, full_check=True)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert list(shapes) == ["image", "boxes", "labels", "scores", "count"]
    assert list(shapes.values()) == [[1, SIDE, SIDE, 3], [1, 5, 4], [1, 5], [1, 5], [1]]
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)


def test_raw_outputs_are_keras_of_any_batch_and_bytes_repeat() -> None:
    found = run(raw_file(), pictures(3))
    spec = spec_of(6, 3)
    for name, wanted in zip(
        ("boxes", "scores"), answers(with_scores(toy(), spec), pictures(3)), strict=True
    ):
        np.testing.assert_allclose(found[name], wanted, atol=1e-5)
    # The exporter's shapes are constants: what computes them comes and goes.
    kinds = {node.op_type for node in onnx.load_from_string(raw_file()).graph.node}
    assert not kinds & {"Shape", "Gather", "Cast", "Tile", "Resize"}
    again = to_onnx(with_scores(toy(), spec))
    assert again == raw_file()
    assert ONNXModel.edited(again, append_nms, spec=spec) == ONNXModel.edited(
        raw_file(), append_nms, spec=spec
    )


def test_both_formats_of_a_network_detect_the_same() -> None:
    spec = spec_of(6, 3, score_threshold=0.2)
    picture = np.random.default_rng(1).integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
    picture = PREPROCESSING.normalise(picture)
    one = run(ONNXModel.edited(raw_file(), append_nms, spec=spec), picture)
    other = run_tflite(
        TFLiteModel.edited(written("float32"), append_postprocess, spec=spec), picture
    )
    count = int(one["count"][0])
    assert count == int(other["count"][0]) > 0
    # As sets: a hundred scores have some as near to one another as two runtimes round.
    same = one["labels"][0, :count, None] == other["labels"][0, None, :count]
    same &= np.abs(one["scores"][0, :count, None] - other["scores"][0, None, :count]) < 1e-5
    gaps = np.abs(one["boxes"][0, :count, None] - other["boxes"][0, None, :count])
    same &= gaps.max(axis=-1) < 1e-5
    assert same.any(axis=0).all()
    assert same.any(axis=1).all()


def test_what_does_not_belong_together_is_refused() -> None:
    for file, spec in (
        (raw_file(), spec_of(5, 3)),
        (ONNXModel.edited(raw_file(), append_nms, spec=spec_of(6, 3)), spec_of(6, 3)),
    ):
        with pytest.raises(InputError, match="convert the network that they belong to"):
            ONNXModel.edited(file, append_nms, spec=spec)
