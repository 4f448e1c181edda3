"""Networks of the zoo, measured by their names; and their figures beside the published ones."""

from __future__ import annotations

from pathlib import Path

import grey_images
import numpy as np
import pytest
from commands import assert_refused, here
from PIL import Image, ImageOps

import kerascnn
from export.tools import zoo_subject
from export.tools.evaluate import Asked, evaluate
from kerascnn.errors import InputError
from kerascnn.weights import published
from training.datasets.decode import picture_batches
from training.datasets.splits import Split


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


# A row of each source and recipe, by hand from what the publisher says: pixels, the shorter side
# before the centre is cut, and the filter.
SEEN = [
    ("resnet50", "imagenet", 224, 256, Image.Resampling.BILINEAR),  # torchvision, first recipe
    ("resnet50", "imagenet-v2", 224, 232, Image.Resampling.BILINEAR),  # and second
    ("efficientnet_b1", "imagenet", 240, 256, Image.Resampling.BICUBIC),
    ("efficientnet_b2", "imagenet", 288, 288, Image.Resampling.BICUBIC),
    ("mobilenet_v4_conv_small", "imagenet", 256, 269, Image.Resampling.BICUBIC),  # timm: 256 / 0.95
    ("mobilenet_v3_large", "ra4", 224, 235, Image.Resampling.BICUBIC),
    ("mobileone_s1", "imagenet", 224, 248, Image.Resampling.BILINEAR),
    ("se_resnet50", "imagenet", 224, 256, Image.Resampling.BILINEAR),
    ("cspnext_tiny", "imagenet", 224, 236, Image.Resampling.BICUBIC),  # mmclassification
    ("efficientnet_lite0", "imagenet", 224, 256, Image.Resampling.BILINEAR),
]


@pytest.mark.parametrize("size", [(500, 375), (333, 500)], ids=["wide", "tall"])
@pytest.mark.parametrize(("model", "name", "side", "resized", "filter_"), SEEN)
def test_a_photo_is_seen_as_the_publisher_says(
    model: str,
    name: str,
    side: int,
    resized: int,
    filter_: Image.Resampling,
    size: tuple[int, int],
    tmp_path: Path,
) -> None:
    """The shorter side first, the longer one rounded down, then the centre; by Pillow alone."""
    noise = np.random.default_rng(0).integers(0, 256, (19, 25, 3), np.uint8)
    photo = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    photo.save(tmp_path / "photo.png")
    width, height = size
    whole = (
        (int(resized * width / height), resized)
        if height <= width
        else (resized, int(resized * height / width))
    )
    left, top = (round((whole[axis] - side) / 2) for axis in range(2))
    wanted = photo.resize(whole, filter_).crop((left, top, left + side, top + side))
    preprocessing = zoo_subject.named(model, name, {}, None).preprocessing
    split = Split(labels=np.zeros(1, np.int32), names=(str(tmp_path / "photo.png"),))
    (seen,) = picture_batches(split, preprocessing)
    np.testing.assert_array_equal(seen[0], np.asarray(wanted))


def test_a_photo_is_smoothed_where_nobody_says_how_it_was_resized(tmp_path: Path) -> None:
    """keras.applications: the middle 87.5% of the shorter side, bilinear, between pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (19, 25, 3), np.uint8)
    photo = Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC)
    photo.save(tmp_path / "photo.png")
    wanted = ImageOps.fit(photo, (256, 256), Image.Resampling.BILINEAR).crop((16, 16, 240, 240))
    preprocessing = zoo_subject.named("mobilenet_v2", "imagenet", {}, None).preprocessing
    split = Split(labels=np.zeros(1, np.int32), names=(str(tmp_path / "photo.png"),))
    (seen,) = picture_batches(split, preprocessing)
    np.testing.assert_array_equal(seen[0], np.asarray(wanted))


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
