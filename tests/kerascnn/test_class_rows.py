"""Outputs of classes that a detector's file and the data have both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from checkpoints import differing
from marks import IN_CI
from networks import with_random_norms

import kerascnn
from kerascnn import zoo
from kerascnn.weights import class_rows, published

SHAPE = (64, 64, 3)


def test_coco_s_numbers_are_the_outputs() -> None:
    names = ("Traffic_Light", "forklift", "person", "toothbrush")
    with_background = class_rows.columns(names, None, 91, background=True)
    assert with_background is not None
    assert with_background.tolist() == [0, 10, -1, 1, 90]
    without = class_rows.columns(names, None, 90, background=False)
    assert without is not None
    assert without.tolist() == [9, -1, 0, 89]
    assert class_rows.columns(names, None, 80, background=False) is None  # not COCO's numbers
    assert class_rows.columns(("forklift",), None, 90, background=False) is None
    assert len(class_rows.COCO) == 80


def test_outputs_go_by_anchor_then_class_then_corner() -> None:
    theirs = np.arange(2 * 3 * 4.0).reshape(1, 24)  # two anchors, three classes, four corners
    ours = np.full((1, 2 * 2 * 4), -1.0)
    found = class_rows.chosen(theirs, ours, np.array([2, -1]), outputs=3, inner=4)
    none = [-1.0] * 4
    assert found[0].tolist() == [8, 9, 10, 11, *none, 20, 21, 22, 23, *none]
    with pytest.raises(ValueError, match="for"):
        class_rows.chosen(theirs[:, :12], ours, np.array([2, -1]), outputs=3, inner=4)


@IN_CI
def test_a_run_s_outputs_are_found_by_its_labels(tmp_path: Path) -> None:
    trained = with_random_norms(
        kerascnn.build("ssdlite_mobilenet_v2", input_shape=SHAPE, classes=3, alpha=0.35)
    )
    trained.save(tmp_path / "model.keras")
    (tmp_path / "labels.txt").write_text("cat\ndog\nperson\n")
    names = ("dog", "bird", "cat")  # as many, in another order
    again = kerascnn.build(
        "ssdlite_mobilenet_v2",
        input_shape=SHAPE,
        classes=3,
        alpha=0.35,
        weights=tmp_path / "model.keras",
        class_names=names,
    )
    assert differing(again, trained) == {f"class_map{n}_predict" for n in range(1, 7)}
    kernel, bias = again.get_layer("class_map2_predict").get_weights()
    was_kernel, was_bias = trained.get_layer("class_map2_predict").get_weights()
    mine, theirs = (x.reshape(*x.shape[:-1], -1, 4) for x in (kernel, was_kernel))
    for ours, its in ((0, 0), (1, 2), (3, 1)):  # the background, dog and cat
        np.testing.assert_array_equal(mine[..., ours], theirs[..., its])
        np.testing.assert_array_equal(bias[ours::4], was_bias[its::4])
    assert not any(np.array_equal(mine[..., 2], theirs[..., i]) for i in range(4))


@pytest.mark.parametrize("name", [n for n in kerascnn.list_models("detection") if "ssdlite" in n])
def test_every_ssdlite_has_imagenet_weights_of_its_backbone_by_name(name: str) -> None:
    backbone = zoo.entry(name).backbone
    row = published.choose(name, "imagenet", {}, backbone=backbone)
    assert row is not None
    assert row.model == backbone


def test_detectors_with_public_weights_have_them_by_name() -> None:
    public = {
        name
        for name in kerascnn.list_models("detection")
        if published.choose(name, "imagenet", {}, backbone=zoo.entry(name).backbone)
        and any(row.model == name and row.name == "coco" for row in published.ROWS)
    }
    assert public >= {
        "ssdlite_mobilenet_v3_large", "faster_rcnn_resnet50_fpn", "mask_rcnn_resnet50_fpn",
        "faster_rcnn_mobilenet_v3_large_fpn", *(f"efficientdet_lite{n}" for n in range(5)),
    }  # fmt: skip
