"""Detections of a file against a NumPy version of non-maximum suppression."""

from __future__ import annotations

import dataclasses
import functools

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from keras import layers
from shared_heads import ANCHORS, SIDE, toy

from export.artefacts.variants import parse_variant
from export.graph.detection import with_scores
from export.onnx.convert import to_onnx
from export.tflite.convert import to_tflite
from export.tflite.quantise import quantise_file
from kerascnn.detection.anchors import Anchors, Level
from kerascnn.detection.specs import DetectorSpec
from kerascnn.preprocessing import Preprocessing
from training.common.quiet import native_quiet

SIZES = ((0.3, 0.3), (0.5, 0.2))

PREPROCESSING = Preprocessing(height=SIDE, width=SIDE, channels=3)


def spec_of(*grids: int, background: bool = False, **options) -> DetectorSpec:
    levels = tuple(Level(rows=side, columns=side, sizes=SIZES[:ANCHORS]) for side in grids)
    return DetectorSpec(
        anchors=Anchors(levels=levels),
        box_scales=(10.0, 10.0, 5.0, 5.0) if background else (1.0, 1.0, 1.0, 1.0),
        background=background,
        positive_iou=0.5,
        negative_iou=0.5,
        loss="multibox" if background else "focal",
        **options,
    )


def passing_on(spec: DetectorSpec, columns: int) -> keras.Model:
    """A detector whose picture is its outputs: (a, 4 + columns, 1) codes and logits."""
    count = spec.anchors.count
    inputs = keras.Input((count, 4 + columns, 1), name="image")
    codes = layers.Cropping2D(((0, 0), (0, columns)))(inputs)
    logits = layers.Cropping2D(((0, 0), (4, 0)))(inputs)
    codes = layers.Reshape((count, 4), name="boxes")(codes)
    return keras.Model(inputs, [codes, layers.Reshape((count, columns), name="logits")(logits)])


def drawn(spec: DetectorSpec, columns: int, seed: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    """Random codes (1, a, 4) and logits (1, a, columns); with ties, of few values."""
    rng = np.random.default_rng(seed)
    count = spec.anchors.count
    codes = rng.normal(0, 0.3, (1, count, 4)) * spec.box_scales
    logits = rng.normal(-1, 2, (1, count, columns))
    if ties:
        # Halves are exact in every arithmetic; anchors of one code and score are there too.
        logits, codes = np.round(2 * logits) / 2, np.round(2 * codes) / 2
    return codes.astype(np.float32), logits.astype(np.float32)


def scores_of(spec: DetectorSpec, logits: np.ndarray) -> np.ndarray:
    """(a, c) float32."""
    if not spec.background:
        return (1 / (1 + np.exp(-logits[0].astype(np.float64)))).astype(np.float32)
    powers = np.exp(logits[0].astype(np.float64))
    return (powers / powers.sum(axis=-1, keepdims=True))[:, 1:].astype(np.float32)


def by_numpy(
    spec: DetectorSpec, codes: np.ndarray, scores: np.ndarray
) -> list[tuple[float, int, np.ndarray]]:
    """Score, label and box of each detection of (1, a, 4) codes and (1, a, ...) scores: loops."""
    scores, boxes = scores[0, :, int(spec.background) :], []
    for code, anchor in zip(codes[0], spec.anchors.boxes().astype(np.float64), strict=True):
        dy, dx, dh, dw = code / np.array(spec.box_scales)
        height, width = anchor[2] - anchor[0], anchor[3] - anchor[1]
        y = (anchor[0] + anchor[2]) / 2 + dy * height
        x = (anchor[1] + anchor[3]) / 2 + dx * width
        half = np.array([np.exp(dh) * height, np.exp(dw) * width]) / 2
        boxes.append(np.array([y - half[0], x - half[1], y + half[0], x + half[1]]))
    found = []
    for label in range(scores.shape[1]):
        kept: list[int] = []
        for place in np.argsort(-scores[:, label], kind="stable"):
            fine = scores[place, label] >= np.float32(spec.score_threshold)
            if fine and all(overlap(boxes[place], boxes[k]) <= spec.iou_threshold for k in kept):
                kept.append(place)
        found += [
            (float(scores[place, label]), label, np.clip(boxes[place], 0, 1)) for place in kept
        ]
    return sorted(found, key=lambda one: -one[0])[: spec.max_detections]


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, height) * max(0.0, width)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared)


def run(file: bytes, picture: np.ndarray, threads: int = 1) -> dict[str, np.ndarray]:
    """Outputs by the names of the signature."""
    with native_quiet():
        runner = Interpreter(model_content=file, num_threads=threads).get_signature_runner()
    return {name: value.copy() for name, value in runner(image=picture).items()}


def picture_of(codes: np.ndarray, logits: np.ndarray) -> np.ndarray:
    return np.concatenate([codes, logits], axis=-1)[..., None]


def assert_equal(found: dict[str, np.ndarray], wanted: list[tuple[float, int, np.ndarray]]) -> None:
    count = int(found["count"][0])
    assert count == len(wanted) > 0
    assert found["labels"][0, :count].tolist() == [label for _, label, _ in wanted]
    np.testing.assert_allclose(
        found["scores"][0, :count], [score for score, _, _ in wanted], atol=1e-6
    )
    np.testing.assert_allclose(
        found["boxes"][0, :count], np.stack([box for _, _, box in wanted]), atol=1e-5, rtol=1e-5
    )


def clipping_case() -> tuple[DetectorSpec, np.ndarray, np.ndarray, list[list[float]]]:
    """Codes and logits, and the boxes that are left."""
    spec = dataclasses.replace(
        spec_of(2, score_threshold=0.5),
        anchors=Anchors(levels=(Level(rows=2, columns=2, sizes=((0.5, 0.5),)),)),
    )
    codes = np.zeros((1, 4, 4), np.float32)
    # Two with an IoU of 1/3, of which the same is left: both stay, as suppression sees them whole.
    codes[0, 0] = [-1, 0, np.log(3), 0]  # [-1, 0, 0.5, 0.5]
    codes[0, 1] = [0, -1, 0, 0]
    codes[0, 2] = [0, -9, 0, 0]  # outside of the picture
    codes[0, 3] = [0, 0, 9, 9]
    quarter = [0, 0, 0.5, 0.5]
    boxes = [quarter, quarter, [0.5, 0, 1, 0], [0, 0, 1, 1]]
    return spec, codes, np.array([[[4], [3], [2], [1]]], np.float32), boxes


def tied_case(classes: int = 2) -> tuple[DetectorSpec, np.ndarray, np.ndarray]:
    """All scores are a half in every arithmetic; there is room for half of them and one."""
    spec = spec_of(4, score_threshold=0.25, iou_threshold=1.0, max_detections=16 * classes + 1)
    logits = np.zeros((1, spec.anchors.count, classes), np.float32)
    return spec, np.zeros((1, spec.anchors.count, 4), np.float32), logits


def assert_in_order(found: dict[str, np.ndarray], spec: DetectorSpec, classes: int) -> None:
    """By label, then by anchor."""
    anchors, most = spec.anchors.count, spec.max_detections
    assert found["count"].tolist() == [most]
    assert (found["scores"] == 0.5).all()
    assert found["labels"][0].tolist() == np.repeat(np.arange(classes), anchors)[:most].tolist()
    wanted = np.tile(np.clip(spec.anchors.boxes(), 0, 1), (classes, 1))[:most]
    np.testing.assert_allclose(found["boxes"][0], wanted, atol=1e-6)


@functools.cache
def float_file(background: bool = False) -> bytes:
    spec = spec_of(6, 3, background=background)
    return to_tflite(with_scores(toy(background=background), spec))


@functools.cache
def written(precision: str, background: bool = False) -> bytes:
    """A raw file of the toy."""
    rng = np.random.default_rng(0)
    some = rng.integers(0, 256, (16, SIDE, SIDE, 3), dtype=np.uint8)
    file = float_file(background)
    if precision == "float32":
        return file
    return quantise_file(file, parse_variant(precision), PREPROCESSING, some)


@functools.cache
def raw_file(background: bool = False) -> bytes:
    return to_onnx(with_scores(toy(background=background), spec_of(6, 3, background=background)))
