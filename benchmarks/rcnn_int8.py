"""Size and time of a two-stage detector's files: float32, dynamic_int8 and int8.

Command:  python benchmarks/rcnn_int8.py mask_rcnn_efficientnet_lite0_fpn --image-size 256

Random weights, as neither size nor time depends on them; kernels are rounded to the nearest. The
files take turns, an image each, on one thread. The time is that of the processor, which other
programs on the machine disturb less than the clock.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import time

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter

# jax asks for a module `compression`, which is not the benchmark of that name beside this one.
sys.path.remove(str(pathlib.Path(__file__).resolve().parent))

import kerascnn
from export.artefacts.variants import parse_variant
from export.graph.fold_norm import fold_batch_norms
from export.graph.lower import lower_for_int8
from export.graph.two_stage import with_suppression
from export.runtime.load import partitions
from export.tflite.convert import to_tflite
from export.tflite.float_counts import give_float_counts
from export.tflite.model import TFLiteModel
from export.tflite.quantise import quantise
from kerascnn.preprocessing import Preprocessing
from training.common.quiet import native_quiet
from training.datasets import scenes


def files_of(model: keras.Model, seen: Preprocessing, images: np.ndarray) -> dict[str, bytes]:
    """By variant."""
    bare = fold_batch_norms(with_suppression(model))
    float32 = TFLiteModel.open(to_tflite(bare))
    lowered = TFLiteModel.open(to_tflite(lower_for_int8(bare)))
    made = {
        "float32": TFLiteModel.open(float32.packed()),
        "dynamic_int8": quantise(float32, parse_variant("plain_dynamic_int8"), seen),
        "int8": quantise(lowered, parse_variant("plain_int8"), seen, images),
    }
    for file in made.values():
        file.apply(give_float_counts)
    return {name: file.packed() for name, file in made.items()}


def milliseconds(files: dict[str, bytes], image: np.ndarray, rounds: int) -> dict[str, float]:
    """Medians of the processor's time for an image, by variant."""
    runtimes, times = {}, {name: list[float]() for name in files}
    for name, file in files.items():
        with native_quiet():
            work = Interpreter(model_content=file, num_threads=1)
            work.allocate_tensors()
        (given,) = work.get_input_details()
        raw = given["dtype"] == np.uint8
        work.set_tensor(given["index"], image if raw else image.astype(np.float32) / 127.5 - 1)
        work.invoke()
        runtimes[name] = work
    for _ in range(rounds):
        for name, work in runtimes.items():
            began = time.process_time()
            work.invoke()
            times[name].append(1000 * (time.process_time() - began))
    return {name: float(np.median(each)) for name, each in times.items()}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    side = asked.image_size
    keras.utils.set_random_seed(0)
    model = kerascnn.build(
        asked.network, classes=10, input_shape=(side, side, 3), frozen_norm=False
    )
    train = scenes.scan(f"scenes:{side}@8+1").train
    images = np.stack([train.picture(index) for index in range(8)])
    seen = Preprocessing(height=side, width=side, channels=3, resize="stretch")
    files = files_of(model, seen, images)
    times = milliseconds(files, images[:1], asked.rounds)
    print(f"{asked.network}, {side}x{side}")
    print("file          KB        pieces  ms")
    for name, file in files.items():
        size = len(file) / 1000
        print(f"{name:12}  {size:8.1f}  {partitions(file):6}  {times[name]:.0f}")


if __name__ == "__main__":
    main()
