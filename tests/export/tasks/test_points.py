"""Steps that train a detector without anchors on in tf_keras, where a loss wants both outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small_sets
import tiny_detectors

from export.artefacts.variants import FineTuning, Settings
from export.compress.compress import compress
from kerascnn import zoo
from kerascnn.detection.specs import DetectorSpec
from training.engine import network as networks
from training.engine.request import request
from training.engine.run import Run
from training.engine.train import train


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def build(_asked: object, preprocessing: Any, *, classes: int) -> Any:
        return tiny_detectors.point_network(preprocessing.input_shape, classes)

    def spec_of(_name: str, input_shape: Any = (32, 48, 3), **_options: object) -> DetectorSpec:
        return tiny_detectors.point_spec(input_shape)

    monkeypatch.setattr(networks, "build", build)
    monkeypatch.setattr(zoo, "detector_spec", spec_of)
    data = small_sets.coco(tmp_path / "data", 8, side=48)
    asked = request(
        "rtmdet_tiny", data=str(data), epochs=1, batch_size=4, image_size=(32, 48),
        validation_fraction=0.0,
    )  # fmt: skip
    return train(asked, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("teacher", [None, "self"])
def test_quantisation_aware_training_takes_the_joint_loss(run: Run, teacher: str | None) -> None:
    name = "qat_int8" if teacher is None else "distil_qat_int8"
    settings = Settings(calibration_pictures=4, fine_tuning=FineTuning(epochs=1))
    ((made,), _new) = compress(run, [name], onnx=False, settings=settings)
    assert made.info["evaluation"]["pictures"] == run.info["dataset"]["held_out"]
    assert made.info["detector"]["loss"] == "quality_focal"
    assert "coding" not in made.info["detector"]  # files have deltas
    # In one piece, and one behind TFLite's operation.
    assert made.info["evaluation"]["partitions"] == 2
