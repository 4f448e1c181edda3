"""What users meet first: help, speed of answers, and bad input."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import alone
import click
import known_files
import numpy as np
import pytest
from commands import assert_refused, here
from known_runs import a_run, measured_run
from marks import IN_CI
from PIL import Image

from training import tasks as registry

COMMANDS = (
    *("models", "recipes", "train", "sweep", "find-lr", "bench-data", "pack", "check"),
    *("compress", "shrink", "compare", "predict", "evaluate", "info", "debug", "demo"),
    *("android", "web", "phone"),
)


FRAMEWORKS = {"tensorflow", "keras", "matplotlib"}
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
    done, imported = alone.command(*arguments)
    assert done.returncode == 0
    assert not imported


DETECTOR_RUN = {"task": "detection", "model": "ssdlite_mobilenet_v2"}
CLASSIFIER_RUN = {"task": "classification", "model": "lenet5"}


@pytest.mark.parametrize(
    ("arguments", "run", "culprits"),
    [
        (["debug", "run", "int8"], DETECTOR_RUN, ("int8.tflite", "--variants int8")),
        (["debug", "run", "int8"], CLASSIFIER_RUN, ("int8.tflite", "--variants int8")),
        (["debug", "run", "int9"], CLASSIFIER_RUN, ("int9",)),
        (["compare", "run"], CLASSIFIER_RUN, ("no exported files",)),
        (["compress", "run", "--variants", "int8_converter"], DETECTOR_RUN, ("int8_converter",)),
        (["compress", "run", "--variants", "int8_raw"], CLASSIFIER_RUN, ("int8_raw",)),
        (["compress", "run", "--variants", ""], CLASSIFIER_RUN, ("variants names none",)),
        (["shrink", "run", "--max-size", "300"], CLASSIFIER_RUN, ("300 bytes", "300KB?")),
        (["find-lr", DETECTOR[1], "--data", "nowhere"], None, ("nowhere",)),
        (["bench-data", DETECTOR[1], "--data", "nowhere"], None, ("nowhere",)),
        (["train", "lenet5", "--data", "nowhere"], None, ("nowhere", "scenes-digits")),
        (["train", "lenet5", "--data", "run/boxes.json"], CLASSIFIER_RUN, ("COCO, for detectors",)),
        (["train", "lenet5", "--data", "run/model.keras"], CLASSIFIER_RUN, ("is a file; for cl",)),
        (
            ["pack", "run/boxes.json", "-o", "out"],
            CLASSIFIER_RUN,
            ("run/boxes.json", "no list of images"),
        ),
        (["train", DETECTOR[1], "--data", "nowhere"], None, ("nowhere",)),
        (["train", "unet", "--data", "."], None, ("not a data set of label maps",)),
        ([*DETECTOR, "--detector", "agnostic=true"], None, ("no option", "agnostic", "min_scale")),
        ([*DETECTOR, "--detector", "min_scal=0.1"], None, ("did you mean 'min_scale'",)),
        ([*DETECTOR, "--detector", "anchors=3"], None, ("decides on its own anchors",)),
        ([*DETECTOR, "--detector", "candidates=0.5"], None, ("must be a whole number", "0.5")),
        (["train", "lenet5", "--data", "mnist", "--option", "alpha=1"], None, ("alpha",)),
        (["train", "vgg16", "--data", "mnist", "--option", "dropout=x"], None, ("a number", "'x'")),
        (["train", "vgg16", "--data", "mnist", "--option", "classes=3"], None, ("comes from",)),
        (
            ["train", "resnet50", "--data", "mnist", "--weights", "imgenet"],
            None,
            ("imagenet-v2", "did you mean 'imagenet'", "torchvision", ".safetensors"),
        ),
        (
            ["train", "resnet50", "--data", "mnist", "--weights", "imagenet"],  # KERASCNN_OFFLINE
            None,
            ("not in the cache", "download.pytorch.org/models/resnet50-0676ba61.pth", "put it at"),
        ),
        (["train", "resnet50", "--data", "mnist", "--weights", "no.h5"], None, ("no.h5",)),
        (["train", "lenet5", "--data", "mnist", "--teacher", "nowhere"], None, ("nowhere",)),
        (
            ["train", "lenet5", "--data", "mnist", "--weights", "run/model.keras"],
            DETECTOR_RUN,
            ("run/model.keras has weights of a detector", "lenet5 is not one"),
        ),
        (
            ["train", "lenet5", "--data", "mnist", "--out", "run/run.json/x"],
            CLASSIFIER_RUN,
            ("run/run.json/x: Not a directory",),
        ),
        (["predict", "alone.onnx", "x.png"], None, ("alone.onnx.json is missing",)),
        (["predict", "nowhere.tflite", "x.png"], None, ("nowhere.tflite",)),
        (["predict", "run/model.keras", "x.png"], CLASSIFIER_RUN, ("x.png", "no such image")),
        (["sweep", "--models", "lenet5", "--recipes", "digits", "--data", "no"], None, ("no",)),
        (["pack", "nowhere", "-o", "out"], None, ("nowhere",)),
        (["demo", "--models", "lenet6"], None, ("lenet5",)),
    ],
)
def test_refusals_need_no_framework(
    arguments: list[str], run: dict[str, str] | None, culprits: tuple[str, ...], tmp_path: Path
) -> None:
    if run:
        a_run(tmp_path / "run", **run)
    if "alone.onnx" in arguments:
        picture(tmp_path / "x.png")
        (tmp_path / "alone.onnx").write_bytes(b"")  # an empty message, which nothing describes
    done, imported = alone.command(*arguments, cwd=tmp_path)
    assert_refused(done, *culprits)
    assert not FRAMEWORKS & imported
    assert "__init__" not in done.stderr


def test_what_cannot_be_compared_is_refused_without_a_framework(tmp_path: Path) -> None:
    measured_run(tmp_path / "a", "1")
    measured_run(tmp_path / "b", "2")
    measured_run(tmp_path / "c", "1", metric="AP")
    (tmp_path / "phone.csv").write_text("no table\n")
    for arguments, words in (
        (["compare", "a", "b"], "a and b were measured on different images"),
        (["compare", "a", "c"], "a is measured by accuracy and c by AP"),
        (["compare", "a", "--device", "phone.csv"], "phone.csv, line 1: no column"),
    ):
        done, imported = alone.command(*arguments, cwd=tmp_path)
        assert_refused(done, words)
        assert not {"tensorflow", "keras"} & imported


@IN_CI
def test_what_a_file_has_no_part_for_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "x.png")
    names = {task: known_files.files(tmp_path / task, task) for task in registry.names()}
    fitting = {
        "classification": ["--top"],
        "multilabel": ["--top", "--score"],
        "detection": ["--score"],
        "segmentation": [],
    }
    for task, files in names.items():
        for option, value in (("--top", "2"), ("--score", "0.4")):
            for file in files:
                done = here("predict", file, tmp_path / "x.png", option, value)
                if option in fitting[task]:
                    assert done.returncode == 0, done.stderr
                else:
                    assert_refused(done, f"{file} is ", f"leave out {option[2:]}")


def test_a_run_is_refused_before_its_network_is_loaded(tmp_path: Path) -> None:
    a_run(tmp_path / "run", **CLASSIFIER_RUN)
    path = tmp_path / "run" / "run.json"
    preprocessing = {"height": 28, "width": 28, "channels": 1}
    told = {**json.loads(path.read_text()), "preprocessing": preprocessing, "labels": ["a", "b"]}
    path.write_text(json.dumps(told))
    picture(tmp_path / "x.png")
    asked = ("predict", "run/model.keras", "x.png", "--score", "0.3")
    done, imported = alone.command(*asked, cwd=tmp_path)
    assert_refused(done, "run/model.keras is a classifier", "leave out ")
    assert not FRAMEWORKS & imported


def test_all_differences_of_a_run_are_named_without_a_framework(tmp_path: Path) -> None:
    a_run(tmp_path / "run", **CLASSIFIER_RUN)
    done, imported = alone.command(
        *("train", "lenet5", "--data", "mnist", "--out", "run", "--epochs", "3"),
        *("--seed", "7", "--image-size", "28", "--set", "ema=0.9"),
        cwd=tmp_path,
    )
    names = ("epochs: ", "seed: 0 there, 7 asked for", "image_size: none there", "ema: ")
    assert_refused(done, "run holds another run", *names)
    assert not FRAMEWORKS & imported


def a_run_of(data: Path, folder: Path, **info: object) -> str:
    """A run that learnt from a folder of pictures, with the fingerprint that they have."""
    from training.engine import dataset_of_request as of_request
    from training.engine.request import request

    asked = request("lenet5", data=str(data), settings={"split_seed": 0})
    dataset = {"fingerprint": of_request.dataset_of(asked).fingerprint, "name": str(data)}
    a_run(folder, task="classification", model="lenet5")
    (folder / "run.json").write_text(
        json.dumps({
            "request": asked.to_dict(), "task": "classification", "complete": True,
            "dataset": dataset, **info,
        })
    )  # fmt: skip
    return dataset["fingerprint"]


def test_held_out_images_that_weights_have_seen_need_no_framework(
    folder: Path, tmp_path: Path
) -> None:
    a_run_of(folder, tmp_path / "run")
    known = ("train", "lenet5", "--data", folder, "--split-seed", "1", "--out", "other")
    done, imported = alone.command(*known, "--weights", "run/model.keras", cwd=tmp_path)
    assert_refused(done, "learnt from 2 of the 2 ", "--split-seed 0")
    assert not FRAMEWORKS & imported


def test_data_that_has_changed_needs_no_framework(folder: Path, tmp_path: Path) -> None:
    a_run_of(folder, tmp_path / "run", complete=False)
    picture(folder / "cats" / "new.png", 77)
    asked = ("train", "lenet5", "--data", folder, "--out", "run")
    done, imported = alone.command(*asked, cwd=tmp_path)
    assert_refused(done, "pets has changed since run was begun")
    assert not FRAMEWORKS & imported


def test_an_interrupted_look_says_that_nothing_was_trained(folder: Path, tmp_path: Path) -> None:
    for kept, words in ((False, "begins anew"), (True, "goes on from the last checkpoint")):
        if kept:
            (tmp_path / "run" / "checkpoints").mkdir(parents=True)
            (tmp_path / "run" / "checkpoints" / "epoch-00001.npz").write_bytes(b"")
        with mock.patch("training.engine.first_look.first_look", side_effect=KeyboardInterrupt):
            done = here("train", "lenet5", "--data", folder, "--out", "run", cwd=tmp_path)
        assert done.returncode == 130
        assert words in done.stderr.splitlines()[-1]


def test_a_damaged_run_is_told_of_once(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"request": {}, "complete": true}')
    refused = here("shrink", tmp_path, "--max-size", "1MB")
    assert_refused(refused, "run.json lacks 'config'; delete the folder and train again")
    assert refused.stderr.count("delete the folder") == 1


@pytest.mark.parametrize("command", ["models", "recipes"])
def test_json_is_an_array_of_named_objects(command: str) -> None:
    name = {"models": "lenet5", "recipes": "modern"}[command]
    for listed in ((command, "--json"), (command, name, "--json")):
        rows = json.loads(here(*listed).stdout)
        assert name in [row["name"] for row in rows]


@pytest.mark.parametrize(
    ("number", "code", "remedy"),
    [
        (errno.ENOENT, 2, "check the path"),
        (errno.ENOTDIR, 2, "check the path"),
        (errno.ENOSPC, 1, "make room"),
        (errno.EDQUOT, 1, "make room"),
        (errno.EACCES, 1, "may read and write"),
        (errno.EIO, 1, "try again"),
    ],
)
def test_failures_at_run_time_end_with_1_and_wrong_paths_with_2(
    number: int, code: int, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kerascnn import listing

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number), "/a/file")

    monkeypatch.setattr(listing, "table", fail)
    done = here("models")
    assert done.returncode == code
    assert done.stderr == f"kerascnn: /a/file: {os.strerror(number)}; {done.stderr.split('; ')[1]}"
    assert remedy in done.stderr


def test_help_of_every_command_loads_nothing_slow() -> None:
    code = (
        "import sys; from kerascnn import cli\n"
        "for name in cli.commands.list_commands(None):\n"
        "    sys.argv[1:] = [name, '--help']\n"
        "    try: cli.main()\n"
        "    except SystemExit as stop: assert not stop.code, name\n"
        "slow = {'tensorflow', 'keras', 'matplotlib', 'PIL', 'scipy', 'pandas', 'h5py', 'jinja2'}\n"
        "print(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_is_in_plain_words() -> None:
    from kerascnn import cli

    for name in COMMANDS:
        command = cli.commands.get_command(click.Context(cli.commands), name)
        assert command is not None
        told = here(name, "--help").stdout
        for dialect in (
            " a step",
            " a class,",
            "is no ",
            "mend",
            "label map",
            "soften",
            "pictures",
        ):
            # A value of --augmentation, and an option of old.
            plain = told.replace("digits, pictures,", "").replace("--calibration-pictures", "")
            assert dialect not in plain.replace("--pictures", ""), (name, dialect)
        for option in command.params:
            assert name == "models" or option.param_type_name == "argument" or option.help, name
        summary = command.get_short_help_str(62)
        assert not summary.endswith("..."), (name, summary)


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
        (["train", "lenet5", "--data", "mnist", "--set", "ema=x"], "ema must be a number, not 'x'"),
        (["train", "lenet5", "--data", "mnist", "--devices", "two"], "two"),
        (["train", "lenet5", "--data", "mnist", "--devices", "9"], "--devices 9"),
        (["train", "lenet5", "--data", "mnist", "--recipe", "modem"], "modem"),
        (["train", "lenet5", "--data", "mnist", "--recipe", "ssdlite"], "for detection"),
        (["train", "lenet5", "--data", "mnist", "--detector", "min_scale=0.1"], "--detector"),
        ([*DETECTOR, "--recipe", "modern"], "for classification"),
        ([*DETECTOR, "--set", "mixup=1"], "mixup"),
        ([*DETECTOR, "--detector", "min_scale"], "--detector must be KEY=VALUE"),
        (["models", "--task", "poetry"], "poetry"),
        (["recipes", "modem"], "modem"),
        (["train", "lenet5", "--bogus"], "--bogus"),
        (["compress", "nowhere"], "nowhere"),
        (["compare", "nowhere"], "nowhere"),
        (["predict", "nowhere.tflite", "x.png"], "nowhere.tflite"),
        (["evaluate", "runs/nope"], "runs/nope: no such file"),
        (["chek", "photos"], "did you mean 'check'"),
        (["zzzz"], "No such command 'zzzz'"),
    ],
)
def test_bad_arguments(arguments: list[str], culprit: str, tmp_path: Path) -> None:
    assert_refused(here(*arguments, cwd=tmp_path), culprit)


@IN_CI
def test_other_backends_train_and_do_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for backend, words in (("jax", "runs on tensorflow"), ("numpy", "runs on tensorflow")):
        monkeypatch.setenv("KERAS_BACKEND", backend)
        run = a_run(tmp_path / backend, **CLASSIFIER_RUN)
        done, _imported = alone.command("compress", run)
        assert_refused(done, words, backend)
    done, _imported = alone.command("train", "lenet5", "--data", "mnist")
    assert_refused(done, "tensorflow, jax or torch", "numpy")


FEW = ("--set", "pictures_per_class=8", "--batch-size", 16)


@IN_CI
def test_find_lr_draws_what_it_found(tmp_path: Path) -> None:
    plot = tmp_path / "rate.png"
    done = here("find-lr", "lenet5", "--data", "mnist", "-o", plot, "--steps", 60, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert 1e-5 < found["rate"] < 1
    with Image.open(plot) as drawn:
        assert drawn.width > 500


@IN_CI
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
        "train", "lenet5", "--data", folder, "--out", folder.parent / "run", "--epochs", 1,
        "--image-size", 32, "--batch-size", 4, "--augmentation", "none",
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
    assert "2 broken images skipped" in done.stderr


def test_class_of_broken_pictures_alone(folder: Path) -> None:
    for path in (folder / "dogs").iterdir():
        path.write_text("no picture")
    assert_refused(tiny_training(folder), "dogs")


@IN_CI
def test_a_detector_trains_and_says_what_it_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiny_detectors  # loads a framework

    tiny_detectors.in_place_of_the_zoo(monkeypatch)
    run = tmp_path / "run"
    done = here(
        *DETECTOR, "--image-size", "96x64", "--epochs", 1,
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


@contextlib.contextmanager
def little_room() -> Iterator[None]:
    """Files end at 400 kB: less than a checkpoint of LeNet-5, more than what measures coverage."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@IN_CI
def test_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    arguments = ("train", "lenet5", "--data", "mnist", *FEW, "--out", tmp_path / "run")
    with little_room():
        failed = here(*arguments, "--epochs", 1)
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    last = failed.stderr.strip().splitlines()[-1]
    assert last.startswith(f"kerascnn: {tmp_path / 'run' / 'checkpoints'}")
    assert last.endswith("make room, or choose another disk")
    left = [p.name for p in (tmp_path / "run").rglob("*") if p.is_file()]
    assert set(left) <= {"run.json", "best.npz"}  # the latter has weights alone, and is smaller
    assert here(*arguments, "--epochs", 1).returncode == 0
