"""The published figures, and how `kerascnn models` shows them."""

from __future__ import annotations

import dataclasses

import pytest

from kerascnn import listing, weights, zoo
from kerascnn.catalogue import ENTRIES, TASKS, Result
from kerascnn.weights import published

# The challenge entries and papers' figures by which the systems are known: top-5 error, networks.
KNOWN = [
    ("alexnet", 16.4, 5),
    ("googlenet", 6.67, 7),
    ("vgg16", 7.3, 7),
    ("vgg19", 7.3, 7),
    ("resnet152", 3.57, 6),
    ("resnext101_64x4d", 3.03, 0),  # how many is not published
    ("senet154", 2.251, 0),
    ("efficientnet_b7", 2.9, 1),
]


@pytest.mark.parametrize(("name", "top5", "networks"), KNOWN)
def test_known_results_are_there(name: str, top5: float, networks: int) -> None:
    assert (top5, networks) in [(r.top5, r.networks) for r in ENTRIES[name].results]


@pytest.mark.parametrize("name", ENTRIES)
def test_every_figure_has_its_source(name: str) -> None:
    entry = ENTRIES[name]
    assert entry.parameters_source
    assert entry.macs_source
    # Nobody publishes a figure of every backbone in a detector or a U-Net.
    assert entry.results or entry.backbone
    assert not entry.results or any(r.networks == 1 for r in entry.results)
    for result in entry.results:
        assert result.source
        assert result.setting
        errors = {result.top1, result.top5} - {None}
        others = {"detection": result.ap, "segmentation": result.iou}
        if entry.task == "detection":
            assert result.data == "COCO"
        assert [task for task, value in others.items() if value is not None] == [
            task for task in others if task == entry.task
        ]
        assert bool(errors) == (entry.task == "classification")
        if result.top1 is not None and result.top5 is not None:
            assert result.top5 < result.top1


def test_tasks_are_those_of_the_entries() -> None:
    assert TASKS == ("classification", "detection", "segmentation")


@pytest.mark.parametrize("task", TASKS)
def test_entries_are_in_the_order_of_publication(task: str) -> None:
    years = [entry.year for entry in ENTRIES.values() if entry.task == task]
    assert years == sorted(years)


def test_the_table_has_a_line_a_model() -> None:
    names = zoo.list_models("classification")
    head, *lines = listing.table(names).splitlines()
    assert head.split()[:6] == ["name", "task", "year", "parameters", "MACs", "top-1"]
    assert [line.split()[0] for line in lines[: len(names)]] == names
    resnet = next(line for line in lines if line.startswith("resnet50 "))
    assert resnet.split()[1:] == [
        "classification", "2015", "25,557,032", "3,800", "M", "77.15", "93.29", "224x224",
        "imagenet+2", "kv", "arXiv:1512.03385",
    ]  # fmt: skip


def test_detectors_are_listed_by_their_precision() -> None:
    table = listing.table(zoo.list_models("detection"))
    head, *lines = table.splitlines()
    assert head.split() == [
        "name", "task", "year", "parameters", "MACs", "AP", "input", "weights", "paper",
    ]  # fmt: skip
    assert "top-1" not in table
    large = next(line for line in lines if line.startswith("ssdlite_mobilenet_v3_large"))
    assert large.split()[1:] == [
        "detection", "2019", "3,440,060", "583", "M", "22", "320x320",
        "coco", "imagenet+3", "v(kvt)", "arXiv:1905.02244",
    ]  # fmt: skip
    page = listing.page("efficientdet_lite0")
    assert "published precisions:\n  AP  26.41  COCO val2017, 320 (" in page
    assert "backbone    efficientnet_lite0, alone from files of: timm, efficient" in page


def test_rcnns_are_listed_with_what_torchvision_publishes() -> None:
    _, *lines = listing.table(zoo.list_models("detection")).splitlines()
    mask = next(line for line in lines if line.startswith("mask_rcnn_resnet50_fpn"))
    assert mask.split()[1:] == [
        "detection", "2017", "44,401,393", "134,380", "M", "37.9", "800x800", "coco", "imagenet+2",
        "v(kv)", "arXiv:1703.06870",
    ]  # fmt: skip
    page = listing.page("mask_rcnn_resnet50_fpn")
    assert "  AP   34.6  COCO val2017, 800, masks (torchvision COCO_V1)" in page
    assert "published precisions: none" in listing.page("mask_rcnn_efficientnet_lite0_fpn")


def test_segmentation_networks_are_listed_by_their_overlap() -> None:
    table = listing.table(zoo.list_models("segmentation"))
    head, *lines = table.splitlines()
    assert head.split()[3:6] == ["parameters", "MACs", "mIoU"]
    assert lines[0].split() == [
        "unet", "segmentation", "2015", "31,031,810", "-", "92.03", "512x512", "p",
        "arXiv:1505.04597",
    ]  # fmt: skip
    assert lines[1].split()[5:9] == ["-", "224x224", "imagenet+2", "(kv)"]
    assert "mIoU: published intersection over union in percent" in table
    page = listing.page("unet")
    assert "published intersections over union:\n  IoU  92.03  PhC-U373 ISBI cell" in page
    page = listing.page("unet_efficientnet_lite0")
    names = "imagenet (backbone alone), imagenet-timm (backbone alone)"
    assert f"weights     {names}; files of: none\nbackbone    efficientnet_lite0, alone" in page
    assert page.endswith("published intersections over union: none")


def test_all_tasks_in_one_table_have_their_measures() -> None:
    head, *lines = listing.table(["resnet50", "efficientdet_lite0", "unet"]).splitlines()
    assert head.split()[5:9] == ["top-1", "top-5", "AP", "mIoU"]
    assert lines[0].split()[6:10] == ["77.15", "93.29", "-", "-"]
    assert lines[1].split()[5:9] == ["-", "-", "26.41", "-"]
    assert lines[2].split()[5:9] == ["-", "-", "-", "92.03"]


def test_a_page_tells_ensembles_from_single_networks() -> None:
    page = listing.page("alexnet")
    assert "top-1   61.9  top-5   83.6  ImageNet" in page
    assert ", 5 networks (doi:10.1145/3065386, table 2)" in page
    assert ", ensemble (" in listing.page("senet154")
    assert "MNIST" in listing.page("lenet5")
    assert "files of: keras.applications, torchvision" in listing.page("mobilenet_v2")


def test_a_page_tells_the_form_in_files() -> None:
    page = listing.page("mobileone_s0").splitlines()
    assert page[1].startswith("parameters  5,293,272 trainable (timm, with branches)")
    assert page[3].startswith("in files    2,078,504 parameters, 275 M MACs (github.com/apple/")
    assert "in files" not in listing.page("mobilenet_v2")


def test_json_has_every_result() -> None:
    rows = {row["name"]: row for row in listing.as_json(zoo.list_models())}
    assert list(rows) == zoo.list_models()
    for name, row in rows.items():
        own = {field.name for field in dataclasses.fields(Result)}
        plain = [{k: v for k, v in each.items() if k in own} for each in row["results"]]
        assert [Result(**result) for result in plain] == list(ENTRIES[name].results)
        for result in row["results"]:
            for error, accuracy in (("top1", "top1_accuracy"), ("top5", "top5_accuracy")):
                if result[error] is None:
                    assert result[accuracy] is None
                else:
                    assert result[error] + result[accuracy] == pytest.approx(100)
        assert row["weight_files"] == weights.origins(name)
        assert row["weights"] == published.names(name, row["backbone"])


@pytest.mark.parametrize("name", [n for n in ENTRIES if n != "lenet5"])
def test_every_model_can_load_somebodys_weights(name: str) -> None:
    assert weights.origins(ENTRIES[name].backbone or name)


@pytest.mark.parametrize("name", zoo.list_models("classification"))
def test_no_accuracy_stands_where_an_error_belongs(name: str) -> None:
    for result in ENTRIES[name].results:
        assert result.top1 is None or result.top1 < 50
        assert result.top5 is None or result.top5 < 30
