"""Of many validation images the same few watch every epoch; figures of a run are of all."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tiny_detectors
import tiny_segmenters
from marks import IN_CI

from kerascnn.errors import InputError
from training.detection import fit as fit_detector
from training.detection.batches import DetectionTrainingData
from training.detection.evaluate import evaluate_detector, keras_detect_fn
from training.engine.config import TrainConfig
from training.engine.devices import SINGLE
from training.engine.request import request
from training.engine.resume import as_begun
from training.engine.watching import counted, watching
from training.segmentation import fit as fit_segmenter
from training.segmentation.batches import SegmentationTrainingData

CONFIG = TrainConfig(
    epochs=2, batch_size=4, augmentation="flip", learning_rate=2e-2, warmup_epochs=0.5,
    label_smoothing=0.0, validation_fraction=0.0, watch_images=5,
)  # fmt: skip


def test_the_same_few_of_many() -> None:
    split = tiny_detectors.split(40)
    few = watching(split, CONFIG)
    assert len(few) == 5
    assert few.places.tolist() == sorted(set(few.places.tolist()))
    np.testing.assert_array_equal(few.sizes, split.sizes[few.places])
    again = watching(split, dataclasses.replace(CONFIG, seed=9, epochs=30))
    assert again.names == few.names
    other = watching(split, dataclasses.replace(CONFIG, split_seed=9))
    assert other.names != few.names
    assert counted(split, few) == {"val_images": 5}


def test_all_of_few() -> None:
    split = tiny_detectors.split(5)
    assert watching(split, CONFIG) is split
    many = tiny_detectors.split(40)
    assert watching(many, dataclasses.replace(CONFIG, watch_images=0)) is many
    assert counted(many, many) == {}
    assert TrainConfig().watch_images == 2000
    assert TrainConfig.from_dict({"epochs": 3}).watch_images == 2000  # a run of before


@IN_CI
def test_a_detectors_epochs_are_of_the_few(tmp_path: Path) -> None:
    validation = tiny_detectors.split(40).take(range(14, 40))
    model = tiny_detectors.network()
    training_data = DetectionTrainingData(
        split=tiny_detectors.split(14), preprocessing=tiny_detectors.PREPROCESSING, classes=2,
        config=CONFIG, most_objects=4,
    )  # fmt: skip
    fitted = fit_detector.fit_detector(
        model, tiny_detectors.spec(), training_data, validation, classes=tiny_detectors.CLASSES,
        folder=tmp_path / "checkpoints", history_file=tmp_path / "history.csv", placement=SINGLE,
    )  # fmt: skip
    assert [epoch["val_images"] for epoch in fitted.history] == [5, 5]
    with (tmp_path / "history.csv").open() as stream:
        assert [row["val_images"] for row in csv.DictReader(stream)] == ["5", "5"]
    find = keras_detect_fn(model, tiny_detectors.PREPROCESSING, tiny_detectors.spec())
    measured = evaluate_detector(
        find, watching(validation, CONFIG), tiny_detectors.PREPROCESSING, tiny_detectors.CLASSES
    )
    assert fitted.history[fitted.best_epoch - 1]["val_ap"] == pytest.approx(measured.ap)


def test_a_segmenters_epochs_are_of_the_few(tmp_path: Path) -> None:
    training_data = SegmentationTrainingData(
        split=tiny_segmenters.split(14), preprocessing=tiny_segmenters.PREPROCESSING, classes=3,
        config=dataclasses.replace(CONFIG, epochs=1),
    )  # fmt: skip
    fitted = fit_segmenter.fit_segmenter(
        tiny_segmenters.network(), training_data, tiny_segmenters.split(40).take(range(14, 40)),
        classes=tiny_segmenters.CLASSES, pixels=np.array([300, 50, 50]),
        folder=tmp_path / "checkpoints", history_file=tmp_path / "history.csv", placement=SINGLE,
    )  # fmt: skip
    assert fitted.history[0]["val_images"] == 5
    assert fitted.history[0]["val_miou"] >= 0


def test_classifiers_have_no_part_for_it() -> None:
    with pytest.raises(InputError, match="watch_images: for detection and segmentation only"):
        request("lenet5", data="mnist", settings={"watch_images": 7})


def test_a_run_of_before_is_watched_by_all(tmp_path: Path) -> None:
    asked = request("ssdlite_mobilenet_v2", data="scenes:96@16+8")
    assert asked.config.watch_images == 2000
    plain = asked.to_dict()
    del plain["config"]["watch_images"]
    assert as_begun(asked, {"request": plain}).config.watch_images == 0
    assert as_begun(asked, {"request": asked.to_dict()}) == asked
