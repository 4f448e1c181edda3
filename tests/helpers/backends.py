"""Scripts under another backend of Keras: one process a backend, which has it imported already."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

# Answers come by a pipe of their own, as scripts and libraries print. Our modules are imported
# anew for each script, so that none sees what another one patched.
_CHILD = """
import contextlib, io, json, linecache, os, sys, traceback
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
import keras
kept = set(sys.modules)
for line in sys.stdin:
    script, arguments = json.loads(line)
    linecache.cache["<script>"] = len(script), None, script.splitlines(True), "<script>"
    sys.argv, printed, error = ["-c", *arguments], io.StringIO(), None
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(script, "<script>", "exec"), {"__name__": "__main__"})
    except SystemExit as stop:
        error = f"exit code {stop.code}" if stop.code else None
    except BaseException:
        error = traceback.format_exc()
    # A trained network may load tensorflow, of which the next script may want to be without.
    ended = "tensorflow" in sys.modules
    print(json.dumps([printed.getvalue(), error, ended]), file=answers, flush=True)
    if ended:
        break
    keras.utils.clear_session()
    for name in set(sys.modules) - kept:
        if name.partition(".")[0] in {"kerascnn", "training", "export", *OURS}:
            del sys.modules[name]
"""

# Machine code that is run a few times needs no optimisation, which takes most of a test's time.
_COMPILE_QUICKLY = (
    "--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true",
)  # fmt: skip


class Backends:
    """The processes of a test session, begun when a script asks for them."""

    def __init__(self) -> None:
        self._children: dict[str, tuple[subprocess.Popen[str], Any]] = {}

    def __call__(self, backend: str, script: str, *arguments: object) -> str:
        """Run a script; what it printed. Its `sys.argv[1:]` are the arguments, as texts.

        The test is skipped where the backend is not installed, and fails where the script does.
        """
        self.require(backend)
        if backend not in self._children:
            self._children[backend] = self._begun(backend)
        child, errors = self._children[backend]
        assert child.stdin is not None
        assert child.stdout is not None
        print(json.dumps([script, list(map(str, arguments))]), file=child.stdin, flush=True)
        answer = child.stdout.readline()
        if not answer:
            del self._children[backend]
            errors.seek(0)
            said = errors.read()
            errors.close()
            child.communicate()
            raise AssertionError(f"the process ended with {child.returncode}: {said}")
        printed, error, ended = json.loads(answer)
        if ended:
            self._children.pop(backend)
            child.communicate()
            errors.close()
        assert error is None, error
        return str(printed)

    @staticmethod
    def require(backend: str) -> None:
        """Skip the test where the backend is not installed; for those with much to prepare."""
        if importlib.util.find_spec(backend) is None:
            pytest.skip(f"{backend} is not installed")

    def close(self) -> None:
        """End them."""
        for child, errors in self._children.values():
            child.communicate()
            errors.close()

    @staticmethod
    def _begun(backend: str) -> tuple[subprocess.Popen[str], Any]:
        ours = [path.stem for path in Path(__file__).parent.glob("*.py")]
        errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (`close` closes it)
        environment = {
            "KERAS_BACKEND": backend,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PYTHONHASHSEED": "0",  # or the command line would start anew
            "XLA_FLAGS": " ".join([os.environ.get("XLA_FLAGS", ""), *_COMPILE_QUICKLY]).strip(),
        }
        child = subprocess.Popen(
            [sys.executable, "-c", f"OURS = {ours!r}\n{_CHILD}"],
            env=os.environ | environment | {"JAX_PLATFORMS": "cpu"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        return child, errors
