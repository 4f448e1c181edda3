"""What a file is worth on images of a user's, and on those that its run held out."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import alone
import h5py
import known_files
import numpy as np
import pytest
import small_sets
import tiny_detectors
from commands import assert_refused, here
from PIL import Image

from export.runtime.detectors import load_detector
from export.tools.evaluate import evaluate
from kerascnn.errors import InputError
from training.datasets import detection_sets
from training.detection.evaluate import evaluate_detector
from training.engine import dataset_of_request as of_request
from training.engine.request import request
from training.engine.run import write_info

Files = dict[str, tuple[Path, Path]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A .tflite and an .onnx file of each task."""
    folder = tmp_path_factory.mktemp("files")
    return {
        "classification": known_files.files(folder / "labels", "classification"),
        "segmentation": known_files.files(folder / "masks", "segmentation"),
        "detection": known_files.files(folder / "boxes", "detection", small_sets.CLASSES),
    }


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six images, of which one of each class looks like the other one."""
    root = tmp_path / "photos"
    return known_files.class_folders(root, bright=(250, 240, 230, 5), dark=(200, 10))


def test_labels_by_hand(files: Files, photos: Path) -> None:
    for path in files["classification"]:
        found = evaluate(path, data=str(photos)).to_dict()
        assert (found["task"], found["split"], found["images"]) == (
            *("classification", "held-out"), 6,
        )  # fmt: skip
        assert (found["metric"], found["value"]) == ("accuracy", pytest.approx(100 * 4 / 6))
        assert found["value_low"] < found["value"] < found["value_high"]
        assert (found["top1"], found["top5"]) == (found["value"], 100)
        assert found["balanced_accuracy"] == pytest.approx((75 + 50) / 2)
        assert found["absent"] == ["striped"]
        # In the order of the file's labels, not in that of the folders.
        assert found["per_class"] == [
            {"label": "dark", "images": 2, "recall": 50.0, "precision": 50.0},
            {"label": "bright", "images": 4, "recall": 75.0, "precision": 75.0},
            {"label": "striped", "images": 0, "recall": None, "precision": None},
        ]


def test_pixels_by_hand(files: Files, tmp_path: Path) -> None:
    data = known_files.masks(tmp_path / "data")
    for path in files["segmentation"]:
        found = evaluate(path, data=str(data)).to_dict()
        assert (found["metric"], found["images"]) == ("mIoU", 2)
        # Of either class one image has all pixels right and the other one none.
        assert found["value"] == pytest.approx(100 / 3)
        assert found["pixel_accuracy"] == pytest.approx(50)
        assert found["mean_dice"] == pytest.approx(50)
        dark, bright, striped = found["per_class"]
        assert (dark["label"], dark["pixels"]) == ("dark", known_files.SIDE**2)
        assert dark["iou"] == bright["iou"] == pytest.approx(100 / 3)
        assert striped["iou"] is None
        assert found["value_low"] == 0
        assert found["value_high"] == 100


def test_boxes_are_judged_as_in_training(files: Files, tmp_path: Path) -> None:
    data = small_sets.coco(tmp_path / "data", 10)
    split = detection_sets.measured(str(data)).held_out
    for path in files["detection"]:
        evaluated = evaluate(path, data=str(data))
        heads = next(line for line in evaluated.as_text().splitlines() if line.startswith("label"))
        assert heads.split() == ["label", "objects", "AP", "AP50"]
        found = evaluated.to_dict()
        detector = load_detector(path, tiny_detectors.PREPROCESSING, tiny_detectors.spec())
        wanted = evaluate_detector(
            detector.detect, split, tiny_detectors.PREPROCESSING, small_sets.CLASSES
        )
        assert (found["metric"], found["images"]) == ("AP", 10)
        assert found["value"] == wanted.ap > 0
        assert found["ap50"] == wanted.ap50
        assert [row["objects"] for row in found["per_class"]] == [5, 5]
        assert found["value_low"] <= found["value"] <= found["value_high"]


def test_broken_images_are_left_out_and_named(files: Files, photos: Path, tmp_path: Path) -> None:
    (photos / "dark" / "1.png").write_text("no image")
    found = evaluate(files["classification"][0], data=str(photos))
    assert found.images == 5
    assert [Path(name).name for name in found.broken] == ["1.png"]
    assert "(1 broken image left out)" in found.as_text()
    data = known_files.masks(tmp_path / "data")
    shutil.copy(photos / "dark" / "1.png", data / "images" / "1.png")
    with mock.patch("export.tools.evaluate.say") as said:  # its reader has looked at headers
        found = evaluate(files["segmentation"][0], data=str(data))
    assert (found.images, found.score.value) == (1, 100)
    assert any("1.png" in str(call) for call in said.call_args_list)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "more"], ("more has classes that", "does not know: night", "did you mean")),
        ([], ("is in no run folder", "give data")),
        (["--data", "photos", "--split", "val"], ("no split 'val'", "validation")),
        (["--data", "photos", "--split", "validation"], ("photos has no validation images",)),
        (["--data", "nowhere"], ("nowhere: no such folder",)),
        (["--data", "coco.json"], ("coco.json is a file in the form of COCO, for detectors",)),
    ],
)
def test_refusals(
    arguments: list[str], words: tuple[str, ...], files: Files, photos: Path, tmp_path: Path
) -> None:
    known_files.class_folders(tmp_path / "more", dark=(3,), night=(4,))
    (tmp_path / "coco.json").write_text("{}")
    path = files["classification"][0]
    assert_refused(here("evaluate", path, *arguments, cwd=tmp_path), *words)


def test_a_keras_file_that_no_import_reads_is_said_at_once(photos: Path, tmp_path: Path) -> None:
    """Instead of the command that refuses it."""
    with h5py.File(tmp_path / "alone.weights.h5", "w") as file:
        file.create_dataset("kernel", data=np.zeros(1000))
    whole = (tmp_path / "alone.weights.h5").read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "half.keras").write_bytes(b"PK")
    for command in (("evaluate", "--data", "photos"), ("predict", "photos")):
        for name, words in {
            "alone.weights.h5": "holds weights alone",
            "half.h5": "is not a readable HDF5 file",
            "half.keras": "is cut short",
        }.items():
            found = here(command[0], name, *command[1:], cwd=tmp_path)
            assert_refused(found, f"{name} ", words)


def test_other_splits_of_other_data(files: Files, photos: Path) -> None:
    images = {
        split: evaluate(files["classification"][0], data=str(photos), split=split).images
        for split in ("held-out", "train", "all")
    }
    assert images == {"held-out": 6, "train": 4, "all": 6}


def test_a_class_of_one_image_can_be_measured(files: Files, tmp_path: Path) -> None:
    data = known_files.class_folders(tmp_path / "few", dark=(3,))
    found = evaluate(files["classification"][0], data=str(data))
    assert (found.images, found.score.value) == (1, 100)
    assert found.absent == ("bright", "striped")


@pytest.fixture
def learnt(tmp_path: Path) -> Path:
    """Ten images of either class, some of which look like the other one."""
    root, values = tmp_path / "learnt", tuple(range(5, 250, 26))
    return known_files.class_folders(root, bright=values[::-1], dark=values)


@pytest.fixture
def run(learnt: Path, tmp_path: Path) -> Path:
    """A run of the classifier, which learnt from `learnt`, with a file in it."""
    folder = tmp_path / "run"
    labels = ("bright", "dark", "striped")
    paths = known_files.files(folder / "artefacts", "classification", labels)
    asked = request("lenet5", data=str(learnt), settings={"split_seed": 0})
    dataset = of_request.dataset_of(asked)
    known_files.classifier().save(folder / "model.keras")
    write_info(folder, {
        "request": asked.to_dict(), "task": "classification", "complete": True,
        "preprocessing": known_files.PREPROCESSING.to_dict(), "labels": list(labels),
        "dataset": {"name": str(learnt), "fingerprint": dataset.fingerprint, "skipped": []},
    })  # fmt: skip
    paths[1].unlink()
    return folder


def test_a_run_is_measured_on_what_it_held_out(run: Path, learnt: Path) -> None:
    asked = request("lenet5", data=str(learnt), settings={"split_seed": 0})
    held_out = of_request.dataset_of(asked).held_out
    # Here the labels are the other way round: what is bright counts as dark.
    wrong = [
        np.asarray(Image.open(name)).mean() > 127 if label == 0 else
        np.asarray(Image.open(name)).mean() < 127
        for name, label in zip(held_out.names, held_out.labels, strict=True)
    ]  # fmt: skip
    for source in (run, run / "model.keras", run / "artefacts" / "model.tflite"):
        found = evaluate(source)
        assert found.images == len(held_out) == 4
        assert found.score.value == 100 * (1 - np.mean(wrong))
    assert evaluate(run / "artefacts" / "model.tflite", split="all").images == 20


def test_data_that_has_changed_is_refused(run: Path, learnt: Path) -> None:
    known_files.class_folders(learnt / "more", dark=(1,))
    shutil.move(learnt / "more" / "dark" / "0.png", learnt / "dark" / "9.png")
    shutil.rmtree(learnt / "more")
    with pytest.raises(InputError, match="is not the data that"):
        evaluate(run / "artefacts" / "model.tflite")


def test_the_command_prints_a_table_json_and_csv(
    files: Files, photos: Path, tmp_path: Path
) -> None:
    path = files["classification"][0]
    table = tmp_path / "table.csv"
    done = here("evaluate", path, "--data", photos, "--csv", table)
    assert done.returncode == 0, done.stderr
    first, second, *_ = done.stdout.splitlines()
    assert first == f"{path}: 6 held-out images of {photos}"
    assert second.startswith("accuracy 66.7% (95% interval ")
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["dark", "bright", "striped"]
    assert rows[2] == {"label": "striped", "images": "0", "recall": "", "precision": ""}
    told = json.loads(here("evaluate", path, "--data", photos, "--json").stdout)
    assert told["value"] == pytest.approx(100 * 4 / 6)


@pytest.mark.parametrize("task", ["classification", "detection", "segmentation"])
def test_files_need_no_framework(task: str, files: Files, photos: Path, tmp_path: Path) -> None:
    data: Any = {
        "classification": lambda: photos,
        "detection": lambda: small_sets.coco(tmp_path / "boxes", 4),
        "segmentation": lambda: known_files.masks(tmp_path / "masks"),
    }[task]()
    image = photos / "dark" / "0.png"
    code = (
        "import sys; from kerascnn import cli\n"
        "for arguments in %r:\n"
        "    sys.argv[1:] = arguments\n"
        "    cli.main()\n"
    )
    asked = [
        [command, str(path), *more]
        for path in files[task]
        for command, *more in (
            ("info",), ("predict", str(image)), ("evaluate", "--data", str(data)),
        )
    ]  # fmt: skip
    done, imported = alone.script(code % asked)
    assert done.returncode == 0, done.stderr
    assert not {"tensorflow", "keras", "tf_keras", "jax", "torch", "matplotlib"} & imported
