"""What users meet first: help, speed of answers, and bad input."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import assert_refused, here, kerascnn
from PIL import Image

COMMANDS = (
    *("models", "recipes", "train", "sweep", "find-lr", "bench-data", "pack"),
    *("compress", "compare", "predict", "demo", "android", "web"),
)


DETECTOR = ("train", "ssdlite_mobilenet_v3_small", "--data", "scenes:96@16+8")


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(6):
        for name in ("cats", "dogs"):
            picture(tmp_path / "pets" / name / f"{number}.png", number)
    return tmp_path / "pets"


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--help"], ["models"], ["models", "--json"], ["models", "resnet50"]),
        *(["recipes"], ["recipes", "modern"], ["recipes", "--json"]),
    ],
)
def test_answers_without_a_framework(arguments: list[str]) -> None:
    code = (
        "import sys; from kerascnn import cli; sys.argv[1:] = %r\n"
        "try: cli.main()\n"
        "finally: print(sorted({'tensorflow', 'keras', 'matplotlib', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code % arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    done = here(command, "--help")
    assert done.returncode == 0
    assert f"Example: kerascnn {command}" in " ".join(done.stdout.split())


def test_models_as_json_are_the_registry() -> None:
    from kerascnn import zoo

    listed = json.loads(here("models", "--json").stdout)
    assert {row["name"]: row["parameters"] for row in listed} == {
        name: entry.parameters for name, entry in zoo.ENTRIES.items()
    }


def test_unknown_model_offers_the_closest() -> None:
    assert_refused(here("train", "mobilenet_v33_small", "--data", "mnist"), "mobilenet_v3_small")


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (["train", "lenet5", "--data", "nowhere"], "nowhere"),
        (["train", "lenet5", "--data", "mnist", "--epochs", "0"], "epochs"),
        (["train", "lenet5", "--data", "mnist", "--image-size", "big"], "big"),
        (["train", "lenet5", "--data", "mnist", "--option", "alpha"], "alpha"),
        (["train", "lenet5", "--data", "mnist", "--option", "alpha=1"], "alpha"),
        (["train", "lenet5", "--data", "mnist", "--image-size", "20"], "20"),
        (["train", "lenet5", "--data", "mnist", "--weights", "imagenet"], "imagenet"),
        (["train", "lenet5", "--data", "mnist", "--optimizer", "adamm"], "adamm"),
        (["train", "lenet5", "--data", "mnist", "--set", "ema"], "--set"),
        (["train", "lenet5", "--data", "mnist", "--set", "emma=0.9"], "did you mean 'ema'"),
        (["train", "lenet5", "--data", "mnist", "--set", "ema=x"], "ema is a number, not 'x'"),
        (["train", "lenet5", "--data", "mnist", "--devices", "two"], "two"),
        (["train", "lenet5", "--data", "mnist", "--devices", "9"], "--devices 9"),
        (["train", "lenet5", "--data", "mnist", "--recipe", "modem"], "modem"),
        (["train", "lenet5", "--data", "mnist", "--recipe", "ssdlite"], "for detection"),
        (["train", "lenet5", "--data", "mnist", "--detector", "min_scale=0.1"], "--detector"),
        ([*DETECTOR, "--recipe", "modern"], "for classification"),
        ([*DETECTOR, "--set", "mixup=1"], "mixup"),
        ([*DETECTOR, "--detector", "min_scale"], "--detector is KEY=VALUE"),
        (["models", "--task", "poetry"], "poetry"),
        (["recipes", "modem"], "modem"),
        (["train", "lenet5", "--bogus"], "--bogus"),
        (["compress", "nowhere"], "nowhere"),
        (["compare", "nowhere"], "nowhere"),
        (["predict", "nowhere.tflite", "x.png"], "nowhere.tflite"),
    ],
)
def test_bad_arguments(arguments: list[str], culprit: str, tmp_path: Path) -> None:
    assert_refused(here(*arguments, cwd=tmp_path), culprit)


def test_other_backends_train_and_do_nothing_else(tmp_path: Path) -> None:
    for backend, words in (("jax", "runs on tensorflow"), ("numpy", "runs on tensorflow")):
        environment = os.environ | {"KERAS_BACKEND": backend}
        (tmp_path / "run.json").write_text("{}")
        assert_refused(kerascnn("compress", tmp_path, env=environment), words, backend)
    environment = os.environ | {"KERAS_BACKEND": "numpy"}
    refused = kerascnn("train", "lenet5", "--data", "mnist", env=environment)
    assert_refused(refused, "tensorflow, jax or torch", "numpy")


FEW = ("--set", "pictures_per_class=8", "--batch-size", 16)


def test_find_lr_draws_what_it_found(tmp_path: Path) -> None:
    plot = tmp_path / "rate.png"
    done = here("find-lr", "lenet5", "--data", "mnist", "-o", plot, "--steps", 60, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert 1e-5 < found["rate"] < 1
    with Image.open(plot) as drawn:
        assert drawn.width > 500


def test_bench_data_compares_three(tmp_path: Path) -> None:
    asked = ("bench-data", "lenet5", "--data", "mnist", *FEW, "--seconds", 0.2, "--rounds", 2)
    done = here(*asked, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert min(found[part] for part in ("pipeline", "step", "epoch")) > 0
    # Both together are no faster than the slower one, but for noise.
    assert 0 < found["share"] < 2
    assert not list(tmp_path.iterdir())


def test_empty_class_folder(folder: Path) -> None:
    (folder / "birds").mkdir()
    assert_refused(here("train", "mobilenet_v2", "--data", folder), "birds")


def test_one_class(folder: Path) -> None:
    shutil.rmtree(folder / "dogs")
    assert_refused(here("train", "mobilenet_v2", "--data", folder), "cats")


def tiny_training(folder: Path, *more: object) -> subprocess.CompletedProcess[str]:
    return here(
        "train", "mobilenet_v2", "--data", folder, "--out", folder.parent / "run", "--epochs", 1,
        "--image-size", 32, "--option", "alpha=0.35", "--batch-size", 4, "--augmentation", "none",
        *more,
    )  # fmt: skip


def test_broken_pictures_are_named_and_skipped_unless_strict(folder: Path) -> None:
    whole = picture(folder / "cats" / "cut.jpg").read_bytes()
    (folder / "cats" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "dogs" / "text.png").write_text("no picture")
    assert_refused(tiny_training(folder, "--strict"), "not a readable")
    shutil.rmtree(folder.parent / "run")
    done = tiny_training(folder)
    assert done.returncode == 0, done.stderr
    assert "cut.jpg" in done.stderr
    assert "text.png" in done.stderr
    assert "2 broken pictures skipped" in done.stderr


def test_class_of_broken_pictures_alone(folder: Path) -> None:
    for path in (folder / "dogs").iterdir():
        path.write_text("no picture")
    assert_refused(tiny_training(folder), "dogs")


def test_a_detector_trains_and_says_what_it_finds(tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = here(
        *DETECTOR, "--option", "alpha=0.35", "--image-size", "96x64", "--epochs", 1,
        "--batch-size", 8, "--detector", "max_detections=20", "--out", run, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["run"], found["metric"], found["best_epoch"]) == (str(run), "AP", 1)
    assert 0 <= found["held_out"] <= found["ap50"] <= 100
    info = json.loads((run / "run.json").read_text())
    assert [info["preprocessing"][side] for side in ("height", "width")] == [96, 64]
    assert info["detector"]["max_detections"] == 20
    assert info["request"]["recipe"] == "scenes"


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / "run"
    assert_refused(here("train", "lenet5", "--data", "mnist", "--out", out), str(out))


def test_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    def little_room() -> None:
        # Less than a checkpoint of LeNet-5, more than what measures coverage.
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    arguments = ("train", "lenet5", "--data", "mnist", "--out", tmp_path / "run", "--epochs", 1)
    refused = kerascnn(*arguments, preexec_fn=little_room)
    assert_refused(refused, "room", str(tmp_path / "run" / "checkpoints"))
    left = [p.name for p in (tmp_path / "run").rglob("*") if p.is_file()]
    assert left == ["run.json"]
    assert here(*arguments).returncode == 0
