"""What a training takes of machines that are described and not there."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.common.gpus import GPU
from training.engine import hardware, network
from training.engine.config import TrainConfig
from training.engine.hardware import Accelerator, Choices, Hardware, choose, device_line
from training.engine.request import request

AMPERE = Accelerator(kind="gpu", name="NVIDIA A100", capability=(8, 0))
TURING = Accelerator(kind="gpu", name="NVIDIA T4", capability=(7, 5))
PASCAL = Accelerator(kind="gpu", name="GTX 1080", capability=(6, 1))
UNKNOWN = Accelerator(kind="gpu", name="some GPU")
TPU = Accelerator(kind="tpu", name="TPU v4")


@pytest.mark.parametrize(
    ("backend", "accelerators", "expected"),
    [
        ("tensorflow", (), ("float32", False, True)),
        ("jax", (), ("float32", True, True)),
        ("torch", (), ("float32", False, True)),
        ("tensorflow", (AMPERE,), ("mixed_bfloat16", True, False)),
        ("tensorflow", (TURING,), ("mixed_float16", True, False)),
        ("tensorflow", (PASCAL,), ("float32", True, False)),
        ("tensorflow", (UNKNOWN,), ("float32", True, False)),
        ("tensorflow", (AMPERE, TURING), ("mixed_float16", True, False)),
        ("tensorflow", (AMPERE, PASCAL), ("float32", True, False)),
        ("jax", (AMPERE,), ("mixed_bfloat16", True, False)),
        ("jax", (TPU,), ("mixed_bfloat16", True, False)),
        ("torch", (AMPERE,), ("mixed_bfloat16", False, False)),
    ],
)
def test_defaults_are_functions_of_what_the_backend_reports(
    backend: str, accelerators: tuple[Accelerator, ...], expected: tuple[str, bool, bool]
) -> None:
    found = choose(Hardware(backend=backend, accelerators=accelerators), TrainConfig())
    assert (found.precision, found.jit, found.deterministic) == expected


@pytest.mark.parametrize(
    ("backend", "accelerators", "ahead"),
    [
        ("tensorflow", (), 0),
        ("tensorflow", (AMPERE,), 2),
        ("tensorflow", (PASCAL,), 2),
        ("jax", (), 0),
        ("jax", (TPU,), 1),  # by Keras itself
        ("torch", (AMPERE,), 0),
    ],
)
def test_batches_are_copied_ahead_to_a_device_that_is_not_the_cpu(
    backend: str, accelerators: tuple[Accelerator, ...], ahead: int
) -> None:
    assert (
        choose(Hardware(backend=backend, accelerators=accelerators), TrainConfig()).ahead == ahead
    )


def test_what_is_asked_for_goes_before() -> None:
    gpu = Hardware(backend="tensorflow", accelerators=(AMPERE,))
    assert choose(gpu, TrainConfig(precision="float32")).precision == "float32"
    assert choose(gpu, TrainConfig(deterministic="yes")).deterministic
    cpu = Hardware(backend="tensorflow")
    asked = TrainConfig(precision="mixed_float16", deterministic="no")
    assert choose(cpu, asked) == Choices(precision="mixed_float16", jit=False, deterministic=False)


def test_a_misspelt_precision() -> None:
    with pytest.raises(InputError, match=r"did you mean .*mixed_float16"):
        TrainConfig(precision="mixed_flaot16")


def test_a_run_of_before_was_trained_in_float32_and_repeatably() -> None:
    plain = dataclasses.asdict(TrainConfig())
    del plain["precision"], plain["deterministic"]
    gpu = Hardware(backend="tensorflow", accelerators=(AMPERE,))
    found = choose(gpu, TrainConfig.from_dict(plain))
    assert (found.precision, found.deterministic) == ("float32", True)


def test_the_network_is_built_in_the_precision_of_the_hardware(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = Hardware(backend="tensorflow", accelerators=(TURING,))
    monkeypatch.setattr(hardware, "seen", lambda: gpu)
    asked = request("lenet5", data="mnist")
    assert network.with_precision(asked) == {"dtype": "mixed_float16"}
    preprocessing = Preprocessing(height=28, width=28, channels=1)
    model = network.build(asked, preprocessing, classes=10)
    assert model.get_layer("stage2_block1_conv").compute_dtype == "float16"
    plain = network.in_single_precision(asked, preprocessing, model, classes=10)
    assert plain.get_layer("stage2_block1_conv").compute_dtype == "float32"
    assert all(
        np.array_equal(one, other)
        for one, other in zip(plain.get_weights(), model.get_weights(), strict=True)
    )
    given = request("lenet5", data="mnist", model_options={"dtype": "float32"})
    assert network.with_precision(given) == {"dtype": "float32"}


def test_the_line_names_devices_and_choices() -> None:
    two = Hardware(backend="tensorflow", accelerators=(AMPERE, AMPERE))
    assert device_line(two, choose(two, TrainConfig())) == (
        "tensorflow on 2 x NVIDIA A100: mixed_bfloat16, XLA, not deterministic"
    )
    cpu = Hardware(backend="jax")
    assert (
        device_line(cpu, choose(cpu, TrainConfig()))
        == "jax on the CPU: float32, XLA, deterministic"
    )


def test_a_gpu_that_is_not_seen_is_warned_of() -> None:
    there = [GPU(name="NVIDIA T4", memory=16 << 30)]
    told = hardware.unused_gpus(Hardware(backend="tensorflow"), there)
    assert told
    assert "does not see NVIDIA T4 (16 GiB)" in told
    assert hardware.unused_gpus(Hardware(backend="tensorflow"), []) is None
    seen = Hardware(backend="tensorflow", accelerators=(TURING,))
    assert hardware.unused_gpus(seen, there) is None


def test_this_machine_is_asked_by_the_backend() -> None:
    assert hardware.seen().backend in ("tensorflow", "jax", "torch")
