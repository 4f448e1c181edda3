"""The public Python interface: what it gives, and what it does not load."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import known_files
import known_runs
import numpy as np
import pytest
from report_rows import result

import kerascnn
from export.report.results import read_rows, write_csv
from training.common.progress import Progress, reported_to, say


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return known_files.files(tmp_path_factory.mktemp("files"), "classification")


def test_importing_it_loads_no_framework() -> None:
    code = (
        "import sys, kerascnn\n"
        "kerascnn.list_models(); dir(kerascnn)\n"
        "print(sorted({'training', 'export', 'keras', 'PIL'} & set(sys.modules)))\n"
        "kerascnn.train, kerascnn.Run, kerascnn.evaluate\n"
        "print(sorted({'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]


def test_all_that_is_offered_is_there_and_described() -> None:
    for name in kerascnn.__all__:
        assert getattr(kerascnn, name) is not None
        assert name in dir(kerascnn)
    for name in ("train", "open_run", "compare", "evaluate", "predict"):
        told = inspect.getdoc(getattr(kerascnn, name)) or ""
        signature = inspect.signature(getattr(kerascnn, name))
        for argument in signature.parameters:
            assert f"    {argument}: " in told, (name, argument)
        for part in ("Returns:", "Raises:", "Examples:"):
            assert part in told or (name, part) == ("open_run", "Returns:"), (name, part)
        assert signature.return_annotation != inspect.Signature.empty
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = kerascnn.trian


def test_bad_input_is_one_kind_of_error(tmp_path: Path) -> None:
    assert issubclass(kerascnn.InputError, ValueError)
    for call, words in (
        (lambda: kerascnn.train("lenet6", data="mnist"), "lenet5"),
        (lambda: kerascnn.train("lenet5", data="nowhere"), "nowhere"),
        (lambda: kerascnn.train("lenet5", data="mnist", settings={"emma": 1}), "ema"),
        (lambda: kerascnn.open_run(tmp_path), "is not a run folder"),
        (lambda: kerascnn.compare([]), "no runs"),
        (lambda: kerascnn.predict(tmp_path / "int8.tflite", "x.png"), "no such file"),
        (lambda: kerascnn.predict(tmp_path / "int8.tflite", []), "no such file"),
    ):
        with pytest.raises(kerascnn.InputError, match=words):
            call()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"image_size": "a"}, "image_size must be pixels of a side.*'a'"),
        ({"image_size": (1, 2, 3)}, r"image_size .*\(1, 2, 3\)"),
        ({"image_size": 0}, "image_size"),
        ({"image_size": (32, True)}, "image_size"),
        ({"deterministic": "yes"}, "deterministic must be True or False, not 'yes'"),
        ({"deterministic": 0}, "deterministic must be True or False, not 0"),
        ({"strict": "no"}, "strict must be True or False"),
        ({"settings": ["ema"]}, "settings must be a dictionary"),
        ({"options": 3}, "options must be a dictionary"),
        ({"detector": {1: 2}}, "detector must be a dictionary"),
        ({"data": 3}, "data must be a path"),
        ({"val_data": b"x"}, "val_data must be a path"),
        ({"out": 3}, "out must be a path, not 3"),
        ({"weights": 3}, "weights must be"),
        ({"teacher": 3}, "teacher must be"),
        ({"recipe": 3}, "recipe must be a word"),
        ({"model": 3}, "model must be a word"),
        ({"epochs": "2"}, "epochs must be a whole number"),
        ({"progress": "no"}, "progress must be True or False"),
    ],
)
def test_a_training_is_asked_for_in_the_right_types(
    asked: dict[str, object], words: str, tmp_path: Path
) -> None:
    given = {"model": "lenet5", "data": "mnist", "out": tmp_path / "run", **asked}
    with pytest.raises(kerascnn.InputError, match=words):
        kerascnn.train(**given)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"images": 3}, "images must be .*, not 3"),
        ({"images": None}, "images must be .*, not None"),
        ({"images": [None]}, "images must be .*, not None"),
        ({"file": None}, "file must be a model file"),
        ({"top": "x"}, "top must be a whole number of 1 or more, not 'x'"),
        ({"top": 0}, "top must be .*not 0"),
        ({"top": 1.5}, "top must be"),
        ({"score": 2}, "score must be a number from 0 to 1, not 2"),
        ({"score": float("nan")}, "score must be"),
        ({"out": 3}, "out must be a path"),
    ],
)
def test_answers_are_asked_for_in_the_right_types(
    asked: dict[str, object], words: str, files: tuple[Path, Path]
) -> None:
    given = {"file": files[0], "images": np.zeros((4, 4, 3), np.uint8), **asked}
    with pytest.raises(kerascnn.InputError, match=words):
        kerascnn.predict(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"variants": []}, "variants names none"),
        ({"variants": ""}, "variants names none"),
        ({"variants": 3}, "variants must be a list of words"),
        ({"variants": [3]}, "variants must be a word"),
        ({"onnx": "no"}, "onnx must be True or False"),
        ({"author": 3}, "author must be a word"),
        ({"calibration": 3}, "calibration must be a path"),
        ({"calibration_images": "x"}, "calibration_images must be a whole number"),
        ({"max_change": "x"}, "max_change must be a number"),
        ({"learning_rate": "x"}, "learning_rate must be a number"),
        ({"slim_score": 3}, "slim_score must be a word"),
        ({"spare": 3}, "spare must be a list of words"),
        ({"teacher": 3}, "teacher must be a run folder"),
    ],
)
def test_files_are_asked_for_in_the_right_types(
    asked: dict[str, object], words: str, tmp_path: Path
) -> None:
    run = kerascnn.open_run(known_runs.a_run(tmp_path / "run"))
    with pytest.raises(kerascnn.InputError, match=words):
        run.compress(**asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"max_size": 300}, "300 bytes; did you mean 300KB"),
        ({"max_size": "300"}, "300 bytes; did you mean 300KB"),
        ({"max_size": []}, "max_size must be a number"),
        ({"max_latency": [5]}, "max_latency must be a number"),
        ({"max_size": "1MB", "max_drop": "x"}, "max_drop must be a number"),
        ({"max_size": "1MB", "metric": 3}, "metric must be a word"),
    ],
)
def test_a_budget_is_given_in_the_right_types(
    asked: dict[str, object], words: str, tmp_path: Path
) -> None:
    run = kerascnn.open_run(known_runs.a_run(tmp_path / "run"))
    with pytest.raises(kerascnn.InputError, match=words):
        run.shrink(**asked)  # type: ignore[arg-type]


def test_a_file_that_there_is_not_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    run = kerascnn.open_run(known_runs.a_run(tmp_path / "run"))
    assert run.artefacts == {}
    with pytest.raises(KeyError, match="there are none yet"):
        run.artefacts["int8.tflite"]
    for name in ("int8.tflite", "int8.json", "float32.tflite", "float32.json"):
        (tmp_path / "run" / "artefacts").mkdir(exist_ok=True)
        (tmp_path / "run" / "artefacts" / name).touch()
    assert isinstance(run.artefacts, dict)
    assert list(run.artefacts) == ["float32.tflite", "int8.tflite"]
    words = "int9.tflite.*did you mean 'int8.tflite'.*float32.tflite, int8.tflite"
    with pytest.raises(KeyError, match=words):
        run.artefacts["int9.tflite"]
    assert run.artefacts.get("int9.tflite") is None


def test_one_run_is_compared_by_its_path(tmp_path: Path) -> None:
    folder = known_runs.a_run(tmp_path / "d")
    for one in (folder, str(folder), kerascnn.open_run(folder), [folder]):
        with pytest.raises(kerascnn.InputError, match=r"d has no exported files"):
            kerascnn.compare(one, "r.html")
    for wrong in (3, [3], b"d"):
        with pytest.raises(kerascnn.InputError, match="runs must be runs or their folders"):
            kerascnn.compare(wrong)  # type: ignore[arg-type]


def test_evaluate_speaks_of_arguments(files: tuple[Path, Path]) -> None:
    with pytest.raises(kerascnn.InputError, match=r"; give data$"):
        kerascnn.evaluate(files[0])
    for wrong, words in (
        ({"source": 3}, "source must be"),
        ({"data": 3}, "data must be a path"),
        ({"split": 3}, "split must be a word"),
    ):
        with pytest.raises(kerascnn.InputError, match=words):
            kerascnn.evaluate(**{"source": files[0], **wrong})  # type: ignore[arg-type]


def test_images_are_files_folders_or_arrays(files: tuple[Path, Path], tmp_path: Path) -> None:
    folder = known_files.class_folders(tmp_path / "photos", bright=(250,), dark=(3, 9))
    one = folder / "bright" / "0.png"
    for path in files:
        (found,) = kerascnn.predict(path, one, top=2)
        assert found["image"] == str(one)
        assert [each["label"] for each in found["labels"]] == ["bright", "dark"]
        whole = kerascnn.predict(path, [folder])
        assert [each["labels"][0]["label"] for each in whole] == ["bright", "dark", "dark"]
        colours, grey = np.full((20, 30, 3), 250, np.uint8), np.zeros((9, 9), np.uint8)
        told = kerascnn.predict(path, [colours, one, grey])
        assert [each["image"] for each in told] == ["0", str(one), "2"]
        assert [each["labels"][0]["label"] for each in told] == ["bright", "bright", "dark"]
        assert kerascnn.predict(path, colours)[0]["labels"] == told[0]["labels"]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"\(1, 4, 4, 3\)"),
        (np.zeros((4, 4, 4), np.uint8), r"\(4, 4, 4\)"),
    ],
)
def test_arrays_of_another_form_are_refused(
    image: np.ndarray, words: str, files: tuple[Path, Path]
) -> None:
    with pytest.raises(kerascnn.InputError, match=words):
        kerascnn.predict(files[0], image)


def test_evaluate_is_the_command(files: tuple[Path, Path], tmp_path: Path) -> None:
    data = known_files.class_folders(tmp_path / "photos", bright=(250, 240), dark=(3, 200))
    found = kerascnn.evaluate(files[0], data, progress=False)
    assert (found["metric"], found["value"], found["images"]) == ("accuracy", 75, 4)


def test_rows_of_results_come_back_with_their_types(tmp_path: Path) -> None:
    rows = [result(run="12", sha256="1234e5"), result(latency_ms=None, partitions=None, value=97.0)]
    write_csv(tmp_path / "results.csv", rows)
    found = read_rows(tmp_path / "results.csv")
    for one, row in zip(found, rows, strict=True):
        wanted = row.to_dict()
        assert one.keys() == wanted.keys()
        for name, value in wanted.items():
            exact = not isinstance(value, float)
            assert one[name] == (value if exact else pytest.approx(value, rel=1e-5, nan_ok=True))
            assert type(one[name]) is type(value), name


def test_results_are_rows_and_a_table() -> None:
    rows = kerascnn.Results([result(variant="float32"), result(variant="int8", bytes=62_000)])
    assert [row["variant"] for row in rows] == ["float32", "int8"]
    assert rows.best["smallest"]["variant"] == "int8"
    assert rows.best_labels["smallest"].endswith("int8")
    assert "int8" in str(rows)


def test_who_listens_is_told_and_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    events: list[kerascnn.ProgressEvent] = []
    with reported_to(events.append):
        say("a line")
        with Progress("work", 2, unit="file") as progress:
            progress.step()
            progress.note("loss 1")
            progress.line("one is done")
            progress.step()
    assert [(e.text, e.done, e.total, e.note) for e in events] == [
        ("a line", None, None, ""),
        ("work", 1, 2, ""),
        ("work", 1, 2, "loss 1"),
        *[(event.text, None, None, "") for event in events[3:4]],
        ("work", 2, 2, ""),
    ]
    assert events[3].text.startswith("work: one is done")
    assert capsys.readouterr().err == ""
    say("again")
    assert capsys.readouterr().err == "again\n"


def test_the_whole_way(tmp_path: Path) -> None:
    events: list[kerascnn.ProgressEvent] = []
    run = kerascnn.train(
        "lenet5",
        data="mnist",
        out=tmp_path / "run",
        epochs=1,
        settings={"pictures_per_class": 20},
        progress=events.append,
    )
    assert (run.name, run.model, run.task, len(run.labels)) == (
        "run",
        "lenet5",
        "classification",
        10,
    )
    assert {event.unit for event in events} >= {"step"}
    assert run.results == []
    assert run.artefacts == {}
    assert run.load().count_params() == run.info["parameters"]
    rows = run.compress("float32", onnx=False, progress=False)
    assert [row["variant"] for row in rows] == ["float32"]
    assert rows.report == tmp_path / "run" / "report.html"
    assert list(run.artefacts) == ["float32.tflite"]
    again = kerascnn.open_run(tmp_path / "run")
    assert [row["sha256"] for row in again.results] == [row["sha256"] for row in rows]
    found = kerascnn.evaluate(again.artefacts["float32.tflite"], progress=False)
    assert found["value"] == pytest.approx(rows[0]["value"])
    compared = kerascnn.compare([again], progress=False)
    assert compared.report is None
    assert [row["value"] for row in compared] == [rows[0]["value"]]
    with pytest.raises(
        TypeError, match=r"'calibration_image'.*; did you mean 'calibration_images'"
    ):
        run.compress(calibration_image=3)  # type: ignore[call-arg]
