"""`kerascnn doctor`, asked of machines that are described and not there."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import pytest

from export.tools.doctor import (
    Finding,
    Level,
    Probe,
    examine,
    has_problem,
    lines,
)
from training.common import gpus
from training.common.gpus import GPU, half_precision

SMI = "NVIDIA GeForce RTX 4070, 12282, 8.9, 560.35.03"
HERE = "tensorflow", "keras", "kerascnn", "tf_keras", "tensorflow-model-optimization"
FILES = "ai-edge-litert", "litert-quantizer", "onnx", "onnxruntime", "tf2onnx"


class Machine(Probe):
    """A machine by its answers: what is not said is not there."""

    def __init__(
        self,
        *,
        commands: Mapping[str, str] | None = None,
        backends: Mapping[str, Mapping[str, Any]] | None = None,
        files: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        packages: tuple[str, ...] = HERE + FILES,
        version: tuple[int, int, int] = (3, 12, 4),
        free: int = 100 << 30,
    ) -> None:
        self._commands = dict(commands or {})
        self._backends = backends or {"tensorflow": {"version": "2.21.0", "gpus": []}}
        self._files = {
            "/proc/cpuinfo": "flags : avx2 avx_vnni",
            "/proc/meminfo": "MemTotal: 16777216 kB",
        } | dict(files or {})
        self._environment = environment or {}
        self._packages, self._version, self._free = packages, version, free

    def command(self, *words: str) -> str | None:
        return self._commands.get(" ".join(words[:2]), self._commands.get(words[0]))

    def backend(self, name: str) -> Mapping[str, Any]:
        return self._backends[name]

    def version(self, package: str) -> str | None:
        return "1.2.3" if package in self._packages or package in self._backends else None

    def read(self, path: str) -> str:
        return self._files.get(path, "")

    def listing(self, path: str) -> list[str]:
        return sorted({p[len(path) + 1 :].split("/")[0] for p in self._files if p.startswith(path)})

    def environment(self, name: str) -> str | None:
        return self._environment.get(name)

    def disk(self, path: pathlib.Path) -> int:
        return self._free

    def python(self) -> tuple[int, int, int]:
        return self._version


def of(findings: list[Finding], part: str) -> list[Finding]:
    return [one for one in findings if one.part == part]


def test_a_sound_machine_has_no_problem() -> None:
    findings = examine(Machine())
    assert not has_problem(findings)
    (gpu,) = of(findings, "GPU")
    assert gpu.level == Level.GOOD
    assert of(findings, "memory")[0].text == "16.0 GiB"
    assert of(findings, "int8") == [Finding(part="int8", text="AVX VNNI")]


def test_a_gpu_that_the_backend_does_not_see_is_a_problem_with_its_remedy() -> None:
    machine = Machine(
        commands={"nvidia-smi": SMI},
        backends={"tensorflow": {"version": "2.21.0", "cuda": True, "gpus": []}},
    )
    findings = examine(machine)
    assert has_problem(findings)
    (backend,) = of(findings, "backend")
    assert backend.level == Level.PROBLEM
    assert "does not see the GPU: CUDA's libraries" in backend.text
    assert "kerascnn[cuda]" in str(backend.remedy)
    (gpu,) = of(findings, "GPU")
    assert gpu.text == (
        "NVIDIA GeForce RTX 4070 (12 GiB, driver 560.35.03), gains by bfloat16"
    )  # fmt: skip


def test_a_backend_that_is_not_in_use_is_a_note() -> None:
    machine = Machine(
        commands={"nvidia-smi": SMI},
        backends={
            "tensorflow": {"version": "2.21.0", "cuda": True, "gpus": ["RTX 4070"]},
            "torch": {"version": "2.9", "cuda": False, "gpus": []},
        },
    )
    findings = examine(machine)
    assert not has_problem(findings)
    seen, unseen = of(findings, "backend")
    assert seen.text == "tensorflow (in use) sees RTX 4070"
    assert unseen.level == Level.NOTE
    assert "built without CUDA" in unseen.text


def test_one_of_two_gpus_is_told() -> None:
    machine = Machine(
        commands={"nvidia-smi": f"{SMI}\n{SMI}"},
        backends={"tensorflow": {"version": "2.21.0", "cuda": True, "gpus": ["RTX 4070"]}},
    )
    (backend,) = of(examine(machine), "backend")
    assert "sees 1 of 2 GPUs" in backend.text


@pytest.mark.parametrize("value", ["", "-1"])
def test_hidden_gpus_are_told(value: str) -> None:
    machine = Machine(
        commands={"nvidia-smi": SMI}, environment={"CUDA_VISIBLE_DEVICES": value}
    )  # fmt: skip
    told = of(examine(machine), "GPU")
    assert told[-1].remedy == "unset CUDA_VISIBLE_DEVICES"


def test_a_backend_that_cannot_be_imported_is_told_in_its_words() -> None:
    machine = Machine(backends={"tensorflow": {"error": "ImportError: libcudart.so.12"}})
    (backend,) = of(examine(machine), "backend")
    assert backend.level == Level.PROBLEM
    assert "libcudart.so.12" in backend.text


def test_a_backend_asked_for_that_is_not_there() -> None:
    findings = examine(Machine(environment={"KERAS_BACKEND": "torch"}))
    told = [one for one in of(findings, "backend") if one.level == Level.PROBLEM]
    assert [one.remedy for one in told] == ["pip install torch"]


def test_without_nvidia_smi_the_driver_is_asked() -> None:
    path = "/proc/driver/nvidia/gpus/0000:01:00.0/information"
    machine = Machine(files={path: "Model: \t NVIDIA T4\nIRQ: 1"})
    assert gpus.of_driver(machine.command, machine.read, machine.listing) == [GPU(name="NVIDIA T4")]


@pytest.mark.parametrize(
    ("capability", "expected"),
    [(None, ""), ((6, 1), ""), ((7, 0), "float16"), ((7, 5), "float16"), ((8, 0), "bfloat16")],
)
def test_half_precision_by_generation(
    capability: tuple[int, int] | None, expected: str
) -> None:  # fmt: skip
    assert half_precision(capability) == expected


def test_lines_of_nvidia_smi_that_say_little() -> None:
    machine = Machine(commands={"nvidia-smi": "Tesla K80, [N/A], [N/A], 470.1"})
    assert gpus.of_driver(machine.command, machine.read, machine.listing) == [
        GPU(name="Tesla K80", driver="470.1")
    ]


def test_little_of_everything() -> None:
    machine = Machine(
        files={
            "/proc/cpuinfo": "flags : sse2",
            "/sys/fs/cgroup/memory.max": str(2 << 30),
        },
        packages=tuple(name for name in HERE + FILES if name != "onnxruntime"),
        version=(3, 10, 1),
        free=1 << 30,
    )
    findings = examine(machine)
    assert of(findings, "memory")[0].text == "2.0 GiB"
    assert of(findings, "memory")[0].level == Level.NOTE
    assert of(findings, "disk")[0].level == Level.NOTE
    assert of(findings, "int8")[0].level == Level.NOTE
    problems = [one.text for one in findings if one.level == Level.PROBLEM]
    assert problems == [
        "3.10.1, and 3.11, 3.12 or 3.13 is needed",
        "onnxruntime is not installed",
    ]  # fmt: skip


def test_phones_and_their_state() -> None:
    listed = "List of devices attached\nabc\tdevice\ndef\tunauthorized\n"
    machine = Machine(commands={"adb devices": listed, "adb version": "Android Debug Bridge 1.0"})
    told = of(examine(machine), "phone")
    assert [one.level for one in told if "abc" in one.text] == [Level.GOOD]
    (locked,) = [one for one in told if "unauthorized" in one.text]
    assert "USB debugging" in str(locked.remedy)


def test_the_real_machine_answers_in_lines() -> None:
    class Unasked(Probe):
        """Frameworks take seconds each."""

        def backend(self, name: str) -> Mapping[str, Any]:
            return {"version": "0", "gpus": ["one", "two"] * 8}

    told = lines(examine(Unasked()))
    assert any(line.startswith("ok       Python: 3.") for line in told)
    assert all("\n" not in line for line in told)
