"""A task that kerascnn does not have is added by the registries alone: how bright an image is.

What a new task takes, here in tests/helpers/brightness:

    data.py       the reader: a `PlacedSplit` of its truth, a `SplitDataset` of these
    network.py    the builder
    recipe.py     how it is trained
    task.py       the `Task`: metric, settings, data, closing words; imports no framework
    training.py   batches with their signature, the training model with its loss, and figures
    numbers.py    what a network or a file answers for a split
    kind.py       the `Kind` of its files: variants, intervals, words; imports no framework
    files.py      the file side's `Task`: images, answers, when two agree, what the report shows
    answers.py    what `predict` and `evaluate` say of a file

and four entries: in `kerascnn.catalogue.ENTRIES`, in `training.engine.recipes`, in `training.tasks`
and in `export.artefacts.kinds.base`. Within the package the last three are one line each.
"""

from __future__ import annotations

import csv
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import alone
import numpy as np
import pytest
from interruptions import Stop, assert_same_weights, break_off_after, stop_at_step
from marks import IN_CI
from PIL import Image

import kerascnn
from export.artefacts.kinds import base as kinds
from export.runtime.info import as_text, info
from kerascnn import catalogue, listing, zoo
from kerascnn.errors import InputError
from training import tasks
from training.engine import recipes
from training.engine.closing import below_floor, closing_line
from training.engine.refusals import checked
from training.engine.run import Run, load_keras
from training.engine.stopping import Stopped
from training.engine.train import train
from training.tools.check import report
from training.tools.check.check import check

MODEL = "brightness_tiny"


def register(patched: pytest.MonkeyPatch) -> Iterator[None]:
    row = catalogue.Entry(
        builder="brightness.network:tiny",
        title="Brightness",
        year=2026,
        paper="none",
        parameters=117,
        parameters_source="counted",
        macs=None,
        macs_source="not published",
        results=(),
        task="brightness",
        input_shape=(16, 16, 3),
        classes=1,
    )
    patched.setitem(catalogue.ENTRIES, MODEL, row)
    patched.setattr(recipes, "_REGISTERED", {"brightness": "brightness.recipe"})
    tasks.register(
        "brightness",
        training="brightness.task:BrightnessTask",
        files="brightness.files:BrightnessFiles",
    )
    kinds.register("brightness", "brightness.kind:BrightnessKind")
    yield
    kinds.unregister("brightness")
    tasks.unregister("brightness")


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from register(monkeypatch)


def folder(place: pathlib.Path, count: int = 40) -> pathlib.Path:
    place.mkdir()
    rng = np.random.default_rng(0)
    with (place / "values.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        for number in range(count):
            level = float(rng.uniform(0, 1))
            pixels = np.clip(rng.normal(255 * level, 12, (20, 24, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number}.png")
            rows.writerow([f"{number}.png", level])
    return place


def test_it_is_trained_and_described(tmp_path: pathlib.Path) -> None:
    asked = checked(MODEL, data=str(folder(tmp_path / "data")), epochs=12)
    run = train(asked, tmp_path / "run")
    results = run.info["results"]
    assert results["metric"] == "mean error"
    assert results["held_out"] < 0.5 * results["mean_baseline"]
    assert run.task == "brightness"
    history = list(csv.DictReader((tmp_path / "run" / "history.csv").read_text().splitlines()))
    errors = [float(row["val_error"]) for row in history]
    # The lower the better: what another task would call worse.
    assert results["best_epoch"] == 1 + errors.index(min(errors))
    assert results["chosen_by"] == "val_error"
    assert "published results: none" in listing.page(MODEL)
    opened = Run.open(tmp_path / "run")
    assert closing_line(opened.info).startswith(
        f"off by {results['held_out']:.3f} on 10 held-out images; best epoch"
    )
    assert below_floor(opened.info) is None
    mean = {**opened.info, "results": {**results, "held_out": results["mean_baseline"]}}
    assert "finds nothing yet" in (below_floor(mean) or "")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A run; each test registers the task again, and takes it out."""
    place = tmp_path_factory.mktemp("brightness")
    with pytest.MonkeyPatch.context() as patched:
        registering = register(patched)
        next(registering)
        asked = checked(MODEL, data=str(folder(place / "data")), epochs=12)
        train(asked, place / "run")
        next(registering, None)
    return place / "run"


@pytest.fixture(scope="module")
def rows(trained: pathlib.Path) -> list[dict[str, Any]]:
    """Of the report, once its files are made."""
    with pytest.MonkeyPatch.context() as patched:
        registering = register(patched)
        next(registering)
        made = kerascnn.open_run(trained).compress(["float32", "int8"], progress=False)
        next(registering, None)
    return list(made)


@IN_CI
def test_its_files_are_verified_and_reported(
    trained: pathlib.Path, rows: list[dict[str, Any]]
) -> None:
    named = {f"{row['variant']}.{row['format']}": row for row in rows}
    assert set(named) == {"float32.tflite", "int8.tflite", "float32.onnx"}
    for row in rows:
        assert row["metric"] == "variance explained"
        assert row["verified"] == "yes"
        assert 50 < row["value"] <= 100
        assert row["drop_low"] <= row["drop"] <= row["drop_high"]
    assert named["float32.tflite"]["max_logit_diff"] < 1e-3
    assert named["int8.tflite"]["max_logit_diff"] > named["float32.tflite"]["max_logit_diff"]
    page = (trained / "report.html").read_text()
    assert "Variance explained" in page
    assert "taken for" in page
    run = kerascnn.open_run(trained)
    assert len(run.compress(["float32", "int8"], progress=False)) == 3
    with pytest.raises(InputError, match="have the plain precisions alone"):
        run.compress(["qat_int8"], progress=False)
    with pytest.raises(InputError, match="holds a brightness network, and kerascnn shrink takes"):
        run.shrink(max_size="1KB")


@pytest.mark.parametrize("name", ["float32.tflite", "int8.tflite", "float32.onnx"])
def test_its_files_are_used_alone(
    trained: pathlib.Path, rows: list[dict[str, Any]], name: str, tmp_path: pathlib.Path
) -> None:
    path = shutil.copy(trained / "artefacts" / name, tmp_path)
    told = info(pathlib.Path(path)).metadata
    assert (told["task"], told["decoding"]) == ("brightness", {"kind": "number"})
    assert "a number, as it is" in as_text(info(pathlib.Path(path)))
    image = str(trained.parent / "data" / "3.png")
    (found,) = kerascnn.predict(path, image)
    level = np.asarray(Image.open(image)).mean() / 255
    assert found == {"image": image, "value": pytest.approx(level, abs=0.15)}
    measured = kerascnn.evaluate(path, data=str(trained.parent / "data"), split="all")
    assert measured["metric"] == "variance explained"
    assert measured["value_low"] < measured["value"] < measured["value_high"]


@IN_CI
def test_its_run_is_evaluated(trained: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    (row,) = (row for row in rows if (row["variant"], row["format"]) == ("int8", "tflite"))
    measured = kerascnn.evaluate(trained / "artefacts" / "int8.tflite")
    assert measured["value"] == pytest.approx(row["value"], abs=1e-3)


@IN_CI
def test_it_is_stopped_and_goes_on(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = checked(MODEL, data=str(folder(tmp_path / "data")))
    whole = train(asked, tmp_path / "whole")
    with monkeypatch.context() as patched:
        stop_at_step(9, patched)
        with pytest.raises(Stopped):
            train(asked, tmp_path / "run")
    with monkeypatch.context() as patched:
        break_off_after(2, patched)
        with pytest.raises(Stop):
            train(asked, tmp_path / "run")
    again = train(asked, tmp_path / "run")
    assert_same_weights(load_keras(again.model_path), load_keras(whole.model_path))


def test_its_data_is_checked(tmp_path: pathlib.Path) -> None:
    data = folder(tmp_path / "data")
    found = check(checked(MODEL, data=str(data)))
    assert report.as_json(found, None)["splits"]["held-out"]["images"] == 10
    (data / "3.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"3\.png"):
        check(checked(MODEL, data=str(data)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"settings": {"mixup": 0.2}}, "mixup: for classification"),
        ({"settings": {"class_weights": "balanced"}}, "multilabel and segmentation only"),
        ({"augmentation": "mosaic"}, "'mosaic' is not for brightness .*: none"),
        ({"recipe": "scenes"}, "'scenes' is a recipe for detection, .*: brightness"),
        ({"detector_options": {"score_threshold": 0.1}}, "is not a detector"),
    ],
)
def test_what_it_has_no_part_for_is_refused(tmp_path: pathlib.Path, given, message) -> None:
    with pytest.raises(InputError, match=message):
        checked(MODEL, data=str(tmp_path), **given)


def test_no_data_is_told(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match=r"has no values\.csv"):
        checked(MODEL, data=str(tmp_path))
    tasks.register("brightness", training="brightness.task:BrightnessTask")
    with pytest.raises(InputError, match="no files are made for brightness yet"):
        tasks.files_of("brightness")
    with pytest.raises(InputError, match="did you mean 'brightness'"):
        tasks.of("brightnes")


def test_no_task_imports_a_framework_before_it_trains() -> None:
    done, imported = alone.script("from training import tasks; tasks.all_tasks()")
    assert done.returncode == 0, done.stderr
    assert not {"keras", "tensorflow", "jax", "torch", "matplotlib"} & imported


def test_every_task_has_a_model() -> None:
    for task in tasks.all_tasks():
        # Several labels per image are told by classifiers.
        made_for = {"multilabel": "classification"}.get(task.name, task.name)
        assert zoo.entry(task.model).task == made_for
        assert task.metric.judge in task.figures
        assert recipes.load(task.default_recipe("a folder", None)).task == task.name
