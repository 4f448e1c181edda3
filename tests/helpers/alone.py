"""Commands and scripts in processes without a framework, which are forks of one that has begun.

A new Python takes half a second until it has imported what most commands do.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# What may be slow to load, or is heavy: what a fork has of it, it asked for.
SLOW = (
    "tensorflow", "keras", "tf_keras", "jax", "torch", "matplotlib", "PIL", "scipy", "pandas",
    "h5py", "jinja2",
)  # fmt: skip
# Requests come line by line, each with the files for what its fork prints; answers are exit codes.
_PARENT = """
import json, os, sys, traceback
import kerascnn.api, kerascnn.cli, training.engine.config, training.engine.run
assert not set(SLOW) & set(sys.modules), set(SLOW) & set(sys.modules)

def run(script, arguments):
    sys.argv[1:] = arguments
    try:
        exec(compile(script, "<script>", "exec"), {"__name__": "__main__"})
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
            return 1
        return stop.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0

for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        for number, name in enumerate((os.devnull, asked["out"], asked["err"])):
            os.dup2(os.open(name, os.O_RDWR), number)
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        code = run(asked["script"], asked["arguments"])
        print(json.dumps(sorted(set(SLOW) & set(sys.modules))), flush=True)
        sys.exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def command(
    *arguments: object, cwd: Path | None = None
) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """`kerascnn` with arguments: how it ended, and which of `SLOW` it imported."""
    return script("from kerascnn import cli; cli.main()", *arguments, cwd=cwd)


def script(
    code: str, *arguments: object, cwd: Path | None = None
) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """The same of a script, whose `sys.argv[1:]` are the arguments."""
    texts = [str(argument) for argument in arguments]
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        for file in (out, err):
            file.touch()
        ended = _parent().ask({
            "script": code, "arguments": texts, "cwd": str(cwd or Path.cwd()),
            "out": str(out), "err": str(err),
            # Without a fixed hash the command would start anew.
            "environment": {**os.environ, "PYTHONHASHSEED": "0"},
        })  # fmt: skip
        *printed, imported = out.read_text().splitlines(keepends=True) or [""]
        done = subprocess.CompletedProcess(texts, ended, "".join(printed), err.read_text())
    assert imported.startswith("["), (ended, imported, done.stderr)
    return done, set(json.loads(imported))


class _Parent:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"SLOW = {SLOW!r}\n{_PARENT}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "0",
            },
        )  # fmt: skip
        atexit.register(self._process.communicate)

    def ask(self, asked: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, f"the process ended with {self._process.wait()}"
        return int(answer)


@functools.cache
def _parent() -> _Parent:
    return _Parent()
