"""The Android demo's sources compile and answer as Python does; both name the same things."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import android_golden
import numpy as np
import pytest

from export.report import device_results

PROJECT = Path(__file__).parents[1] / "android_demo"
CORE = PROJECT / "app/src/main/kotlin/org/kerascnn/demo/core"
POM = "{http://maven.apache.org/POM/4.0.0}"
# What Maven says where a registry cannot be reached, or lacks a part.
UNREACHED = re.compile(
    r"(?:Could not (?:transfer|find) artifact|Unknown host|was not found in|in offline mode).*"
)


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return android_golden.golden()


def test_committed_vectors_are_current(golden: dict[str, Any]) -> None:
    committed = json.loads(android_golden.COMMITTED.read_text())
    wanted = android_golden.committed(golden)
    for told in (committed, wanted):
        told["zips"] = {name: stored(file) for name, file in told["zips"].items()}
    assert_close(committed, wanted, "golden.json")


def stored(file: str) -> dict[str, str]:
    """What is in the zip of a file in base 64, whenever and however packed."""
    data = io.BytesIO(base64.b64decode(file))
    if not zipfile.is_zipfile(data):
        return {}
    with zipfile.ZipFile(data) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def assert_close(found: Any, wanted: Any, where: str) -> None:
    """Equal but for what other processors may round otherwise."""
    remedy = f"{where} differs; run: python tests/android_golden.py"
    assert type(found) is type(wanted), remedy
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), remedy
        if wanted.keys() == {"shape", "type", "data"}:
            assert (found["shape"], found["type"]) == (wanted["shape"], wanted["type"]), remedy
            one, other = (
                np.frombuffer(base64.b64decode(values["data"]), values["type"])
                for values in (found, wanted)
            )
            assert np.allclose(one, other, rtol=1e-5, atol=1e-6), remedy
        else:
            for name, value in wanted.items():
                assert_close(found[name], value, f"{where}: {name}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), remedy
        for at, value in enumerate(wanted):
            assert_close(found[at], value, f"{where}[{at}]")
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-5, abs=1e-6), remedy
    else:
        assert found == wanted, remedy


def test_the_app_writes_the_columns_that_compare_reads() -> None:
    source = (CORE / "ResultsCsv.kt").read_text()
    listed = re.search(r"COLUMNS[^=]*= listOf\((.*?)\)", source, re.DOTALL)
    assert listed
    assert tuple(re.findall(r'"(\w+)"', listed[1])) == device_results.COLUMNS


def test_gradle_ships_the_versions_that_maven_tests() -> None:
    catalogue = tomllib.loads((PROJECT / "gradle/libs.versions.toml").read_text())["versions"]
    properties = ElementTree.parse(PROJECT / "pom.xml").getroot().find(f"{POM}properties")
    assert properties is not None
    tested = {one.tag.removeprefix(POM): one.text for one in properties}
    shared = ("kotlin", "tensorflow-lite", "tensorflow-lite-gpu-api", "junit", "robolectric")
    assert {name: catalogue[name] for name in shared} == {
        name: tested[f"{name}.version"] for name in shared
    }


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mvn") is None, reason="there is no mvn (Debian: maven)")
@pytest.mark.skipif(
    shutil.which(os.environ.get("AAPT2", "aapt2")) is None,
    reason="there is no aapt2 (Debian: aapt)",
)
def test_sources_compile_and_pass_their_tests(golden: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "golden.json").write_text(json.dumps(golden))
    reports = PROJECT / "app/target/surefire-reports"
    shutil.rmtree(reports, ignore_errors=True)
    done = subprocess.run(
        ["mvn", "-q", "-B", "-f", PROJECT / "pom.xml", "test", f"-Dkerascnn.golden={tmp_path}"],
        env={"MAVEN_OPTS": "-Xmx1g", **os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    if done.returncode and not reports.is_dir() and (missing := UNREACHED.search(said)):
        pytest.skip(f"Maven's registry: {missing[0][:300]}")
    assert done.returncode == 0, said[-6000:]

    suites = {
        suite.get("name", ""): int(suite.get("tests", 0)) - int(suite.get("skipped", 0))
        for suite in (ElementTree.parse(path).getroot() for path in reports.glob("TEST-*.xml"))
    }
    for package in ("core", "ui"):
        assert sum(n for name, n in suites.items() if f".demo.{package}." in name) > 0, suites

    # The table of ResultsCsvTest.kt.
    (result,) = device_results.read(tmp_path / "results.csv")
    assert result.setup.label == 'Maker, "Model" 9 (Android 14), GPU, 4 threads'
    assert (result.model, result.variant, result.bytes) == ("tiny", "float32", 1_234_567)
    assert (result.latency_ms, result.latency_p95_ms) == (12.3457, 20.0)
    assert (result.metric, result.value, result.pictures) == ("accuracy", 66.6667, 3)
    assert result.sha256 == "ab" * 32
