"""A script with bounds on memory and processor time; `training.common.bounded` starts it.

    python -I bounded_child.py MEMORY_BYTES CPU_SECONDS SCRIPT ARGUMENT...

Nothing of the project is imported: it is started for every file from outside, and has to be fast.
"""

from __future__ import annotations

import contextlib
import resource
import runpy
import sys


def main(memory: str, seconds: str, script: str, *arguments: str) -> None:
    """Run the script as if it had been started by itself."""
    bound(resource.RLIMIT_CORE, 0)
    bound(resource.RLIMIT_AS, int(memory))
    bound(resource.RLIMIT_CPU, int(seconds))
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


def bound(kind: int, most: int) -> None:
    """Set a limit, as far as the system and its own limits let it."""
    _soft, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    with contextlib.suppress(ValueError, OSError):  # a system that has no such limit
        resource.setrlimit(kind, (most, hard))


if __name__ == "__main__":
    main(*sys.argv[1:])
