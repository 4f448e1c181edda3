"""EfficientDet-Lite: its pyramid, its shared heads, and the order of its rows."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from networks import outputs_of

import kerascnn
from kerascnn import zoo
from kerascnn.detection import fpn
from kerascnn.detection.efficientdet import EFFICIENTDETS, LEVELS


@pytest.fixture(scope="module")
def lite0():
    return kerascnn.build("efficientdet_lite0", input_shape=(75, 101, 3), classes=2)


def test_every_anchor_has_its_row(lite0) -> None:
    levels = zoo.detector_spec("efficientdet_lite0", (75, 101)).anchors.levels
    assert [(x.rows, x.columns) for x in levels] == [(10, 13), (5, 7), (3, 4), (2, 2), (1, 1)]
    for level, grid in zip(LEVELS, levels, strict=True):
        assert lite0.get_layer(f"class_p{level}_rows").output.shape == (None, grid.count, 2)
    assert lite0.output_shape[0] == (None, sum(grid.count for grid in levels), 4)


@pytest.mark.parametrize("shape", [(64, 64, 3), (128, 256, 3), (33, 200, 3)])
def test_any_size_builds(shape) -> None:
    model = kerascnn.build("efficientdet_lite0", input_shape=shape, classes=2)
    spec = zoo.detector_spec("efficientdet_lite0", shape)
    assert model.output_shape == [(None, spec.anchors.count, n) for n in (4, 2)]


def test_rows_go_by_level_row_column_and_anchor(lite0) -> None:
    model = keras.models.clone_model(lite0)
    conv = model.get_layer("box_predict_pointwise")
    kernel, bias = conv.get_weights()
    conv.set_weights([np.zeros_like(kernel), np.arange(len(bias))])
    boxes, _ = outputs_of(model, np.zeros((1, 75, 101, 3), "float32"))
    np.testing.assert_array_equal(boxes[0], np.tile(np.arange(36).reshape(9, 4), (182, 1)))


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5), (4, 8), (7, 3)])
def test_doubling_is_the_nearest_neighbour(size) -> None:
    before = tuple((side + 1) // 2 for side in size)
    x = keras.Input((*before, 3))
    model = keras.Model(x, fpn.doubled(x, size, name="x"))
    picture = np.random.default_rng(0).normal(0, 1, (1, *before, 3)).astype("float32")
    rows, columns = (
        np.floor(np.arange(to) * (of / to)).astype(int) for of, to in zip(before, size, strict=True)
    )
    np.testing.assert_array_equal(model(picture), picture[:, rows][:, :, columns])


def test_a_cell_adds_what_the_paper_adds(lite0) -> None:
    """Figure 2(d): two inputs a node, and three where the way up meets the way down."""
    counts = {
        (layer.name.split("_")[1], layer.name.split("_")[2]): len(layer.input)
        for layer in lite0.layers
        if layer.name.startswith("fpn1_") and layer.name.endswith("_add")
    }
    assert counts == {
        ("p6", "down"): 2, ("p5", "down"): 2, ("p4", "down"): 2, ("p3", "down"): 2,
        ("p4", "up"): 3, ("p5", "up"): 3, ("p6", "up"): 3, ("p7", "up"): 2,
    }  # fmt: skip


def test_maps_of_the_backbone_are_narrowed_for_every_reader(lite0) -> None:
    lateral = [x.name for x in lite0.layers if x.name.endswith("_lateral")]
    assert sorted(lateral) == [
        "fpn1_p3_down_lateral", "fpn1_p4_down_lateral", "fpn1_p4_up_lateral",
        "fpn1_p5_down_lateral", "fpn1_p5_up_lateral", "fpn_p6_lateral",
    ]  # fmt: skip
    sources = {name: lite0.get_layer(name).input._keras_history.operation.name for name in lateral}
    assert {name: source.split("_")[0] for name, source in sources.items()} == {
        "fpn1_p3_down_lateral": "stage3", "fpn1_p4_down_lateral": "stage5",
        "fpn1_p4_up_lateral": "stage5", "fpn1_p5_down_lateral": "stage7",
        "fpn1_p5_up_lateral": "stage7", "fpn_p6_lateral": "stage7",
    }  # fmt: skip


def test_levels_share_convolutions_and_no_norms(lite0) -> None:
    names = [layer.name for layer in lite0.layers if layer.name.startswith(("box_", "class_"))]
    assert len([n for n in names if n.endswith(("_depthwise", "_pointwise"))]) == 2 * 2 * 4
    assert len([n for n in names if n.endswith("_norm")]) == 2 * 3 * 5
    shared = lite0.get_layer("class_conv1_depthwise")
    assert len(shared._inbound_nodes) == len(LEVELS)


def test_objects_are_rare_at_first(lite0) -> None:
    _, logits = outputs_of(lite0, np.zeros((1, 75, 101, 3), "float32"))
    assert 1 / (1 + np.exp(-logits)) == pytest.approx(0.01, rel=0.5)
    np.testing.assert_allclose(
        lite0.get_layer("class_predict_pointwise").bias, -np.log(99), rtol=1e-6
    )


def test_configurations_grow() -> None:
    for name, config in EFFICIENTDETS.items():
        spec = zoo.detector_spec(name)
        assert zoo.entry(name).input_shape == (config.size, config.size, 3)
        smallest = spec.anchors.levels[0].sizes[0][0] * config.size
        assert smallest == pytest.approx(8 * config.anchor_scale)
        assert {len(level.sizes) for level in spec.anchors.levels} == {9}
    assert not spec.background
    assert spec.box_scales == (1, 1, 1, 1)
    assert (spec.positive_iou, spec.negative_iou, spec.loss) == (0.5, 0.5, "focal")


def test_other_activation_and_drop_path() -> None:
    model = kerascnn.build(
        "efficientdet_lite0", input_shape=(64, 64, 3), activation="hard_silu", drop_path=0.2
    )
    kinds = {x.activation.__name__ for x in model.layers if hasattr(x, "activation")}
    assert kinds == {"hard_silu", "linear"}
    rates = [x.rate for x in model.layers if x.name.endswith("_drop_path")]
    assert rates == sorted(rates)
    assert max(rates) > 0.15
