"""Detectors that learn within seconds, and pictures of coloured rectangles for them."""

from __future__ import annotations

import dataclasses
import functools

import keras
import numpy as np
import pytest
from keras import layers

from kerascnn import blocks, zoo
from kerascnn.detection import heads
from kerascnn.detection.anchors import point_anchors, rpn_anchors, ssd_anchors
from kerascnn.detection.faster_rcnn import two_stage_detector
from kerascnn.detection.specs import DetectorSpec, TwoStageSpec
from kerascnn.preprocessing import Preprocessing
from training.datasets.detection import DetectionSplit, Objects

CLASSES = ("red", "blue")
SHAPE = (32, 48, 3)
PREPROCESSING = Preprocessing(height=32, width=48, channels=3, resize="stretch")
_COLOURS = np.array([(230, 30, 30), (30, 30, 230)])


def network(
    input_shape: tuple[int, ...] = SHAPE, classes: int = 2, *, dropout: float = 0.2
) -> keras.Model:
    """Two maps with six anchors a cell, and a background among the logits."""
    keras.utils.set_random_seed(0)
    conventions = blocks.Conventions(activation="relu6", norm_momentum=0.5)
    x = inputs = blocks.picture_input(input_shape)
    x = conventions.conv(x, 8, 3, strides=2, name="stem")
    fine = conventions.conv(x, 16, 3, strides=2, name="stage1_block1_expand")
    x = layers.Dropout(dropout, name="stage1_block1_dropout")(fine)
    coarse = conventions.conv(x, 16, 3, strides=2, name="extra1_expand")
    outputs = []
    for role, values, output in (("box", 4, "boxes"), ("class", 1 + classes, "logits")):
        rows = []
        for number, level in enumerate((fine, coarse), 1):
            conv = layers.Conv2D(6 * values, 1, name=f"{role}_map{number}_predict")
            rows.append(heads.rows(conv(level), values, name=f"{role}_map{number}_rows"))
        outputs.append(heads.joined(rows, name=output))
    return keras.Model(inputs, outputs, name="tiny")


def spec(input_shape: tuple[int, ...] = SHAPE, **changes: object) -> DetectorSpec:
    """What the outputs of `network` mean."""
    height, width = input_shape[:2]
    grids = [(-(-height // step), -(-width // step)) for step in (4, 8)]
    values = {
        "anchors": ssd_anchors(grids, min_scale=0.3, max_scale=0.5),
        "box_scales": (10.0, 10.0, 5.0, 5.0),
        "background": True,
        "positive_iou": 0.5,
        "negative_iou": 0.4,
        "loss": "multibox",
        "max_detections": 10,
        "candidates": 200,
    }
    return DetectorSpec(**{**values, **changes})  # type: ignore[arg-type]


def point_network(input_shape: tuple[int, ...] = SHAPE, classes: int = 2) -> keras.Model:
    """Two maps without anchors: distances and logits of a point in each cell; heads are shared."""
    keras.utils.set_random_seed(0)
    conventions = blocks.Conventions(activation="silu", norm_momentum=0.5)
    x = inputs = blocks.picture_input(input_shape)
    x = conventions.conv(x, 8, 3, strides=2, name="stem")
    fine = conventions.conv(x, 16, 3, strides=2, name="stage1_block1_expand")
    coarse = conventions.conv(fine, 16, 3, strides=2, name="fpn1_p3_down")
    outputs = []
    for role, values, bias, output in (("box", 4, 1.0, "boxes"), ("class", classes, -2, "logits")):
        shared = layers.Conv2D(16, 3, padding="same", use_bias=False, name=f"{role}_conv1")
        rows = []
        for number, level in enumerate((fine, coarse), 1):
            name = f"{role}_conv1_map{number}"
            x = conventions.normalise(shared(level), f"{name}_norm")
            x = conventions.activate(x, f"{name}_act")
            first = keras.initializers.Constant(bias)
            conv = layers.Conv2D(
                values, 1, bias_initializer=first, dtype=heads.output_dtype(),
                name=f"{role}_map{number}_predict",
            )  # fmt: skip
            rows.append(heads.rows(conv(x), values, name=f"{role}_map{number}_rows"))
        outputs.append(heads.joined(rows, name=output))
    return keras.Model(inputs, outputs, name="tiny_points")


def point_spec(input_shape: tuple[int, ...] = SHAPE, **changes: object) -> DetectorSpec:
    """What the outputs of `point_network` mean."""
    values = {
        "anchors": point_anchors(input_shape[:2], levels=(2, 3)),
        "box_scales": (1.0, 1.0, 1.0, 1.0),
        "background": False,
        "positive_iou": 1.0,
        "negative_iou": 1.0,
        "loss": "quality_focal",
        "coding": "distances",
        "max_detections": 10,
        "candidates": 200,
    }
    return DetectorSpec(**{**values, **changes})  # type: ignore[arg-type]


def in_place_of_the_zoo(patch: pytest.MonkeyPatch) -> None:
    """Every detector that is asked for is `network`."""
    from training.engine import network as networks  # not for the scripts of other backends

    known = {field.name for field in dataclasses.fields(DetectorSpec)}

    def build(_asked: object, preprocessing: Preprocessing, *, classes: int) -> keras.Model:
        return network(preprocessing.input_shape, classes)

    def spec_of(
        _name: str, input_shape: tuple[int, ...] = SHAPE, **options: object
    ) -> DetectorSpec:
        return spec(input_shape, **{n: value for n, value in options.items() if n in known})

    patch.setattr(networks, "build", build)
    patch.setattr(zoo, "detector_spec", spec_of)


def two_stage_network(
    input_shape: tuple[int, ...] = SHAPE, classes: int = 2, **changes: object
) -> keras.Model:
    """A Mask R-CNN on two maps, or a Faster R-CNN with masks=False."""
    keras.utils.set_random_seed(0)
    conventions = blocks.Conventions(activation="relu6", norm_momentum=0.5)
    x = inputs = blocks.picture_input(input_shape)
    x = conventions.conv(x, 8, 3, strides=2, name="stem")
    x = conventions.conv(x, 16, 3, strides=2, name="stage1_block1_expand")
    x = conventions.conv(x, 16, 3, strides=2, name="stage2_block1_expand")
    return two_stage_detector(
        keras.Model(inputs, x),
        ("stage1", "stage2"),
        two_stage_spec(input_shape, **changes),
        classes,
        name="tiny_rcnn",
        frozen_norm=False,
        fpn_filters=16,
        head_units=32,
        mask_filters=8,
    )


def two_stage_spec(input_shape: tuple[int, ...] = SHAPE, **changes: object) -> TwoStageSpec:
    """What the outputs of `two_stage_network` mean."""
    height, width = input_shape[:2]
    values = {
        "anchors": rpn_anchors(
            (height, width), strides=(4, 8, 16), sizes=((9,), (13,), (18,)), aspect_ratios=(0.7, 1)
        ),
        "input_size": (height, width),
        "rpn_samples": 32,
        "candidates_a_level": 40,
        "proposals": 20,
        "samples": 16,
        "max_detections": 6,
        "masks": True,
    }
    return TwoStageSpec(**{**values, **changes})  # type: ignore[arg-type]


def split(count: int) -> DetectionSplit:
    """Pictures of different sizes with one or two rectangles; every fifth, from the fifth, none."""
    places = np.arange(count)
    return DetectionSplit(
        names=tuple(f"p{place}" for place in places),
        places=places,
        sizes=np.array([_size(place) for place in places], np.int32).reshape(-1, 2),
        read=_read,
        annotate=_annotate,
    )


def odd_split() -> DetectionSplit:
    """Without objects; one pixel of one; 200; cut by three sides of the picture; a crowd."""
    return DetectionSplit(
        names=("none", "one pixel", "200", "cut", "crowd"),
        places=np.arange(5),
        sizes=np.tile(SHAPE[:2], (5, 1)),
        read=lambda place: np.random.default_rng(place).integers(0, 256, SHAPE, np.uint8),
        annotate=_odd,
    )


def _odd(place: int) -> Objects:
    rng = np.random.default_rng(place)
    masks = np.zeros(((0, 1, 200, 3, 1)[place], *SHAPE[:2]), bool)
    if place == 1:
        masks[0, 20, 30] = True
    elif place == 2:
        for mask, top, left in zip(masks, *rng.integers(0, 26, (2, 200)), strict=True):
            mask[top : top + 6, left : left + 5] = True
    elif place == 3:
        masks[0, :9, 5:20] = masks[1, 24:, 30:] = masks[2, 10:20, :7] = True
    elif place == 4:
        masks[0, :, :24] = True
    boxes = [
        (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
        for rows, columns in map(np.nonzero, masks)
    ]
    return Objects(
        boxes=(np.reshape(boxes, (-1, 4)) / np.tile(SHAPE[:2], 2)).astype(np.float32),
        labels=rng.integers(0, 2, len(masks)).astype(np.int32),
        crowd=np.full(len(masks), place == 4),
        areas=masks.sum(axis=(1, 2)).astype(np.float32),
        ids=np.arange(len(masks)),
        masks=tuple(functools.partial(np.copy, mask) for mask in masks),
    )


def _size(place: int) -> tuple[int, int]:
    return 40 + place % 7, 60 - place % 5


def _annotate(place: int) -> Objects:
    rng = np.random.default_rng([1, place])
    count = 0 if place % 5 == 4 else 1 + place % 2
    corners = rng.uniform(0, 0.15, (count, 2))
    corners[1:] += 0.5  # apart from the first
    boxes = np.concatenate([corners, corners + rng.uniform(0.25, 0.35, (count, 2))], axis=1)
    height, width = _size(place)
    pixels = np.round(boxes * [height, width, height, width])  # edges of whole pixels
    masks = [functools.partial(_filled, (height, width), box) for box in pixels.astype(int)]
    return Objects(
        boxes=(pixels / [height, width, height, width]).astype(np.float32),
        labels=rng.integers(0, 2, count).astype(np.int32),
        crowd=np.zeros(count, bool),
        areas=np.prod(pixels[:, 2:] - pixels[:, :2], axis=1).astype(np.float32),
        ids=np.arange(count),
        masks=tuple(masks),
    )


def _filled(size: tuple[int, int], box: np.ndarray) -> np.ndarray:
    mask = np.zeros(size, bool)
    top, left, bottom, right = box
    mask[top:bottom, left:right] = True
    return mask


def _read(place: int) -> np.ndarray:
    height, width = _size(place)
    rng = np.random.default_rng([2, place])
    picture = rng.integers(90, 160, (height, width, 3), dtype=np.uint8)
    objects = _annotate(place)
    pixels = np.round(objects.boxes * [height, width, height, width]).astype(int)
    for (top, left, bottom, right), label in zip(pixels, objects.labels, strict=True):
        picture[top:bottom, left:right] = _COLOURS[label]
    return picture
