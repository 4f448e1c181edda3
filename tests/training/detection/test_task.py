"""Runs of detectors: from files in three forms to a run folder, and what is refused."""

from __future__ import annotations

import csv
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tiny_detectors
from marks import IN_CI
from PIL import Image

import kerascnn
from kerascnn import cli, zoo
from kerascnn.detection.specs import DetectorSpec
from kerascnn.errors import InputError
from training import tasks
from training.augment.boxes import boxes_to_network
from training.datasets.detection_sets import scan_objects
from training.datasets.pictures import Preprocessing
from training.detection import train as train_detector
from training.detection.metrics import Detections
from training.detection.train import DetectorTraining
from training.detection.train import opened as open_detector
from training.engine import dataset_of_request as of_request
from training.engine import network
from training.engine.closing import closing_line
from training.engine.request import TrainRequest, request
from training.engine.run import Run
from training.engine.train import train

MODEL = "ssdlite_mobilenet_v3_small"
COUNT = 12
PICTURES = tiny_detectors.split(COUNT)
CATEGORIES = {7: "red", 3: "blue"}


def draw(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for place in range(COUNT):
        Image.fromarray(PICTURES.picture(place)).save(folder / f"{place:02}.png")


def pixels(place: int) -> list[tuple[str, list[int]]]:
    """Class and top, left, bottom and right of each object."""
    height, width = PICTURES.sizes[place].tolist()
    objects = PICTURES.objects(place)
    boxes = np.round(objects.boxes * [height, width, height, width]).astype(int).tolist()
    return [
        (tiny_detectors.CLASSES[label], box)
        for label, box in zip(objects.labels, boxes, strict=True)
    ]


def coco(folder: Path) -> Path:
    draw(folder)
    numbers = {name: number for number, name in CATEGORIES.items()}
    found = []
    for place in range(COUNT):
        for name, (top, left, bottom, right) in pixels(place):
            box = [left, top, right - left, bottom - top]
            found.append({"image_id": place, "category_id": numbers[name], "bbox": box})
    images = [
        {"id": place, "file_name": f"{place:02}.png", "height": height, "width": width}
        for place, (height, width) in enumerate(PICTURES.sizes.tolist())
    ]
    content = {
        "images": images,
        "annotations": [{"id": number, **each} for number, each in enumerate(found, 1)],
        "categories": [{"id": number, "name": name} for number, name in CATEGORIES.items()],
    }
    (folder / "boxes.json").write_text(json.dumps(content))
    return folder / "boxes.json"


def yolo(folder: Path) -> Path:
    draw(folder)
    (folder / "classes.txt").write_text("\n".join(tiny_detectors.CLASSES))
    for place in range(COUNT):
        objects = PICTURES.objects(place)
        lines = [
            f"{label} {(left + right) / 2} {(top + bottom) / 2} {right - left} {bottom - top}"
            for label, (top, left, bottom, right) in zip(
                objects.labels, objects.boxes.tolist(), strict=True
            )
        ]
        (folder / f"{place:02}.txt").write_text("\n".join(lines))
    return folder


def voc(folder: Path) -> Path:
    draw(folder)
    for place in range(COUNT):
        objects = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin>"
            f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
            for name, (top, left, bottom, right) in pixels(place)
        )
        height, width = PICTURES.sizes[place]
        (folder / f"{place:02}.xml").write_text(
            f"<annotation><filename>{place:02}.png</filename><size><width>{width}</width><height>"
            f"{height}</height><depth>3</depth></size>{objects}</annotation>"
        )
    return folder


FORMS: dict[str, Callable[[Path], Path]] = {"coco": coco, "yolo": yolo, "voc": voc}
IDS = {
    "coco": {"red": 7, "blue": 3},
    "yolo": {"red": 0, "blue": 1},
    "voc": {"red": 2, "blue": 1},
}


def asked(data: Path | str, **changes: Any) -> TrainRequest:
    given = {"epochs": 1, "batch_size": 4, "image_size": (32, 48), "validation_fraction": 0.2}
    return request(MODEL, data=str(data), **{**given, **changes})


@pytest.fixture
def tiny() -> Iterator[None]:
    """A network that is built and traced within a second stands for the zoo's."""
    with pytest.MonkeyPatch.context() as patch:
        with_tiny_network(patch)
        yield


def with_tiny_network(patch: pytest.MonkeyPatch) -> None:
    def build(_asked: TrainRequest, preprocessing: Preprocessing, *, classes: int) -> keras.Model:
        return tiny_detectors.network(preprocessing.input_shape, classes)

    def spec(_name: str, input_shape: tuple[int, ...], **options: Any) -> DetectorSpec:
        return tiny_detectors.spec(input_shape, **options)

    patch.setattr(network, "build", build)
    patch.setattr(zoo, "detector_spec", spec)


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_have_the_same_objects(form: str, tmp_path: Path) -> None:
    data = scan_objects(str(FORMS[form](tmp_path)), seed=0)
    seen = []
    for split in (data.train, data.held_out):
        for i, name in enumerate(split.names):
            place, objects = int(Path(name).stem), split.objects(i)
            seen.append(place)
            np.testing.assert_array_equal(split.picture(i), PICTURES.picture(place))
            np.testing.assert_allclose(objects.boxes, PICTURES.objects(place).boxes, atol=1e-6)
            found = [data.classes[label] for label in objects.labels]
            assert found == [name for name, _box in pixels(place)]
    assert sorted(seen) == list(range(COUNT))


@pytest.fixture(
    scope="module",
    params=["coco", *(pytest.param(form, marks=pytest.mark.slow) for form in ("yolo", "voc"))],
)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        with_tiny_network(patch)
        return train(asked(FORMS[request.param](folder / "data")), folder / "run")


def test_a_run_says_what_was_asked_and_found(run: Run) -> None:
    info = run.info
    assert (info["task"], info["complete"], info["devices"]) == ("detection", True, 1)
    assert TrainRequest.from_dict(info["request"]) == asked(info["request"]["data"])
    assert DetectorSpec.from_dict(info["detector"]) == tiny_detectors.spec()
    labels = dict(zip(info["labels"], info["category_ids"], strict=True))
    assert labels == IDS[run.folder.parent.name.rstrip("0123456789")]
    counts = {name: info["dataset"][name] for name in ("train", "validation", "held_out")}
    assert counts == {"train": 8, "validation": 2, "held_out": 2}
    assert info["dataset"]["skipped"] == []
    results = info["results"]
    assert results["metric"] == "AP"
    assert results["best_epoch"] == 1
    for name in ("held_out", "ap50", "ap75", "ar1", "ar10", "ar100"):
        assert 0 <= results[name] <= 100
    assert results["ap_large"] is None  # nothing there has 96² pixels


def test_a_run_has_its_files(run: Run) -> None:
    files = {path.name for path in run.folder.iterdir()}
    assert files == {
        "run.json", "model.keras", "labels.txt", "history.csv", "curves.png", "tensorboard",
        "precision_recall.png", "per_class.csv", "examples.png",
    }  # fmt: skip
    assert (run.folder / "labels.txt").read_text().split() == list(run.labels)
    with (run.folder / "per_class.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["class"] for row in rows] == list(run.labels)
    held_out = scan_objects(run.info["request"]["data"], seed=0).held_out
    objects = np.concatenate([held_out.objects(i).labels for i in range(len(held_out))])
    counts = np.bincount(objects, minlength=2).tolist()
    assert [int(row["objects"]) for row in rows] == counts
    for name in ("curves.png", "precision_recall.png", "examples.png"):
        with Image.open(run.folder / name) as drawn:
            assert drawn.width > 300


def test_the_model_of_a_run_loads(run: Run) -> None:
    codes, logits = run.load_model()(np.zeros((1, *run.preprocessing.input_shape), np.float32))
    anchors = DetectorSpec.from_dict(run.info["detector"]).anchors.count
    assert codes.shape == (1, anchors, 4)
    assert logits.shape == (1, anchors, 3)


def test_what_is_found_where_it_is_has_an_ap_of_100(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the file's boxes to the figures of run.json, on pictures and an input of any shape."""
    opened = open_detector(asked(coco(tmp_path / "data"), image_size=(96, 64)))
    held_out = opened.dataset.held_out

    def perfect(_model: object, preprocessing: Preprocessing, _spec: object) -> Any:
        return lambda pictures: [
            Detections(
                boxes=boxes_to_network(held_out.objects(i).boxes, held_out.sizes[i], preprocessing),
                labels=held_out.objects(i).labels,
                scores=np.ones(len(held_out.objects(i)), np.float32),
            )
            for i in range(len(pictures))
        ]

    monkeypatch.setattr(train_detector, "keras_detect_fn", perfect)
    results = opened.results(tmp_path, opened.model)
    assert results["held_out"] == pytest.approx(100)
    assert results["ar100"] == pytest.approx(100)


@IN_CI
def test_broken_pictures_are_named_and_skipped_unless_strict(
    tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = coco(tmp_path / "data")
    for place in (1, 6):
        path = data.parent / f"{place:02}.png"
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"0[16]\.png"):
        train(asked(data, strict=True), tmp_path / "strict")
    capsys.readouterr()
    kept = train(asked(data), tmp_path / "run").info["dataset"]
    assert sorted(Path(name).name for name in kept["skipped"]) == ["01.png", "06.png"]
    assert kept["train"] + kept["validation"] + kept["held_out"] == COUNT - 2
    said = capsys.readouterr().err
    assert "01.png" in said
    assert "06.png" in said
    assert "2 broken images skipped; --strict makes broken images an error" in said


@IN_CI
def test_images_that_break_while_training_leave_the_split_as_it_was(
    tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = coco(tmp_path / "data")
    opened = of_request.with_validation(of_request.dataset_of(asked(data)), asked(data).config)
    splits = [split for split in (opened.train, opened.validation, opened.held_out) if split]
    lost = [split.names[-1] for split in splits]
    for name in lost:
        content = bytearray(Path(name).read_bytes())
        at = content.index(b"IDAT") + 20
        content[at : at + 20] = bytes(20)
        Path(name).write_bytes(bytes(content))
    run = train(asked(data), tmp_path / "run")
    known = run.info["dataset"]
    assert known["skipped"] == []
    assert known["broken"] == sorted(lost)
    for part, split in (("train", opened.train), ("held_out", opened.held_out)):
        assert known[part] == len(split) - 1
    said = capsys.readouterr().err
    assert "to learn from" in said
    assert [said.count(f"broken, left out: {name} is not") for name in lost] == [1] * len(lost)
    assert json.loads((tmp_path / "run" / "broken.json").read_text("utf-8")).keys() == set(lost)
    with pytest.raises(InputError, match="is not a readable"):
        train(asked(data, strict=True), tmp_path / "strict")


def test_without_a_readable_object_nothing_is_trained(tiny: None, tmp_path: Path) -> None:
    data = coco(tmp_path / "data")
    opened = scan_objects(str(data), seed=0)
    for i in range(len(opened.held_out)):
        if len(opened.held_out.objects(i)):
            Path(opened.held_out.names[i]).write_bytes(b"no picture")
    with pytest.raises(InputError, match="no readable held-out image has an object"):
        train(asked(data), tmp_path / "run")


class Stop(Exception):
    pass


def test_changed_annotations_do_not_go_on(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_off(*_arguments: object) -> None:
        raise Stop

    data = coco(tmp_path / "data")
    monkeypatch.setattr(DetectorTraining, "fit", broken_off)
    for _again in range(2):
        with pytest.raises(Stop):
            train(asked(data), tmp_path / "run")
    content = json.loads(data.read_text())
    content["annotations"][0]["bbox"][2] -= 1
    data.write_text(json.dumps(content))
    with pytest.raises(InputError, match="has changed since"):
        train(asked(data), tmp_path / "run")


def test_another_confidence_is_another_run(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_off(*_arguments: object) -> None:
        raise Stop

    monkeypatch.setattr(DetectorTraining, "fit", broken_off)
    data = coco(tmp_path / "data")
    with pytest.raises(Stop):
        train(asked(data), tmp_path / "run")
    other = asked(data, detector_options={"score_threshold": 0.2})
    with pytest.raises(InputError, match="score_threshold"):
        train(other, tmp_path / "run")


def names(data: Any, fraction: float, seed: int = 0) -> list[tuple[str, ...] | None]:
    made = data.with_validation(fraction, seed)
    return [part and part.names for part in (made.train, made.validation, made.held_out)]


def test_pictures_that_choose_the_epoch_are_never_the_held_out_ones(tmp_path: Path) -> None:
    data = scan_objects(str(coco(tmp_path)), seed=0)
    train_, validation, held_out = names(data, 0.2)
    assert held_out == data.held_out.names
    assert sorted((*train_, *validation)) == sorted(data.train.names)
    assert len(validation) == 2
    assert names(data, 0.2) == [train_, validation, held_out]
    assert names(data, 0.2, seed=1)[1] != validation
    assert names(data, 0.0)[1] is None
    assert names(data, 0.01)[1] is None
    # However much is asked for, one picture is left to learn from.
    few = dataclasses.replace(data, train=data.train.take([0, 1]))
    assert [len(part) for part in names(few, 0.9)[:2]] == [1, 1]
    given = dataclasses.replace(data, validation=data.train.take([3]))
    assert names(given, 0.2)[:2] == [data.train.names, (data.train.names[3],)]
    # All of it was broken.
    emptied = dataclasses.replace(data, validation=data.train.take([]))
    assert names(emptied, 0.2) == [train_, validation, held_out]


@IN_CI
def test_the_weights_of_a_classifiers_run_fill_the_backbone(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    classifier = kerascnn.build(
        "mobilenet_v3_small", input_shape=(48, 48, 3), classes=5, alpha=0.35, stem_strides=2
    )
    rng = np.random.default_rng(0)
    for weight in classifier.weights:
        weight.assign(rng.normal(size=weight.shape).astype(np.float32))
    classifier.save(tmp_path / "model.keras")
    opened = open_detector(
        asked(
            "scenes:64@4+2", weights=str(tmp_path / "model.keras"), image_size=(96, 64),
            model_options={"alpha": 0.35},
        )
    )  # fmt: skip
    own = [layer for layer in opened.model.layers if layer.weights]
    heads = [layer for layer in own if layer.name.startswith(tasks.of("detection").head)]
    backbone = [layer for layer in own if layer not in heads]
    roles = {layer.name.partition("_")[0] for layer in backbone}
    assert roles == {"stem", "stage1", "stage2", "stage3", "stage4", "last"}
    for layer in backbone:
        for a, b in zip(
            layer.get_weights(), classifier.get_layer(layer.name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(a, b, err_msg=layer.name)
    assert {layer.name.partition("_")[0] for layer in heads} == {
        "box", "class", "extra1", "extra2", "extra3", "extra4",
    }  # fmt: skip
    assert opened.spec.anchors.count == opened.model.output_shape[0][1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_scal": 0.1}, "min_scal"),
        ({"score_threshold": "high"}, "score_threshold must be a number, not 'high'"),
        ({"score_threshold": True}, "score_threshold must be a number, not True"),
        ({"score_threshold": 2}, "score_threshold must be above 0 and at most 1, not 2"),
        ({"max_detections": 2.5}, r"max_detections must be a whole number, not 2\.5"),
        ({"min_scale": -0.5}, "sizes of anchors must be pairs above 0"),
        ({"loss": "huber"}, "'focal' or 'quality_focal', not 'huber'"),
        ({"background": False}, "decides on its own background; leave --detector background out"),
        ({"anchors": 3}, "its own anchors"),
        ({"positive_iou": 0.4}, "negative_iou <= positive_iou"),
    ],
)
def test_impossible_options_of_boxes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_detector(asked("scenes:64@2+1", recipe="detection", detector_options=options))
    assert "\n" not in str(caught.value)


def test_a_loss_for_a_background_that_is_not_there() -> None:
    wrong = request(
        "efficientdet_lite0", data="scenes:64@2+1", detector_options={"loss": "multibox"}
    )
    with pytest.raises(InputError, match="no background, which loss 'multibox' needs"):
        open_detector(wrong)


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        (MODEL, {"settings": {"mixup": 1.0}}, "mixup: for classification"),
        (MODEL, {"settings": {"cutmix": 1.0}}, "cutmix: for classification"),
        (MODEL, {"label_smoothing": 0.1}, "label_smoothing: for classification only"),
        (MODEL, {"settings": {"class_weights": "balanced"}}, "class_weights: for"),
        (MODEL, {"settings": {"pictures_per_class": 5}}, "pictures_per_class: for"),
        (MODEL, {"recipe": "modern"}, "'modern' is a recipe for classification.*there are: scenes"),
        (MODEL, {"recipe": "scenes_digits"}, "'scenes_digits' is a recipe for classification"),
        (MODEL, {"augmentation": "modern"}, "'modern' is not for detection.*none, flip, scenes"),
        ("mobilenet_v2", {"recipe": "scenes"}, "'scenes' is a recipe for detection.*digits"),
        ("mobilenet_v2", {"recipe": "ssdlite"}, "'ssdlite' is a recipe for detection"),
        ("mobilenet_v2", {"augmentation": "mosaic"}, "'mosaic' is not for classification"),
    ],
)
def test_what_belongs_to_the_other_task_is_refused(
    model: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        request(model, data="data", **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["find-lr", MODEL, "--data", "scenes:9"], "'scenes:9': sides are from"),
        (["bench-data", MODEL, "--data", "scenes:9"], "'scenes:9': sides are from"),
        (["train", MODEL, "--data", "scenes:64@2+1", "--detector", "min_scal=0.1"], "min_scal"),
        (["train", MODEL, "--data", "scenes:9"], "'scenes:9': sides are from"),
        (["train", MODEL, "--data", "nowhere"], "nowhere: no such file or folder"),
        (["train", "lenet5", "--data", "scenes"], "scenes: no such folder"),
    ],
)
def test_the_command_line_refuses_in_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONHASHSEED", "0")  # or it would begin anew as a process with that
    monkeypatch.setattr(sys, "argv", ["kerascnn", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("kerascnn: ")
    assert message in line
    assert not list(tmp_path.iterdir())


def test_the_command_line_tells_ap() -> None:
    found = {"metric": "AP", "held_out": 12.34, "ap50": 34.5, "ap75": None}
    assert (
        closing_line({"task": "detection", "results": found})
        == "AP 12.3%, AP50 34.5% on the held-out images"
    )
