"""`kerascnn phone` with an adb that plays a phone: what is missing, kept, and comes back."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_adb
import pytest
import web_golden
from commands import assert_refused, here
from fake_adb import FakePhone
from PIL import Image

from export.deploy import adb, labelled_zip, native_benchmark, phone_benchmark
from export.deploy.phone_benchmark import Asked, Unfinished
from export.report import device_results
from export.report.device_results import COLUMNS
from kerascnn import api
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing

PRINTED = """STARTING!
Graph: [x.tflite]
INFO: Initialized TensorFlow Lite runtime.
{delegate}
Initialized session in 5.263ms.
Running benchmark for at least 1 iterations and at least 1 seconds
count=54 first=10302 curr=9077 min=8977 max=10302 avg=9219.31 std=190{warm}

Running benchmark for at least 1 iterations and at least 5 seconds
count=550 first=9129 curr=9123 min=8988 max=9367 avg=9106.87 std=52{more}

Inference timings in us: Init: 5263, First inference: 10302, Warmup (avg): 9219.31, \
Inference (avg): 9106.87
"""


def described(seed: int) -> bytes:
    preprocessing = Preprocessing(height=8, width=9, channels=3)
    told = web_golden.description("classification", preprocessing, ("a",), {"kind": "logits"})
    return web_golden.described(b"\0" * 4 + b"TFL3" + bytes([seed]) * (100 + seed), told)


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePhone:
    made = FakePhone(tmp_path / "phone", COLUMNS)
    monkeypatch.setenv("PATH", f"{made.bin}:/usr/bin:/bin")
    answered_by(made, monkeypatch)
    return made


def answered_by(made: FakePhone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a process for each call; the command's own test has them."""
    played = SimpleNamespace(**{**vars(subprocess), "run": made.run})
    monkeypatch.setattr(adb, "subprocess", played)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two, whose names have what a shell would take apart."""
    folder = tmp_path / "my files; $HOME"
    folder.mkdir()
    for number, name in enumerate(("a b", "c'd")):
        (folder / f"{name}.tflite").write_bytes(described(number))
    return sorted(str(path) for path in folder.iterdir())


def digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def measured(files: list[str], tmp_path: Path, **asked: Any) -> phone_benchmark.Measured:
    given = Asked(sources=files, out=tmp_path / "out", **asked)
    return phone_benchmark.measure(given, pause=lambda _seconds: None)


def keys(rows: list[dict[str, str]]) -> set[tuple[str, str, str]]:
    return {(row["sha256"], row["threads"], row["accelerator"]) for row in rows}


def test_every_file_is_measured_in_every_setup(
    phone: FakePhone, files: list[str], tmp_path: Path
) -> None:
    found = measured(files, tmp_path, gpu=True)
    digests = [digest(file) for file in files]
    setups = (("1", "CPU"), ("4", "CPU"), ("1", "GPU"))
    assert keys(found.rows) == {(one, *setup) for one in digests for setup in setups}
    assert (found.new, found.left_out) == (6, [])
    assert phone.files == {f"{one}.tflite" for one in digests}
    assert {row["file"] for row in found.rows} == {"a b.tflite", "c'd.tflite"}
    # The table is one that `compare --device` reads.
    read = device_results.read(Path(found.table))
    assert [one.latency_ms for one in read] == [12.5] * 6
    assert len(phone.told("am start")) == 3

    phone.set(latency=99)
    before = len(phone.calls)
    again = measured(files, tmp_path, gpu=True)
    assert again.new == 0
    assert not [call for call in phone.calls[before:] if "push" in call or "am start" in call]
    more = measured(files, tmp_path, threads=(2,))
    assert (more.new, len(more.rows)) == (2, 8)
    assert len(phone.told(" push ")) == 2

    anew = measured(files, tmp_path, threads=(2,), again=True)
    assert (anew.new, len(anew.rows)) == (2, 2)
    assert {row["latency_ms"] for row in anew.rows} == {"99"}


@pytest.mark.parametrize(
    ("state", "asked", "culprits"),
    [
        ({"devices": []}, {}, ("adb sees no phone", "USB debugging")),
        ({"devices": ["P1 unauthorized usb:1-1"]}, {}, ("P1 is unauthorized", "tap Allow")),
        ({"devices": ["P1 offline"]}, {}, ("P1 is offline", "adb reconnect")),
        (
            {"devices": ["P1 no permissions (user is not in the plugdev group); see [http://x]"]},
            {},
            ("P1 is no permissions", "android-sdk-platform-tools-common"),
        ),
        (
            {"devices": [fake_adb.PIXEL, "P2 device model:Galaxy_S"]},
            {},
            ("P1 (Pixel 7), P2 (Galaxy S)", "--device P1"),
        ),
        ({}, {"device": "P9"}, ("no 'P9'", "P1 (Pixel 7)")),
        ({"app": False}, {}, ("not on P1", "./gradlew installDebug", "kerascnn android")),
        ({"debuggable": False}, {}, ("not the debug build", "./gradlew installDebug")),
        ({"activity": False}, {}, ("earlier version", "./gradlew installDebug")),
        ({}, {"threads": ()}, ("--threads",)),
        ({}, {"benchmark_model": Path("no")}, ("no: no such file", "ai.google.dev")),
        ({}, {"labelled": Path("no")}, ("no: no such folder",)),
    ],
)
def test_what_is_missing_is_told_with_its_remedy(
    phone: FakePhone, files: list[str], tmp_path: Path, state: dict[str, Any],
    asked: dict[str, Any], culprits: tuple[str, ...],
) -> None:  # fmt: skip
    phone.set(**state)
    with pytest.raises(InputError) as refused:
        measured(files, tmp_path, **asked)
    assert "\n" not in str(refused.value)
    for culprit in culprits:
        assert culprit in str(refused.value)


def test_without_adb(files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match="apt install adb"):
        measured(files, tmp_path)
    # Where Android Studio puts it.
    made = FakePhone(tmp_path / "phone", COLUMNS)
    tools = tmp_path / "sdk" / "platform-tools"
    tools.mkdir(parents=True)
    (made.bin / "adb").rename(tools / "adb")
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path / "sdk"))
    assert adb.find_adb() == str(tools / "adb")


def test_one_of_several_phones(phone: FakePhone, files: list[str], tmp_path: Path) -> None:
    phone.set(devices=["P2 unauthorized", fake_adb.PIXEL, "P3 device"])
    found = measured(files, tmp_path, device="P3", threads=(1,))
    assert Path(found.table).name == "P3.csv"
    assert {call.split()[1] for call in phone.calls if call.startswith("-s")} == {"P3"}
    phone.set(devices=["P2 unauthorized", fake_adb.PIXEL])
    assert Path(measured(files, tmp_path, threads=(1,)).table).name == "P1.csv"


@pytest.mark.parametrize("pulled", range(1, 34, 3))
def test_a_cable_that_is_pulled_and_put_back(
    phone: FakePhone, files: list[str], tmp_path: Path, pulled: int
) -> None:
    """Whenever that is: the call waits, and goes on."""
    # The first call looks at what there is, and the phone is there by then.
    phone.set(pulled=pulled, away=5)
    found = measured(files, tmp_path, threads=(1, 2))
    assert len(found.rows) == found.new == 4
    assert [name for name in phone.files if name.endswith(".part")] == []
    state = json.loads((phone.folder / "state.json").read_text())
    assert state["pulled"] is None
    assert len(phone.told("am start")) <= 3


def test_a_cable_that_stays_away(phone: FakePhone, files: list[str], tmp_path: Path) -> None:
    """The rows that came are kept here, those that did not are kept on the phone."""
    measured(files[:1], tmp_path, threads=(1,))
    phone.set(pulled_after="am start", away=10_000)
    with pytest.raises(Unfinished, match=r"P1 is gone.*1 of 2 measurements.*P1\.csv.*goes on"):
        measured(files, tmp_path, threads=(1,))
    # The app went on meanwhile.
    phone.go_on()
    phone.set(pulled=None, away=0)
    starts = len(phone.told("am start"))
    found = measured(files, tmp_path, threads=(1,))
    assert (found.new, len(found.rows)) == (1, 2)
    assert len(phone.told("am start")) == starts


def test_who_is_at_work_already_goes_on(phone: FakePhone, files: list[str], tmp_path: Path) -> None:
    phone.set(pulled_after="am start", away=10_000)
    with pytest.raises(Unfinished):
        measured(files, tmp_path, threads=(1,))
    assert len(phone.told("am start")) == 1
    phone.set(pulled=None, away=0)
    assert measured(files, tmp_path, threads=(1,)).new == 2
    assert len(phone.told("am start")) == 1


def test_a_file_that_ends_the_app_is_left_out(
    phone: FakePhone, files: list[str], tmp_path: Path
) -> None:
    phone.set(crashes=[digest(files[0])])
    found = measured(files, tmp_path, threads=(1,))
    assert [row["file"] for row in found.rows] == ["c'd.tflite"]
    assert found.left_out == ["a b on 1 thread: the app ended while it was measured"]
    assert "left out: a b" in phone_benchmark.as_text(found)


def test_a_file_that_fails_takes_nothing_away(
    phone: FakePhone, files: list[str], tmp_path: Path
) -> None:
    phone.set(fails=[digest(files[0])])
    found = measured(files, tmp_path, threads=(1,))
    assert [row["file"] for row in found.rows] == ["c'd.tflite"]
    assert found.left_out == [f"1 thread: {digest(files[0])}: broken"]


def test_an_app_that_leaves_the_screen(phone: FakePhone, files: list[str], tmp_path: Path) -> None:
    phone.set(leaves=True)
    with pytest.raises(Unfinished, match=r"left the screen.*0 of 2 measurements"):
        measured(files, tmp_path, threads=(1,))
    phone.set(leaves=False)
    assert measured(files, tmp_path, threads=(1,)).new == 2


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    folder = tmp_path / "pets"
    for name in ("cat/1.png", "dog/2.png", ".hidden/3.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_labelled_pictures_go_along_once(
    phone: FakePhone, files: list[str], labelled: Path, tmp_path: Path
) -> None:
    found = measured(files, tmp_path, threads=(1,), labelled=labelled)
    assert {(row["metric"], row["value"], row["pictures"]) for row in found.rows} == {
        ("accuracy", "75", "4")
    }
    told = labelled_zip.read(labelled)
    assert f"{told.digest}.zip" in phone.files
    with zipfile.ZipFile(phone.folder / "root" / "kerascnn" / f"{told.digest}.zip") as archive:
        assert archive.namelist() == ["cat/1.png", "dog/2.png"]
        assert archive.testzip() is None
    # Timed without labels is another measurement, of the same files and pictures none is sent.
    pushes = len(phone.told(" push "))
    assert measured(files, tmp_path, threads=(1,)).new == 2
    assert len(phone.told(" push ")) == pushes
    Image.new("RGB", (2, 2), "red").save(labelled / "cat" / "1.png")
    assert measured(files, tmp_path, threads=(1,), labelled=labelled).new == 2
    assert len(phone.told(" push ")) == pushes + 1


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(InputError, match="has no images"):
        labelled_zip.read(tmp_path)


@pytest.mark.parametrize(
    ("delegate", "warm", "more", "wanted"),
    [
        ("", "", "", (9.10687, None, None, "")),
        (
            "Explicitly applied GPU delegate, and the model graph will be completely executed by "
            "the delegate.",
            " p5=1 median=2 p95=3",
            " p5=9000 median=9100 p95=9250",
            (9.10687, 9.1, 9.25, "GPU"),
        ),
        (
            "Explicitly applied GPU delegate, and the model graph will be partially executed by "
            "the delegate w/ 2 delegate kernels.",
            "",
            "",
            (9.10687, None, None, "GPU in part"),
        ),
    ],
)
def test_what_google_s_tool_prints(
    delegate: str, warm: str, more: str, wanted: tuple[object, ...]
) -> None:
    found = native_benchmark.read(PRINTED.format(delegate=delegate, warm=warm, more=more), gpu=True)
    assert (found.mean_ms, found.median_ms, found.p95_ms, found.used) == wanted
    assert (found.init_ms, found.runs) == (5.263, 550)


def test_google_s_tool_says_why() -> None:
    for text, why in (
        ("INFO: a\nERROR: Failed to apply GPU delegate.\nBenchmarking failed.", "Failed to apply"),
        ("Benchmarking failed.", "Benchmarking failed"),
        ("", "printed nothing"),
    ):
        with pytest.raises(adb.Failed, match=why):
            native_benchmark.read(text, gpu=True)


def test_google_s_tool_measures(phone: FakePhone, files: list[str], tmp_path: Path) -> None:
    tool = tmp_path / "benchmark_model"
    text = PRINTED.format(delegate="", warm="", more="")
    tool.write_text(f"#!/bin/sh\necho \"$@\" >> '{tmp_path}/asked'\ncat <<'END'\n{text}END\n")
    phone.set(app=False)
    found = measured(files, tmp_path, threads=(1, 2), benchmark_model=tool)
    assert found.new == 4
    first = found.rows[0]
    assert (first["latency_ms"], first["latency_p95_ms"], first["init_ms"]) == (
        *("9.10687", "", "5.263"),
    )
    assert first["device"] == "Google Pixel 7, benchmark_model"
    assert (first["android"], first["soc"], first["runtime"], first["runs"]) == (
        *("14", "panther", "benchmark_model", "550"),
    )
    assert [one.latency_p95_ms for one in device_results.read(Path(found.table))] == [None] * 4
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == 4
    assert "--num_threads=2" in asked[-1]
    assert measured(files, tmp_path, threads=(1, 2), benchmark_model=tool).new == 0

    tool.write_text("#!/bin/sh\necho 'ERROR: no such op' >&2\nexit 1\n")
    failed = measured(files, tmp_path, threads=(1,), benchmark_model=tool)
    assert failed.new == 0
    assert [line.split(": ", 1)[1] for line in failed.left_out] == [
        "benchmark_model: ERROR: no such op"
    ] * 2


def test_a_table_of_somebody_else(phone: FakePhone, files: list[str], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "P1.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="move it away"):
        measured(files, tmp_path)
    assert not phone.told("am start")


def test_the_command(
    phone: FakePhone, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adb, "subprocess", subprocess)
    monkeypatch.setattr(phone_benchmark, "_SECONDS_BETWEEN_LOOKS", 0)
    done = here("phone", files[0], "--threads", "1", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["new"], told["table"], told["report"]) == (1, "phone/P1.csv", None)
    with (tmp_path / "phone" / "P1.csv").open(newline="") as file:
        assert [row["sha256"] for row in csv.DictReader(file)] == [digest(files[0])]
    again = here("phone", files[0], "--threads", "1", cwd=tmp_path)
    assert again.stdout.splitlines() == [
        "a b.tflite: Google Pixel 7, CPU x 1: 12.5 ms",
        "table: phone/P1.csv",
    ]
    assert_refused(here("phone", files[0], "--threads", "x", cwd=tmp_path), "--threads")
    phone.set(devices=[])
    assert_refused(here("phone", files[0], cwd=tmp_path), "adb sees no phone")


def test_a_run_s_report_has_the_figures(
    phone: FakePhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "flowers"
    (run / "artefacts").mkdir(parents=True)
    (run / "run.json").write_text("{}")
    for number, name in enumerate(("float32", "int8")):
        (run / "artefacts" / f"{name}.tflite").write_bytes(described(number))
    asked: list[Any] = []

    def compare(runs: list[str], out: Path, *, device: str, warn: Any) -> Any:
        asked.append((runs, out, device))
        return SimpleNamespace(report=out / "report.html")

    monkeypatch.setattr(api, "compare", compare)
    monkeypatch.setattr(phone_benchmark, "_SECONDS_BETWEEN_LOOKS", 0)
    done = here("phone", run, "--variants", "int8", "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"report: {run / 'phone' / 'report.html'}"
    assert asked == [([str(run)], run / "phone", str(run / "phone" / "P1.csv"))]
    assert_refused(here("phone", run, "--variants", "int4"), "no int4", "--variants int4")
