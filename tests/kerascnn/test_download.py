"""Downloads of weights, from a server on the loopback interface that fails in every way."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import FileServer, serving

from kerascnn.errors import InputError
from kerascnn.weights import cache, download
from kerascnn.weights.published import Published, choose

BODY = bytes(range(256)) * 2048  # half a mebibyte
NAME = f"net-{hashlib.sha256(BODY).hexdigest()[:8]}.pth"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving({f"/{NAME}": BODY}) as found:
        yield found


@pytest.fixture(autouse=True)
def _online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERASCNN_OFFLINE")
    monkeypatch.setenv("KERASCNN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "_pause", lambda attempt: None)


@pytest.fixture
def row(server: FileServer) -> Published:
    plain = choose("resnet18", "imagenet")
    assert plain is not None
    digest = f"sha256:{NAME[4:12]}"
    return dataclasses.replace(plain, url=f"{server.url}/{NAME}", file=NAME, digest=digest)


def left(row: Published) -> set[str]:
    """What lies in the folder of a row."""
    return {path.name for path in cache.path_of(row).parent.iterdir() if path.suffix != ".lock"}


def test_a_file_is_downloaded_once(row: Published, server: FileServer, capsys) -> None:
    path = download.fetch(row)
    assert path == cache.path_of(row)
    assert path.read_bytes() == BODY
    assert left(row) == {NAME, f"{NAME}.json"}
    assert f"downloading {row.url} (0.5 MB)" in capsys.readouterr().err
    assert download.fetch(row) == path
    assert server.asked == [f"GET /{NAME}"]
    assert capsys.readouterr().err == ""


def test_a_cut_connection_is_gone_on_with(row: Published, server: FileServer, capsys) -> None:
    server.cut_at = [100_000, 50_000]
    assert download.fetch(row).read_bytes() == BODY
    assert server.asked == [
        f"GET /{NAME}", f"GET /{NAME} bytes=100000-", f"GET /{NAME} bytes=150000-"
    ]  # fmt: skip
    assert "going on at 0.1 MB" in capsys.readouterr().err


def test_the_next_process_goes_on_where_one_was_cut(row: Published, server: FileServer) -> None:
    server.cut_at = [10_000] * download._ATTEMPTS
    with pytest.raises(InputError, match=r"lost after 0\.1 MB; run the same again to go on"):
        download.fetch(row)
    assert f".{NAME}.partial" in left(row)
    assert download.fetch(row).read_bytes() == BODY
    assert server.asked[-1] == f"GET /{NAME} bytes=50000-"
    assert left(row) == {NAME, f"{NAME}.json"}


def test_a_server_without_ranges_sends_all_of_it_again(row: Published, server: FileServer) -> None:
    server.ranges, server.cut_at = False, [100_000]
    assert download.fetch(row).read_bytes() == BODY


def test_what_changed_on_the_server_is_not_pieced_together(
    row: Published, server: FileServer
) -> None:
    server.files[f"/{NAME}"] = b"x" * len(BODY)
    server.cut_at = [10_000] * download._ATTEMPTS
    with pytest.raises(InputError, match="run the same again"):
        download.fetch(row)
    server.files[f"/{NAME}"] = BODY  # with another ETag
    assert download.fetch(row).read_bytes() == BODY


def test_a_first_part_of_another_file_is_thrown_away(row: Published, server: FileServer) -> None:
    partial = cache.path_of(row).with_name(f".{NAME}.partial")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"x" * 1000)  # of an unknown ETag
    assert download.fetch(row).read_bytes() == BODY
    assert server.asked == [f"GET /{NAME} bytes=1000-", f"GET /{NAME}"]


@pytest.mark.parametrize("more", [0, 7])
def test_a_whole_first_part_needs_no_more(row: Published, server: FileServer, more: int) -> None:
    partial = cache.path_of(row).with_name(f".{NAME}.partial")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(BODY + b"x" * more)
    assert download.fetch(row).read_bytes() == BODY
    assert len(server.asked) == (2 if more else 1)


def test_another_file_than_the_published_one_is_refused(row: Published, server: FileServer) -> None:
    server.files[f"/{NAME}"] = BODY[::-1]
    with pytest.raises(InputError, match=f"SHA-256 {NAME[4:12]} is wanted, and .* came; download"):
        download.fetch(row)
    assert left(row) == set()


def test_of_two_processes_one_downloads(row: Published, server: FileServer, tmp_path: Path) -> None:
    server.hold = threading.Event()
    script = (
        "import dataclasses, sys\n"
        "from kerascnn.weights import download, published\n"
        "plain = published.choose('resnet18', 'imagenet')\n"
        "row = dataclasses.replace(plain, url=sys.argv[1], file=sys.argv[2], digest=sys.argv[3])\n"
        "print(download.fetch(row))\n"
    )
    arguments = [sys.executable, "-c", script, str(row.url), row.file, str(row.digest)]
    waits = threading.Event()
    with contextlib.ExitStack() as stack:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes = [stack.enter_context(subprocess.Popen(arguments, **pipes)) for _ in range(2)]
        readers = [threading.Thread(target=_watch, args=(one, waits)) for one in processes]
        for reader in readers:
            reader.start()
        # The one that waits says so; only then does the server answer the other.
        said = waits.wait(60)
        server.hold.set()
        paths = {process.stdout.read().strip() for process in processes}
        for reader in readers:
            reader.join()
    assert [process.returncode for process in processes] == [0, 0]
    assert said
    assert paths == {str(cache.path_of(row))}
    assert server.asked == [f"GET /{NAME}"]


def _watch(process: subprocess.Popen, waits: threading.Event) -> None:
    """Read what a process says, and tell when it waits for the other."""
    assert process.stderr is not None
    for line in process.stderr:
        if "waiting for another process, which downloads net-" in line:
            waits.set()


def test_a_full_disk_is_told_and_not_left_full(row: Published, monkeypatch) -> None:
    def full(response):
        yield BODY[:1000]
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download, "_chunks", full)
    with pytest.raises(InputError, match="No space left on device, while net-"):
        download.fetch(row)
    assert left(row) == set()


def test_too_small_a_disk_is_told_beforehand(row: Published, monkeypatch) -> None:
    few = types.SimpleNamespace(free=1000)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: few)
    with pytest.raises(InputError, match="takes 1 MB, and 0 MB are free; free space there, or set"):
        download.fetch(row)


def test_a_cache_that_cannot_be_written_is_told(row: Published, tmp_path: Path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERASCNN_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match="Not a directory; set KERASCNN_HOME"):
        download.fetch(row)


@pytest.mark.parametrize("value", ["1", "true"])
def test_offline_nothing_is_asked(row: Published, server: FileServer, value, monkeypatch) -> None:
    monkeypatch.setenv("KERASCNN_OFFLINE", value)
    with pytest.raises(InputError) as raised:
        download.fetch(row)
    assert str(raised.value) == (
        "resnet18's 'imagenet' weights are not in the cache, and KERASCNN_OFFLINE is set; "
        f"download {row.url} elsewhere and put it at {cache.path_of(row)}"
    )
    assert server.asked == []


def test_without_a_server_the_address_and_the_place_are_told(row: Published) -> None:
    gone = dataclasses.replace(row, url=f"http://127.0.0.1:9/{NAME}")
    with pytest.raises(InputError) as raised:
        download.fetch(gone)
    told = str(raised.value)
    assert told.startswith(f"resnet18's 'imagenet' weights: http://127.0.0.1:9/{NAME}: ")
    assert "refused" in told
    assert "HTTPConnectionPool" not in told
    assert told.endswith(f"elsewhere and put it at {cache.path_of(row)}")
    assert "\n" not in told


def test_a_proxy_that_is_gone_is_told_apart(row: Published, monkeypatch) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"its proxy does not answer: .*refused; download http"):
        download.fetch(row)


def test_a_missing_file_and_a_server_in_trouble(row: Published, server: FileServer) -> None:
    server.answers = [503, 429]
    assert download.fetch(row)
    cache.path_of(row).unlink()
    server.answers = [404]
    with pytest.raises(InputError, match=f"{NAME}: 404 Not Found; download"):
        download.fetch(row)


def test_a_file_put_there_by_hand_is_looked_at_once(row: Published, server, monkeypatch) -> None:
    path = cache.path_of(row)
    path.parent.mkdir(parents=True)
    path.write_bytes(BODY)
    assert download.fetch(row) == path
    looked: list[Path] = []
    monkeypatch.setattr(cache, "digits_of", lambda path, kind: looked.append(path) or "")
    assert download.fetch(row) == path
    assert looked == server.asked == []


def test_a_damaged_file_in_the_cache_is_refused(row: Published) -> None:
    path = download.fetch(row)
    path.write_bytes(BODY[:-1])
    with pytest.raises(
        InputError, match=r"is not resnet18's 'imagenet' as published: its SHA256 is"
    ):
        download.fetch(row)
    path.unlink()
    assert download.fetch(row).read_bytes() == BODY


@pytest.mark.parametrize("way", ["google", "hub"])
def test_a_digest_that_the_server_sends_along_counts(
    row: Published, server: FileServer, way: str, monkeypatch
) -> None:
    unsaid = dataclasses.replace(row, digest=None)
    server.digest = way
    server.cut_at = [1000]
    assert download.fetch(unsaid).read_bytes() == BODY
    note = json.loads(cache.path_of(row).with_name(f"{NAME}.json").read_text())
    assert note["sha256"] == hashlib.sha256(BODY).hexdigest()
    # What was downloaded then is compared with later, too.
    cache.path_of(row).write_bytes(BODY[::-1])
    with pytest.raises(InputError, match="as published"):
        download.fetch(unsaid)


def test_a_file_that_nobody_vouches_for_is_not_downloaded(row: Published, server) -> None:
    with pytest.raises(
        InputError, match="nobody publishes a digest of it, and its server sends no"
    ):
        download.fetch(dataclasses.replace(row, digest=None))
    assert left(row) == set()


def test_a_cache_on_a_server_is_a_mirror(row: Published, server, tmp_path, monkeypatch) -> None:
    download.fetch(row)
    folder = cache.path_of(row).parent
    for path in (cache.path_of(row), folder / f"{NAME}.json"):
        server.files[f"/mirror/torchvision/{path.name}"] = path.read_bytes()
    monkeypatch.setenv("KERASCNN_MIRROR", f"{server.url}/mirror/")
    monkeypatch.setenv("KERASCNN_HOME", str(tmp_path / "other"))
    gone = dataclasses.replace(row, url="http://127.0.0.1:9/gone", digest=None)
    assert download.fetch(gone).read_bytes() == BODY
    server.files[f"/mirror/torchvision/{NAME}"] = BODY[::-1]
    monkeypatch.setenv("KERASCNN_HOME", str(tmp_path / "third"))
    with pytest.raises(InputError, match="it sent another file"):
        download.fetch(gone)


def test_the_hub_has_mirrors_by_environment(monkeypatch) -> None:
    row = choose("mobilenet_v4_conv_small", "imagenet")
    assert row is not None
    assert download.address(row) == row.url
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example/")
    assert download.address(row).startswith("https://hub.example/timm/mobilenetv4_conv_small.")


def test_where_the_cache_is(monkeypatch) -> None:
    for variable, folder in (
        ("KERASCNN_HOME", "/data/k/weights"),
        ("KERASCNN_CACHE", "/data/k/weights"),
        ("XDG_CACHE_HOME", "/data/k/kerascnn/weights"),
    ):
        for other in ("KERASCNN_HOME", "KERASCNN_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(other, raising=False)
        monkeypatch.setenv(variable, "/data/k")
        assert str(cache.folder()) == folder
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("KERASCNN_CACHE", "")
    monkeypatch.setenv("HOME", "/home/jane")
    assert str(cache.folder()) == "/home/jane/.cache/kerascnn/weights"
