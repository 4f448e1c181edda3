"""Faster and Mask R-CNN: their pyramid, their shared heads, their parts, and both backends."""

from __future__ import annotations

import dataclasses
import json

import keras
import numpy as np
import pytest
from keras import ops
from networks import with_random_norms

import kerascnn
from kerascnn import zoo
from kerascnn.complexity import count_parameters
from kerascnn.detection import faster_rcnn, two_stage
from kerascnn.detection.top_down_fpn import top_down
from kerascnn.errors import InputError
from kerascnn.weights import find

SHAPE = (64, 96, 3)
SMALL = {
    "input_shape": SHAPE, "classes": 3, "fpn_filters": 8, "head_units": 16,
    "proposals": 20, "max_detections": 6, "anchor_scale": 0.5,
}  # fmt: skip
MASKED = "mask_rcnn_efficientnet_lite0_fpn"


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """Kernels by fan-in, else pictures look alike; scores and corrections far from one another."""
    keras.utils.set_random_seed(0)
    model = with_random_norms(kerascnn.build(MASKED, frozen_norm=False, **SMALL))
    rng = np.random.default_rng(0)
    gains = {"rpn_logits": 0.3, "rpn_codes": 0.03, "class_logits": 2.0, "mask_logits": 2.0}
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            shape = layer.kernel.shape
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            fan_in = np.prod(shape[: 2 if depthwise else -1])
            drawn = rng.normal(0, np.sqrt(gains.get(layer.name, 1.5) / fan_in), shape)
            layer.set_weights([drawn, *layer.get_weights()[1:]])
    return model


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (2, *SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def found(network, pictures) -> dict[str, np.ndarray]:
    return detections(network, pictures)


def detections(model: keras.Model, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Without the seconds that tracing takes."""
    return {key: ops.convert_to_numpy(x) for key, x in model(pictures, training=False).items()}


def test_detections_are_padded_dictionaries(found) -> None:
    shapes = {key: (value.shape, value.dtype.name) for key, value in found.items()}
    assert shapes == {
        "boxes": ((2, 6, 4), "float32"),
        "labels": ((2, 6), "int32"),
        "scores": ((2, 6), "float32"),
        "count": ((2,), "int32"),
        "masks": ((2, 6, 28, 28), "float32"),
    }
    assert (found["count"] == 6).all()
    assert ((found["boxes"] >= 0) & (found["boxes"] <= 1)).all()
    assert (np.diff(found["scores"]) <= 0).all()
    assert 0.05 < found["masks"].std() < 0.6
    assert np.abs(found["masks"][0] - found["masks"][1]).max() > 0.1


def test_parts_make_the_same_detections(network, pictures, found) -> None:
    spec = network.get_layer("proposals").spec
    parts = two_stage.parts(network)
    seen = parts.front(pictures)
    maps = seen["maps"]
    assert [tuple(x.shape) for x in maps] == [(2, 8, 12, 8), (2, 4, 6, 8), (2, 2, 3, 8)]
    assert seen["rpn_codes"].shape == (2, spec.anchors.count, 4)
    assert seen["rpn_logits"].shape == (2, spec.anchors.count)
    regions, valid = two_stage.propose(spec, seen["rpn_codes"], seen["rpn_logits"])
    assert regions.shape == (2, 20, 4)
    answers = parts.box_head([*maps, regions])
    assert answers["class_logits"].shape == (2, 20, 4)
    assert answers["box_codes"].shape == (2, 20, 4, 4)
    again = two_stage.detect(spec, regions, valid, **answers)
    for key, value in again.items():
        np.testing.assert_allclose(value, found[key], atol=1e-5)
    masks = parts.mask_head([*maps, again["boxes"]])
    assert masks.shape == (2, 6, 28, 28, 4)
    own = 1 + found["labels"][..., None, None, None]
    chosen = np.take_along_axis(ops.convert_to_numpy(masks), own, axis=-1)[..., 0]
    np.testing.assert_allclose(1 / (1 + np.exp(-chosen)), found["masks"], atol=1e-5)


def test_heads_take_any_number_of_regions(network, pictures) -> None:
    parts = two_stage.parts(network)
    maps = parts.front(pictures)["maps"]
    corners = np.random.default_rng(0).uniform(0, 0.5, (2, 5, 2))
    regions = ops.convert_to_tensor(np.concatenate([corners, corners + 0.3], -1), "float32")
    five = parts.box_head([*maps, regions])["class_logits"]
    three = parts.box_head([*maps, regions[:, 1:4]])["class_logits"]
    np.testing.assert_allclose(five[:, 1:4], three, atol=1e-5)
    assert parts.mask_head([*maps, regions]).shape == (2, 5, 28, 28, 4)
    weights = {
        id(w) for part in (parts.front, parts.box_head, parts.mask_head) for w in part.weights
    }
    assert weights == {id(w) for w in network.weights}
    with pytest.raises(InputError, match="not a two-stage detector"):
        two_stage.parts(kerascnn.build("mobilenet_v2", input_shape=(32, 32, 3)))


def test_a_file_brings_back_the_same(network, pictures, found, tmp_path) -> None:
    network.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    for key, value in detections(again, pictures).items():
        np.testing.assert_allclose(value, found[key], atol=1e-6)
    spec = again.get_layer("detections").spec
    assert spec == network.get_layer("proposals").spec
    assert spec == zoo.detector_spec(
        MASKED, SHAPE, proposals=20, max_detections=6, anchor_scale=0.5
    )
    assert json.loads(again.to_json())["config"]["name"] == MASKED
    assert two_stage.parts(again).mask_head.output_shape == (None, None, 28, 28, 4)


def test_layers_have_the_names_of_their_roles(network) -> None:
    names = {layer.name for layer in network.layers}
    assert names >= {
        "fpn_p3_lateral", "fpn_p4_lateral", "fpn_p5_lateral", "fpn_p3_output", "fpn_p4_output",
        "fpn_p5_output", "rpn_conv", "rpn_logits", "rpn_codes", "proposals", "box_roi_align",
        "box_head1", "box_head2", "class_logits", "box_codes", "detections", "mask_roi_align",
        "mask_conv1", "mask_conv2", "mask_conv3", "mask_conv4", "mask_deconv", "mask_logits",
        "masks",
    }  # fmt: skip
    calls = [node.operation.name for nodes in network._nodes_by_depth.values() for node in nodes]
    assert calls.count("rpn_conv") == calls.count("rpn_codes") == calls.count("rpn_logits") == 4
    kernels = [network.get_layer(f"mask_conv{i}").kernel for i in range(1, 5)]
    assert len({float(ops.sum(kernel)) for kernel in kernels}) == 4, "drawn alike"


def test_rows_go_by_level_row_column_and_anchor(network, pictures) -> None:
    heads = {network.get_layer(name): n for name, n in (("rpn_codes", 12), ("rpn_logits", 3))}
    before = [head.get_weights() for head in heads]
    for head, count in heads.items():
        head.set_weights([0 * head.kernel, np.arange(count)])
    seen = two_stage.parts(network).front(pictures[:1])
    for head, weights in zip(heads, before, strict=True):
        head.set_weights(weights)
    anchors = seen["rpn_logits"].shape[1]
    np.testing.assert_array_equal(seen["rpn_logits"][0], np.tile([0, 1, 2], anchors // 3))
    codes = np.tile(np.arange(12).reshape(3, 4), (anchors // 3, 1))
    np.testing.assert_array_equal(seen["rpn_codes"][0], codes)


def test_the_box_head_reads_rows_columns_and_channels(network) -> None:
    """As the layouts of weights take it, which turn torchvision's channels, rows and columns."""
    kernel = network.get_layer("box_head1").kernel
    flat = network.get_layer("box_flat")
    assert kernel.shape == (7 * 7 * 8, 16)
    x = np.arange(7 * 7 * 8, dtype=np.float32).reshape(1, 1, 7, 7, 8)
    np.testing.assert_array_equal(flat(x)[0, 0], np.arange(7 * 7 * 8))


def test_a_level_is_its_map_and_all_coarser_ones() -> None:
    """With kernels that copy: laterals of 1, outputs that pick the middle pixel."""
    inputs = [keras.Input((h, w, 1)) for h, w in ((5, 7), (3, 4), (2, 2), (2, 2))]
    model = keras.Model(inputs, top_down(inputs, 1, levels=(2, 3, 4, 5)))
    for layer in model.layers:
        if layer.weights:
            kernel = np.zeros(layer.kernel.shape)
            kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] = 1
            layer.set_weights([kernel, np.zeros(1)])
    rng = np.random.default_rng(0)
    maps = [rng.normal(0, 1, (1, *x.shape[1:])).astype(np.float32) for x in inputs]
    c2, c3, c4, c5 = (x[0, ..., 0] for x in maps)
    p5, p4 = c5, c4 + c5
    p3 = c3 + p4[[0, 0, 1]][:, [0, 0, 1, 1]]
    p2 = c2 + p3[[0, 0, 1, 1, 2]][:, [0, 0, 1, 1, 2, 2, 3]]
    wanted = [p2, p3, p4, p5, p5[::2, ::2]]
    for level, expected in zip(model(maps), wanted, strict=True):
        np.testing.assert_allclose(level[0, ..., 0], expected, atol=1e-6)


def test_frozen_norms_are_no_parameters_and_do_not_move(network, pictures) -> None:
    frozen = kerascnn.build(MASKED, weights="imagenet", **SMALL)
    norms = [x for x in network.layers if isinstance(x, keras.layers.BatchNormalization)]
    trained = sum(int(np.prod(w.shape)) for norm in norms for w in norm.trainable_weights)
    assert count_parameters(network) - count_parameters(frozen) == trained > 0
    for model, moves in ((frozen, False), (network, True)):
        norm = model.get_layer("stem_norm")
        before = norm.get_weights()
        zoo.features(model, ["stem"])(pictures, training=True)
        moved = np.abs(ops.convert_to_numpy(norm.moving_mean) - before[2]).max() > 0
        norm.set_weights(before)
        assert moved == moves
    # Of the installed package, as the classifier has them.
    source = find("efficientnet_lite0", "imagenet")
    mean = source.tensors["_bn0.running_mean"]
    np.testing.assert_array_equal(frozen.get_layer("stem_norm").moving_mean, mean)


def test_mixed_precision_keeps_boxes_and_scores(network, pictures, found) -> None:
    model = kerascnn.build(MASKED, frozen_norm=False, dtype="mixed_float16", **SMALL)
    for name in ("rpn_logits", "rpn_codes", "class_logits", "box_codes", "mask_logits"):
        assert model.get_layer(name).compute_dtype == "float32"
    assert model.get_layer("box_roi_align").output.dtype == "float16"
    assert {key: x.dtype for key, x in model.output.items()} == {
        key: x.dtype.name for key, x in found.items()
    }
    model.set_weights(network.get_weights())
    half, whole = (two_stage.parts(m).front(pictures) for m in (model, network))
    np.testing.assert_allclose(half["rpn_logits"], whole["rpn_logits"], atol=0.1)
    assert np.std(whole["rpn_logits"]) > 1
    again = detections(model, pictures)
    assert np.isfinite(again["masks"]).all()


def test_forms_are_made_of_their_arguments() -> None:
    spec = zoo.detector_spec("faster_rcnn_mobilenet_v3_large_fpn", (128, 64))
    assert [(x.rows, x.columns) for x in spec.anchors.levels] == [(4, 2), (4, 2), (2, 1)]
    assert {len(level.sizes) for level in spec.anchors.levels} == {15}
    assert spec.rpn_score_threshold == 0.05
    assert not spec.masks
    spec = zoo.detector_spec("mask_rcnn_resnet50_fpn", (128, 64), anchor_scale=0.5)
    assert [(x.rows, x.columns) for x in spec.anchors.levels] == [
        (32, 16), (16, 8), (8, 4), (4, 2), (2, 1)
    ]  # fmt: skip
    assert [level.sizes[1][0] * 128 for level in spec.anchors.levels] == [16, 32, 64, 128, 256]
    assert spec.masks
    with pytest.raises(TypeError, match="alhpa"):
        kerascnn.build("faster_rcnn_resnet50_fpn", input_shape=SHAPE, alhpa=1)
    with pytest.raises(TypeError, match="aspect"):
        zoo.detector_spec("faster_rcnn_resnet50_fpn", aspect=1)


def test_any_classifier_can_be_the_backbone() -> None:
    backbone = kerascnn.build("resnet18", input_shape=(64, 64, 3), small_stem=False)
    spec = faster_rcnn.detector_spec("mask_rcnn_resnet50_fpn", (64, 64), proposals=8)
    features = ("stage1", "stage2", "stage3", "stage4")
    options = {"fpn_filters": 8, "head_units": 8, "mask_filters": 4, "frozen_norm": False}
    model = faster_rcnn.two_stage_detector(
        backbone, features, spec, 5, name="mine", aligned=True, **options
    )
    assert model.get_layer("fpn_p2_lateral").kernel.shape == (1, 1, 64, 8)
    assert model.get_layer("mask_conv1").kernel.shape == (3, 3, 8, 4)
    assert model.get_layer("mask_roi_align").aligned
    assert model.output["masks"].shape == (None, 100, 28, 28)
    with pytest.raises(InputError, match="grids"):
        faster_rcnn.two_stage_detector(backbone, features[1:], spec, 5, name="mine")
    levels = spec.anchors.levels
    more = dataclasses.replace(levels[0], sizes=levels[0].sizes * 2)
    anchors = dataclasses.replace(spec.anchors, levels=(more, *levels[1:]))
    uneven = dataclasses.replace(spec, anchors=anchors)
    with pytest.raises(InputError, match="same anchors in all cells"):
        faster_rcnn.two_stage_detector(backbone, features, uneven, 5, name="mine", **options)
