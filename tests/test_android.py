"""The Android demo's sources compile and answer as Python does; both name the same things."""

from __future__ import annotations

import base64
import hashlib
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
import android_metrics
import numpy as np
import pytest
from marks import IN_CI

from export.deploy import phone_benchmark
from export.report import device_results

PROJECT = Path(__file__).parents[1] / "android_demo"
CORE = PROJECT / "app/src/main/kotlin/org/kerascnn/demo/core"
MANIFEST = PROJECT / "app/src/main/AndroidManifest.xml"
POM = "{http://maven.apache.org/POM/4.0.0}"
ANDROID = "{http://schemas.android.com/apk/res/android}"
TOOLS = "{http://schemas.android.com/tools}"
# What Maven says where a registry cannot be reached, or lacks a part.
UNREACHED = re.compile(
    r"(?:Could not (?:transfer|find) artifact|Unknown host|was not found in|in offline mode).*"
)
needs_maven = pytest.mark.skipif(
    shutil.which("mvn") is None, reason="there is no mvn (Debian: maven)"
)


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return android_golden.golden()


@IN_CI
def test_committed_vectors_are_current(golden: dict[str, Any]) -> None:
    committed = json.loads(android_golden.COMMITTED.read_text())
    wanted = android_golden.committed(golden)
    for told in (committed, wanted):
        told["zips"] = {name: stored(file) for name, file in told["zips"].items()}
    assert_close(committed, wanted, "golden.json")


def test_committed_metrics_are_current() -> None:
    committed = json.loads(android_metrics.COMMITTED.read_text())
    assert_close(committed, json.loads(json.dumps(android_metrics.golden())), "metrics.json")


def stored(file: str) -> dict[str, str]:
    """What is in the zip of a file in base 64, whenever and however packed."""
    data = io.BytesIO(base64.b64decode(file))
    if not zipfile.is_zipfile(data):
        return {}
    with zipfile.ZipFile(data) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def assert_close(found: Any, wanted: Any, where: str) -> None:
    """Equal but for what other processors may round otherwise."""
    script = "android_metrics" if where.startswith("metrics") else "android_golden"
    remedy = f"{where} differs; run: python tests/{script}.py"
    assert type(found) is type(wanted), remedy
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), remedy
        if wanted.keys() == {"shape", "type", "data"}:
            assert (found["shape"], found["type"]) == (wanted["shape"], wanted["type"]), remedy
            one, other = (
                np.frombuffer(base64.b64decode(values["data"]), values["type"])
                for values in (found, wanted)
            )
            assert np.allclose(one, other, rtol=1e-5, atol=1e-6, equal_nan=True), remedy
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
    listed = re.search(r"COLUMNS[^=]*= listOf\((.*?)\n    \)", source, re.DOTALL)
    assert listed
    assert tuple(re.findall(r'"(\w+)"', listed[1])) == device_results.COLUMNS


def catalogue() -> dict[str, Any]:
    return tomllib.loads((PROJECT / "gradle/libs.versions.toml").read_text())


def maven_versions() -> dict[str, str | None]:
    properties = ElementTree.parse(PROJECT / "pom.xml").getroot().find(f"{POM}properties")
    assert properties is not None
    return {one.tag.removeprefix(POM).removesuffix(".version"): one.text for one in properties}


def test_gradle_ships_the_versions_that_maven_tests() -> None:
    versions, tested = catalogue()["versions"], maven_versions()
    shared = ("kotlin", "json", "junit", "robolectric")
    assert {name: versions[name] for name in shared} == {name: tested[name] for name in shared}


def test_the_runtime_that_is_shipped_fits_pages_of_16_kb() -> None:
    """LiteRT 1.4.1 or later of 1.x, whole; 2.x has other classes. Maven has what Central has."""
    told = catalogue()
    major, minor, patch = map(int, told["versions"]["litert"].split("."))
    assert major == 1
    assert (minor, patch) >= (4, 1)
    runtime = {
        library["module"]
        for library in told["libraries"].values()
        if library["version"]["ref"] == "litert"
    }
    parts = ("litert", "litert-api", "litert-gpu", "litert-gpu-api")
    assert runtime == {f"com.google.ai.edge.litert:{part}" for part in parts}
    assert not [one for one in told["libraries"].values() if "tensorflow" in one["module"]]
    build = (PROJECT / "app/build.gradle.kts").read_text()
    assert [part for part in parts if f"(libs.{part.replace('-', '.')})" not in build] == []
    assert maven_versions()["tensorflow-lite"] == "2.16.1"


def test_the_merger_is_the_plugins_own() -> None:
    """The number of Android's build tools is the plugin's with 23 added to its first part."""
    first, _, rest = catalogue()["versions"]["agp"].partition(".")
    properties = ElementTree.parse(PROJECT / "manifest/pom.xml").getroot().find(f"{POM}properties")
    assert properties is not None
    assert properties.findtext(f"{POM}merger.version") == f"{int(first) + 23}.{rest}"


def test_the_wrapper_is_gradles_own() -> None:
    """Its SHA-256 and the distribution's are those that gradle.org/release-checksums names."""
    folder = PROJECT / "gradle/wrapper"
    digest = hashlib.sha256((folder / "gradle-wrapper.jar").read_bytes()).hexdigest()
    assert digest == "81a82aaea5abcc8ff68b3dfcb58b3c3c429378efd98e7433460610fecd7ae45f"
    told = (folder / "gradle-wrapper.properties").read_text()
    assert "/gradle-8.13-bin.zip" in told
    assert (
        "distributionSha256Sum=20f1b1176237254a6fc204d8434196fa11a4cfb387567519c61556e8710aed78"
        in told
    )
    assert os.access(PROJECT / "gradlew", os.X_OK)


def test_release_builds_cannot_be_run_by_others() -> None:
    """What `kerascnn phone` starts is in debug builds alone, and exported there alone."""
    sources = PROJECT / "app/src"
    debug = ElementTree.parse(sources / "debug/AndroidManifest.xml").getroot()
    (activity,) = debug.iter("activity")
    assert activity.get(f"{ANDROID}name") == phone_benchmark._ACTIVITY
    assert activity.get(f"{ANDROID}exported") == "true"
    main = ElementTree.parse(MANIFEST).getroot()
    exported = [
        one.get(f"{ANDROID}name") for one in main.iter() if one.get(f"{ANDROID}exported") == "true"
    ]
    assert exported == ["org.kerascnn.demo.ui.MainActivity"]
    assert not [
        path.name for path in (sources / "main").rglob("*.kt") if "RunActivity" in path.read_text()
    ]


# What the merger adds for a library of an old Android; source: com.android.manifmerger's
# ManifestMerger2.addImplicitPermissions. Below 4: these two; below 16: reading for who writes.
IMPLIED = {"WRITE_EXTERNAL_STORAGE": 4, "READ_PHONE_STATE": 4, "READ_EXTERNAL_STORAGE": 16}


def test_no_permission_is_implied() -> None:
    """Whatever a library's manifest says or leaves out, what would be added is removed."""
    root = ElementTree.parse(MANIFEST).getroot()
    removed, asked = set(), set()
    for one in root.findall("uses-permission"):
        name = one.get(f"{ANDROID}name", "").removeprefix("android.permission.")
        (removed if one.get(f"{TOOLS}node") == "remove" else asked).add(name)
    assert asked == {"CAMERA"}
    assert removed == set(IMPLIED)


@pytest.mark.slow
@needs_maven
def test_the_merged_manifest_asks_for_the_camera_alone() -> None:
    """By the plugin's own merger, of the app's manifest and the runtime's."""
    run_maven("manifest/pom.xml", "package", made=PROJECT / "manifest/target/unguarded-merged.xml")
    merged = ElementTree.parse(PROJECT / "manifest/target/AndroidManifest.xml").getroot()
    assert permissions(merged) == {"android.permission.CAMERA"}
    assert {one.get(f"{ANDROID}required") for one in merged.findall("uses-feature")} == {"false"}
    provider = merged.find("application/provider")
    assert provider is not None
    assert provider.get(f"{ANDROID}authorities") == "org.kerascnn.demo.results"
    # Without the three lines there is more: the merger here adds what Gradle's would.
    unguarded = ElementTree.parse(PROJECT / "manifest/target/unguarded-merged.xml").getroot()
    added = {f"android.permission.{name}" for name in IMPLIED}
    assert permissions(unguarded) == permissions(merged) | added


def permissions(manifest: ElementTree.Element) -> set[str]:
    return {one.get(f"{ANDROID}name", "") for one in manifest.iter("uses-permission")}


def run_maven(pom: str, *arguments: str, made: Path) -> None:
    """Run Maven; skip where a registry lacks a part, and so `made` is not there."""
    for path in (made, made.parent / "AndroidManifest.xml"):
        if path.is_file():
            path.unlink()
    shutil.rmtree(made, ignore_errors=True)
    done = subprocess.run(
        ["mvn", "-q", "-B", "-f", PROJECT / pom, *arguments],
        env={"MAVEN_OPTS": "-Xmx1g", **os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    if done.returncode and not made.exists() and (missing := UNREACHED.search(said)):
        pytest.skip(f"Maven's registry: {missing[0][:300]}")
    assert done.returncode == 0, said[-6000:]


@pytest.mark.slow
@needs_maven
@pytest.mark.skipif(
    shutil.which(os.environ.get("AAPT2", "aapt2")) is None,
    reason="there is no aapt2 (Debian: aapt)",
)
def test_sources_compile_and_pass_their_tests(golden: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "golden.json").write_text(json.dumps(golden))
    reports = PROJECT / "app/target/surefire-reports"
    run_maven("pom.xml", "test", f"-Dkerascnn.golden={tmp_path}", made=reports)

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
    assert (result.rounds, result.ended, result.runs) == ("3/3", "", 50)
    assert (result.latency_p90_ms, result.latency_p99_ms, result.init_ms) == (18.5, 30.25, 4.5)
    assert (result.accelerator_used, result.nodes, result.plan_nodes) == ("GPU in part", 65, 2)
