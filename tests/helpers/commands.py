"""Run the command line as a user does."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any
from unittest import mock

from kerascnn import cli

# `-W error` would reach into TensorFlow's own imports; our warnings are caught in-process.
COMMAND = (sys.executable, "-m", "kerascnn.cli")


def kerascnn(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    """Run to the end; stdout and stderr as text."""
    texts = [str(argument) for argument in arguments]
    return subprocess.run(
        [*COMMAND, *texts], capture_output=True, text=True, check=False, **options
    )


def here(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The same within this process, which has a framework loaded already: many times as fast."""
    texts = [str(argument) for argument in arguments]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["kerascnn", *texts]),
        mock.patch.dict(os.environ, PYTHONHASHSEED="0"),  # or the command would start anew
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return subprocess.CompletedProcess(texts, code, out.getvalue(), err.getvalue())


def assert_refused(done: subprocess.CompletedProcess[str], *culprits: str) -> None:
    """Exit code 2 and one last line that names the culprits; no traceback."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("kerascnn: ")
    for culprit in culprits:
        assert culprit in line


def kill_when(
    condition: Callable[[], bool],
    *arguments: object,
    cwd: Path | None = None,
    number: int = signal.SIGKILL,
) -> int:
    """Start a command and signal it as soon as `condition` holds; how it ended (kill -9: < 0)."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=cwd,
    )
    while not condition():
        assert process.poll() is None, "the command ended before it could be killed"
        time.sleep(0.005)
    os.killpg(process.pid, number)
    ended = process.wait()
    assert ended == -number if number == signal.SIGKILL else ended > 0
    return ended


def communicate(processes: Sequence[subprocess.Popen[Any]]) -> list[tuple[Any, Any]]:
    """What each process printed, once all have ended.

    There is no limit of time, as no load is known. Processes may wait for one another: when one
    fails, the others are killed.
    """
    with futures.ThreadPoolExecutor(len(processes)) as pool:
        ended = [pool.submit(process.communicate) for process in processes]
        for one in futures.as_completed(ended):
            one.result()
            if any(process.returncode for process in processes):
                for process in processes:
                    process.kill()
    return [one.result() for one in ended]


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens at, for the next moment."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
