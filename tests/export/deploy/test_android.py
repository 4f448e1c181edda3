"""Exported files in the Android demo: put there, replaced, and nobody else's touched."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import web_golden
from commands import assert_refused, here

from export.deploy import android
from export.deploy.phone_files import PhoneFile
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.common import atomic

ASSETS = Path("app", "src", "main", "assets", "models")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """As much of the demo as tells it from other folders."""
    folder = tmp_path / "demo"
    (folder / ASSETS).mkdir(parents=True)
    (folder / "settings.gradle.kts").write_text("")
    (folder / "app" / "src" / "main" / "AndroidManifest.xml").write_text("<manifest/>")
    (folder / ASSETS / "mine.tflite").write_bytes(b"somebody else's")
    return folder


def described(seed: int, size: int) -> bytes:
    """A file that says what it is, as far as this command looks."""
    preprocessing = Preprocessing(height=8, width=9, channels=3)
    told = web_golden.description("classification", preprocessing, ("a",), {"kind": "logits"})
    return web_golden.described(b"\0" * 4 + b"TFL3" + bytes([seed]) * size, told)


def run_at(folder: Path, **sizes: int) -> Path:
    """A run with files of these names and sizes."""
    (folder / "artefacts").mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    for name, size in sizes.items():
        (folder / "artefacts" / f"{name}.tflite").write_bytes(described(size % 251, size))
    (folder / "artefacts" / "float32.onnx").write_bytes(b"no")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return run_at(tmp_path / "flowers", float32=3000, int8=1000)


def models_of(project: Path) -> set[str]:
    return {path.name for path in (project / ASSETS).glob("*.tflite")}


def test_chosen_files_are_put_there_byte_for_byte(run: Path, project: Path) -> None:
    filled = android.fill([str(run)], project)
    assert [model.file for model in filled.models] == [
        "flowers-int8.tflite", "flowers-float32.tflite",
    ]  # fmt: skip
    for model in filled.models:
        source = run / "artefacts" / f"{model.name.split()[-1]}.tflite"
        assert (project / ASSETS / model.file).read_bytes() == source.read_bytes()
        assert (model.bytes, model.sha256) == (source.stat().st_size, atomic.sha256(source))
    assert models_of(project) == {"mine.tflite", *(model.file for model in filled.models)}
    # What tells later calls which files are ours is not for the app: a dot keeps it out.
    others = [path.name for path in (project / ASSETS).iterdir() if path.suffix != ".tflite"]
    assert [name[0] for name in others] == ["."]


def test_a_second_call_takes_the_place_of_the_first(run: Path, project: Path) -> None:
    android.fill([str(run)], project)
    kept = (project / ASSETS / "flowers-int8.tflite").read_bytes()
    filled = android.fill([str(run)], project, variants=["int8"])
    assert filled.removed == ("flowers-float32.tflite",)
    assert "removed: flowers-float32.tflite" in android.as_text(filled)
    assert models_of(project) == {"mine.tflite", "flowers-int8.tflite"}
    assert (project / ASSETS / "flowers-int8.tflite").read_bytes() == kept
    assert android.fill([str(run)], project, variants=["int8"]).removed == ()


def test_what_somebody_put_in_place_of_ours_stays(run: Path, project: Path) -> None:
    android.fill([str(run)], project)
    ours = project / ASSETS / "flowers-float32.tflite"
    ours.write_bytes(b"somebody else's")
    with pytest.raises(InputError, match=r"float32\.tflite was not written by this command"):
        android.fill([str(run)], project)
    assert android.fill([str(run)], project, variants=["int8"]).removed == ()
    assert ours.read_bytes() == b"somebody else's"


def test_a_crash_leaves_nothing_that_the_next_call_does_not_know(
    run: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    android.fill([str(run)], project, variants=["float32"])
    write = atomic.write_bytes

    def fails(path: Path, data: bytes) -> None:
        write(path, data)
        if path.name == "flowers-int8.tflite":
            raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr("training.common.atomic.write_bytes", fails)
        with pytest.raises(OSError, match="disk full"):
            android.fill([str(run)], project, variants=["int8"])
    android.fill([str(run)], project, variants=["int8"])
    assert models_of(project) == {"mine.tflite", "flowers-int8.tflite"}


def test_equal_names_are_told_apart(run: Path, project: Path, tmp_path: Path) -> None:
    """Those of two runs, and those that only some file systems tell apart."""
    other = run_at(tmp_path / "b" / "Flowers", int8=500)
    filled = android.fill([str(run), str(other)], project)
    names = [model.file for model in filled.models]
    assert names == [
        f"Flowers-int8-{filled.models[0].sha256[:8]}.tflite",
        f"flowers-int8-{filled.models[1].sha256[:8]}.tflite",
        "flowers-float32.tflite",
    ]
    # The same file, named twice, goes once.
    twice = android.fill([str(run), str(run / "artefacts" / "int8.tflite")], project)
    assert len(twice.models) == 2


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("my run int8", "my-run-int8"), ("bär/x", "bar-x"), ("꽃 int8", "int8"), ("꽃", "model"),
        ("..", "model"), ("a\\b", "a-b"), (".hidden", "hidden"),
    ],
)  # fmt: skip
def test_file_names_are_clear_and_plain(name: str, plain: str) -> None:
    assert PhoneFile(name=name, path=Path("x")).plain_name == plain


def test_what_cannot_be_done_is_refused(run: Path, project: Path, tmp_path: Path) -> None:
    before = models_of(project)
    with pytest.raises(InputError, match="no int4; it has float32, int8"):
        android.fill([str(run)], project, variants=["int4"])
    bare = run / "artefacts" / "bare.tflite"
    bare.write_bytes(b"\0" * 4 + b"TFL3")
    with pytest.raises(InputError, match=r"bare\.tflite does not describe itself"):
        android.fill([str(run)], project)
    bare.unlink()
    with pytest.raises(InputError, match=r"flowers is not the Android demo"):
        android.fill([str(run)], run)
    with pytest.raises(InputError, match=r"run\.json is not the Android demo"):
        android.fill([str(run)], run / "run.json")
    listed = project / ASSETS / ".kerascnn.json"
    for text in ("{", "[]", '{"models": 3}', '{"models": {"../../x": "0"}}', "\0"):
        listed.write_text(text)
        with pytest.raises(InputError, match=r"\.kerascnn\.json is damaged"):
            android.fill([str(run)], project)
    assert models_of(project) == before


def tracked() -> set[str]:
    """What of the project is not made in it: all that git keeps."""
    root = Path(__file__).parents[3]
    ours = ["git", "ls-files", "-coz", "--exclude-standard", "android_demo"]
    listed = subprocess.check_output(ours, cwd=root)
    return {name.partition("/")[2] for name in listed.decode().rstrip("\0").split("\0")}


def test_a_folder_that_is_not_there_gets_a_copy_of_the_project(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that git keeps of it, and nothing that was made in it."""
    source, copy = tmp_path / "source", tmp_path / "deep" / "copy"
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(android.PROJECT / name, source / name)
    monkeypatch.setattr(android, "PROJECT", source)
    android.fill([str(run)], source, variants=["float32"])
    made = ("build/a.txt", "app/build/a.txt", "lite/target/a.jar", ".gradle/a", ".idea/a.xml")
    for name in (*made, "local.properties"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("made")
    filled = android.fill([str(run)], copy, variants=["int8"])
    assert filled.copied
    assert f"{copy} is a new copy of the Android demo, with flowers-int8" in android.as_text(filled)
    there = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    ours = {(ASSETS / name).as_posix() for name in ("flowers-int8.tflite", ".kerascnn.json")}
    assert there == tracked() | ours
    assert os.access(copy / "link-resources", os.X_OK)
    assert not android.fill([str(run)], copy).copied


def test_a_copy_that_was_cut_short_is_made_anew(run: Path, tmp_path: Path) -> None:
    (tmp_path / "copy" / ".partial-android_demo" / "app").mkdir(parents=True)
    assert android.fill([str(run)], tmp_path / "copy").copied
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {
        name.partition("/")[0] for name in tracked()
    }


def test_nothing_is_copied_for_files_that_are_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="no int4"):
        android.fill([str(run)], tmp_path / "nowhere", variants=["int4"])
    monkeypatch.setattr(android, "PROJECT", tmp_path / "none")
    with pytest.raises(InputError, match=r"this installation lacks .*none; install kerascnn again"):
        android.fill([str(run)], tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_the_command(run: Path, project: Path, tmp_path: Path) -> None:
    done = here("android", run, "-o", project, "--variants", "int8")
    assert done.returncode == 0, done.stderr
    assert re.search(r"flowers-int8\.tflite \(\d+\.\d KB\)", done.stdout)
    assert f"open {project} in Android Studio" in done.stdout
    done = here("android", run, "-o", project, "--json")
    assert [model["name"] for model in json.loads(done.stdout)["models"]] == [
        "flowers int8", "flowers float32",
    ]  # fmt: skip
    done = here("android", run, cwd=tmp_path)
    assert "android_demo is a new copy of the Android demo" in done.stdout
    assert models_of(tmp_path / "android_demo") == {"flowers-int8.tflite", "flowers-float32.tflite"}
    assert_refused(here("android", tmp_path, "-o", project), str(tmp_path), "run.json")
