"""Every recipe builds its network, takes two steps and saves."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import small_sets
from marks import all_but, marks_of

from kerascnn import blocks
from kerascnn.detection.specs import DetectorSpec
from kerascnn.preprocessing import Preprocessing
from training import datasets, recipes
from training.datasets.splits import Dataset, Split
from training.engine import network
from training.engine.config import TrainConfig
from training.engine.request import TrainRequest, request
from training.engine.run import Run
from training.engine.train import train

SIDE = 40
MODELS = {
    "digits": "lenet5", "scenes_digits": "mobilenet_v2", "cifar": "mobilenet_v2",
    "scratch": "mobilenet_v1", "finetune": "mobilenet_v1", "modern": "resnet18",
    "modern_sgd": "resnet18", "lenet": "lenet5", "alexnet": "alexnet", "vgg": "vgg16",
    "googlenet": "googlenet", "resnet": "resnet18", "resnet_cifar": "resnet18",
    "senet": "se_resnet50", "mobilenet_v1": "mobilenet_v1", "mobilenet_v2": "mobilenet_v2",
    "mobilenet_v3": "mobilenet_v3_small", "efficientnet": "efficientnet_b0",
    "efficientnet_v2": "efficientnet_v2_b0",
}  # fmt: skip
DETECTORS = {
    "scenes": "ssdlite_mobilenet_v2", "detection": "efficientdet_lite0",
    "detection_finetune": "efficientdet_lite0",
    "ssdlite": "ssdlite_mobilenet_v3_large", "efficientdet": "efficientdet_lite0",
    "rtmdet": "rtmdet_mobilenet_v4_conv_small",
}  # fmt: skip
TWO_STAGES = {"rcnn": "faster_rcnn_efficientnet_lite0_fpn"}
MAPS = {
    "scenes_maps": "unet", "segmentation": "unet_efficientnet_lite0",
    "segmentation_finetune": "unet_efficientnet_lite0",
}  # fmt: skip
LABELS = {"multilabel": "mobilenet_v2", "multilabel_finetune": "mobilenet_v1"}
FAST = {"digits", "lenet"}
# Those of no family, which are what a user gets who names none, or asks for in their place.
PLAIN = ("scratch", "finetune", "modern")
OPTIONS = {name: {"alpha": 0.25} for name in ("mobilenet_v1", "mobilenet_v2")}
OPTIONS["vgg16"] = {"dropout": 0.0}


def pictures(count: int, channels: int) -> Split:
    rng = np.random.default_rng(0)
    return Split(
        labels=(np.arange(count) % 2).astype(np.int32),
        names=tuple(map(str, range(count))),
        pictures=rng.integers(0, 256, (count, SIDE, SIDE, channels), dtype=np.uint8),
    )


@pytest.fixture
def a_few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = Dataset(
        name="tiny", classes=("a", "b"), train=pictures(16, 3), validation=pictures(4, 3),
        held_out=pictures(6, 3), resize="stretch", fingerprint="0",
    )  # fmt: skip
    monkeypatch.setattr(datasets, "scan", lambda *_args, **_options: tiny)


def test_all_recipes_are_here() -> None:
    assert {*MODELS, *DETECTORS, *TWO_STAGES, *MAPS, *LABELS} == set(recipes.NAMES)


@pytest.mark.usefixtures("a_few")
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=marks_of(n, ci={"digits"}, slow={*MODELS} - FAST)) for n in MODELS],
)
def test_two_steps_and_a_saved_network(name: str, tmp_path: Path) -> None:
    model = MODELS[name]
    run = two_steps(name, model, tmp_path, data="tiny", model_options=OPTIONS.get(model, {}))
    assert_logits(run)


@pytest.mark.usefixtures("a_few")
@pytest.mark.parametrize("name", all_but({"finetune"}, PLAIN))
def test_two_steps_of_a_network_of_few_layers(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe itself, within seconds."""

    def build(_asked: TrainRequest, preprocessing: Preprocessing, *, classes: int) -> keras.Model:
        x = inputs = blocks.picture_input(preprocessing.input_shape)
        x = blocks.Conventions(activation="relu").conv(x, 8, 3, strides=2, name="stem")
        return keras.Model(inputs, blocks.classifier(x, classes, dropout=0.1), name="few")

    monkeypatch.setattr(network, "build", build)
    assert_logits(two_steps(name, MODELS[name], tmp_path, data="tiny"))


def assert_logits(run: Run) -> None:
    logits = np.asarray(run.load_model()(np.zeros((1, *run.preprocessing.input_shape), "float32")))
    assert logits.shape == (1, 2)
    assert np.isfinite(logits).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_two_steps_of_a_detector(name: str, tmp_path: Path) -> None:
    run = two_steps(name, DETECTORS[name], tmp_path, data="scenes:64@16+4")
    outputs = run.load_model()(np.zeros((1, *run.preprocessing.input_shape), "float32"))
    spec = DetectorSpec.from_dict(run.info["detector"])
    codes, logits = map(np.asarray, outputs)
    assert codes.shape == (1, spec.anchors.count, 4)
    assert logits.shape == (1, spec.anchors.count, 10 + spec.background)
    assert np.isfinite(codes).all()
    assert np.isfinite(logits).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", TWO_STAGES)
def test_two_steps_of_two_stages(name: str, tmp_path: Path) -> None:
    run = two_steps(name, TWO_STAGES[name], tmp_path, data="scenes:64@16+4")
    found = run.load_model()(np.zeros((1, *run.preprocessing.input_shape), "float32"))
    assert set(found) == {"boxes", "labels", "scores", "count"}
    assert np.isfinite(np.asarray(found["boxes"])).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", MAPS)
def test_two_steps_of_maps(name: str, tmp_path: Path) -> None:
    run = two_steps(name, MAPS[name], tmp_path, data="scenes:64@16+4")
    logits = np.asarray(run.load_model()(np.zeros((1, *run.preprocessing.input_shape), "float32")))
    assert logits.shape == (1, *run.preprocessing.input_shape[:2], 11)
    assert np.isfinite(logits).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", LABELS)
def test_two_steps_of_several_labels(name: str, tmp_path: Path) -> None:
    table = small_sets.label_table(tmp_path / "data", 20, side=SIDE)
    run = two_steps(name, LABELS[name], tmp_path, data=str(table), model_options={"alpha": 0.25})
    assert run.task == "multilabel"
    logits = np.asarray(run.load_model()(np.zeros((1, *run.preprocessing.input_shape), "float32")))
    assert logits.shape == (1, 2)
    assert np.isfinite(logits).all()


def two_steps(name: str, model: str, folder: Path, **changes: Any) -> Run:
    """A finished run of a recipe."""
    asked = request(model, recipe=name, epochs=1, batch_size=8, image_size=(SIDE, SIDE), **changes)
    before = recipes.load(name).config_for(model)
    assert dataclasses.replace(
        asked.config, epochs=before.epochs, batch_size=before.batch_size,
        freeze_epochs=before.freeze_epochs, freeze_updates=before.freeze_updates,
        min_updates=before.min_updates,
    ) == before  # fmt: skip
    train(asked, folder)
    row = (folder / "history.csv").read_text().splitlines()
    assert len(row) == 2
    assert "nan" not in row[1]
    # What run.json keeps repeats the run.
    kept = json.loads((folder / "run.json").read_text())["request"]
    assert TrainRequest.from_dict(kept) == asked
    assert TrainConfig(**kept["config"]) == asked.config
    return Run.open(folder)
