"""Let a model file from elsewhere crash a process that nobody needs.

The runtimes are C++ that trusts the files it is given: a damaged one, or one made to do harm, ends
the process that runs it, or asks for all memory there is. So files that this process did not make
are loaded and run once in a child first, with bounds on memory and processor time, and are
refused if it does not come back.
"""

from __future__ import annotations

import json
import pathlib
import signal
from collections.abc import Sequence

from kerascnn.errors import InputError
from training.common import atomic, bounded

CHILD = pathlib.Path(__file__).with_name("first_run_child.py")
_SUFFIXES = (".tflite", ".onnx")
_LEAST_MEMORY, _MOST_MEMORY = 2**32, 2**34
_REMEDY = "get it again, or make it again: kerascnn compress"

_sound: set[str] = set()


def require(paths: Sequence[pathlib.Path]) -> None:
    """Run each .tflite and .onnx file once in a child; each content once a process.

    Raises:
        InputError: names the first file that its runtime refuses, or that ends the child.
    """
    digests = {path: atomic.sha256(path) for path in paths if path.suffix in _SUFFIXES}
    left = [path for path, digest in digests.items() if digest not in _sound]
    if not left:
        return
    done = bounded.run(CHILD, *(path.resolve() for path in left), memory=memory())
    for path, line in zip(left, done.stdout.decode(errors="replace").splitlines(), strict=False):
        _place, _, answer = line.partition(" ")
        if not answer:
            raise InputError(f"{path} ends its runtime ({_how(done.returncode)}); {_REMEDY}")
        if (reason := json.loads(answer)) is not None:
            raise InputError(
                f"{path} is not a model that its runtime can run ({reason}); {_REMEDY}"
            )
        _sound.add(digests[path])
    if any(digests[path] not in _sound for path in left):
        errors = done.stderr.decode(errors="replace").strip().splitlines() or [""]
        raise InputError(f"{left[0]} cannot be tried: {errors[-1]} ({_how(done.returncode)})")


def vouch(path: pathlib.Path) -> None:
    """Take a file for sound that this process has made and run itself."""
    _sound.add(atomic.sha256(path))


def memory() -> int:
    """Half of the machine's, in bytes of address space."""
    return bounded.half_of_memory(least=_LEAST_MEMORY, most=_MOST_MEMORY)


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    if -code in (signal.SIGXCPU, signal.SIGKILL):
        return "it takes too long, or too much memory"
    return signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
