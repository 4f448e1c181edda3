"""Images per second of training on one GPU: ours under jax against torchvision in plain torch.

Command:  KERAS_BACKEND=jax python benchmarks/gpu_throughput.py
Needs:    keras and jax with CUDA; for the peers torch with CUDA and torchvision; no tensorflow.
Figures:  not yet run on a GPU. `--tiny` runs all of it on a CPU in some ten minutes, most of which
          is XLA's compiling, and says nothing but that it runs (it does: jax 0.10, torch 2.15).

resnet50 and mobilenet_v2 at 224, efficientnet_lite0 at 224 and efficientdet_lite0 at 320. Ours is
what `kerascnn train` does, input pipeline and augmentation included, and each step's loss is read,
as there: `scenes-digits` enlarged, and for the detector `scenes`, in mixed bfloat16 with float32
weights. torchvision has the first two: as many classes, bytes in memory, random crop and flip on
the device, SGD with momentum, label smoothing, under autocast to bfloat16, channels last and
compiled. The two take turns, and each turn ends when the device has finished. Utilisation is what
nvidia-smi says during a turn, where it is there.

A line is printed when a network is done. What fails is told in its line, and the rest goes on; no
network is begun after `--minutes`.
"""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch is on the device, too

import keras

from training import tasks
from training.engine import hardware
from training.engine.loop import repeatable
from training.engine.request import request
from training.engine.waiting import Waiting

# Side and batch of each, and whether torchvision has it.
NETWORKS = {
    "resnet50": (224, 256, True),
    "mobilenet_v2": (224, 256, True),
    "efficientnet_lite0": (224, 256, False),
    "efficientdet_lite0": (320, 64, False),
}
CLASSES = 10
STORED = 256 / 224  # of a side, so that there is something to crop
LONG = 1_000_000  # epochs: more than any turn lasts
Turn = Callable[[int], None]


def main() -> None:
    """Print a line a network and contestant, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--batch", type=int, help="of all networks")
    parser.add_argument("--steps", type=int, default=30, help="of a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=7.0)
    parser.add_argument("--precision", default="mixed_bfloat16")
    parser.add_argument("--tiny", action="store_true")
    asked = parser.parse_args()
    if asked.tiny:
        asked.batch, asked.steps, asked.rounds = 4, 2, 2
    print(f"{keras.backend.backend()}; {_devices()}", flush=True)
    began = time.monotonic()
    for name in asked.networks:
        if time.monotonic() - began > 60 * asked.minutes:
            print(f"{name:18} not begun: {asked.minutes:g} minutes are over", flush=True)
            continue
        side, batch, has_peer = NETWORKS[name]
        side, batch = (128 if asked.tiny else side), asked.batch or batch
        makers: dict[str, Callable[[], Turn]] = {
            "kerascnn": functools.partial(_ours, name, side, batch, asked.precision)
        }
        if has_peer:
            makers["torchvision"] = functools.partial(_theirs, name, side, batch)
        _measure(name, makers, batch, asked.steps, asked.rounds)


def _devices() -> str:
    seen = hardware.seen().accelerators
    return ", ".join(one.name for one in seen) or "the CPU, whose figures say nothing"


def _measure(
    name: str, makers: dict[str, Callable[[], Turn]], batch: int, steps: int, rounds: int
) -> None:
    turns: dict[str, Turn] = {}
    for contestant, make in makers.items():
        began = time.monotonic()
        try:
            turn = make()
            turn(3)  # compiled before anything is timed
        except Exception as error:  # whatever a driver, a compiler or memory has to say
            print(f"{name:18} {contestant:12} failed: {type(error).__name__}: {error}"[:400])
            continue
        turns[contestant] = turn
        print(f"{name:18} {contestant:12} compiled in {time.monotonic() - began:.0f} s", flush=True)
    rates: dict[str, list[float]] = {contestant: [] for contestant in turns}
    busy: dict[str, list[float]] = {contestant: [] for contestant in turns}
    for _round in range(rounds):
        for contestant, turn in turns.items():
            with _Utilisation() as utilisation:
                began = time.perf_counter()
                turn(steps)
                seconds = time.perf_counter() - began
            rates[contestant].append(steps * batch / seconds)
            busy[contestant] += utilisation.seen
    for contestant, found in rates.items():
        seen = busy[contestant]
        used = f"{statistics.mean(seen):.0f}% busy" if seen else "utilisation unknown"
        print(f"{name:18} {contestant:12} {statistics.median(found):9.1f} images/s, {used}")
    if len(rates) > 1:
        ours, theirs = rates.values()
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        print(f"{name:18} ratio {ratio:.2f}, median of {rounds} rounds", flush=True)


def _ours(name: str, side: int, batch: int, precision: str) -> Turn:
    """What `kerascnn train` does, without its checkpoints."""
    task = tasks.of_model(name).name
    images = 2 * batch + 2
    settings: dict[str, Any] = {
        **{"batch_size": batch, "precision": precision, "schedule": "constant"},
        **dict.fromkeys(("freeze_epochs", "min_updates", "min_steps"), 0),
        "validation_fraction": 0.0,
    }
    if task == "classification":
        data = "scenes-digits"
        settings |= {"augmentation": "pictures", "optimizer": "sgd", "learning_rate": 0.01}
        settings |= {"pictures_per_class": -(-images // CLASSES)}
    else:
        data = f"scenes:{side}x{side}@{images}+1"
    asked = request(name, data=data, image_size=(side, side), settings=settings)
    repeatable(asked.config.seed, deterministic=False)
    work = tasks.of_request(asked).open(asked, None).trial()
    work.compile(asked.config, asked.config.peak_learning_rate)

    def turn(steps: int) -> None:
        batches = work.input_pipeline(0, LONG, 0)
        fed = hardware.prefetched(batches, hardware.chosen(asked.config), Waiting())
        work.training_model.fit(
            fed, epochs=1, steps_per_epoch=steps, shuffle=False, callbacks=[_Reads()], verbose=0
        )

    return turn


class _Reads(keras.callbacks.Callback):
    """Reads the loss of each step, for which the device is waited for."""

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        float((logs or {})["loss"])


def _theirs(name: str, side: int, batch: int) -> Turn:
    import torch
    import torchvision

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = torchvision.models.get_model(name, num_classes=CLASSES)
    model = model.to(device, memory_format=torch.channels_last)
    compiled = torch.compile(model) if device.type == "cuda" else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    loss = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    stored = round(side * STORED)
    pictures = torch.randint(0, 256, (2 * batch, 3, stored, stored), dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (2 * batch,))
    if device.type == "cuda":
        pictures, labels = pictures.pin_memory(), labels.pin_memory()

    def turn(steps: int) -> None:
        for step in range(steps):
            chosen = slice(step % 2 * batch, (step % 2 + 1) * batch)
            part = pictures[chosen].to(device, non_blocking=True)
            wanted = labels[chosen].to(device, non_blocking=True)
            top, left = torch.randint(0, stored - side + 1, (2,)).tolist()
            part = part[..., top : top + side, left : left + side]
            part = part.flip(-1) if step % 2 else part
            part = (part.float() - 127.0) / 128.0
            part = part.contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, dtype=torch.bfloat16):
                found = loss(compiled(part), wanted)
            found.backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return turn


class _Utilisation:
    """Asks nvidia-smi twice a second while open."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Utilisation:
        if shutil.which("nvidia-smi"):
            self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self._over.wait(0.5):
            answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout
            self.seen += [float(line) for line in answer.splitlines()[:1] if line.strip().isdigit()]


if __name__ == "__main__":
    main()
