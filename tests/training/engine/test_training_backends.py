"""Training under jax and torch, without tensorflow; what comes out is exported with tensorflow."""

from __future__ import annotations

import csv
from pathlib import Path

import keras
import pytest
from backends import Backends
from commands import here
from histories import history
from marks import IN_CI

import kerascnn
from training.engine.run import Run

# As on a machine without tensorflow.
WITHOUT_TENSORFLOW = """
import sys
sys.modules["tensorflow"] = None
from kerascnn.cli import main
main()
"""
TRAIN = (
    "train", "lenet5", "--data", "mnist", "--recipe", "digits", "--epochs", "2",
    "--set", "pictures_per_class=20", "--batch-size", "50", "--set", "mixup=0.2",
    "--set", "cutmix=1.0", "--set", "ema=0.5", "--validation-fraction", "0.2",
)  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To begin with: random ones differ by backend."""
    keras.utils.set_random_seed(0)
    path: Path = tmp_path_factory.mktemp("weights") / "initial.keras"
    kerascnn.build("lenet5", input_shape=(28, 28, 1), classes=10).save(path)
    return path


@pytest.fixture(scope="module")
def by_tensorflow(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("tensorflow") / "run"
    done = here(*TRAIN, "--weights", weights, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


@IN_CI
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_same_curve_without_tensorflow_and_an_export_with_it(
    on_backend: Backends, backend: str, weights: Path, by_tensorflow: Path, tmp_path: Path
) -> None:
    on_backend(backend, WITHOUT_TENSORFLOW, *TRAIN, "--weights", weights, "--out", tmp_path / "run")
    found = history(tmp_path / "run")
    for row, expected in zip(found, history(by_tensorflow), strict=True):
        assert row == pytest.approx(expected, rel=1e-3)
    run = Run.open(tmp_path / "run")
    assert backend in run.info["versions"]
    done = here("compress", run.folder, "--variants", "float32,int8", "--no-onnx")
    assert done.returncode == 0, done.stderr
    with (run.folder / "results.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["fits"] for row in rows] == ["true", "true"]
    assert float(rows[0]["value"]) == pytest.approx(run.info["results"]["held_out"], abs=0.2)
