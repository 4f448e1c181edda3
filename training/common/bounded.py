"""What may crash, or ask for all there is, runs in a process that nobody needs."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

_CHILD = pathlib.Path(__file__).with_name("bounded_child.py")
# The slowest files (int16x8 of the largest networks) take a minute.
_CPU_SECONDS = 600


def run(
    script: pathlib.Path, *arguments: object, memory: int
) -> subprocess.CompletedProcess[bytes]:
    """Run a script to its end, in isolation; it sees nothing of the project.

    Args:
        memory: bytes of address space that it may take.
    """
    return subprocess.run(
        [
            *(sys.executable, "-I", str(_CHILD), str(memory), str(_CPU_SECONDS)),
            *(str(script), *map(str, arguments)),
        ],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def half_of_memory(*, least: int, most: int) -> int:
    """Half of the machine's memory in bytes, but within bounds."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(max(there // 2, least), most)
