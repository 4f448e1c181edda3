"""Pictures per second of training on one GPU: ours under jax against torchvision in plain torch.

Command:  KERAS_BACKEND=jax python benchmarks/gpu_throughput.py
Needs:    keras, jax with CUDA, torch with CUDA and torchvision; no tensorflow.
Figures:  not yet run on a GPU. (`--size 64 --batch 4 --steps 2` runs it on a CPU, which says
          nothing but that it runs.)

Both train resnet50 and mobilenet_v2 at 224 from the same bytes in memory: random crop and flip on
the device, SGD with momentum, label smoothing; ours in mixed bfloat16 with float32 weights, torch
under autocast to bfloat16, channels last and compiled. The two take turns, and each turn ends when
the device has finished. Utilisation is what nvidia-smi says during a turn, where it is there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch is on the device, too

import numpy as np

import kerascnn
from kerascnn.preprocessing import Preprocessing
from training.classification.batches import TrainingData
from training.classification.fit import compile_training_model, make_training_model
from training.classification.input_pipeline import training_input
from training.datasets.splits import Split
from training.engine.config import TrainConfig
from training.engine.devices import SINGLE
from training.engine.loop import repeatable

NETWORKS = ("resnet50", "mobilenet_v2")


def main() -> None:
    """Print a line a network and contestant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=30, help="of a turn")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    for name in NETWORKS:
        split = _pictures(2 * asked.batch, asked.size)
        turns = {
            "kerascnn, jax": _ours(name, split, asked.size, asked.batch),
            "torchvision, torch": _theirs(name, split, asked.size, asked.batch),
        }
        for turn in turns.values():
            turn(3)  # compiled before anything is timed
        rates: dict[str, list[float]] = {contestant: [] for contestant in turns}
        busy: dict[str, list[float]] = {contestant: [] for contestant in turns}
        for _round in range(asked.rounds):
            for contestant, turn in turns.items():
                with _Utilisation() as utilisation:
                    began = time.perf_counter()
                    turn(asked.steps)
                    seconds = time.perf_counter() - began
                rates[contestant].append(asked.steps * asked.batch / seconds)
                busy[contestant] += utilisation.seen
        ours, theirs = rates.values()
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        for contestant, found in rates.items():
            seen = busy[contestant]
            used = f"{statistics.mean(seen):.0f}% busy" if seen else "utilisation unknown"
            print(f"{name:14} {contestant:20} {statistics.median(found):9.1f} pictures/s, {used}")
        print(f"{name:14} ratio {ratio:.2f}, median of {asked.rounds} rounds")


def _pictures(count: int, size: int) -> Split:
    rng = np.random.default_rng(0)
    return Split(
        labels=rng.integers(0, 1000, count, dtype=np.int32),
        names=tuple(map(str, range(count))),
        pictures=rng.integers(0, 256, (count, _stored(size), _stored(size), 3), dtype=np.uint8),
    )


def _stored(size: int) -> int:
    return round(size / 0.875)


def _ours(name: str, split: Split, size: int, batch: int) -> Callable[[int], None]:
    config = TrainConfig(
        epochs=10_000, batch_size=batch, optimizer="sgd", learning_rate=0.1, schedule="constant",
        weight_decay=0.0, augmentation="pictures",
    )  # fmt: skip
    repeatable(0)
    network = kerascnn.build(name, input_shape=(size, size, 3), dtype="mixed_bfloat16")
    stored = Preprocessing(height=_stored(size), width=_stored(size), channels=3)
    target = Preprocessing(height=size, width=size, channels=3)
    training_data = TrainingData(
        split=split, source=stored, preprocessing=target, classes=1000, config=config
    )
    training_model = make_training_model(network, training_data, None, SINGLE)
    compile_training_model(training_model, config, config.learning_rate)

    def turn(steps: int) -> None:
        feed = training_input(training_data, first_epoch=0, last_epoch=10_000)
        # Ends by bringing the weights back into the model, and so when the device has finished.
        training_model.fit(feed, epochs=1, steps_per_epoch=steps, shuffle=False, verbose=0)
        np.asarray(training_model.network.variables[0])

    return turn


def _theirs(name: str, split: Split, size: int, batch: int) -> Callable[[int], None]:
    import torch
    import torchvision

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = torchvision.models.get_model(name).to(device, memory_format=torch.channels_last)
    compiled = torch.compile(model) if device.type == "cuda" else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    loss = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    pictures = torch.from_numpy(split.pictures).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(split.labels).long()
    if device.type == "cuda":
        pictures, labels = pictures.pin_memory(), labels.pin_memory()

    def turn(steps: int) -> None:
        for step in range(steps):
            chosen = slice(step % 2 * batch, (step % 2 + 1) * batch)
            part = pictures[chosen].to(device, non_blocking=True)
            wanted = labels[chosen].to(device, non_blocking=True)
            top, left = torch.randint(0, part.shape[-1] - size + 1, (2,)).tolist()
            part = part[..., top : top + size, left : left + size]
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
