"""Networks of the zoo, measured by their names; and their figures beside the published ones."""

from __future__ import annotations

from pathlib import Path

import grey_images
import pytest
from commands import assert_refused, here

import kerascnn
from export.tools import zoo_subject
from export.tools.evaluate import Asked, evaluate
from kerascnn.errors import InputError
from kerascnn.weights import published


def test_preprocessing_is_the_publishers() -> None:
    second = zoo_subject.named("resnet50", "imagenet-v2", {}, None).preprocessing
    assert (second.resize, second.interpolation) == ("centre", "bilinear")
    assert second.frame == (232, 232)
    cubic = zoo_subject.named("efficientnet_v2_s", "imagenet", {}, None)
    row = published.choose("efficientnet_v2_s", "imagenet")
    assert row is not None
    assert cubic.size == (row.evaluation.size, row.evaluation.size)
    assert cubic.preprocessing.interpolation == row.evaluation.interpolation
    assert cubic.preprocessing.frame == (row.evaluation.resized, row.evaluation.resized)
    # Nobody says how keras.applications resized.
    narrow = zoo_subject.named("mobilenet_v2", "imagenet", {"alpha": 0.35}, None)
    assert narrow.preprocessing.resize == "crop"
    assert narrow.row is not None
    assert narrow.row.top1 == 60.3
    box = zoo_subject.named("faster_rcnn_resnet50_fpn", "coco", {}, None).preprocessing
    assert box.resize == "stretch"


@pytest.mark.parametrize("row", published.ROWS, ids=lambda row: f"{row.model}-{row.name}")
def test_every_row_can_be_measured(row: published.Published) -> None:
    named = zoo_subject.named(row.model, row.name, row.options, None)
    seen = named.preprocessing
    assert seen.height == row.evaluation.size
    if row.evaluation.resize == "crop":
        assert seen.frame[0] == row.evaluation.resized
        assert seen.interpolation == (row.evaluation.interpolation or "bilinear")


def test_a_figure_is_held_against_the_published_one() -> None:
    named = zoo_subject.named("resnet50", "imagenet", {}, None)
    assert named.row is not None
    figure = named.row.top1
    assert figure is not None
    near = zoo_subject.held_against(named, figure - 0.2, 50_000)
    assert near.within
    assert near.notes == ()
    assert "-0.20, within 0.2 points" in near.as_text()
    far = zoo_subject.held_against(named, figure + 0.21, 500)
    assert not far.within
    assert "+0.21, not within 0.2 points" in far.as_text()
    assert "of 50,000 images, this of 500" in far.as_text()
    keras = zoo_subject.named("mobilenet_v2", "imagenet", {}, None)
    assert (
        "its publisher does not say how" in zoo_subject.held_against(keras, 71.8, 50_000).notes[0]
    )
    boxes = zoo_subject.named("faster_rcnn_resnet50_fpn", "coco", {}, None)
    assert "here images are stretched" in zoo_subject.held_against(boxes, 30.0, 5_000).notes[-1]


def test_cocos_numbers_are_outputs() -> None:
    """Networks have 90 outputs for the 80 classes that COCO numbers from 1 to 90."""
    named = zoo_subject.named("ssdlite_mobilenet_v3_large", "coco", {}, None)
    ids = (1, 3, 90)
    fake = type("Fake", (), {"name": "x", "classes": ("a", "b", "c"), "category_ids": ids})
    labels = named.labels(fake)
    assert (len(labels), labels[0], labels[2], labels[89]) == (90, "person", "car", "toothbrush")
    assert labels[11] == "no class 12"
    rtmdet = zoo_subject.named("rtmdet_tiny", "coco", {}, None).labels(fake)
    assert (len(rtmdet), rtmdet[11]) == (80, "stop sign")


def test_a_network_with_a_file_of_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    kerascnn.build("lenet5", classes=10).save(path)
    greys = {f"class{i}": (20 * i + 5,) for i in range(10)}
    data = grey_images.class_folders(tmp_path / "data", **greys)
    found = evaluate(Path("lenet5"), data=str(data), asked=Asked(weights=str(path))).to_dict()
    assert (found["file"], found["images"]) == ("lenet5", 10)
    assert 0 <= found["value"] <= 100
    asked = Asked(weights=str(path), published=True)
    with pytest.raises(InputError, match="nobody publishes a figure of lenet5"):
        evaluate(Path("lenet5"), data=str(data), asked=asked)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["resnet50"], ("resnet50 has random weights without --weights; give --weights imagenet",)),
        (["resnet50", "--weights", "coco"], ("no weights 'coco' for resnet50; it has imagenet",)),
        (["resnet50", "--weights", "imagenet", "--layout", "nchw"], ("leave out --layout",)),
        (["resnet50", "--weights", "imagenet", "--option", "alpha=2"], ("alpha",)),
        (["resnot50"], ("resnot50: no such file or run folder, nor a network of the zoo",)),
    ],
)
def test_refusals(arguments: list[str], words: tuple[str, ...], tmp_path: Path) -> None:
    grey_images.class_folders(tmp_path / "data", dark=(3,), bright=(250,))
    assert_refused(here("evaluate", *arguments, "--data", "data", cwd=tmp_path), *words)
