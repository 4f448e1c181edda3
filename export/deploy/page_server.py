"""`kerascnn web --serve`: the page on this machine, and for phones on the same Wi-Fi.

Browsers give the camera to https pages and to localhost, and threads to pages that say by two
headers that they are isolated from other sites; `python -m http.server` offers neither to a phone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import http
import http.server
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

from kerascnn.errors import InputError

# Isolated from other sites; asked for again at every visit, which costs nothing while they are the
# same; and, in workers too, nothing from elsewhere: the page's own policy says the same.
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_TYPES = {  # whatever this machine's own list says
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
    "": "application/octet-stream",
}
_HERE = "127.0.0.1"
_DAYS = 30  # of the certificate
_SILENCE = 60  # seconds after which a connection is closed
_LONGEST = 60  # seconds that openssl may take


@dataclasses.dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where the page is served.

    Attributes:
        here: for this machine.
        wifi: for others in its network; `None` where it is in none.
        certificate: its fingerprint (SHA-256), by which a phone's owner can know it; empty without.
    """

    here: str
    wifi: str | None
    certificate: str


@contextlib.contextmanager
def serve(
    folder: pathlib.Path, *, port: int = 8000, network: str | None = None
) -> Iterator[Addresses]:
    """Serve a page's folder while the context lasts.

    Args:
        folder: that `write_page` has written; nothing else is served, and no lists of files.
        port: for this machine; the next one is for phones. 0: any two that are free.
        network: this machine's address in its network. None: found out.

    Raises:
        InputError: a port that is in use, or no `openssl` to make a certificate with.
    """
    handler = functools.partial(_Handler, directory=str(folder))
    network = network or own_address()
    with contextlib.ExitStack() as stack:
        here = stack.enter_context(_running(handler, (_HERE, port)))
        wifi, fingerprint = None, ""
        if network is not None:
            made = stack.enter_context(tempfile.TemporaryDirectory(prefix="kerascnn-"))
            pair = certificate(pathlib.Path(made), [network, _HERE])
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*pair)
            fingerprint = _fingerprint(pair[0])
            place = (network, port + 1 if port else 0)
            server = stack.enter_context(_running(handler, place, context))
            wifi = f"https://{network}:{server.server_port}"
        yield Addresses(
            here=f"http://localhost:{here.server_port}", wifi=wifi, certificate=fingerprint
        )


def own_address() -> str | None:
    """This machine's IPv4 address in the network it would reach others by; `None` without one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # of documentation alone (RFC 5737); nothing is sent
        except OSError:
            return None
        address: str = probe.getsockname()[0]
    return None if address.startswith(("127.", "0.")) else address


def certificate(folder: pathlib.Path, addresses: list[str]) -> tuple[pathlib.Path, pathlib.Path]:
    """Make a certificate that signs itself, and its key, for IP addresses and localhost.

    Returns:
        Paths of both, in PEM.

    Raises:
        InputError: there is no openssl, or it failed.
    """
    program = shutil.which("openssl")
    if program is None:
        raise InputError(
            "phones need an https page, and its certificate needs the command openssl: install it "
            "(apt install openssl), or serve this machine alone: python -m http.server"
        )
    made, key = folder / "certificate.pem", folder / "key.pem"
    names = ",".join(["DNS:localhost", *(f"IP:{address}" for address in addresses)])
    asked = [
        *(program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-nodes", "-sha256", "-days", str(_DAYS), "-subj", "/CN=kerascnn web"),
        *("-addext", f"subjectAltName={names}", "-addext", "extendedKeyUsage=serverAuth"),
        *("-addext", "basicConstraints=critical,CA:FALSE"),
        *("-out", str(made), "-keyout", str(key)),
    ]
    # A configuration of the machine's may want other things.
    clean = {**os.environ, "OPENSSL_CONF": os.devnull}
    try:
        done = subprocess.run(
            asked, capture_output=True, text=True, check=False, timeout=_LONGEST, env=clean
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"openssl made no certificate: {error}") from None
    if done.returncode:
        errors = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise InputError(f"openssl made no certificate: {errors[-1]}")
    key.chmod(0o600)
    return made, key


def qr_code(text: str) -> str | None:
    """A text as a QR code in letters, dark on light; `None` where segno is not installed."""
    try:
        import segno
    except ImportError:
        return None
    matrix = [[bool(cell) for cell in row] for row in segno.make(text, micro=False).matrix]
    quiet = 2  # cells on every side; phones read it with the four that the standard wants, too
    wide = len(matrix[0]) + 2 * quiet
    empty = [False] * wide
    margin = [False] * quiet
    rows = [*([empty] * quiet), *([*margin, *row, *margin] for row in matrix), *([empty] * quiet)]
    if len(rows) % 2:
        rows.append(empty)
    # Two rows a line. Light is drawn, so that terminals with a dark ground show it dark on light.
    letters = {(False, False): "█", (False, True): "▀", (True, False): "▄", (True, True): " "}
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return "\n".join(
        "".join(letters[pair] for pair in zip(above, below, strict=True)) for above, below in pairs
    )


def as_text(found: Addresses) -> str:
    """How to open the page here and on a phone."""
    lines = [f"{found.here} on this machine (Ctrl+C ends)"]
    if found.wifi is None:
        lines.append("no network: nothing for phones on the same Wi-Fi")
        return "\n".join(lines)
    lines += [
        f"{found.wifi} for phones on the same Wi-Fi; whoever is in it can open the page",
        "the browser warns of a certificate that it does not know; its SHA-256, to compare:",
        f"  {found.certificate}",
    ]
    code = qr_code(found.wifi)
    if code is None:
        lines.append("(a QR code of it is shown after: pip install segno)")
    else:
        # White on black whatever the terminal's colours; click drops this where there is none.
        lines += [f"\x1b[97;40m{line}\x1b[0m" for line in code.splitlines()]
    return "\n".join(lines)


def _fingerprint(path: pathlib.Path) -> str:
    """SHA-256 of a certificate, as browsers show it."""
    data = ssl.PEM_cert_to_DER_cert(path.read_text("ascii"))
    return hashlib.sha256(data).digest().hex(":").upper()


@contextlib.contextmanager
def _running(
    handler: Any, place: tuple[str, int], context: ssl.SSLContext | None = None
) -> Iterator[http.server.ThreadingHTTPServer]:
    try:
        server = _Server(place, handler, context)
    except OSError as error:
        why = f"cannot be listened to at {place[0]}: {error.strerror or error}"
        raise InputError(f"port {place[1]} {why}; name another one: --port") from None
    except OverflowError:
        raise InputError(f"port {place[1]}: at most 65535") from None
    with server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Server(http.server.ThreadingHTTPServer):
    """Over TLS where there is a context."""

    daemon_threads = True
    block_on_close = False  # a phone may keep its connection for long

    def __init__(
        self, place: tuple[str, int], handler: Any, context: ssl.SSLContext | None
    ) -> None:
        self._context = context
        super().__init__(place, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, client = super().get_request()
        connection.settimeout(_SILENCE)
        if self._context is not None:
            # The handshake waits for the handler's thread, so that a silent client holds up nobody.
            connection = self._context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, client

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: connections break, and browsers close them on an unknown certificate."""


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # one handshake for all files
    extensions_map = _TYPES

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def list_directory(self, path: Any) -> None:
        """No lists."""
        self.send_error(http.HTTPStatus.NOT_FOUND)

    def version_string(self) -> str:
        """Nothing of this machine's versions."""
        return "kerascnn"

    def log_message(self, *_arguments: Any) -> None:
        """Nothing."""
