"""What the int8 lowering is worth: one network, int8 as it is and lowered, and float32.

Run: python benchmarks/int8_partitions.py (or `make bench`). The three files take turns, one thread,
one picture at 224x224; weights are random, since only time and pieces are measured.
"""

from __future__ import annotations

import os
import pathlib
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from phone_latency import with_random_norms

import kerascnn
from export.artefacts.variants import parse_variant
from export.graph.lower import lower_for_int8
from export.runtime import benchmark
from export.runtime import load as runtimes
from export.tflite.convert import to_tflite
from export.tflite.quantise import quantise_file
from kerascnn import zoo

NAMES = sys.argv[1:] or ["mobilenet_v3_small", "mobilenet_v3_large"]


def main() -> None:
    """Print a line a file."""
    rng = np.random.default_rng(0)
    for name in NAMES:
        model = with_random_norms(kerascnn.build(name))
        preprocessing = zoo.entry(name).preprocessing(*model.input_shape[1:3])
        pictures = rng.integers(0, 256, (8, *preprocessing.input_shape), dtype=np.uint8)
        float32, lowered = to_tflite(model), to_tflite(lower_for_int8(model))
        int8 = parse_variant("int8")
        files = {
            "float32": float32,
            "int8, as it is": quantise_file(float32, int8, preprocessing, pictures),
            "int8, lowered": quantise_file(lowered, int8, preprocessing, pictures),
        }
        with tempfile.TemporaryDirectory() as folder:
            loaded = {}
            for label, data in files.items():
                path = pathlib.Path(folder) / f"{len(loaded)}.tflite"
                path.write_bytes(data)
                loaded[label] = runtimes.load(path, preprocessing)
            times = benchmark.interleaved({k: r.once(pictures[0]) for k, r in loaded.items()})
        slow = times["int8, as it is"].median_ms
        for label, runtime in loaded.items():
            latency = times[label]
            print(
                f"{name:20} {label:15} {len(files[label]) / 1000:9.1f} KB  "
                f"{runtime.partitions:3} pieces  median {latency.median_ms:7.3f} ms  "
                f"p95 {latency.p95_ms:7.3f} ms  {slow / latency.median_ms:5.2f} x"
            )


if __name__ == "__main__":
    main()
