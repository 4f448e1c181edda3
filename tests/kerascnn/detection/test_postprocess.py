"""Detections: hand-worked, against plain loops, in a graph and under jax."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from backends import Backends
from keras import ops
from marks import IN_CI

from kerascnn.detection.anchors import Anchors, Level, ssd_anchors
from kerascnn.detection.postprocess import DetectorSpec, detect, of_picture, scores, select
from kerascnn.errors import InputError

QUARTERS = Anchors(levels=(Level(rows=2, columns=2, sizes=((0.5, 0.5),)),))
SPEC = DetectorSpec(
    anchors=QUARTERS,
    box_scales=(1.0, 1.0, 1.0, 1.0),
    background=False,
    positive_iou=0.5,
    negative_iou=0.4,
    loss="focal",
    score_threshold=0.1,
    max_detections=5,
)
SSD = dataclasses.replace(
    SPEC,
    anchors=ssd_anchors([(4, 6), (2, 3), (1, 1)]),
    box_scales=(10.0, 10.0, 5.0, 5.0),
    background=True,
    loss="multibox",
    max_detections=20,
    candidates=2000,
)


def _logits(shares: list[list[float]]) -> np.ndarray:
    """Of sigmoids, for one picture."""
    values = np.array([shares], np.float64)
    return np.log(values / (1 - values)).astype(np.float32)


def _plain_detect(spec: DetectorSpec, codes: np.ndarray, shares: np.ndarray) -> list[tuple]:
    """One picture as TFLite's operation does it: class by class, over all anchors, in float64."""
    boxes = []
    for (dy, dx, dh, dw), (t, le, b, r) in zip(
        codes / spec.box_scales, spec.anchors.boxes().astype(float), strict=True
    ):
        y, x = dy * (b - t) + (t + b) / 2, dx * (r - le) + (le + r) / 2
        h, w = np.exp(dh) * (b - t) / 2, np.exp(dw) * (r - le) / 2
        boxes.append((y - h, x - w, y + h, x + w))
    found = []
    for label in range(shares.shape[1]):
        kept: list[int] = []
        for i in sorted(range(len(boxes)), key=lambda i: (-shares[i, label], i)):
            if shares[i, label] >= spec.score_threshold and not any(
                _plain_iou(boxes[i], boxes[j]) > spec.iou_threshold for j in kept
            ):
                kept.append(i)
        found += [(-shares[i, label], label, i, boxes[i]) for i in kept]
    best = sorted(found, key=lambda f: f[:3])[: spec.max_detections]
    return [(label, -score, np.clip(box, 0, 1)) for score, label, _, box in best]


def _plain_iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    area_a, area_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    if area_a <= 0 or area_b <= 0:
        return 0.0
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared / (area_a + area_b - shared)


def _outputs(seed: int, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Codes and logits for `SSD` with 3 classes; boxes without area among them.

    Scores lie far apart: exponentials differ in the last bit by backend and processor.
    """
    rng = np.random.default_rng(seed)
    codes = rng.normal(size=(count, SSD.anchors.count, 4)) * [6, 6, 3, 3]
    codes[:, ::10, 2] = -1000
    codes[:, 1::10] = codes[:, 2::10]
    steps = np.linspace(0.01, 0.32, 3 * SSD.anchors.count)
    shares = np.stack([rng.permutation(steps).reshape(-1, 3) for _ in range(count)])
    with_background = np.concatenate([1 - shares.sum(axis=-1, keepdims=True), shares], axis=-1)
    return codes.astype(np.float32), np.log(with_background).astype(np.float32)


def _tied(seed: int, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Codes and scores (count, a, 3) for `SSD`; many scores are equal to the last bit."""
    codes, _logits = _outputs(seed, count)
    draw = np.random.default_rng([seed, 1])
    return codes, draw.integers(0, 17, (*codes.shape[:2], 3)).astype(np.float32) / 16


def test_scores_leave_the_background_out() -> None:
    logits = np.log(np.array([[[0.5, 0.25, 0.25], [0.1, 0.6, 0.3]]], np.float32))
    with_background = dataclasses.replace(SPEC, background=True)
    wanted = [[[0.25, 0.25], [0.6, 0.3]]]
    np.testing.assert_allclose(scores(with_background, logits), wanted, rtol=1e-5)
    shares = [[0.25, 0.75], [0.5, 0.125]]
    np.testing.assert_allclose(scores(SPEC, _logits(shares)), [shares], rtol=1e-6)


def test_hand_worked_detections() -> None:
    codes = np.zeros((1, 4, 4), np.float32)
    codes[0, 1] = [0, -0.75, 0, 0]  # three quarters of a cell to the left: IoU 3/5 with anchor 0
    shares = [[0.9, 0.05], [0.8, 0.3], [0.05, 0.05], [0.6, 0.7]]
    found = of_picture(detect(SPEC, codes, _logits(shares)), 0)
    np.testing.assert_array_equal(found["labels"], [0, 1, 0, 1])
    np.testing.assert_allclose(found["scores"], [0.9, 0.7, 0.6, 0.3], rtol=1e-5)
    low, moved = [0.5, 0.5, 1, 1], [0, 0.125, 0.5, 0.625]
    np.testing.assert_allclose(found["boxes"], [[0, 0, 0.5, 0.5], low, low, moved], atol=1e-7)


def test_equal_scores_go_by_label_and_anchor() -> None:
    halves = np.full((1, 4, 2), 0.5, np.float32)
    quarters = QUARTERS.boxes()
    for most, labels in ((3, [0, 0, 0]), (6, [0, 0, 0, 0, 1, 1]), (9, [0] * 4 + [1] * 4)):
        for candidates in (most, 100):
            spec = dataclasses.replace(SPEC, max_detections=most, candidates=candidates)
            found = of_picture(select(spec, np.zeros((1, 4, 4)), halves), 0)
            assert found["labels"].tolist() == labels
            assert (found["scores"] == 0.5).all()
            expected = np.concatenate([quarters, quarters])[: len(labels)]
            np.testing.assert_array_equal(found["boxes"], expected)
    codes = np.zeros((1, 4, 4), np.float32)
    codes[0, 1] = [0, -0.75, 0, 0]  # IoU 3/5 with anchor 0, which is the first
    found = of_picture(select(SPEC, codes, halves), 0)
    np.testing.assert_array_equal(found["boxes"][:3], quarters[[0, 2, 3]])


def test_boxes_are_clipped_after_suppression() -> None:
    codes = np.zeros((1, 4, 4), np.float32)
    # Two with an IoU of 1/3, of which the same is left: both stay.
    codes[0, 0] = [-1, 0, np.log(3), 0]  # [-1, 0, 0.5, 0.5]
    codes[0, 1] = [0, -1, 0, 0]
    codes[0, 2] = [0, -9, 0, 0]  # outside of the picture
    codes[0, 3] = [0, 0, 9, 9]
    found = of_picture(detect(SPEC, codes, _logits([[0.9], [0.8], [0.7], [0.6]])), 0)
    quarter = [0, 0, 0.5, 0.5]
    wanted = [quarter, quarter, [0.5, 0, 1, 0], [0, 0, 1, 1]]
    np.testing.assert_allclose(found["boxes"], wanted, atol=1e-6)


def test_padding_behind_the_detections() -> None:
    shares = np.full((4, 2), 0.05)
    shares[2, 1] = 0.5
    detected = detect(SPEC, np.ones((1, 4, 4), np.float32), _logits(shares.tolist()))
    got = {key: ops.convert_to_numpy(value) for key, value in detected.items()}
    assert got["count"].tolist() == [1]
    assert got["labels"].tolist() == [[1, -1, -1, -1, -1]]
    np.testing.assert_allclose(got["scores"], [[0.5, 0, 0, 0, 0]], rtol=1e-5)
    assert got["boxes"].shape == (1, 5, 4)
    assert not got["boxes"][0, 1:].any()
    assert got["boxes"][0, 0].any()
    assert [got[key].dtype for key in ("boxes", "labels", "scores", "count")] == [
        np.float32, np.int32, np.float32, np.int32,
    ]  # fmt: skip


def test_a_score_at_the_threshold_counts() -> None:
    spec = dataclasses.replace(SPEC, score_threshold=0.5)
    logits = np.array([[[0.0], [-1e-3], [1e-3], [-5.0]]], np.float32)
    assert of_picture(detect(spec, np.zeros((1, 4, 4)), logits), 0)["scores"].tolist()[1:] == [0.5]


def test_only_the_best_candidates_are_looked_at() -> None:
    spec = dataclasses.replace(SPEC, candidates=3)
    shares = [[0.9, 0.2], [0.3, 0.8], [0.4, 0.3], [0.7, 0.6]]
    found = of_picture(detect(spec, np.zeros((1, 4, 4)), _logits(shares)), 0)
    np.testing.assert_allclose(found["scores"], [0.9, 0.8, 0.7], rtol=1e-6)


def test_a_diverged_network_detects_nothing() -> None:
    nothing = np.full((2, 4, 3), np.nan, np.float32)
    for spec in (SPEC, dataclasses.replace(SPEC, background=True)):
        detected = detect(spec, np.full((2, 4, 4), np.nan, np.float32), nothing)
        assert ops.convert_to_numpy(detected["count"]).tolist() == [0, 0]
        assert not ops.convert_to_numpy(detected["boxes"]).any()


@pytest.mark.parametrize(
    "change",
    [{}, pytest.param({"max_detections": 200}, marks=IN_CI), {"iou_threshold": 0.3}],
)
def test_detections_are_those_of_plain_loops(change: dict) -> None:
    spec = dataclasses.replace(SSD, **change)
    codes, shares = _tied(7)
    detected = select(spec, codes, shares)
    for i, (mine, share) in enumerate(zip(codes, shares, strict=True)):
        wanted = _plain_detect(spec, mine.astype(float), share)
        got = of_picture(detected, i)
        assert got["labels"].tolist() == [label for label, _, _ in wanted]
        np.testing.assert_array_equal(got["scores"], [score for _, score, _ in wanted])
        np.testing.assert_allclose(got["boxes"], [box for _, _, box in wanted], atol=2e-6)
        assert len(wanted) > 10


def test_a_graph_with_a_batch_of_any_size_detects_the_same() -> None:
    codes, logits = _outputs(8)
    count = SSD.anchors.count

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, count, 4)),
            tf.TensorSpec((None, count, 4)),
        ]
    )
    def graph(codes, logits):
        return detect(SSD, codes, logits)

    assert graph.get_concrete_function().structured_outputs["boxes"].shape[1:] == (20, 4)
    wanted = detect(SSD, codes, logits)
    for key, value in graph(codes, logits).items():
        np.testing.assert_allclose(value, wanted[key], atol=2e-6)


# Unpickles what the test itself has written.
JAX = """
import pickle, sys
import jax, keras, numpy as np
from kerascnn.detection import matching, postprocess
assert keras.backend.backend() == "jax" and "tensorflow" not in sys.modules
with open(sys.argv[1], "rb") as file:
    spec, codes, logits, shares, truth, wanted = pickle.load(file)
anchors = spec.anchors.boxes()

def match(gt_boxes, gt_labels, gt_crowd):
    matched = matching.match(
        anchors, gt_boxes, gt_labels, gt_crowd, positive_iou=0.5, negative_iou=0.4
    )
    return matched, *matching.targets(matched, gt_boxes, gt_labels, anchors, spec.box_scales)

def check(got, wanted):
    for mine, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)
        assert mine.dtype == theirs.dtype, (mine.dtype, theirs.dtype)

check(jax.jit(match)(*truth), wanted[:3])
matching.PAIRS_AT_ONCE = 0
check(jax.jit(lambda *truth: match(*truth))(*truth), wanted[:3])
detected = jax.jit(lambda *outputs: postprocess.detect(spec, *outputs))(codes, logits)
check([detected[key] for key in ("boxes", "labels", "scores", "count")], wanted[3:7])
tied = jax.jit(lambda *outputs: postprocess.select(spec, *outputs))(codes, shares)
check([tied[key] for key in ("boxes", "labels", "scores", "count")], wanted[7:])
"""


@IN_CI
def test_jax_matches_and_detects_the_same(on_backend: Backends, tmp_path: Path) -> None:
    from kerascnn.detection import matching

    codes, logits = _outputs(9)
    rng = np.random.default_rng(9)
    corner, size = rng.integers(0, 12, (3, 6, 2)), rng.integers(0, 9, (3, 6, 2))
    gt_boxes = np.concatenate([corner, corner + size], axis=-1).astype(np.float32) / 20
    truth = (gt_boxes, rng.integers(-1, 3, (3, 6)).astype(np.int32), rng.random((3, 6)) < 0.2)
    anchors = SSD.anchors.boxes()
    matched = matching.match(anchors, *truth, positive_iou=0.5, negative_iou=0.4)
    aims = matching.targets(matched, *truth[:2], anchors, SSD.box_scales)
    shares = _tied(9)[1]
    found = (*detect(SSD, codes, logits).values(), *select(SSD, codes, shares).values())
    wanted = [ops.convert_to_numpy(x) for x in (matched, *aims, *found)]
    assert len(np.unique(wanted[0])) > 3
    (tmp_path / "problem").write_bytes(pickle.dumps((SSD, codes, logits, shares, truth, wanted)))
    on_backend("jax", JAX, tmp_path / "problem")


def test_json_brings_back_the_same() -> None:
    for spec in (SPEC, SSD):
        assert DetectorSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    with pytest.raises(TypeError, match="colour"):
        DetectorSpec.from_dict(SPEC.to_dict() | {"colour": "red"})


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        ({"box_scales": (1.0, 1.0, 0.0, 1.0)}, "box_scales"),
        ({"box_scales": (1.0, 1.0)}, "box_scales"),
        ({"loss": "hinge"}, "hinge"),
        ({"negative_iou": 0.6}, "negative_iou"),
        ({"score_threshold": 0.0}, "score_threshold"),
        ({"iou_threshold": 1.5}, "iou_threshold"),
        ({"max_detections": 0}, "max_detections"),
        ({"candidates": 0}, "candidates"),
    ],
)
def test_impossible_specs_are_refused(change: dict, culprit: str) -> None:
    with pytest.raises(InputError, match=culprit):
        dataclasses.replace(SPEC, **change)
