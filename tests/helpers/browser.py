"""A headless Chromium, driven over the DevTools protocol, and a server of files for it."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--remote-debugging-pipe",
)
# WebGPU by SwiftShader, in place of a GPU.
_WITH_GPU = (
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--enable-features=Vulkan",
    "--use-angle=swiftshader",
    "--ignore-gpu-blocklist",
)
# The protocol's pipes are file descriptors 3 and 4.
_START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


@contextlib.contextmanager
def served(folder: Path, held: Mapping[str, threading.Event] = {}) -> Iterator[str]:
    """The address of a folder that is served as `python -m http.server` serves it.

    Args:
        held: files that are answered when their event is set, or the context ends.
    """
    handler = functools.partial(_Quiet, directory=str(folder), held=held)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            for event in held.values():
                event.set()
            server.shutdown()
            thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *arguments: Any, held: Mapping[str, threading.Event], **options: Any):
        self._held = held
        super().__init__(*arguments, **options)

    def do_GET(self) -> None:
        if event := self._held.get(self.path.rpartition("/")[2]):
            event.wait()
        super().do_GET()

    def log_message(self, *_arguments: Any) -> None:
        """Nothing."""


class Browser:
    """A browser with one page, and a GPU in software if that is asked for.

    Attributes:
        requests: addresses that the page and its workers asked for.
        errors: what scripts threw and nobody caught, and what they told the console as an error.
        thrown: whether a script threw what nobody caught.
    """

    def __init__(self, profile: Path, *, gpu: bool = False) -> None:
        assert PROGRAM is not None
        self.requests: list[str] = []
        self._address = ""
        self._workers: dict[str, str] = {}  # addresses of service workers, by session
        self.errors: list[str] = []
        self.thrown = False
        self._answers: dict[int, dict[str, Any]] = {}
        self._asked = 0
        down, up = os.pipe(), os.pipe()
        # High numbers, so that neither overwrites the other.
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (down[0], up[1])]
        numbers = [str(number) for number in theirs]
        without = [flag for flag in _FLAGS if flag != "--disable-gpu"]
        flags = [*without, *_WITH_GPU] if gpu else list(_FLAGS)
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _START,
                *numbers,
                PROGRAM,
                *flags,
                f"--user-data-dir={profile}",
            ],
            pass_fds=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (down[0], up[1], *theirs):
            os.close(end)
        self._to, self._from = down[1], up[0]
        self._read = bytearray()
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "DOM", "Log"):
            self.call(f"{domain}.enable")
        self.call(
            "Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=True, flatten=True
        )

    def close(self) -> None:
        """End the browser, whatever state it is in."""
        self._session = None
        try:
            with contextlib.suppress(OSError, AssertionError):
                self.call("Browser.close")
                self._process.wait()
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._to)
            os.close(self._from)

    def call(self, method: str, *, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Ask the protocol, and wait for its answer."""
        number = self._send(method, session or self._session, parameters)
        while number not in self._answers:
            self._receive()
        answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, address: str) -> None:
        """Load a page."""
        self._address = address
        self.requests.clear()
        self.errors.clear()
        self.thrown = False
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, script: str) -> Any:
        """The value of a script, as JSON has it; promises are waited for."""
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until a script is true, however long that takes, or an exception ends the page."""
        while not self.evaluate(f"Boolean({script})"):
            assert not self.thrown, f"will not come: {script}; errors: {self.errors}"
            time.sleep(0.02)

    def choose(self, selector: str, file: Path) -> None:
        """Give a file to an input for files."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def screenshot(self) -> bytes:
        """What is shown, as a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def _send(self, method: str, session: str | None, parameters: dict[str, Any]) -> int:
        self._asked += 1
        message = {"id": self._asked, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        return self._asked

    def _receive(self) -> None:
        while b"\0" not in self._read:
            data = os.read(self._from, 1 << 16)
            assert data, "the browser has ended"
            self._read += data
        line, _, rest = bytes(self._read).partition(b"\0")
        self._read = bytearray(rest)
        message = json.loads(line)
        if "id" in message:
            self._answers[message["id"]] = message
        else:
            self._note(message["method"], message["params"], message.get("sessionId", ""))

    def _note(self, method: str, told: dict[str, Any], session: str) -> None:
        if method == "Network.requestWillBeSent":
            # A service worker fills its cache when its page has gone, too: another site's is none
            # of this page's.
            if _site(self._workers.get(session, self._address)) == _site(self._address):
                self.requests.append(told["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.thrown = True
            self.errors.append(str(told["exceptionDetails"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif method == "Target.attachedToTarget":
            # A worker, which waits until we watch it.
            session = told["sessionId"]
            # What a service worker cannot fetch is its own affair: it outlives pages and servers.
            runs = told["targetInfo"]["type"] != "service_worker"
            if not runs:
                self._workers[session] = told["targetInfo"]["url"]
            watched = ("Network.enable", *(("Runtime.enable",) if runs else ()))
            for each in (*watched, "Runtime.runIfWaitingForDebugger"):
                self._send(each, session, {})


def _site(address: str) -> str:
    """Scheme, host and port."""
    parts = urllib.parse.urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"
