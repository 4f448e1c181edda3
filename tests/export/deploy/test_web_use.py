"""The page goes on: after failures, taps in a hurry, hostile files, and without network."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import keras
import numpy as np
import pytest
import web_golden
from commands import COMMAND, here
from keras import layers
from PIL import Image
from web_page import PROBLEM, Page, needs_browser

from export.deploy import page_server, web
from export.report import device_results
from export.tflite.convert import to_tflite
from export.tflite.metadata import describe
from export.tflite.model import TFLiteModel
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing

LABELS = ("cat", "dog", "bird")
PREPROCESSING = Preprocessing(height=24, width=16, channels=3, mean=127.0, std=128.0)
needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="there is no openssl to make certificates with"
)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose answers to black pictures are no numbers."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((24, 16, 3), batch_size=1, name="image")
    brightness = keras.ops.mean(layers.Flatten()(inputs), axis=-1, keepdims=True)
    x = keras.ops.log(brightness + 0.95)
    wide = keras.initializers.RandomNormal(stddev=1, seed=0)
    logits = layers.Dense(3, kernel_initializer=wide, name="logits")(x)
    told = web_golden.description("classification", PREPROCESSING, LABELS, {"kind": "logits"})
    path = tmp_path_factory.mktemp("files") / "small.tflite"
    data = to_tflite(keras.Model(inputs, logits))
    path.write_bytes(TFLiteModel.edited(data, describe, metadata=told))
    return path


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bright one."""
    path = tmp_path_factory.mktemp("pictures") / "bright.png"
    pixels = np.random.default_rng(0).integers(128, 256, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="module")
def folder(classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with it."""
    made = tmp_path_factory.mktemp("web") / "page"
    web.write_page([str(classifier)], made)
    return made


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    made = browser.Browser(tmp_path_factory.mktemp("browser") / "profile")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def page(folder: Path, running: browser.Browser) -> Iterator[Page]:
    """Freshly loaded, from an address of its own."""
    with browser.served(folder) as address:
        opened = Page(running, address, ["small"])
        assert not opened.problem()
        yield opened
    assert not running.thrown, running.errors


# ---------------------------------------------------------------- failures


@needs_browser
def test_a_picture_without_an_answer_does_not_hold_up_the_next(
    page: Page, picture: Path, tmp_path: Path
) -> None:
    wanted = page.answers(picture)
    Image.new("RGB", (30, 40)).save(tmp_path / "black.png")
    page.browser.choose("#picture", tmp_path / "black.png")
    page.browser.wait(PROBLEM)
    assert "no numbers" in page.problem()
    assert page.answers(picture) == wanted


@needs_browser
@pytest.mark.parametrize(
    "failure",
    [
        # What the worker cannot make anything of; a worker that is gone; no memory.
        "question.picture.data = null",
        "queueMicrotask(() => this.dispatchEvent(new ErrorEvent('error', {message: 'gone'})))",
        "question.picture.width = 2 ** 30",
    ],
    ids=["question", "worker", "memory"],
)
def test_a_lost_worker_does_not_hold_up_the_next_picture(
    failure: str, page: Page, picture: Path
) -> None:
    """Nor a camera: the file is opened again."""
    wanted = page.answers(picture)
    page.browser.evaluate(
        f"""(() => {{
          const post = Worker.prototype.postMessage;
          Worker.prototype.postMessage = function (question, transferred) {{
            if (!question.picture) return post.call(this, question, transferred);
            Worker.prototype.postMessage = post;
            question.picture = {{ ...question.picture }};
            {failure};
            return post.call(this, question, []);
          }};
        }})()"""
    )
    page.browser.choose("#picture", picture)
    page.browser.wait(PROBLEM)
    assert "Try again" in page.problem()
    assert page.answers(picture) == wanted
    page.press("#camera")
    page.browser.wait("/second/.test(document.querySelector('#status').textContent)")
    page.press("#camera")
    assert not page.problem()


@needs_browser
def test_hostile_numbers_are_refused_before_they_cost_anything(
    page: Page, classifier: Path, picture: Path, tmp_path: Path
) -> None:
    wanted = page.answers(picture)
    level = {"rows": 10**9, "columns": 10**9, "sizes": [[0.5, 0.5]]}
    decoding = {
        "kind": "codes", "anchors": {"levels": [level]}, "box_scales": [1, 1, 1, 1],
        "background": False, "score_threshold": 0.1, "iou_threshold": 0.5, "max_detections": 10,
        "candidates": 100,
    }  # fmt: skip
    seen = dataclasses.replace(PREPROCESSING, resize="stretch")
    told = web_golden.description("detection", seen, LABELS, decoding)
    model = classifier.read_bytes()
    hostile = tmp_path / "HOSTILE.TFLITE"
    hostile.write_bytes(web_golden.described(model[: model.index(b"PK\x03\x04")], told))
    page.browser.choose("#file", hostile)
    page.browser.wait(PROBLEM)
    assert "(decoding.anchors.levels.rows)" in page.problem()
    page.choose("small")
    page.browser.wait("document.querySelector('#answers li')")
    assert page.answers(picture) == wanted


@needs_browser
def test_endings_of_files_may_be_in_capitals(page: Page, classifier: Path, tmp_path: Path) -> None:
    loud = tmp_path / "LOUD.TFLITE"
    loud.write_bytes(classifier.read_bytes())
    page.browser.choose("#file", loud)
    page.browser.wait("document.querySelector('#model').options.length === 2")
    page.opened()
    assert not page.problem()


# ---------------------------------------------------------------- the camera

WATCHED = """(() => {
  const devices = navigator.mediaDevices;
  const ask = devices.getUserMedia.bind(devices);
  window.streams = [];
  devices.getUserMedia = async (wanted) => {
    const stream = await ask(wanted);
    window.streams.push(stream);
    return stream;
  };
})()"""
LIVE = (
    "window.streams.flatMap((stream) => stream.getTracks())"
    ".filter((track) => track.readyState === 'live').length"
)


@needs_browser
@pytest.mark.parametrize("taps", [2, 3, 4, 5])
def test_one_camera_whatever_the_taps(taps: int, page: Page) -> None:
    page.browser.evaluate(WATCHED)
    page.browser.evaluate(
        f"for (let i = 0; i < {taps}; i++) document.querySelector('#camera').click()"
    )
    page.browser.wait(f"window.streams.length === {(taps + 1) // 2}")
    if taps % 2:
        page.browser.wait("/second/.test(document.querySelector('#status').textContent)")
        assert page.browser.evaluate(LIVE) == 1
        page.press("#camera")
    page.browser.wait(f"{LIVE} === 0")
    assert page.browser.evaluate("document.querySelector('#video').srcObject === null")
    assert page.browser.evaluate("document.querySelector('#camera').textContent.trim()") == "Camera"
    assert not page.problem()


@needs_browser
def test_frames_are_read_in_the_worker(page: Page) -> None:
    """Of 640 x 480 pixels; the page's own thread reads none."""
    page.browser.evaluate(
        """(() => {
          window.read = 0;
          window.frames_ = [];
          const get = CanvasRenderingContext2D.prototype.getImageData;
          CanvasRenderingContext2D.prototype.getImageData = function (...box) {
            window.read++;
            return get.apply(this, box);
          };
          const post = Worker.prototype.postMessage;
          Worker.prototype.postMessage = function (question, transferred) {
            const { frame } = question;
            const { displayWidth: width, displayHeight: height } = frame ?? {};
            if (frame) window.frames_.push([frame.constructor.name, width, height]);
            return post.call(this, question, transferred);
          };
        })()"""
    )
    page.press("#camera")
    page.browser.wait("window.frames_.length > 3")
    page.press("#camera")
    assert page.browser.evaluate("window.frames_")[0] == ["VideoFrame", 640, 480]
    assert page.browser.evaluate("window.read") == 0


# ---------------------------------------------------------------- without network


def _aged(folder: Path) -> None:
    """As written a month ago: a browser's own store then holds a copy good for days."""
    then = time.time() - 30 * 24 * 3600
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


@needs_browser
def test_it_works_without_network_after_the_first_visit(
    folder: Path, running: browser.Browser, picture: Path
) -> None:
    with browser.served(folder) as address:
        page = Page(running, address, ["small"])
        assert page.fact("Offline") == "Works without network"
        wanted = page.answers(picture)
    page = Page(running, address, ["small"])
    assert not page.problem()
    assert page.answers(picture) == wanted
    assert page.fact("Offline") == "Works without network"
    # What browsers want before they offer to install it.
    errors = running.call("Page.getInstallabilityErrors")["installabilityErrors"]
    assert [error["errorId"] for error in errors if error["errorId"] != "in-incognito"] == []


@needs_browser
def test_a_new_page_takes_the_place_of_the_one_that_is_kept(
    classifier: Path, running: browser.Browser, tmp_path: Path
) -> None:
    """With its network at once; and what has not changed is not fetched again."""
    folder = tmp_path / "page"
    web.write_page([str(classifier)], folder)
    _aged(folder)
    keys = """(async () => {
      const [name] = (await caches.keys()).filter((name) => name.includes(location.origin));
      return (await (await caches.open(name)).keys()).map(({ url }) => url);
    })()"""
    # The page does not wait for the worker that takes the place of the one before.
    replaced = """(async () => {
      const registration = await navigator.serviceWorker.getRegistration();
      await registration.update();
      const worker = registration.installing ?? registration.waiting;
      await new Promise((done) => {
        const look = () => !worker || worker.state === "activated" ? done() : undefined;
        worker?.addEventListener("statechange", look);
        look();
      });
    })()"""
    with browser.served(folder) as address:
        page = Page(running, address, ["small"])
        assert page.fact("Offline") == "Works without network"
        first = set(running.evaluate(keys))
        copied = tmp_path / "renamed.tflite"
        copied.write_bytes(classifier.read_bytes())
        web.write_page([str(classifier), str(copied)], folder, variants=())
        page = Page(running, address, ["small", "renamed"])
        assert running.evaluate("document.querySelector('#model').options.length") == 2
        assert page.fact("Offline") == "Works without network"
        running.evaluate(replaced)
        second = set(running.evaluate(keys))
    changed = {url.split("?")[0].removeprefix(f"{address}/") for url in second - first}
    assert changed - {"litert/litert_wasm_threaded_internal.wasm.gz",
                      "litert/litert_wasm_threaded_internal.js"} == {"models.json"}  # fmt: skip
    assert not [url for url in first - second if "models.json" not in url]
    page = Page(running, address, ["small", "renamed"])
    assert running.evaluate("document.querySelector('#model').options.length") == 2


@needs_browser
@pytest.mark.parametrize("place", ["index.html", "index.html/index.html"])  # at once, redirected
def test_another_site_at_the_same_address_is_left_alone(
    place: str, classifier: Path, running: browser.Browser, tmp_path: Path
) -> None:
    """As on localhost, where today's port 8000 is another project's tomorrow."""
    web.write_page([str(classifier)], tmp_path / "page")
    _aged(tmp_path / "page")
    with browser.served(tmp_path / "page") as address:
        page = Page(running, address, ["small"])
        assert page.fact("Offline") == "Works without network"
        shutil.rmtree(tmp_path / "page")
        (tmp_path / "page" / place).parent.mkdir(parents=True)
        (tmp_path / "page" / place).write_text("<p>another")
        running.open(f"{address}/index.html")
        assert running.evaluate("document.body.innerText") == "another"
        assert not running.evaluate("crossOriginIsolated")
        left = "navigator.serviceWorker.getRegistrations().then((all) => all.length)"
        assert running.evaluate(left) == 0


@needs_browser
def test_a_model_that_was_never_opened_is_told_of(
    classifier: Path, running: browser.Browser, tmp_path: Path
) -> None:
    copied = tmp_path / "other.tflite"
    copied.write_bytes(classifier.read_bytes())
    made = web.write_page([str(classifier), str(copied)], tmp_path / "page")
    names = [model.name for model in made.models]
    with browser.served(tmp_path / "page") as address:
        page = Page(running, address, names)
        assert page.fact("Offline") == "Works without network"
    page = Page(running, address, names)
    page.choose(names[1])
    assert names[1] in page.problem() or "no network" in page.problem()
    page.choose(names[0])
    assert not page.problem()


# ---------------------------------------------------------------- times


def _measured(page: Page, tmp_path: Path) -> list[device_results.DeviceResult]:
    """What the benchmark shares, as `compare --device` reads it."""
    page.browser.evaluate(
        """(() => {
          const make = URL.createObjectURL;
          URL.createObjectURL = (file) => {
            file.text().then((text) => (window.shared = text));
            return make.call(URL, file);
          };
        })()"""
    )
    page.press("#measure")
    page.browser.wait("!document.querySelector('#share').hidden")
    page.press("#share")
    page.browser.wait("window.shared")
    path = tmp_path / "phone.csv"
    path.write_text(page.browser.evaluate("window.shared"))
    return device_results.read(path)


@needs_browser
def test_the_benchmarks_table_is_read_by_compare(
    page: Page, classifier: Path, tmp_path: Path
) -> None:
    (row,) = _measured(page, tmp_path)
    assert row.setup.accelerator == "CPU"
    assert "Chrom" in row.setup.device
    assert row.sha256 == hashlib.sha256(classifier.read_bytes()).hexdigest()
    assert row.bytes == classifier.stat().st_size
    assert row.latency_ms is not None
    assert row.latency_p95_ms is not None
    assert row.latency_ms <= row.latency_p95_ms
    # It finds its file in a report.
    file = device_results.File(
        run="mine", model="tiny", variant="float32", bytes=row.bytes, metric="accuracy",
        sha256=row.sha256,
    )  # fmt: skip
    (phone,), left_out = device_results.join([row], [file])
    assert phone.results == {0: row}
    assert not left_out
    cells = page.browser.evaluate(
        "[...document.querySelectorAll('#times td')].map((cell) => cell.textContent)"
    )
    threads = row.setup.threads
    assert cells[0] == f"smallCPU, {threads} thread" + "s" * (threads > 1)
    page.press("#measure")
    page.browser.wait("!document.querySelector('#measuring').hidden")
    page.press("#measure")
    page.browser.wait("document.querySelector('#measuring').hidden")
    told = page.browser.evaluate("document.querySelector('#benchmark-status').textContent")
    assert told.startswith("Stopped")


@needs_browser
def test_webgpu_is_measured_and_told(
    folder: Path, picture: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """By a GPU in software, which is no faster: the CPU stays, and both stand in the table."""
    running = browser.Browser(tmp_path_factory.mktemp("gpu") / "profile", gpu=True)
    try:
        with browser.served(folder) as address:
            page = Page(running, address, ["small"])
            if not running.evaluate("navigator.gpu?.requestAdapter().then(Boolean)"):
                pytest.skip("this chromium has no WebGPU in software")
            assert re.fullmatch(r".* \(measured: CPU .* ms, WebGPU .* ms\)", page.fact("Runs on"))
            assert page.answers(picture)
            rows = _measured(page, tmp_path)
            assert [row.setup.accelerator for row in rows] == ["CPU", "WebGPU"]
            assert running.errors == []
    finally:
        running.close()


# ---------------------------------------------------------------- kerascnn web --serve


def _get(address: str, place: str, certificate: Path | None = None) -> tuple[int, Any, bytes]:
    """Status, headers and body, by a client that looks at certificates."""
    parts = urllib.parse.urlsplit(address)
    assert parts.hostname
    if parts.scheme == "http":
        connection = http.client.HTTPConnection(parts.hostname, parts.port)
    else:
        context = ssl.create_default_context(cafile=certificate)
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, context=context)
    try:
        connection.request("GET", place)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


@needs_openssl
def test_headers_of_the_server(tmp_path: Path) -> None:
    folder = tmp_path / "page"
    (folder / "models").mkdir(parents=True)
    (folder / "index.html").write_text("<p>page")
    (folder / "main.js").write_text("1")
    (folder / "models" / "a.tflite").write_bytes(b"model")
    (tmp_path / "secret").write_text("not served")
    with page_server.serve(folder, port=0, network="127.0.0.1") as found:
        assert found.wifi is not None
        trusted = tmp_path / "trusted.pem"
        parts = urllib.parse.urlsplit(found.wifi)
        trusted.write_text(ssl.get_server_certificate((str(parts.hostname), parts.port)))  # type: ignore[arg-type]
        for address in (found.here, found.wifi):
            status, headers, body = _get(address, "/", trusted)
            assert (status, body) == (200, b"<p>page")
            assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
            assert headers["Cache-Control"] == "no-cache"
            assert "script-src 'self' 'wasm-unsafe-eval';" in headers["Content-Security-Policy"]
            assert "Python" not in headers["Server"]
            assert _get(address, "/main.js", trusted)[1]["Content-Type"].startswith("text/javascr")
            assert _get(address, "/models/a.tflite", trusted)[2] == b"model"
            assert _get(address, "/models/", trusted)[0] == 404  # no lists
            for place in ("/../secret", "/%2e%2e/secret", "//secret"):
                assert b"not served" not in _get(address, place, trusted)[2]


def test_the_policy_is_the_pages_own() -> None:
    page = (web.SOURCES / "index.html").read_text()
    own = page.partition('http-equiv="Content-Security-Policy"')[2].split('"')[1]
    assert "script-src 'self' 'wasm-unsafe-eval'" in own
    # Frames a page cannot forbid by itself.
    assert page_server.HEADERS["Content-Security-Policy"] == f"{own}; frame-ancestors 'none'"
    # Nothing of what it forbids: scripts and styles in the page.
    assert "<style" not in page
    assert " style=" not in page
    assert " on" not in page.replace(" on ", "")
    assert page.count("<script") == page.count("<script type") == 1


def test_what_cannot_be_served_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with page_server.serve(tmp_path, port=0, network="127.0.0.1") as found:
        taken = urllib.parse.urlsplit(found.here).port
        assert taken
        with (
            pytest.raises(InputError, match=f"port {taken} cannot .* --port"),
            page_server.serve(tmp_path, port=taken),
        ):
            pass
    monkeypatch.setenv("PATH", "")
    with (
        pytest.raises(InputError, match="command openssl: install it"),
        page_server.serve(tmp_path, port=0, network="127.0.0.1"),
    ):
        pass


def test_qr_codes_are_those_of_the_address() -> None:
    segno = pytest.importorskip("segno")
    text = "https://192.168.1.5:8001"
    code = page_server.qr_code(text)
    assert code is not None
    # Back from half blocks to cells: light is drawn.
    rows = []
    for line in code.splitlines():
        rows.append([letter in "▄ " for letter in line])
        rows.append([letter in "▀ " for letter in line])
    matrix = [[bool(cell) for cell in row] for row in segno.make(text, micro=False).matrix]
    side = len(matrix)
    assert [row[2 : 2 + side] for row in rows[2 : 2 + side]] == matrix
    assert not any(rows[0])
    assert not any(rows[1])


def test_addresses_are_told_with_what_to_expect() -> None:
    alone = page_server.Addresses(here="http://localhost:8000", wifi=None, certificate="")
    assert "no network" in page_server.as_text(alone)
    both = dataclasses.replace(alone, wifi="https://192.168.1.5:8001", certificate="AB:CD")
    lines = page_server.as_text(both).splitlines()
    assert lines[0] == "http://localhost:8000 on this machine (Ctrl+C ends)"
    assert lines[1].startswith("https://192.168.1.5:8001 for phones on the same Wi-Fi")
    assert lines[3] == "  AB:CD"
    assert lines[4:]  # the QR code, or how to get it


@needs_openssl
@needs_browser
def test_the_command_serves_until_it_is_interrupted(
    classifier: Path, running: browser.Browser, picture: Path, tmp_path: Path
) -> None:
    """With threads; its page's policy holds in workers too."""
    command = [*COMMAND, "web", str(classifier), "-o", "page", "--serve", "--port", "0", "--json"]
    seen = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=seen
    ) as process:
        assert process.stdout is not None
        try:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if line == "}\n":
                    break
            made = json.loads("".join(lines))
            assert made["folder"] == "page"
            page = Page(running, made["serve"]["here"], ["small"])
            assert not page.problem()
            assert running.evaluate("crossOriginIsolated")
            threads = min(4, os.cpu_count() or 1)
            wanted = "1 thread" if threads == 1 else f"{threads} threads"
            assert page.fact("Runs on") == f"CPU, {wanted}"
            assert page.answers(picture)
            assert running.errors == []
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 0


def test_the_command_without_a_page(tmp_path: Path) -> None:
    done = here("web", tmp_path, "-o", tmp_path / "page", "--serve")
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr
