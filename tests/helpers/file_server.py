"""A server of files on the loopback interface, which fails on request."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import threading
from collections.abc import Iterator, Mapping


class FileServer(http.server.ThreadingHTTPServer):
    """Serves `files` by path.

    Attributes:
        files: bytes by path ("/a.h5").
        asked: "GET /a.h5 bytes=5-" per request, in order.
        cut_at: bytes after which the next answers are cut, one each.
        answers: status codes of the next answers, one each, in place of a file.
        ranges: whether a part of a file may be asked for.
        digest: None, "google" or "hub": in whose way the digest is sent along.
    """

    daemon_threads = True

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = dict(files)
        self.asked: list[str] = []
        self.cut_at: list[int] = []
        self.answers: list[int] = []
        self.ranges = True
        self.digest: str | None = None
        self.hold: threading.Event | None = None  # answers wait for it

    @property
    def url(self) -> str:
        """Its address, without a slash behind."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        """Answer until the client goes away, in whichever way."""
        with contextlib.suppress(OSError):
            super().handle()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Serve a file, or what was asked to go wrong."""
        asked = self.headers.get("Range")
        self.server.asked.append(f"GET {self.path}{f' {asked}' if asked else ''}")
        if self.server.hold is not None:
            self.server.hold.wait()
        body = self.server.files.get(self.path)
        if self.server.answers:
            self._empty(self.server.answers.pop(0))
        elif body is None:
            self._empty(404)
        elif asked and self.server.ranges and self.headers.get("If-Range") in (None, _tag(body)):
            self._part(body, int(asked.removeprefix("bytes=").removesuffix("-")))
        else:
            self._send(200, body, body)

    def _part(self, body: bytes, start: int) -> None:
        if start >= len(body):
            self._empty(416, {"Content-Range": f"bytes */{len(body)}"})
        else:
            self._send(
                206,
                body,
                body[start:],
                {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"},
            )

    def _send(
        self, code: int, whole: bytes, part: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", _tag(whole))
        self._send_digest(whole)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.server.cut_at:
            part = part[: self.server.cut_at.pop(0)]
            self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.write(part)

    def _send_digest(self, body: bytes) -> None:
        if self.server.digest == "google":
            md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
            self.send_header("x-goog-hash", "crc32c=AAAAAA==")
            self.send_header("x-goog-hash", f"md5={md5}")
        elif self.server.digest == "hub":
            self.send_header("X-Linked-ETag", f'"{hashlib.sha256(body).hexdigest()}"')

    def _empty(self, code: int, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Length", "0")
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()


def _tag(body: bytes) -> str:
    return f'"{hashlib.sha1(body).hexdigest()}"'


@contextlib.contextmanager
def serving(files: Mapping[str, bytes]) -> Iterator[FileServer]:
    """A server that runs while the block does."""
    server = FileServer(files)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
