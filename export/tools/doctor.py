"""`kerascnn doctor`: what this machine has, what the program sees of it, and what mends a gap.

Every check asks a `Probe`, which a test replaces by one that answers like another machine. Backends
are asked in processes of their own: a framework that crashes in its import is a finding.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from training.common import gpus
from training.common.cores import WORKERS
from training.common.gpus import GPU, half_precision

_GIB = 2**30
# A framework's import on a loaded machine takes its time; one that never ends is given up.
_SECONDS = 300.0
_PACKAGES = (
    *("kerascnn", "keras", "tensorflow", "tf_keras", "tensorflow-model-optimization", "jax"),
    *("torch", "ai-edge-litert", "litert-quantizer", "onnx", "onnxruntime", "tf2onnx"),
)
_OPTIONAL = ("jax", "torch")
# Below these a set of photos, its run and its files do not fit.
_LEAST_DISK = 5 * _GIB
_LEAST_MEMORY = 4 * _GIB
_CUDA = {
    "tensorflow": "make setup GPU=1, or: pip install 'kerascnn[cuda]'",
    "jax": "pip install 'kerascnn[jax-cuda]'",
    "torch": "install PyTorch for CUDA: https://pytorch.org/get-started/locally",
}
# What each backend prints of itself, as JSON; a CPU is not among "gpus".
_ASK = {
    "tensorflow": """
import json, tensorflow as tf
gpus = tf.config.list_physical_devices("GPU")
details = [tf.config.experimental.get_device_details(one) for one in gpus]
print(json.dumps({
    "version": tf.__version__, "cuda": bool(tf.test.is_built_with_cuda()),
    "gpus": [one.get("device_name", "GPU") for one in details],
    "capability": [list(one.get("compute_capability", ())) for one in details],
}))
""",
    "jax": """
import json, jax
gpus = [one for one in jax.devices() if one.platform != "cpu"]
print(json.dumps({
    "version": jax.__version__, "cuda": any(one.platform in ("gpu", "cuda") for one in gpus),
    "gpus": [one.device_kind for one in gpus],
}))
""",
    "torch": """
import json, torch
count = torch.cuda.device_count()
print(json.dumps({
    "version": torch.__version__, "cuda": torch.version.cuda is not None,
    "gpus": [torch.cuda.get_device_name(i) for i in range(count)],
}))
""",
}


class Level(enum.StrEnum):
    """How a finding is to be taken."""

    GOOD = "good"
    NOTE = "note"
    PROBLEM = "problem"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the doctor's answer.

    Attributes:
        part: of the machine: "Python", "GPU", ...
        text: what was found.
        level: a problem makes the command's exit code 1.
        remedy: the command or the step that mends it; None where there is nothing to mend.
    """

    part: str
    text: str
    level: Level = Level.GOOD
    remedy: str | None = None

    def to_dict(self) -> dict[str, str | None]:
        """The JSON form."""
        return {**dataclasses.asdict(self), "level": str(self.level)}


class Probe:
    """How a machine is asked; all else is a function of the answers."""

    def command(self, *words: str) -> str | None:
        """What a program prints; None where there is no such program, or it fails."""
        return gpus.run(*words)

    def backend(self, name: str) -> Mapping[str, Any]:
        """What a backend says of itself; {"error": the last line} where it fails."""
        try:
            done = subprocess.run(
                [sys.executable, "-c", _ASK[name]],
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            )
        except subprocess.TimeoutExpired:
            return {"error": f"no answer in {_SECONDS:g} seconds"}
        lines = done.stdout.strip().splitlines()
        if done.returncode or not lines:
            said = done.stderr.strip().splitlines()
            return {"error": said[-1] if said else f"ended by signal {-done.returncode}"}
        found: dict[str, Any] = json.loads(lines[-1])
        return found

    def version(self, package: str) -> str | None:
        """The installed version of a distribution; None where it is not there."""
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return None

    def read(self, path: str) -> str:
        """A text file of the system; "" where there is none."""
        return gpus.text_of(path)

    def listing(self, path: str) -> list[str]:
        """The names in a folder of the system; none where there is no such folder."""
        return gpus.names_in(path)

    def environment(self, name: str) -> str | None:
        """A variable of the environment."""
        return os.environ.get(name)

    def disk(self, path: pathlib.Path) -> int:
        """Free bytes where a folder lies, or would lie."""
        there = path.absolute()
        while not there.exists():
            there = there.parent
        return shutil.disk_usage(there).free

    def python(self) -> tuple[int, int, int]:
        """Version of this interpreter."""
        return sys.version_info[:3]

    def processor(self) -> str:
        """Architecture, as "x86_64" or "aarch64"."""
        return platform.machine()

    def cores(self) -> int:
        """Cores that this process may use."""
        return WORKERS


def examine(probe: Probe | None = None) -> list[Finding]:
    """All findings, in the order in which they are to be read."""
    probe = probe or Probe()
    there = gpus.of_driver(probe.command, probe.read, probe.listing)
    parts: Sequence[Iterator[Finding]] = (
        _python(probe),
        _packages(probe),
        _machine(probe),
        _gpus(probe, there),
        _backends(probe, there),
        _runtimes(probe),
        _phones(probe),
    )
    return [finding for part in parts for finding in part]


def _python(probe: Probe) -> Iterator[Finding]:
    version = probe.python()
    text = ".".join(map(str, version))
    if (3, 11) <= version[:2] <= (3, 13):
        yield Finding(part="Python", text=text)
        return
    yield Finding(
        part="Python",
        text=f"{text}, and 3.11, 3.12 or 3.13 is needed",
        level=Level.PROBLEM,
        remedy="make setup PYTHON=python3.12",
    )


def _packages(probe: Probe) -> Iterator[Finding]:
    for package in _PACKAGES:
        if (version := probe.version(package)) is not None:
            yield Finding(part="package", text=f"{package} {version}")
        elif package not in _OPTIONAL:
            yield Finding(
                part="package",
                text=f"{package} is not installed",
                level=Level.PROBLEM,
                remedy=f"pip install {package}",
            )


def _machine(probe: Probe) -> Iterator[Finding]:
    yield Finding(part="processor", text=f"{probe.processor()}, {probe.cores()} usable cores")
    yield _int8_instructions(probe)
    if memory := _memory(probe):
        low = memory < _LEAST_MEMORY
        yield Finding(
            part="memory",
            text=f"{memory / _GIB:.1f} GiB",
            level=Level.NOTE if low else Level.GOOD,
            remedy="train with a smaller --batch-size and --image-size" if low else None,
        )
    free = probe.disk(pathlib.Path.cwd())
    few = free < _LEAST_DISK
    yield Finding(
        part="disk",
        text=f"{free / _GIB:.1f} GiB free in this folder",
        level=Level.NOTE if few else Level.GOOD,
        remedy="work in a folder on a larger disk" if few else None,
    )


def _int8_instructions(probe: Probe) -> Finding:
    """Which instructions int8 files are measured with here: a phone has dot products."""
    words = set(probe.read("/proc/cpuinfo").split())
    if not words:
        return Finding(part="int8", text="the processor's instructions are not known here")
    for flag, name in (
        *(("avx512_vnni", "AVX-512 VNNI"), ("avx_vnni", "AVX VNNI")),
        *(("asimddp", "dot products"), ("avx512f", "AVX-512"), ("avx2", "AVX2")),
    ):
        if flag in words:
            fast = "vnni" in flag or flag == "asimddp"
            return Finding(
                part="int8",
                text=name if fast else f"{name} without int8 dot products",
                level=Level.GOOD if fast else Level.NOTE,
                remedy=None if fast else "latencies of int8 files here are not those of phones",
            )
    return Finding(
        part="int8",
        text="no vector instructions for int8",
        level=Level.NOTE,
        remedy="latencies of int8 files here are not those of phones",
    )


def _memory(probe: Probe) -> int:
    """Bytes that this process may use: of the machine, or of its control group."""
    sizes = []
    for line in probe.read("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            sizes.append(int(line.split()[1]) * 1024)
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        if (text := probe.read(path).strip()).isdigit():
            sizes.append(int(text))
    return min(sizes, default=0)


def _gpus(probe: Probe, there: Sequence[GPU]) -> Iterator[Finding]:
    if not there:
        yield Finding(part="GPU", text="the system's driver knows none; trainings use the CPU")
    for gpu in there:
        gains = half_precision(gpu.capability)
        yield Finding(part="GPU", text=f"{gpu}{f', gains by {gains}' if gains else ''}")
    hidden = probe.environment("CUDA_VISIBLE_DEVICES")
    if there and hidden is not None and hidden.strip() in ("", "-1"):
        yield Finding(
            part="GPU",
            text=f"CUDA_VISIBLE_DEVICES={hidden!r} hides all GPUs from every backend",
            level=Level.PROBLEM,
            remedy="unset CUDA_VISIBLE_DEVICES",
        )


def _backends(probe: Probe, there: Sequence[GPU]) -> Iterator[Finding]:
    used = probe.environment("KERAS_BACKEND") or "tensorflow"
    for name in _ASK:
        if probe.version(name) is None:
            if name == used:
                yield Finding(
                    part="backend",
                    text=f"KERAS_BACKEND is {used}, which is not installed",
                    level=Level.PROBLEM,
                    remedy=f"pip install {name}",
                )
            continue
        yield _backend(name, probe.backend(name), there, used=name == used)


def _backend(name: str, said: Mapping[str, Any], there: Sequence[GPU], *, used: bool) -> Finding:
    """What one backend sees, against what there is."""
    title = f"{name} ({'in use' if used else 'set KERAS_BACKEND=' + name})"
    worst = Level.PROBLEM if used else Level.NOTE
    if "error" in said:
        return Finding(
            part="backend",
            text=f"{title} cannot be imported: {said['error']}",
            level=worst,
            remedy=f"pip install --force-reinstall {name}",
        )
    seen = list(said.get("gpus", ()))
    if len(seen) >= len(there):
        text = f"{title} sees {', '.join(seen)}" if seen else f"{title} uses the CPU"
        return Finding(part="backend", text=text)
    why = (
        "CUDA's libraries are missing or do not fit the driver"
        if said.get("cuda")
        else "it is built without CUDA"
    )
    what = f"sees {len(seen)} of {len(there)} GPUs" if seen else "does not see the GPU"
    return Finding(part="backend", text=f"{title} {what}: {why}", level=worst, remedy=_CUDA[name])


def _runtimes(probe: Probe) -> Iterator[Finding]:
    for package, what in (
        ("ai-edge-litert", "LiteRT runs .tflite files, with XNNPACK"),
        ("onnxruntime", "ONNX Runtime runs .onnx files"),
    ):
        if (version := probe.version(package)) is not None:
            yield Finding(part="runtime", text=f"{what}: {package} {version}")


def _phones(probe: Probe) -> Iterator[Finding]:
    tools: Sequence[tuple[str, Callable[[], str | None], str, str]] = (
        (
            "adb",
            lambda: probe.command("adb", "version"),
            "installing the Android demo by cable",
            "install Android's platform-tools",
        ),
        ("npm", lambda: probe.command("npm", "--version"), "the web page", "install Node.js"),
        (
            "java",
            lambda: probe.command("java", "--version"),
            "tests of the Android demo",
            "install a JDK 17 or newer",
        ),
    )
    for name, ask, what, remedy in tools:
        if answer := ask():
            first = answer.splitlines()[0]
            yield Finding(part="phone", text=f"{name}: {first}")
        else:
            yield Finding(
                part="phone",
                text=f"{name} is not installed; it is for {what}",
                level=Level.NOTE,
                remedy=remedy,
            )
    if devices := probe.command("adb", "devices"):
        rows = [line.split("\t") for line in devices.splitlines()[1:] if "\t" in line]
        for serial, state in rows:
            ready = state == "device"
            yield Finding(
                part="phone",
                text=f"{serial} is connected" if ready else f"{serial} is {state}",
                level=Level.GOOD if ready else Level.NOTE,
                remedy=None if ready else "allow USB debugging on the phone's screen",
            )


def lines(findings: Sequence[Finding]) -> list[str]:
    """The findings for a terminal, a line each and one below for what mends it."""
    marks = {Level.GOOD: "ok", Level.NOTE: "note", Level.PROBLEM: "PROBLEM"}
    width = max(len(mark) for mark in marks.values())
    printed = []
    for one in findings:
        printed.append(f"{marks[one.level]:<{width}}  {one.part}: {one.text}")
        if one.remedy:
            printed.append(f"{'':<{width}}    {one.remedy}")
    return printed


def has_problem(findings: Sequence[Finding]) -> bool:
    """Whether anything has to be mended before this machine is used as it could be."""
    return any(one.level == Level.PROBLEM for one in findings)
