"""GPUs that the system's driver knows, whether or not a backend sees them."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import subprocess
from collections.abc import Callable

_ROOT = "/proc/driver/nvidia/gpus"
_FIELDS = "name,memory.total,compute_cap,driver_version"
_SECONDS = 60.0  # a driver that does not answer is given up
_GIB = 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class GPU:
    """A GPU of this machine.

    Attributes:
        memory: bytes; 0: not known.
        capability: of CUDA, as (8, 0); None: not known.
        driver: its version; "": not known.
    """

    name: str
    memory: int = 0
    capability: tuple[int, int] | None = None
    driver: str = ""

    def __str__(self) -> str:
        parts = [f"{self.memory / _GIB:.0f} GiB"] if self.memory else []
        parts += [f"driver {self.driver}"] if self.driver else []
        return self.name + (f" ({', '.join(parts)})" if parts else "")


def half_precision(capability: tuple[int, int] | None) -> str:
    """The 16-bit type that a GPU trains faster in; "" where it gains by none, or is not known.

    Source: NVIDIA, "CUDA C++ Programming Guide", compute capabilities: tensor cores take float16
    from 7.0 and bfloat16 from 8.0.
    """
    if capability is None or capability < (7, 0):
        return ""
    return "bfloat16" if capability >= (8, 0) else "float16"


def of_driver(
    command: Callable[..., str | None] | None = None,
    read: Callable[[str], str] | None = None,
    listing: Callable[[str], list[str]] | None = None,
) -> list[GPU]:
    """GPUs that NVIDIA's driver knows: by nvidia-smi, else by what the kernel module says.

    Args:
        command: what a program prints, None without it; by default it is run.
        read: a file's text, "" without it.
        listing: names in a folder.
    """
    command, read, listing = command or run, read or text_of, listing or names_in
    printed = command("nvidia-smi", f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits")
    if printed:
        return [_of_line(line) for line in printed.splitlines() if line.strip()]
    found = []
    for folder in listing(_ROOT):
        for line in read(f"{_ROOT}/{folder}/information").splitlines():
            if line.startswith("Model:"):
                found.append(GPU(name=line.partition(":")[2].strip()))
    return found


def _of_line(line: str) -> GPU:
    name, memory, capability, driver = ([part.strip() for part in line.split(",")] + [""] * 4)[:4]
    return GPU(
        name=name,
        memory=int(memory) * 2**20 if memory.isdigit() else 0,
        capability=capability_of(capability),
        driver=driver,
    )


def capability_of(text: str) -> tuple[int, int] | None:
    """(8, 9) of "8.9"; None of anything else."""
    major, _, minor = text.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None


def run(*words: str, seconds: float = _SECONDS) -> str | None:
    """What a program prints; None where there is no such program, or it fails."""
    if (program := shutil.which(words[0])) is None:
        return None
    try:
        done = subprocess.run(
            [program, *words[1:]],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def text_of(path: str) -> str:
    """A text file of the system; "" where there is none."""
    try:
        return pathlib.Path(path).read_text(errors="replace")
    except OSError:
        return ""


def names_in(path: str) -> list[str]:
    """The names in a folder of the system; none where there is no such folder."""
    try:
        return sorted(one.name for one in pathlib.Path(path).iterdir())
    except OSError:
        return []
