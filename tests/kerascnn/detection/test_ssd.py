"""SSDLite: which maps it predicts from, and in which order."""

from __future__ import annotations

import numpy as np
import pytest
from marks import IN_CI
from networks import outputs_of

import kerascnn
from kerascnn import zoo
from kerascnn.complexity import count_parameters
from kerascnn.detection import ssd


def maps_of(model) -> list:
    return [model.get_layer(f"class_map{number}_depthwise").input for number in range(1, 7)]


@pytest.mark.parametrize(
    ("name", "layers", "channels"),
    [
        ("ssdlite_mobilenet_v2", ("stage6_block1_expand_act", "head_act"), (576, 1280)),
        ("ssdlite_mobilenet_v3_small", ("stage5_block1_expand_act", "last_act"), (288, 288)),
        ("ssdlite_mobilenet_v3_large", ("stage6_block1_expand_act", "last_act"), (672, 480)),
        (
            "ssdlite_mobilenet_v4_conv_small",
            ("stage4_block1_expand_act", "last_act"),
            (576, 960),
        ),
        (
            "ssdlite_mobilenet_v4_conv_medium",
            ("stage4_block1_expand_act", "last_act"),
            (960, 960),
        ),
        (
            "ssdlite_mobileone_s0",
            ("stage3_block10_pointwise_act", "stage4_block1_pointwise_act"),
            (256, 1024),
        ),
    ],
)
@pytest.mark.usefixtures("sized_alone")
def test_maps_are_the_papers(name: str, layers, channels) -> None:
    maps = maps_of(kerascnn.build(name))
    assert tuple(x._keras_history.operation.name for x in maps[:2]) == layers
    assert [x.shape[1:] for x in maps] == [
        (20, 20, channels[0]), (10, 10, channels[1]),
        (5, 5, 512), (3, 3, 256), (2, 2, 256), (1, 1, 128),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "padding", "shape"),
    [
        ("ssdlite_mobilenet_v2", "same", (75, 101, 3)),
        ("ssdlite_mobilenet_v2", "symmetric", (75, 101, 3)),
        ("ssdlite_mobilenet_v3_small", "symmetric", (300, 33, 3)),
        ("ssdlite_mobilenet_v3_large", "same", (96, 160, 3)),
        ("ssdlite_mobilenet_v4_conv_small", "symmetric", (75, 101, 3)),
        pytest.param("ssdlite_mobileone_s0", "same", (75, 101, 3), marks=IN_CI),
    ],
)
@pytest.mark.usefixtures("sized_alone")
def test_every_anchor_has_its_row(name: str, padding: str, shape) -> None:
    model = kerascnn.build(name, input_shape=shape, classes=2, padding=padding, alpha=0.35)
    levels = zoo.detector_spec(name, shape).anchors.levels
    assert [(level.rows, level.columns) for level in levels] == [
        x.shape[1:3] for x in maps_of(model)
    ]
    assert {len(level.sizes) for level in levels} == {ssd.ANCHORS_A_CELL}
    assert model.output_shape[0] == (None, sum(level.count for level in levels), 4)


@IN_CI
def test_rows_go_by_map_row_column_and_anchor() -> None:
    model = kerascnn.build("ssdlite_mobilenet_v2", input_shape=(64, 96, 3), classes=2, alpha=0.35)
    for number in range(1, 7):
        conv = model.get_layer(f"box_map{number}_predict")
        kernel, _ = conv.get_weights()
        conv.set_weights([np.zeros_like(kernel), 100 * number + np.arange(24)])
    boxes, _ = outputs_of(model, np.zeros((1, 64, 96, 3), "float32"))
    levels = zoo.detector_spec("ssdlite_mobilenet_v2", (64, 96)).anchors.levels
    wanted = [
        np.tile(100 * number + np.arange(24).reshape(6, 4), (level.rows * level.columns, 1))
        for number, level in enumerate(levels, 1)
    ]
    np.testing.assert_array_equal(boxes[0], np.concatenate(wanted))


def test_a_bright_cell_is_where_its_anchors_are() -> None:
    """A picture that differs in one corner changes the finest map's anchors there, not afar."""
    model = kerascnn.build("ssdlite_mobilenet_v2", input_shape=(320, 320, 3), classes=2, alpha=0.35)
    pictures = np.zeros((2, 320, 320, 3), "float32")
    pictures[1, :8, -8:] = 1
    _, logits = outputs_of(model, pictures)
    changed = np.abs(logits[1] - logits[0]).max(-1)[: 20 * 20 * 6].reshape(20, 20, 6).max(-1)
    assert changed[0, 19] > 0
    assert changed[19, 0] == 0
    centres = zoo.detector_spec("ssdlite_mobilenet_v2").anchors.boxes().reshape(-1, 2, 2).mean(1)
    top_right = centres[19 * 6]
    assert top_right[0] < 0.05
    assert top_right[1] > 0.95


def test_the_spec_is_torchvisions() -> None:
    spec = zoo.detector_spec("ssdlite_mobilenet_v3_large", score_threshold=0.3)
    assert spec.background
    assert spec.box_scales == (10, 10, 5, 5)
    assert (spec.positive_iou, spec.negative_iou, spec.loss) == (0.5, 0.5, "multibox")
    assert spec.score_threshold == 0.3
    assert spec.anchors.count == 3234


@pytest.mark.usefixtures("sized_alone")
def test_alpha_narrows_the_extra_blocks() -> None:
    model = kerascnn.build("ssdlite_mobilenet_v2", input_shape=(64, 64, 3), alpha=0.1)
    assert [x.shape[-1] for x in maps_of(model)[2:]] == [51, 25, 25, 16]
    wide = kerascnn.build("ssdlite_mobilenet_v2", input_shape=(64, 64, 3), alpha=1.4)
    assert maps_of(wide)[2].shape[-1] == 716


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.usefixtures("sized_alone")
def test_the_full_tail_is_the_classifiers(size: str) -> None:
    shape = (64, 64, 3)
    model = kerascnn.build(f"ssdlite_mobilenet_v3_{size}", input_shape=shape, reduced_tail=False)
    classifier = kerascnn.build(f"mobilenet_v3_{size}", input_shape=shape)
    for layer in classifier.layers:
        if layer.name.startswith(("stem", "stage", "last")):
            ours = [w.shape for w in model.get_layer(layer.name).weights]
            assert ours == [w.shape for w in layer.weights]
    reduced = kerascnn.build(f"mobilenet_v3_{size}", input_shape=shape, reduced_tail=True)
    assert reduced.get_layer("head").units == classifier.get_layer("head").units // 2
    assert count_parameters(reduced) < count_parameters(classifier) / 1.5


@pytest.mark.usefixtures("sized_alone")
def test_minimalistic_has_no_squeeze_and_relu_alone() -> None:
    model = kerascnn.build("ssdlite_mobilenet_v3_small", input_shape=(64, 64, 3), minimalistic=True)
    assert not [x.name for x in model.layers if "_se_" in x.name]
    kinds = {x.activation.__name__ for x in model.layers if hasattr(x, "activation")}
    assert kinds == {"relu", "relu6", "linear"}


def test_kernels_outside_the_backbone_are_drawn_as_torchvisions() -> None:
    model = kerascnn.build("ssdlite_mobilenet_v3_small", input_shape=(64, 64, 3))
    for name in ("extra1_depthwise", "class_map1_predict", "box_map2_depthwise"):
        kernel = np.asarray(model.get_layer(name).kernel)
        assert kernel.std() == pytest.approx(ssd.STDDEV, rel=0.1)
        assert not np.array_equal(kernel[..., :1], kernel[..., -1:]) or kernel.shape[-1] == 1
    first, second = (model.get_layer(f"box_map{n}_predict").kernel for n in (5, 6))
    assert not np.allclose(first[..., :128, :], second)
