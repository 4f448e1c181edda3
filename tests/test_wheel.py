"""The package as users install it: what the wheel holds, and its commands from any folder."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
import zlib
from pathlib import Path

import pytest
import web_golden
from uv import find_uv_bin

from kerascnn.preprocessing import Preprocessing

ROOT = Path(__file__).parents[1]
PACKAGES = ("kerascnn", "training", "export")
BUILD_FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
DEMO, INSTALLED_DEMO = "android_demo/", "export/deploy/android_demo/"
RUNTIME = "export/deploy/web_page/node_modules/@litertjs/"
BUILDS = ("litert_wasm_internal", "litert_wasm_compat_internal", "litert_wasm_threaded_internal")
# What the page takes of npm's packages.
TAKEN = {
    f"{RUNTIME}{name}"
    for name in (
        *("core/dist/index.js", "wasm-utils/dist/index.js"),
        *(f"core/wasm/{build}.{end}" for build in BUILDS for end in ("js", "wasm")),
    )
}
# What work in a checkout leaves there, and nobody is to get.
MADE = (
    *("build/a.xml", "app/build/a.kts", "app/target/pom.xml", ".gradle/pom.xml", ".idea/a.xml"),
    *("local.properties", "app/src/main/assets/models/mine.tflite"),
    "app/src/main/assets/models/.kerascnn.json",
)


def tracked(*folders: str) -> set[str]:
    """Files that git keeps, or would."""
    ours = ["git", "ls-files", "-coz", "--exclude-standard", *folders]
    listed = subprocess.check_output(ours, cwd=ROOT, text=True)
    return {name for name in listed.split("\0") if (ROOT / name).is_file()}


def uv(*arguments: object) -> None:
    """As a user installs, but with nothing fetched."""
    done = subprocess.run(
        [find_uv_bin(), *map(str, arguments), "--offline", "--no-config", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of an sdist, as installers make it, that was made of a checkout where work was done."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "checkout"
    for name in tracked(*PACKAGES, DEMO, *BUILD_FILES):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    other = f"{RUNTIME}core/wasm/litert_wasm_jspi_internal.wasm"
    for name in (*TAKEN, other, *(DEMO + name for name in MADE)):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text('import "@litertjs/wasm-utils";\n')
    uv("build", "--no-build-isolation", "--python", sys.executable, "-o", folder / "dist", source)
    (made,) = (folder / "dist").glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has the wheel, and sees what it needs in the one of the tests."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    uv("venv", "--python", sys.executable, folder)
    python = folder / "bin" / "python"
    uv("pip", "install", "--python", python, "--no-deps", "--no-index", wheel)
    (site,) = folder.glob("lib/python*/site-packages")
    shared = Path(sysconfig.get_path("purelib"))
    (site / "shared.pth").write_text(f"{shared}\n")
    # setuptools' stand-in for distutils, which Python 3.12 has no more and tfmot imports.
    shutil.copy(shared / "distutils-precedence.pth", site)
    return folder / "bin"


def run_in(folder: Path, command: Path, *arguments: object) -> str:
    """What a command prints, called from a folder with nothing of the checkout in its reach."""
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [command, *map(str, arguments)],
        cwd=folder,
        env=outside,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with one file, which says what it is."""
    folder = tmp_path / "flowers"
    (folder / "artefacts").mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    preprocessing = Preprocessing(height=8, width=9, channels=3)
    told = web_golden.description("classification", preprocessing, ("a",), {"kind": "logits"})
    data = web_golden.described(b"\0" * 4 + b"TFL3" + b"\1" * 1000, told)
    (folder / "artefacts" / "int8.tflite").write_bytes(data)
    return folder


def test_the_wheel_holds_what_the_commands_need_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        there = {info.filename: info for info in archive.infolist()}
    files = {name for name in there if ".dist-info/" not in name}
    demo = {INSTALLED_DEMO + name.removeprefix(DEMO) for name in tracked(DEMO)}
    ours = {name for name in tracked(*PACKAGES) if not name.endswith(".gitignore")}
    assert files == ours | demo | TAKEN
    assert {f"{package}/py.typed" for package in PACKAGES} <= files
    assert there[f"{INSTALLED_DEMO}link-resources"].external_attr >> 16 & 0o100


def test_commands_run_from_any_folder(installed: Path, run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    command = installed / "kerascnn"
    place = run_in(folder, installed / "python", "-c", "import kerascnn; print(kerascnn.__file__)")
    assert Path(place.strip()).is_relative_to(installed.parent)
    assert "compress" in run_in(folder, command, "--help")
    assert "mobilenet_v2" in run_in(folder, command, "models")
    run_in(folder, command, "android", run)
    assets = folder / "android_demo" / "app" / "src" / "main" / "assets" / "models"
    assert (assets / "flowers-int8.tflite").is_file()
    assert (folder / "android_demo" / "settings.gradle.kts").is_file()
    run_in(folder, command, "web", run, "-o", "page")
    there = {path.name for path in (folder / "page").rglob("*")}
    assert {"index.html", "worker.js", "litert.js", f"{BUILDS[0]}.wasm.gz"} <= there


def test_the_wheel_is_small(wheel: Path) -> None:
    """With the page's runtime as npm has it, which the tests' own wheel only has names of."""
    missing = [name for name in TAKEN if not (ROOT / name).is_file()]
    if missing:
        pytest.skip(f"npm has not brought {missing[0]}: npm ci --prefix export/deploy/web_page")
    runtime = sum(len(zlib.compress((ROOT / name).read_bytes())) for name in TAKEN)
    assert runtime > 5_000_000
    assert wheel.stat().st_size + runtime < 20_000_000


@pytest.mark.slow
def test_the_demo_runs_from_any_folder(installed: Path, tmp_path: Path) -> None:
    command = installed / "kerascnn"
    run_in(tmp_path, command, "demo", "--epochs", "1")
    demo = tmp_path / "runs" / "demo"
    with (demo / "results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["run"] for row in rows} == {"lenet5", "mobilenet_v2", "mobilenet_v3_small"}
    assert (demo / "report.html").is_file()
    run_in(tmp_path, command, "android", demo / "lenet5")
    assert list(tmp_path.glob("android_demo/app/src/main/assets/models/lenet5-*.tflite"))
    run_in(tmp_path, command, "web", demo / "lenet5", "-o", "page")
    assert list(tmp_path.glob("page/models/lenet5-*.tflite"))
