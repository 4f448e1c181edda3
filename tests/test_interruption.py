"""kill -9 at any moment: the same command goes on and ends with the same files."""

from __future__ import annotations

import csv
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from commands import here, kerascnn, kill_when
from marks import IN_CI

from training.engine.run import Run

COMPRESS = ("compress", "--variants", "float16,dynamic_int8,int8")
TRAIN = ("train", "lenet5", "--data", "mnist", "--epochs", 3, "--out")


def weights(run: Path) -> list[np.ndarray]:
    return Run.open(run).load_model().get_weights()


def digests(folder: Path) -> dict[str, str]:
    with (folder / "results.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    return {f"{r['run']}/{r['variant']}.{r['format']}": r["sha256"] for r in rows}


def files(folder: Path) -> list[str]:
    names = (str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    return sorted(re.sub(r"tfevents\.\d+", "tfevents", name) for name in names)


@pytest.fixture(scope="module")
def unbroken(trained_lenet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What TRAIN makes, by a call."""
    folder: Path = tmp_path_factory.mktemp("unbroken") / "run"
    return shutil.copytree(trained_lenet, folder)


@pytest.mark.slow
def test_train_and_compress_killed(unbroken: Path, tmp_path: Path) -> None:
    unbroken = shutil.copytree(unbroken, tmp_path / "unbroken" / "run")
    # A process: the order of an ONNX file's nodes hangs on PYTHONHASHSEED.
    assert kerascnn(*COMPRESS, unbroken).returncode == 0
    run = tmp_path / "run"
    kill_when((run / "checkpoints" / "epoch-00001.npz").exists, *TRAIN, run)
    assert not (run / "model.keras").exists()
    done = here(*TRAIN, run)
    assert done.returncode == 0, done.stderr
    assert "continuing after epoch" in done.stderr
    for a, b in zip(weights(unbroken), weights(run), strict=True):
        np.testing.assert_array_equal(a, b)

    kill_when((run / "artefacts" / "dynamic_int8.tflite").exists, *COMPRESS, run)
    done = kerascnn(*COMPRESS, run)
    assert done.returncode == 0, done.stderr
    assert digests(run) == digests(unbroken)
    assert files(run) == files(unbroken)


@IN_CI
def test_a_terminated_training_keeps_its_step(unbroken: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    # Once the first epoch is kept, the second has begun.
    begun = (run / "checkpoints" / "epoch-00001.npz").exists
    assert kill_when(begun, *TRAIN, run, number=signal.SIGTERM) == 128 + signal.SIGTERM
    kept = sorted((run / "checkpoints").glob("epoch-*.npz"))
    assert kept
    assert not list(run.rglob(".partial-*"))
    done = here(*TRAIN, run)
    assert done.returncode == 0, done.stderr
    assert "continuing after" in done.stderr
    for a, b in zip(weights(unbroken), weights(run), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_demo_killed(tmp_path: Path) -> None:
    """Of one network of its three: what is killed is its training and its compression."""
    arguments = ("--models", "lenet5", "--epochs", 2)
    whole, broken = tmp_path / "whole" / "demo", tmp_path / "broken" / "demo"
    assert kerascnn("demo", "--out", whole, *arguments).returncode == 0
    first = broken / "lenet5"
    moments = (
        first / "checkpoints" / "epoch-00001.npz",
        first / "model.keras",
        first / "artefacts" / "float16.tflite",
    )
    for moment in moments:
        kill_when(moment.exists, "demo", "--out", broken, *arguments)
    assert not (broken / "report.html").exists()
    done = kerascnn("demo", "--out", broken, *arguments)
    assert done.returncode == 0, done.stderr
    assert digests(broken) == digests(whole)
    assert files(broken) == files(whole)


def test_another_request_does_not_overwrite_a_run(unbroken: Path) -> None:
    from commands import assert_refused

    before = files(unbroken)
    refused = here(*TRAIN, unbroken, "--seed", 1)
    assert_refused(refused, str(unbroken), "seed")
    assert files(unbroken) == before
    again = here(*TRAIN, unbroken)
    assert again.returncode == 0
    assert "is complete" in again.stderr


def test_a_run_without_a_model_is_refused(unbroken: Path, tmp_path: Path) -> None:
    from commands import assert_refused

    copy = tmp_path / "copy"
    shutil.copytree(unbroken, copy)
    (copy / "model.keras").unlink()
    assert_refused(here("compress", copy), str(copy), "model.keras")
    assert_refused(here("compress", unbroken, "--variants", "int9"), "int9", "did you mean 'int8'")
