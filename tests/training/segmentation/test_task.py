"""Runs of segmentation networks: from scenes to a run folder, and what is refused."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import commands
import keras
import numpy as np
import pytest
import tiny_segmenters
from PIL import Image

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import recipes
from training.datasets import segmentation_sets
from training.datasets.segmentation import VOID, SegmentationDataset, SegmentationSplit
from training.datasets.segmentation_sets import scan_maps
from training.engine import network
from training.engine.closing import closing_line
from training.engine.devices import SINGLE
from training.engine.request import TrainRequest, request
from training.engine.run import Run
from training.engine.train import train
from training.segmentation import train as train_segmenter
from training.segmentation.metrics import evaluate_maps
from training.segmentation.train import SegmenterTraining

SMALL = {"width": 2, "depth": 1}


def asked(data: str = "scenes:64@10+4", **changes: Any) -> TrainRequest:
    given = {"epochs": 1, "batch_size": 4, "image_size": (32, 48), "validation_fraction": 0.2}
    return request("unet", data=data, **{**given, **changes})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs")
    return train(asked(model_options=SMALL), folder / "run")


def test_a_run_says_what_was_asked_and_found(run: Run) -> None:
    info = run.info
    assert (info["task"], info["complete"], info["devices"]) == ("segmentation", True, 1)
    assert TrainRequest.from_dict(info["request"]) == asked(model_options=SMALL)
    assert info["request"]["recipe"] == "scenes_maps"
    assert info["request"]["model_options"] == {
        "norm_momentum": 0.95, "norm": True, "dropout": 0.0, **SMALL,
    }  # fmt: skip
    assert info["segmenter"] == {"output_size": [32, 48], "palette": None}
    assert info["labels"] == ["background", *map(str, range(10))]
    counts = {name: info["dataset"][name] for name in ("train", "validation", "held_out")}
    assert counts == {"train": 8, "validation": 2, "held_out": 4}
    results = info["results"]
    assert (results["metric"], results["best_epoch"]) == ("mIoU", 1)
    for name in ("held_out", "mean_dice", "pixel_accuracy", "boundary_f1"):
        assert 0 <= results[name] <= 100


def test_a_run_has_its_files(run: Run) -> None:
    files = {path.name for path in run.folder.iterdir()}
    assert files == {
        "run.json", "model.keras", "labels.txt", "history.csv", "curves.png", "tensorboard",
        "per_class.csv", "examples.png",
    }  # fmt: skip
    with (run.folder / "per_class.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["class"] for row in rows] == list(run.labels)
    held_out = scan_maps("scenes:64@10+4", seed=0).held_out
    pixels = np.bincount(
        np.concatenate([held_out.label_map(i).ravel() for i in range(4)]), minlength=11
    )
    assert [int(row["pixels"]) for row in rows] == pixels.tolist()
    mean = np.mean([float(row["iou"]) for row in rows if row["iou"]])
    assert mean == pytest.approx(run.info["results"]["held_out"], abs=1e-4)
    for name in ("curves.png", "examples.png"):
        with Image.open(run.folder / name) as drawn:
            assert drawn.width > 300


def test_the_model_of_a_run_loads(run: Run) -> None:
    logits = run.load_model()(np.zeros((1, *run.preprocessing.input_shape), np.float32))
    assert logits.shape == (1, 32, 48, 11)


def test_a_complete_run_is_not_trained_again(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run.folder / "run.json").read_bytes()
    train(asked(model_options=SMALL), run.folder)
    assert "is complete" in capsys.readouterr().err
    assert (run.folder / "run.json").read_bytes() == before
    with pytest.raises(InputError, match="map_loss: cross_entropy_dice there, dice asked for"):
        train(asked(model_options=SMALL, settings={"map_loss": "dice"}), run.folder)


def tiny_dataset(count: int = 12, **changes: Any) -> SegmentationDataset:
    split = tiny_segmenters.split(count)
    whole = SegmentationDataset(
        name="tiny", classes=tiny_segmenters.CLASSES, train=split.take(range(count - 4)),
        validation=None, held_out=split.take(range(count - 4, count)), fingerprint="f",
        palette=((0, 0, 0), (200, 0, 0), (0, 0, 200)), notes=("two notes", "are told"),
    )  # fmt: skip
    return dataclasses.replace(whole, **changes)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> list[SegmentationDataset]:
    """A network and data that take no time; the data may be replaced."""
    data = [tiny_dataset()]

    def build(_asked: TrainRequest, preprocessing: Preprocessing, *, classes: int) -> keras.Model:
        return tiny_segmenters.network(preprocessing.input_shape, classes)

    monkeypatch.setattr(network, "build", build)
    monkeypatch.setattr(segmentation_sets, "scan_maps", lambda _spec, **_given: data[0])
    return data


def test_what_is_found_as_it_is_has_an_iou_of_100(
    tiny: list[SegmentationDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = SegmenterTraining(asked("here"))
    held_out = opened.dataset.held_out
    true = iter([held_out.label_map(index) for index in range(len(held_out))])
    monkeypatch.setattr(train_segmenter, "maps", lambda *_arguments, **_options: true)
    results = opened.results(tmp_path, opened.model)
    maps = np.concatenate([held_out.label_map(i).ravel() for i in range(len(held_out))])
    pixels = np.bincount(maps[maps != VOID], minlength=3)
    share = 100 * pixels.max() / pixels.sum()
    assert results.pop("majority_baseline") == pytest.approx(share)
    assert results == {
        "metric": "mIoU", "held_out": 100, "mean_dice": 100, "pixel_accuracy": 100,
        "boundary_f1": 100, "classes_there": np.count_nonzero(pixels),
    }  # fmt: skip
    assert opened.facts()["segmenter"]["palette"] == [[0, 0, 0], [200, 0, 0], [0, 0, 200]]


def broken(split: SegmentationSplit, pictures: set[int], masks: set[int]) -> SegmentationSplit:
    def failing(read: Any, places: set[int], what: str) -> Any:
        def reading(place: int) -> np.ndarray:
            if place in places:
                raise InputError(f"{what} {place} is broken; remove it")
            return read(place)

        return reading

    return dataclasses.replace(
        split, read=failing(split.read, pictures, "picture"),
        annotate=failing(split.annotate, masks, "mask"),
    )  # fmt: skip


def test_broken_pictures_and_masks_are_named_and_skipped_unless_strict(
    tiny: list[SegmentationDataset],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny[0] = tiny_dataset().each(lambda split: broken(split, {2}, {5, 9}))
    with pytest.raises(InputError, match=r"(picture 2|mask 5) is broken"):
        train(asked("here", strict=True), tmp_path / "strict")
    capsys.readouterr()
    monkeypatch.setattr(train_segmenter, "fit_segmenter", lambda *_arguments, **_options: None)
    opened = SegmenterTraining(asked("here"))
    opened.fit(tmp_path, SINGLE, lambda _history: None)
    assert opened.counts() == {
        "train": 5, "validation": 1, "held_out": 3, "skipped": ["p2", "p5", "p9"],
        "broken": [], "notes": ["two notes", "are told"],
    }  # fmt: skip
    said = capsys.readouterr().err
    for text in ("tiny: two notes", "skipped: mask 9", "3 broken images skipped; --strict"):
        assert text in said


def test_data_of_void_alone_is_refused(tiny: list[SegmentationDataset], tmp_path: Path) -> None:
    whole = tiny_dataset()
    void = dataclasses.replace(whole.train, annotate=lambda _place: np.full((20, 30), VOID))
    for name, what in (("train", "training"), ("held_out", "held-out")):
        tiny[0] = dataclasses.replace(whole, fingerprint=name, **{name: void})
        with pytest.raises(InputError, match=f"tiny: no readable {what} image has a pixel that"):
            train(asked("here"), tmp_path / name)


def test_pixels_of_classes_and_the_size_of_the_answer_reach_the_fit(
    tiny: list[SegmentationDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(
        train_segmenter, "fit_segmenter", lambda _model, training_data, _v, **rest: seen.update(
            rest, training_data=training_data
        )
    )  # fmt: skip
    opened = SegmenterTraining(asked("here"))
    inputs = keras.Input((32, 48, 3))
    opened.fit(tmp_path, SINGLE, lambda _history: None)
    train = opened.dataset.train  # without those that choose the epoch
    labels = np.concatenate([train.label_map(index).ravel() for index in range(len(train))])
    assert seen["pixels"].tolist() == [int((labels == label).sum()) for label in range(3)]
    assert seen["training_data"].output_size == (32, 48)
    valid = keras.Model(inputs, keras.layers.Conv2D(3, 5)(inputs))
    monkeypatch.setattr(network, "build", lambda *_arguments, **_options: valid)
    opened = SegmenterTraining(asked("here"))
    opened.fit(tmp_path, SINGLE, lambda _history: None)
    assert seen["training_data"].output_size == (28, 44)
    assert opened.facts()["segmenter"]["output_size"] == [28, 44]


def test_pictures_that_choose_the_epoch_are_never_the_held_out_ones() -> None:
    data = tiny_dataset()
    made = data.with_validation(0.25, 0)
    assert made.held_out is data.held_out
    assert made.validation is not None
    assert len(made.validation) == 2
    assert sorted((*made.train.names, *made.validation.names)) == sorted(data.train.names)
    assert data.with_validation(0.25, 0).validation.names == made.validation.names
    assert data.with_validation(0.25, 1).validation.names != made.validation.names
    assert data.with_validation(0.0, 0) is data
    given = dataclasses.replace(data, validation=data.train.take([3]))
    assert given.with_validation(0.25, 0) is given


def test_figures_without_anything_to_measure_are_none() -> None:
    void = np.full((4, 4), VOID, np.uint8)
    split = tiny_segmenters.split_of([np.zeros((4, 4, 3), np.uint8)], [void])
    measured = evaluate_maps([void], split, tiny_segmenters.CLASSES)
    figures = train_segmenter.figures(measured)
    assert figures == {"mean_dice": None, "pixel_accuracy": None, "boundary_f1": None}
    json.dumps(figures, allow_nan=False)
    results = {"metric": "mIoU", "held_out": float("nan"), **figures}
    assert (
        closing_line({"task": "segmentation", "results": results})
        == "no mIoU on the held-out images"
    )


def test_a_runs_figures_in_words() -> None:
    results = {"metric": "mIoU", "held_out": 85.04, "mean_dice": 91.2, "boundary_f1": 88.8}
    told = closing_line({"task": "segmentation", "results": results})
    assert told == "mIoU 85.0%, dice 91.2%, boundary F1 88.8% on the held-out images"


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        ("unet", {"settings": {"mixup": 1.0}}, "mixup: for classification"),
        ("unet", {"label_smoothing": 0.1}, "label_smoothing: for classification only"),
        ("unet", {"settings": {"pictures_per_class": 5}}, "pictures_per_class: for classification"),
        ("unet", {"recipe": "scenes"}, "'scenes' is a recipe for detection.*scenes_maps"),
        ("unet", {"augmentation": "modern"}, "'modern' is not for segmentation.*none, flip"),
        ("unet", {"settings": {"map_loss": "iou"}}, "map_loss must be one of cross_entropy, dice"),
        ("unet", {"settings": {"border_weight": -1}}, "border_weight must be between 0 and"),
        ("unet", {"settings": {"class_weights": "balanced", "map_loss": "dice"}}, "all classes"),
        ("mobilenet_v2", {"settings": {"map_loss": "dice"}}, "map_loss: for segmentation only"),
        (
            "efficientdet_lite0",
            {"settings": {"border_weight": 10}},
            "border_weight: for segmentation",
        ),
        ("mobilenet_v2", {"recipe": "segmentation"}, "'segmentation' is a recipe for segmentation"),
    ],
)
def test_what_belongs_to_another_task_is_refused(
    model: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        request(model, data="data", **changes)
    assert "\n" not in str(caught.value)


def test_recipes_of_maps_and_their_data(tmp_path: Path) -> None:
    assert recipes.default_name("unet", "scenes:128", None) == "scenes_maps"
    assert recipes.default_name("unet_resnet50", str(tmp_path), None) == "segmentation"
    assert recipes.default_name("unet_resnet50", "x", "imagenet") == "segmentation_finetune"
    assert asked("scenes:128@4+4").data == "scenes:128@4+4"
    assert asked(str(tmp_path)).data == str(tmp_path.resolve())
    options = request("unet_efficientnet_lite0", data="scenes:128").model_options
    assert options == {"norm_momentum": 0.95}


def test_impossible_options_of_the_network() -> None:
    with pytest.raises(InputError, match=r"unet has no option --option widht"):
        SegmenterTraining(asked(model_options={"widht": 2}))


@pytest.mark.slow
def test_a_folder_of_pictures_and_palette_masks_from_the_command_line(tmp_path: Path) -> None:
    """Masks as VOC draws them, 255 where nothing counts; then the same without validation."""
    split = tiny_segmenters.split(20)
    for part in ("images", "masks"):
        (tmp_path / "data" / part).mkdir(parents=True)
    for index, name in enumerate(split.names):
        Image.fromarray(split.picture(index)).save(tmp_path / f"data/images/{name}.png")
        mask = Image.fromarray(split.label_map(index), "P")
        mask.putpalette([0, 0, 0, 200, 0, 0, 0, 0, 200])
        mask.save(tmp_path / f"data/masks/{name}.png")
    (tmp_path / "data/classes.txt").write_text("\n".join(tiny_segmenters.CLASSES))
    command = (
        *("train", "unet", "--data", tmp_path / "data", "--image-size", "24x32", "--epochs", 12),
        *("--option", "width=6", "--option", "depth=1", "--batch-size", 4, "--learning-rate", 0.02),
        *("--set", "ema=0.7", "--set", "border_weight=10", "--set", "class_weights=balanced"),
        *("--warmup-epochs", 1),
        *("--option", "norm_momentum=0.8", "--augmentation", "flip"),
    )
    done = commands.kerascnn(*command, "--out", tmp_path / "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "on 2 held-out images" in done.stdout
    run = Run.open(tmp_path / "run")
    assert run.labels == tiny_segmenters.CLASSES
    assert run.info["request"]["recipe"] == "segmentation"
    assert run.info["segmenter"]["palette"] == [[0, 0, 0], [200, 0, 0], [0, 0, 200]]
    assert run.info["results"]["held_out"] > 35
    last = ("--validation-fraction", 0, "--out", tmp_path / "all", "--json")
    done = commands.kerascnn(*command, *last, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["metric"] == "mIoU"
    assert told["best_epoch"] == 12
