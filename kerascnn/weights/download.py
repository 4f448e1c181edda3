"""Fetch a file of weights into the cache: once, whole, and no other than the published one.

    not there ──> lock ──> <file>.partial, gone on with where it was cut ──> digest ──> <file>

A cut connection goes on by a range request, in the same process or the next. Of two processes that
want one file, one downloads it and the other waits. A file of which nobody publishes a digest is
compared with the one that its server sends along (Google's buckets an MD5, Hugging Face's hub a
SHA-256). Whatever fails is one line that names the address, and the place to put the file.

By environment: KERASCNN_HOME (see `kerascnn.weights.cache`); KERASCNN_OFFLINE=1; KERASCNN_MIRROR,
the address of such a cache on a server (it has <source>/<file> and <file>.json); HF_ENDPOINT, a
mirror of Hugging Face's hub; HTTPS_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import json
import os
import pathlib
import re
import shutil
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kerascnn.errors import InputError, reason
from kerascnn.weights import cache
from kerascnn.weights.published import Published

if TYPE_CHECKING:
    import requests

_HUB = "https://huggingface.co"
_ATTEMPTS = 5
# Seconds to wait for a connection, and for the next bytes.
_TIMEOUT = (15, 60)
_CHUNK = 1 << 16
_MB = 1e6
_NOT_SATISFIABLE, _PARTIAL_CONTENT, _COME_AGAIN = 416, 206, (408, 429)


class _Cut(Exception):
    """The connection was lost, or the server said to come again; what came is kept."""


def fetch(row: Published) -> pathlib.Path:
    """The file of a row, downloaded if it is not in the cache.

    Raises:
        InputError: it is not in the cache and cannot be had; or what is there is another file.
    """
    if found := cache.located(row):
        return found
    if cache.offline():
        raise InputError(
            f"{row.described} weights are not in the cache, and KERASCNN_OFFLINE is set; "
            f"{_by_hand(row)}"
        )
    path = cache.path_of(row)
    with _locked(path, row):
        return cache.located(row) or _Download(row, path).run()


def address(row: Published) -> str:
    """Where a row is downloaded from, mirrors by environment considered."""
    if mirror := os.environ.get("KERASCNN_MIRROR"):
        return f"{mirror.rstrip('/')}/{row.source}/{row.file}"
    url = row.url or ""
    if (endpoint := os.environ.get("HF_ENDPOINT")) and url.startswith(_HUB):
        return endpoint.rstrip("/") + url.removeprefix(_HUB)
    return url


def _by_hand(row: Published) -> str:
    return f"download {row.url} elsewhere and put it at {cache.path_of(row)}"


@contextlib.contextmanager
def _locked(path: pathlib.Path, row: Published) -> Iterator[None]:
    import filelock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            _say(f"waiting for another process, which downloads {row.file}")
            lock.acquire()
    except OSError as error:
        raise InputError(
            f"{path.parent}: {error.strerror or error}; set KERASCNN_HOME to a folder that can be "
            "written"
        ) from None
    try:
        yield
    finally:
        lock.release()


class _Download:
    """One file on its way into the cache; whoever makes one holds its lock."""

    def __init__(self, row: Published, path: pathlib.Path) -> None:
        self._row, self._path, self._url = row, path, address(row)
        self._partial = path.with_name(f".{path.name}.partial")
        self._tag = path.with_name(f".{path.name}.partial.json")
        self._wanted = cache.Digest.of_row(row)

    def run(self) -> pathlib.Path:
        """Download, compare, put in place."""
        import requests

        resumed = self._there() > 0
        try:
            self._until_whole()
            if resumed and not self._digest().matches(self._partial):
                self._forget()  # perhaps the first part was of another file
                self._until_whole()
            self._settle()
        except requests.RequestException as error:
            raise self._failed(_plain(error)) from None
        return self._path

    def _until_whole(self) -> None:
        """Go on until the file is whole, as long as the connection lasts or comes back."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._go_on()
            except _Cut as cut:
                if attempt == _ATTEMPTS:
                    raise InputError(
                        f"{self._url}: {cut} after {self._there() / _MB:.1f} MB; run the same "
                        f"again to go on from there, or {_by_hand(self._row)}"
                    ) from None
                _pause(attempt)

    def _go_on(self) -> None:
        there = self._there()
        with self._answer(there) as response:
            if response.status_code == _NOT_SATISFIABLE and there:
                if _whole_size(response) != there:
                    self._forget()
                    raise _Cut("the server has another file")
                self._wanted = self._wanted or _digest_sent(response)
                return
            if response.status_code in _COME_AGAIN or response.status_code >= 500:
                raise _Cut(f"the server answers {response.status_code}")
            if response.status_code >= 400:
                raise self._failed(f"{response.status_code} {response.reason}")
            if there and _starts_at(response) != there:
                self._forget()  # the server sends all of it
                there = 0
            self._wanted = self._wanted or _digest_sent(response)
            self._digest()  # before it is downloaded in vain
            self._receive(response, there)

    def _answer(self, there: int) -> requests.Response:
        """Ask for what comes behind the first `there` bytes."""
        import requests

        headers = {"Accept-Encoding": "identity", "User-Agent": "kerascnn"}
        if there:
            headers["Range"] = f"bytes={there}-"
            if tag := self._known_tag():
                headers["If-Range"] = tag
        try:
            return requests.get(self._url, headers=headers, stream=True, timeout=_TIMEOUT)
        except (requests.ConnectionError, requests.Timeout) as error:
            if not there:
                raise
            raise _Cut(_plain(error)) from None

    def _receive(self, response: requests.Response, there: int) -> None:
        length = response.headers.get("Content-Length", "")
        total = there + int(length) if length.isdecimal() else None
        if total is not None:
            self._require_space(total - there)
        progress = _Progress(self._row, self._url, there, total)
        try:
            self._tag.write_text(json.dumps({"url": self._url, "tag": _tag_of(response)}))
            with self._partial.open("ab") as stream:
                for chunk in _chunks(response):
                    stream.write(chunk)
                    progress.add(len(chunk))
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self._forget()  # others need the disk, too
            raise InputError(
                f"{self._path.parent}: {error.strerror or error}, while {self._row.file} was "
                "written; free space there, or set KERASCNN_HOME to another folder"
            ) from None
        finally:
            progress.close()
        if total is not None and self._there() < total:
            raise _Cut("the connection was lost")

    def _require_space(self, wanted: int) -> None:
        free = shutil.disk_usage(self._path.parent).free
        if wanted > free:
            raise InputError(
                f"{self._path.parent}: {self._row.file} takes {wanted / _MB:.0f} MB, and "
                f"{free / _MB:.0f} MB are free; free space there, or set KERASCNN_HOME to another "
                "folder"
            )

    def _digest(self) -> cache.Digest:
        """What the file must have: as published, else as the server tells."""
        self._wanted = self._wanted or self._of_mirror()
        if self._wanted is None:
            raise self._failed("nobody publishes a digest of it, and its server sends none along")
        return self._wanted

    def _of_mirror(self) -> cache.Digest | None:
        import requests

        if not os.environ.get("KERASCNN_MIRROR"):
            return None
        answer = requests.get(f"{self._url}.json", timeout=_TIMEOUT)
        return cache.read_note(answer.text) if answer.ok else None

    def _settle(self) -> None:
        """Put a whole file in its place if it is the published one, else remove it."""
        wanted = self._digest()
        if not wanted.matches(self._partial):
            found = cache.digits_of(self._partial, wanted.kind)[: len(wanted.digits)]
            self._forget()
            raise self._failed(f"it sent another file: {wanted} is wanted, and {found} came")
        self._partial.replace(self._path)
        self._tag.unlink(missing_ok=True)
        cache.remember(self._path)

    def _there(self) -> int:
        try:
            return self._partial.stat().st_size
        except OSError:
            return 0

    def _known_tag(self) -> str | None:
        """The ETag of what is there, where it is of the same address."""
        try:
            known = json.loads(self._tag.read_bytes())
            return known["tag"] if known["url"] == self._url else "another-address"
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _forget(self) -> None:
        self._partial.unlink(missing_ok=True)
        self._tag.unlink(missing_ok=True)

    def _failed(self, why: str) -> InputError:
        return InputError(
            f"{self._row.described} weights: {self._url}: {why}; {_by_hand(self._row)}"
        )


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """The body in pieces; a lost connection as `_Cut`, since requests' errors are OSErrors."""
    import requests

    # Else urllib3 throws away what came of a piece that is cut; `_receive` counts by itself.
    response.raw.enforce_content_length = False
    try:
        yield from response.iter_content(_CHUNK)
    except requests.RequestException:
        raise _Cut("the connection was lost") from None


def _starts_at(response: requests.Response) -> int:
    """Where in the file an answer's bytes begin."""
    if response.status_code != _PARTIAL_CONTENT:
        return 0
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else -1


def _whole_size(response: requests.Response) -> int:
    found = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else -1


def _tag_of(response: requests.Response) -> str | None:
    """An ETag that a range may be asked by: no weak one."""
    tag = response.headers.get("ETag")
    return None if tag is None or tag.startswith("W/") else tag


def _digest_sent(response: requests.Response) -> cache.Digest | None:
    """The digest in the headers of an answer, or of one that led to it."""
    for answer in (*response.history, response):
        linked = answer.headers.get("X-Linked-ETag", "").strip('"')
        if re.fullmatch("[0-9a-f]{64}", linked):
            return cache.Digest("sha256", linked)
        if found := re.search(r"md5=([A-Za-z0-9+/=]+)", answer.headers.get("x-goog-hash", "")):
            with contextlib.suppress(binascii.Error):
                return cache.Digest("md5", base64.b64decode(found[1]).hex())
    return None


def _plain(error: requests.RequestException) -> str:
    """What lies at the bottom of an error: "Connection refused" without the pools around it."""
    import requests

    inner = getattr(error.args[0], "reason", error) if error.args else error
    text = reason(inner).rpartition("): ")[2]
    if isinstance(error, requests.exceptions.ProxyError):
        return "its proxy does not answer: " + text.rstrip(')"')
    return text


def _pause(attempt: int) -> None:
    time.sleep(2 ** (attempt - 1))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class _Progress:
    """A line on the terminal that says how far a download is; a first line alone elsewhere."""

    def __init__(self, row: Published, url: str, there: int, total: int | None) -> None:
        self._row, self._there, self._total = row, there, total
        self._moving = sys.stderr.isatty()
        self._shown = ""
        size = "" if total is None else f" ({total / _MB:.1f} MB)"
        rest = f", going on at {there / _MB:.1f} MB" if there else ""
        _say(f"downloading {url}{size}{rest}")

    def add(self, count: int) -> None:
        """Count bytes that came."""
        self._there += count
        if not self._moving:
            return
        share = f"{self._there / self._total:4.0%} of {self._total / _MB:.1f} MB" if self._total \
            else f"{self._there / _MB:.1f} MB"  # fmt: skip
        if share != self._shown:
            self._shown = share
            print(f"\r{self._row.file} {share}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the line."""
        if self._shown:
            _say("")
