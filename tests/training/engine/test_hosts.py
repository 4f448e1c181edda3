"""Two processes on loopback, by the command line: the curve of one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import keras
import pytest
from commands import COMMAND, assert_refused, communicate, free_ports
from commands import kerascnn as command
from histories import history

import kerascnn
from training.engine.run import Run

# All that could differ: mixing within pairs, averages, a validation whose last batch is short.
TRAIN = (
    "train", "lenet5", "--data", "mnist", "--recipe", "digits", "--epochs", "2",
    "--set", "pictures_per_class=20", "--set", "mixup=0.2", "--set", "cutmix=1.0",
    "--set", "ema=0.5", "--validation-fraction", "0.2",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_hosts_have_the_curve_of_one(backend: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    weights = tmp_path / "initial.keras"
    kerascnn.build("lenet5", input_shape=(28, 28, 1), classes=10).save(weights)
    environment = os.environ | {"KERAS_BACKEND": backend}
    asked = (*TRAIN, "--batch-size", "52", "--weights", weights, "--out")
    alone = command(*asked, tmp_path / "one", env=environment)
    assert alone.returncode == 0, alone.stderr
    hosts = ",".join(f"127.0.0.1:{port}" for port in free_ports(2))
    processes = [
        subprocess.Popen(
            [*COMMAND, *map(str, asked), str(tmp_path / "two"), "--devices", f"{index}@{hosts}"],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for index in range(2)
    ]  # fmt: skip
    try:
        ended = communicate(processes)
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], ended
    assert "held-out" in ended[0][0]
    assert not ended[1][0]  # the other host prints no results
    for row, expected in zip(history(tmp_path / "two"), history(tmp_path / "one"), strict=True):
        assert row == pytest.approx(expected, rel=1e-4)
    results = [Run.open(tmp_path / name).info["results"] for name in ("one", "two")]
    assert results[0]["held_out"] == pytest.approx(results[1]["held_out"], abs=0.11)


def test_pairs_are_not_torn_apart(tmp_path: Path) -> None:
    from kerascnn.preprocessing import Preprocessing
    from training.classification.batches import TrainingData
    from training.classification.fit import _check_batch
    from training.datasets.mnist import scan
    from training.engine.config import TrainConfig
    from training.engine.devices import Placement

    class Two(Placement):
        replicas = 2

    square = Preprocessing(height=28, width=28, channels=1, resize="pad")
    training_data = TrainingData(
        split=scan().train, source=square, preprocessing=square, classes=10,
        config=TrainConfig(batch_size=50, mixup=0.2),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"come in pairs, .* set batch_size to 52"):
        _check_batch(training_data, Two())
    _check_batch(training_data, Placement())


def test_two_hosts_cannot_be_one(tmp_path: Path) -> None:
    refused = command(*TRAIN, "--out", tmp_path / "run", "--devices", "0@127.0.0.1:1")
    assert_refused(refused, "two hosts")
