"""What int8 costs a trained MobileNetV4, where, and what reconstruction and QAT win back.

Command:  python benchmarks/mobilenet_v4_int8.py [MODEL ...]
Needs:    Fashion-MNIST in its IDX files (Debian: dataset-fashion-mnist), or --source FOLDER.

Networks are trained from random weights on Fashion-MNIST and written as float32, as int8 the plain
way (minimum and maximum, rounding to nearest), as int8 by reconstruction, and as int8 after
quantisation-aware training. All 10,000 images of its test part are run through each file; training
sees none of them. The table has what each file loses, with its 95% interval, and the layers at
which the signal falls most. Everything is kept in --out: an interrupted benchmark goes on where it
was.

STMicroelectronics' model card of MobileNetV4 speaks of a loss of some 10 points in int8, by ONNX
Runtime's quantiser (huggingface.co/STMicroelectronics/mobilenetv4_pt). So that is asked, too: as it
is called by default, with one scale a kernel, and with one a channel.
"""

from __future__ import annotations

import argparse
import gzip
import os
import pathlib
import struct
import tempfile
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from PIL import Image

from export.compress.compress import compress
from export.graph.signature import INPUT_NAME
from export.report.compare import compare
from export.report.results import Result
from export.runtime.load import load
from export.tasks.base import of as task_of
from export.tools.debug import debug
from kerascnn.errors import InputError
from training.datasets.decode import decode_split
from training.engine.request import request
from training.engine.run import Run, machine
from training.engine.train import train

VARIANTS = ("float32", "plain_int8", "int8", "qat_int8")
SOURCE = pathlib.Path("/usr/share/datasets/fashion-mnist")
PARTS = {"train": "train", "test": "t10k"}
WORST = 5
_CALIBRATION = 200


def main() -> None:
    """Train, compress and measure what is missing; print the table."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("models", nargs="*", metavar="MODEL", default=["mobilenet_v4_conv_small"])
    asked.add_argument("--images", type=int, default=12_000, help="to learn from")
    asked.add_argument("--epochs", type=int, default=8)
    asked.add_argument("--side", type=int, default=64)
    asked.add_argument("--source", type=pathlib.Path, default=SOURCE)
    asked.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/mobilenet_v4_int8"))
    given = asked.parse_args()
    data = _written(given.source, given.out / f"fashion-{given.images}", given.images)
    facts = machine()
    print(f"{facts['processor']}, {facts['cores']} cores; {given.side}x{given.side}\n")
    for name in given.models:
        run = train(
            request(
                name,
                data=str(data),
                image_size=(given.side, given.side),
                recipe="scratch",
                settings={"epochs": given.epochs, "warmup_epochs": 1, "augmentation": "none"},
            ),
            given.out / name,
        )
        compress(run, VARIANTS)
        found = compare([run], given.out / name)
        print("\n".join(_table(name, found)))
        print("\n".join(_by_onnxruntime(run, name)), flush=True)
        print("\n".join(_layers(run)), flush=True)


def _table(name: str, found: list[Result]) -> Iterator[str]:
    """A row a file."""
    yield "| network | file | accuracy | lost (95%) | same top-1 | seconds |"
    yield "|---|---|---|---|---|---|"
    by_variant = {row.variant: row for row in found if row.format == "tflite"}
    for variant in VARIANTS:
        row = by_variant[variant]
        yield (
            f"| {name} | {variant} | {row.value:.2f}% | {row.drop:.2f} ({row.drop_low:.2f} to "
            f"{row.drop_high:.2f}) | {row.agreement:.2f}% | {row.seconds:.0f} |"
        )


def _by_onnxruntime(run: Run, name: str) -> Iterator[str]:
    """Rows of what ONNX Runtime's own quantiser makes of the run's ONNX file."""
    task = task_of(run)
    calibration = run.preprocessing.normalise(task.judged(_CALIBRATION))
    held_out, _ = decode_split(task.readable(task.dataset.held_out), run.preprocessing)
    source = run.artefacts / "float32.onnx"
    wanted = load(source, run.preprocessing).predict(held_out.pictures).argmax(axis=1)
    for title, per_channel in (("one scale a kernel", False), ("one scale a channel", True)):
        with tempfile.TemporaryDirectory() as folder:
            made = pathlib.Path(folder) / "int8.onnx"
            quantize_static(source, made, _Images(calibration), per_channel=per_channel)
            got = load(made, run.preprocessing).predict(held_out.pictures).argmax(axis=1)
        right, was_right = (np.mean(one == held_out.labels) for one in (got, wanted))
        yield (
            f"| {name} | ONNX Runtime, {title} | {right:.2%} | {100 * (was_right - right):.2f} | "
            f"{np.mean(got == wanted):.2%} | |"
        )


class _Images(CalibrationDataReader):
    """Images for ONNX Runtime's calibration, one at a time."""

    def __init__(self, images: np.ndarray) -> None:
        self._left = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """As its sessions take it; None at the end."""
        image = next(self._left, None)
        return None if image is None else {INPUT_NAME: image[None]}


def _layers(run: Run) -> Iterator[str]:
    """Where the signal of each int8 file falls most, and what reaches the logits."""
    yield "\n| file | logits | layers with the largest falls |\n|---|---|---|"
    for variant in VARIANTS[1:]:
        layers = debug(run, variant).layers
        worst = sorted(layers, key=lambda layer: -layer.fall_db)[:WORST]
        falls = ", ".join(f"{one.layer} ({one.fall_db:.1f} to {one.snr_db:.1f})" for one in worst)
        yield f"| {variant} | {layers[-1].snr_db:.1f} dB | {falls} |"


def _written(source: pathlib.Path, root: pathlib.Path, images: int) -> pathlib.Path:
    """The set as PNG images in folders of a training and a test part; raises InputError."""
    if root.exists():
        return root
    begun = root.with_name(root.name + ".begun")
    for part, name in PARTS.items():
        pixels = _idx(source / f"{name}-images-idx3-ubyte.gz")
        labels = _idx(source / f"{name}-labels-idx1-ubyte.gz")
        for number in range(images if part == "train" else len(labels)):
            folder = begun / part / str(labels[number])
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[number]).save(folder / f"{number:05}.png")
    begun.rename(root)
    return root


def _idx(path: pathlib.Path) -> np.ndarray:
    """Unsigned bytes of an IDX file (yann.lecun.com/exdb/mnist: two zeros, type, rank, sizes)."""
    try:
        data = gzip.decompress(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    rank = data[3]
    shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


if __name__ == "__main__":
    main()
