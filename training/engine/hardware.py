"""What a training takes of the hardware by default: half precision, XLA, and determinism.

Each choice is a function of what the backend reports (`Hardware`), of what the driver knows beside
it, and of what was asked for; nothing else decides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from training.common import gpus
from training.common.gpus import GPU, half_precision
from training.engine.config import TrainConfig
from training.engine.waiting import Waiting

# Of jax Keras 3.15 sees to by itself (`JAXEpochIterator`); of torch, whose batches Keras takes
# through a DataLoader, nobody does.
_AHEAD = {"tensorflow": 2, "jax": 1}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accelerator:
    """A device of a backend that is not the CPU.

    Attributes:
        kind: "gpu" or "tpu".
        capability: of CUDA, as (8, 0); None: not known.
    """

    kind: str
    name: str
    capability: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a backend reports of this machine; no accelerators: it computes on the CPU."""

    backend: str
    accelerators: tuple[Accelerator, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choices:
    """How a training uses its hardware.

    Attributes:
        precision: Keras' dtype policy of the layers; variables are float32 in each.
        jit: whether XLA compiles the step.
        deterministic: whether the same training gives the same weights to the last bit.
        ahead: batches that are on the device before the step asks for them; 0: none.
    """

    precision: str
    jit: bool
    deterministic: bool
    ahead: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return dataclasses.asdict(self)


def seen() -> Hardware:
    """What Keras' backend reports; the backend takes its devices by that."""
    backend = keras.backend.backend()
    found = {"tensorflow": _of_tensorflow, "jax": _of_jax, "torch": _of_torch}.get(backend)
    return Hardware(backend=backend, accelerators=tuple(found() if found else ()))


def _of_tensorflow() -> list[Accelerator]:
    import tensorflow as tf

    found = []
    for device in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(device)
        capability = details.get("compute_capability")
        found.append(
            Accelerator(
                kind="gpu",
                name=details.get("device_name", device.name),
                capability=tuple(capability) if capability else None,
            )
        )
    return found


def _of_jax() -> list[Accelerator]:
    import jax

    return [
        Accelerator(
            kind="tpu" if device.platform == "tpu" else "gpu",
            name=device.device_kind,
            capability=gpus.capability_of(str(getattr(device, "compute_capability", ""))),
        )
        for device in jax.local_devices()
        if device.platform != "cpu"
    ]


def _of_torch() -> list[Accelerator]:
    import torch

    return [
        Accelerator(
            kind="gpu",
            name=torch.cuda.get_device_name(index),
            capability=torch.cuda.get_device_capability(index),
        )
        for index in range(torch.cuda.device_count())
    ]


def choose(hardware: Hardware, config: TrainConfig) -> Choices:
    """What a training takes: what its configuration says, and for "auto" the machine's defaults.

    On accelerators: half precision where all of them are faster in it, XLA, no determinism, which
    costs them speed, and batches that are copied while the step before computes. On a CPU: float32
    and determinism; XLA under jax alone, since it makes depthwise networks five times slower under
    tensorflow.
    """
    fast = bool(hardware.accelerators)
    precision, deterministic = config.precision, config.deterministic
    return Choices(
        precision=_precision(hardware) if precision == "auto" else precision,
        jit=hardware.backend == "jax" or (fast and hardware.backend == "tensorflow"),
        deterministic=not fast if deterministic == "auto" else deterministic == "yes",
        ahead=_AHEAD.get(hardware.backend, 0) if fast else 0,
    )


def chosen(config: TrainConfig) -> Choices:
    """`choose` for what the backend reports."""
    return choose(seen(), config)


def prefetched(batches: Any, choices: Choices, waiting: Waiting) -> Any:
    """What a step takes: the same batches, copied to the device while earlier ones are used.

    Where `choices` say so; else as they are. Batches that a tf.distribute strategy hands out are
    copied by that.

    Args:
        batches: as Keras takes them.
        waiting: is called for each.
    """
    if not choices.ahead:
        return batches
    if isinstance(batches, Iterator):
        return waiting.asked(batches)
    if keras.backend.backend() != "tensorflow":
        return batches
    from training.datasets import streams

    if not streams.is_stream(batches):
        return batches
    noted = streams.noted(batches, waiting.note_ready)
    return streams.on_device(noted, streams.FIRST_GPU, choices.ahead)


def _precision(hardware: Hardware) -> str:
    types = {
        "bfloat16" if one.kind == "tpu" else half_precision(one.capability)
        for one in hardware.accelerators
    }
    if not types or "" in types:
        return "float32"
    return "mixed_float16" if "float16" in types else "mixed_bfloat16"


def device_line(hardware: Hardware, choices: Choices) -> str:
    """The devices and the choices, in one line for a person."""
    names = [one.name for one in hardware.accelerators]
    counted = [
        f"{names.count(name)} x {name}" if names.count(name) > 1 else name
        for name in dict.fromkeys(names)
    ]
    how = [choices.precision]
    how += ["XLA"] if choices.jit else []
    how += ["deterministic"] if choices.deterministic else ["not deterministic"]
    return f"{hardware.backend} on {', '.join(counted) or 'the CPU'}: {', '.join(how)}"


def unused_gpus(hardware: Hardware, there: Sequence[GPU] | None = None) -> str | None:
    """A warning where the driver knows a GPU and the backend sees none; else None.

    Args:
        there: of the driver; None: it is asked.
    """
    if hardware.accelerators:
        return None
    there = gpus.of_driver() if there is None else there
    if not there:
        return None
    return (
        f"{hardware.backend} does not see {there[0]} and trains on the CPU; "
        "kerascnn doctor says why, and what mends it"
    )
