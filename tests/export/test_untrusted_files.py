"""Runs, artefacts and model files of strangers: refused in one line, in a process that lives on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from commands import assert_refused, here
from PIL import Image

from export.artefacts import significance
from export.artefacts.artefact import Artefact, sidecar
from export.runtime import first_run
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.common import atomic
from training.engine.request import TrainRequest, request
from training.engine.run import Run

PREPROCESSING = Preprocessing(height=8, width=8, channels=3).to_dict()
RUN: dict[str, Any] = {
    "request": request("lenet5", data="mnist").to_dict(), "task": "classification",
    "created": "2026-01-01T00:00:00+00:00", "versions": {"keras": "3"},
    "machine": {"processor": "a processor"}, "preprocessing": PREPROCESSING,
    "labels": ["a", "b"], "parameters": 1, "macs": 1, "complete": True,
    "dataset": {"name": "mnist", "fingerprint": "0", "train": 1, "validation": 1, "held_out": 1,
                "skipped": []},
    "results": {"metric": "accuracy", "held_out": 50.0, "best_epoch": 1, "seconds": 1.0},
}  # fmt: skip
RIGHT = significance.pack(np.array([True, False]))
BESIDE: dict[str, Any] = {
    "task": "classification", "model": "tiny", "variant": {"name": "float32"},
    "labels": ["a", "b"], "preprocessing": PREPROCESSING, "bytes": 1, "download_bytes": 1,
    "parameters": 1, "macs": 1, "nonzero_parameters": 1, "wrong_pictures": 1, "seconds": 1.0,
    "mistakes": [],
    "evaluation": {"metric": "accuracy", "value": 50.0, "float_value": 50.0, "pictures": 2,
                   "right": RIGHT, "float_right": RIGHT, "fits": True, "partitions": None},
}  # fmt: skip


def changed(told: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """With one field, as results.metric, of another value; MISSING: without it."""
    told = json.loads(json.dumps(told))
    *parents, last = path.split(".")
    place = told
    for parent in parents:
        place = place[parent]
    place[last] = value
    return told


def run_of(folder: Path, told: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(json.dumps(told))
    (folder / "model.keras").touch()
    return folder


WRONG = {
    "request": None, "request.model": 1, "request.config": [], "request.config.epochs": "3",
    "request.config.surprise": 1, "request.image_size": [1], "task": "audio", "created": 1,
    "versions": {"keras": 3}, "machine": [], "preprocessing": {}, "preprocessing.height": "8",
    "preprocessing.std": 0, "labels": "ab", "dataset": 1, "dataset.skipped": [1],
    "dataset.train": -1, "results": [], "results.metric": None, "results.held_out": "x",
    "results.seconds": float("inf"), "parameters": 1.5, "complete": "yes", "detector": {},
    "segmenter": {"palette": [[1, 2]]}, "category_ids": ["a"],
}  # fmt: skip
WRONG_LABELS = ([], [1], {}, ["\ud800"])


@pytest.mark.parametrize("field", WRONG)
def test_fields_of_a_run(field: str, tmp_path: Path) -> None:
    Run.open(run_of(tmp_path, RUN))
    damaged = run_of(tmp_path, changed(RUN, field, WRONG[field]))
    keeping = rf"run\.json (is damaged|lacks) .*--weights {damaged}/model\.keras; the files in"
    with pytest.raises(InputError, match=keeping):
        Run.open(damaged)
    (damaged / "model.keras").unlink()
    with pytest.raises(InputError, match=r"run\.json (is damaged|lacks) .*delete the folder"):
        Run.open(damaged)


@pytest.mark.parametrize("labels", WRONG_LABELS)
def test_labels_of_a_run(labels: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="labels"):
        Run.open(run_of(tmp_path, changed(RUN, "labels", labels)))


def test_runs_of_other_versions(tmp_path: Path) -> None:
    """Less is read, and says what is missing when that is asked for; more is left alone."""
    told = {key: RUN[key] for key in ("request", "preprocessing", "labels", "complete")}
    run = Run.open(run_of(tmp_path, told | {"new": 1}))
    assert run.task == "classification"
    with pytest.raises(InputError, match=r"run\.json lacks 'results'"):
        run.info["results"]
    with pytest.raises(InputError, match="another version"):
        TrainRequest.from_dict(RUN["request"] | {"surprise": 1})


def test_damaged_runs_end_every_command_in_a_line(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", changed(RUN, "results", "none"))
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    for command in (
        *(("compress", run), ("compare", run), ("debug", run, "int8")),
        *(("shrink", run, "--max-size", "1MB"), ("predict", run / "model.keras", "a.png")),
    ):
        assert_refused(here(*command, cwd=tmp_path), "run.json is damaged", "results")
    (run / "run.json").write_text('{"request":' * 10**5)
    assert_refused(here("compress", run, cwd=tmp_path), "nested too deeply")


def artefact_of(folder: Path, told: dict[str, Any], end: str = ".tflite") -> Path:
    path = folder / f"m{end}"
    path.write_bytes(b"anything")
    told = {"sha256": atomic.sha256(path), **told}
    sidecar(path).write_text(json.dumps(told))
    return path


WRONG_BESIDE = {
    "task": "audio", "model": 1, "variant": "float32", "labels": [], "preprocessing.width": None,
    "bytes": "1", "parameters": -1, "seconds": None, "mistakes": [1], "evaluation": [],
    "evaluation.metric": 1, "evaluation.value": "50", "evaluation.pictures": 10**12,
    "evaluation.right": "!", "evaluation.float_right": 1, "evaluation.fits": 1,
    "evaluation.partitions": 0.5, "detector": {"anchors": 1}, "segmenter": {"palette": 1},
    "evaluation.choice": {"value": "x"},
}  # fmt: skip


@pytest.mark.parametrize("field", WRONG_BESIDE)
def test_fields_beside_a_file(field: str, tmp_path: Path) -> None:
    Artefact.open(artefact_of(tmp_path, BESIDE))
    told = changed(BESIDE, field, WRONG_BESIDE[field])
    with pytest.raises(InputError, match=r"m\.json is damaged .*run kerascnn compress"):
        Artefact.open(artefact_of(tmp_path, told))


@pytest.mark.parametrize("metric", ["AP", "mask AP", "mIoU"])
def test_answers_that_are_missing(metric: str, tmp_path: Path) -> None:
    told = changed(BESIDE, "evaluation.metric", metric)
    with pytest.raises(InputError, match=r"m\.json (is damaged|lacks)"):
        Artefact.open(artefact_of(tmp_path, told))


def onnx_file(path: Path, operation: str = "Relu", sides: tuple = ("n", 8, 8, 3)) -> Path:
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sides)
        for name in ("image", "logits")
    ]
    node = onnx.helper.make_node(operation, ["image"], ["logits"])
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "toy", ends[:1], ends[1:]),
        opset_imports=[onnx.helper.make_opsetid("", 13)],
        ir_version=8,
    )
    path.write_bytes(model.SerializeToString())
    return path


def test_sound_files_run_once_a_content(tmp_path: Path, monkeypatch) -> None:
    path = onnx_file(tmp_path / "a.onnx")
    first_run.require([path])
    monkeypatch.setattr(first_run, "CHILD", tmp_path / "none.py")
    first_run.require([path])
    with pytest.raises(InputError, match=r"b\.onnx cannot be tried"):
        first_run.require([path, onnx_file(tmp_path / "b.onnx", "Neg")])


def test_files_that_a_runtime_refuses_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"\0" * 100)
    with pytest.raises(InputError, match=r"broken\.tflite is not a model .*get it again"):
        first_run.require([onnx_file(tmp_path / "a.onnx", "Abs"), broken])


CRASHES = """
import os, signal, sys
for place, path in enumerate(sys.argv[1:]):
    sys.stdout.write(f"{place} ")
    sys.stdout.flush()
    if "evil" in path:
        os.kill(os.getpid(), signal.SIGSEGV)
    print("null", flush=True)
"""


def test_a_crash_is_the_files_own(tmp_path: Path, monkeypatch) -> None:
    """Whichever file it is, and whatever this version of a runtime crashes on."""
    child = tmp_path / "child.py"
    child.write_text(CRASHES)
    monkeypatch.setattr(first_run, "CHILD", child)
    files = [tmp_path / name for name in ("good.tflite", "evil.tflite", "more.tflite")]
    for path in files:
        path.write_text(path.name)
    with pytest.raises(InputError, match=r"evil\.tflite ends its runtime \(SIGSEGV\)"):
        first_run.require(files)


def test_files_that_ask_for_all_memory_are_refused(tmp_path: Path, monkeypatch) -> None:
    """A picture of a terabyte; the bound is on address space, so that none of it is touched."""
    monkeypatch.setattr(first_run, "memory", lambda: 2**32)
    with pytest.raises(InputError, match=r"huge\.onnx"):
        first_run.require([onnx_file(tmp_path / "huge.onnx", sides=(1, 2**19, 2**19, 3))])


def test_strange_answers_are_refused(tmp_path: Path) -> None:
    """A network that answers with pictures, where its description says logits."""
    path = onnx_file(tmp_path / "m.onnx")
    told = {**BESIDE, "sha256": atomic.sha256(path)}
    sidecar(path).write_text(json.dumps(told))
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    assert_refused(here("predict", "m.onnx", "a.png", cwd=tmp_path), "m.onnx gives 8 logits")
    told["preprocessing"] = {**PREPROCESSING, "height": 60_000, "width": 60_000}
    sidecar(path).write_text(json.dumps(told))
    refused = here("predict", "m.onnx", "a.png", cwd=tmp_path)
    assert_refused(refused, "m.onnx takes 8x8x3", "60000x60000x3")
