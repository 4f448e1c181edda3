"""benchmarks/rcnn_step.md: memory and time of a training step of Faster R-CNN on ResNet-50.

Command:  python benchmarks/rcnn_step.py --torch-python PATH/TO/python
Needs:    jax beside tensorflow, or `--backends tensorflow`; for torchvision's figures a Python that
          has torch and torchvision, which need not be this one.

Every contestant is a process of its own, so that its memory is its own; two at a time take turns, a
step each, on the same bytes: scenes of 512x512 with all their boxes. All have 41,755,286 trainable
parameters, random weights, frozen batch norms, 2,000 proposals of which 512 are sampled, and SGD
with momentum; torchvision's convolutions are trained from the first one on, as ours are. Its
`transform`, which normalises, is in its step, as our normalisation is in ours. Memory is the
process' largest resident set, everything from the interpreter to the optimizer's state in it.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

# jax asks for a module `compression`, which is not the benchmark of that name beside this one.
sys.path.remove(str(pathlib.Path(__file__).resolve().parent))

# A contestant may have no keras or no torch: both are imported where they are used.
NETWORK = "faster_rcnn_resnet50_fpn"
PARAMETERS = 41_755_286
SIZE = 512
BACKENDS = ("tensorflow", "jax")
LIMIT = 8.0
# The gain of each block's last norm: frozen norms would let random weights grow out of bounds.
GAIN = 0.2
RATE, MOMENTUM = 1e-3, 0.9
OUTPUT = pathlib.Path(__file__).with_suffix(".md")

Batch = Mapping[str, np.ndarray]
Step = Callable[[Batch], float]


def main() -> None:
    """Measure and write the page, or be one of the contestants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", nargs="+", default=BACKENDS, choices=BACKENDS)
    parser.add_argument("--torch-python", help="a Python that has torch and torchvision")
    parser.add_argument("--batches", nargs="+", type=int, default=(1, 2), help="pictures a step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    parser.add_argument("--data", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.contestant:
        _compete(asked.contestant, pathlib.Path(asked.data))
        return
    page = _Page(asked.rounds)
    with tempfile.TemporaryDirectory() as folder:
        for size in asked.batches:
            data = pathlib.Path(folder) / f"{size}.npz"
            np.savez(data, **_batches(size, asked.rounds + 1))
            for backend in asked.backends:
                contestants = [_Contestant(backend, sys.executable, data)]
                if asked.torch_python:
                    contestants.append(_Contestant("torchvision", asked.torch_python, data))
                page.add(contestants, size)
    print(OUTPUT.read_text("utf-8"))


def _batches(size: int, steps: int) -> dict[str, np.ndarray]:
    """The same field of all batches in one array: (steps, pictures, ...)."""
    from kerascnn import zoo
    from training.datasets.detection_sets import scan_objects
    from training.detection.batches import DetectionTrainingData
    from training.detection.two_stage_losses import RCNNLoss
    from training.engine.config import TrainConfig

    data = scan_objects(f"scenes:{SIZE}@{size * steps}+1", seed=0)
    loss = RCNNLoss(spec=zoo.detector_spec(NETWORK, (SIZE, SIZE)))
    training_data = DetectionTrainingData(
        split=data.train,
        preprocessing=zoo.preprocessing(NETWORK, SIZE, SIZE),
        classes=len(data.classes),
        config=TrainConfig(epochs=1, batch_size=size, augmentation="none"),
        chance=loss.chances(DetectionTrainingData.most_objects),
    )
    batches = [training_data.batch(0, step) for step in range(steps)]
    return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}


class _Contestant:
    """A process that makes a step when it is told to."""

    def __init__(self, name: str, python: str, data: pathlib.Path) -> None:
        command = [python, __file__, "--contestant", name, "--data", str(data)]
        root = str(pathlib.Path(__file__).parents[1])
        environment = {**os.environ, "PYTHONPATH": root, "TF_CPP_MIN_LOG_LEVEL": "3"}
        if name in BACKENDS:
            environment["KERAS_BACKEND"] = name
        self.title = f"kerascnn, {name}" if name in BACKENDS else name
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        about = self._answer()
        self.version, self.begun = about["version"], about["memory"]
        assert about["parameters"] == PARAMETERS, about

    def step(self) -> tuple[float, float]:
        """Seconds of one step, and those of all its threads."""
        print("step", file=self._process.stdin, flush=True)
        answer = self._answer()
        return answer["seconds"], answer["busy"]

    def end(self) -> float:
        """Memory in GB; the process is gone afterwards."""
        print("end", file=self._process.stdin, flush=True)
        memory = self._answer()["memory"]
        self._process.wait()
        return memory

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise SystemExit(f"a contestant ended with exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class _Page:
    """What is written, anew after every match."""

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self._versions: dict[str, str] = {}
        self._rows: list[str] = []

    def add(self, contestants: list[_Contestant], size: int) -> None:
        """Let contestants take turns, and end them."""
        first = [contestant.step()[0] for contestant in contestants]
        turns = []
        for number in range(self._rounds):
            turns.append([contestant.step() for contestant in contestants])
            print(f"{size} a step, round {number + 1} of {self._rounds}", file=sys.stderr)
        for i, contestant in enumerate(contestants):
            self._versions[contestant.title] = contestant.version
            seconds, busy = zip(*(turn[i] for turn in turns), strict=True)
            others = [turn[-1][1] for turn in turns]
            ratio = statistics.median(a / b for a, b in zip(busy, others, strict=True))
            self._rows.append(
                f"| {contestant.title} | {size} | {contestant.end():.1f} | {contestant.begun:.1f} "
                f"| {first[i]:.0f} | {statistics.median(seconds):.1f} ({min(seconds):.1f} to "
                f"{max(seconds):.1f}) | {statistics.median(busy):.1f} | "
                f"{'-' if contestant is contestants[-1] else format(ratio, '.2f')} |"
            )
        OUTPUT.write_text(self._text(), "utf-8")

    def _text(self) -> str:
        from training.engine.run import machine

        facts = machine()
        listed = "; ".join(f"{title}: {version}" for title, version in self._versions.items())
        return "\n".join((
            f"# One training step of {NETWORK} at {SIZE}x{SIZE}\n",
            "Made by `python benchmarks/rcnn_step.py --torch-python PATH`, which says how; each "
            f"backend took turns with torchvision. Medians of {self._rounds} steps (least to most) "
            "after the first one, which compiles. Seconds of all threads depend least on what else "
            "the machine does; the ratio is theirs, the median over the turns. The mark is "
            f"{LIMIT:.0f} GB (10^9 bytes) of resident memory.\n",
            f"Machine: {facts['processor']}, {facts['cores']} cores, {facts['memory']}. "
            f"{listed}.\n",
            "| | pictures a step | peak memory, GB | before the first step, GB | first step, s | "
            "seconds a step | of all threads | of torchvision's |",
            "|---|---|---|---|---|---|---|---|",
            *self._rows,
            "",
        ))  # fmt: skip


def _compete(name: str, data: pathlib.Path) -> None:
    """Answer on standard output what `_Contestant` asks."""
    version, parameters, step = _torchvisions() if name == "torchvision" else _ours()
    _say(version=version, parameters=parameters, memory=_memory())
    with np.load(data) as batches:
        fields = dict(batches)
    steps = len(fields["pictures"])
    done = 0
    while sys.stdin.readline().strip() == "step":
        batch = {key: value[done % steps] for key, value in fields.items()}
        began, busy = time.perf_counter(), time.process_time()
        loss = step(batch)
        taken = {"seconds": time.perf_counter() - began, "busy": time.process_time() - busy}
        assert np.isfinite(loss), loss
        _say(**taken, loss=loss)
        done += 1
    _say(memory=_memory())


def _say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def _memory() -> float:
    """The largest resident set so far in GB; Linux counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _ours() -> tuple[str, int, Step]:
    import keras

    import kerascnn
    from kerascnn import zoo
    from training.detection.two_stage_training_model import TwoStageTrainingModel
    from training.engine import hardware
    from training.engine.config import TrainConfig

    keras.utils.set_random_seed(0)
    network = kerascnn.build(NETWORK, input_shape=(SIZE, SIZE, 3))
    for layer in network.layers:
        if layer.name.endswith("conv3_norm"):
            layer.gamma.assign(np.full(layer.gamma.shape, GAIN, np.float32))
    spec = zoo.detector_spec(NETWORK, (SIZE, SIZE))
    training_model = TwoStageTrainingModel(network, zoo.preprocessing(NETWORK, SIZE, SIZE), spec)
    optimizer = keras.optimizers.SGD(RATE, momentum=MOMENTUM)
    training_model.compile(optimizer=optimizer, jit_compile=hardware.chosen(TrainConfig()).jit)
    backend = __import__(keras.backend.backend())
    version = f"keras {keras.__version__}, {backend.__name__} {backend.__version__}"
    parameters = sum(int(np.prod(w.shape)) for w in network.trainable_weights)

    def step(batch: Batch) -> float:
        return float(training_model.train_on_batch(dict(batch), return_dict=True)["loss"])

    return version, parameters, step


def _torchvisions() -> tuple[str, int, Step]:
    import torch
    import torchvision
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=5)
    model = FasterRCNN(backbone, num_classes=91, min_size=SIZE, max_size=SIZE).train()
    for name, buffer in model.named_buffers():
        if name.endswith("bn3.weight"):
            buffer.fill_(GAIN)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=RATE, momentum=MOMENTUM)
    version = f"torch {torch.__version__}, torchvision {torchvision.__version__}"

    def step(batch: Batch) -> float:
        pictures = torch.from_numpy(batch["pictures"]).permute(0, 3, 1, 2).float() / 255
        targets = []
        for boxes, labels in zip(batch["gt_boxes"], batch["gt_labels"], strict=True):
            there = labels >= 0
            corners = torch.from_numpy(boxes[there][:, [1, 0, 3, 2]] * SIZE)
            targets.append({"boxes": corners, "labels": torch.from_numpy(labels[there] + 1).long()})
        loss = sum(model(list(pictures), targets).values())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return version, sum(p.numel() for p in trained), step


if __name__ == "__main__":
    main()
