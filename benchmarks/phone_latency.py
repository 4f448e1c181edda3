"""The phone networks against keras.applications': float32 and int8, the files taking turns.

Run: python benchmarks/phone_latency.py [NAME ...] (or `make bench`). Both sides are converted here
by the same converter and quantised by the same tool, one thread, one picture at the model's
published size, random weights with batch norms as after a training. keras.applications' models are
as it builds them, with logits for probabilities; MobileNetV3 without its rescaling layer, which
ours has not either.
"""

from __future__ import annotations

import os
import pathlib
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import kerascnn
from export.artefacts.variants import parse_variant
from export.graph.lower import lower_for_int8
from export.runtime import benchmark
from export.runtime import load as runtimes
from export.tflite.convert import to_tflite
from export.tflite.quantise import quantise_file
from kerascnn import zoo

PEERS = {
    "mobilenet_v1": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3_small": "MobileNetV3Small",
    "mobilenet_v3_large": "MobileNetV3Large",
    **{f"efficientnet_b{n}": f"EfficientNetB{n}" for n in range(8)},
    **{f"efficientnet_v2_{n}": f"EfficientNetV2{n.upper()}" for n in ("b0", "b1", "b2", "b3")},
    **{f"efficientnet_v2_{n}": f"EfficientNetV2{n.upper()}" for n in ("s", "m", "l")},
}
DEFAULT = (
    "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large",
    "efficientnet_b0", "efficientnet_lite0", "efficientnet_v2_b0",
)  # fmt: skip
# Where in memory a file's tensors land moves its time by up to 5%: each is loaded anew this often.
LOADS = 5
ROUNDS = 12


def main() -> None:
    """Print a line a file."""
    print(
        f"{'model':20} {'file':15} {'KB':>9} {'pieces':>6} {'median ms':>10} {'p95 ms':>8}  ratios"
    )
    for name in sys.argv[1:] or DEFAULT:
        compare(name)


def compare(name: str) -> None:
    """Time the files of one model and of its peer in turns."""
    ours = with_random_norms(kerascnn.build(name))
    files = {
        "float32": to_tflite(ours),
        "int8": int8_file(name, to_tflite(lower_for_int8(ours))),
    }
    if name in PEERS:
        theirs = with_random_norms(peer(PEERS[name], ours.input_shape[1:]))
        files["peer float32"] = to_tflite(theirs)
        files["peer int8"] = int8_file(name, files["peer float32"])
    preprocessing = zoo.entry(name).preprocessing(*ours.input_shape[1:3])
    picture = np.random.default_rng(0).integers(0, 256, preprocessing.input_shape, np.uint8)
    times: dict[str, list[benchmark.Latency]] = {label: [] for label in files}
    with tempfile.TemporaryDirectory() as folder:
        for label, data in files.items():
            (pathlib.Path(folder) / f"{label}.tflite").write_bytes(data)
        for load in range(LOADS):
            order = list(files)[:: -1 if load % 2 else 1]
            loaded = {
                label: runtimes.load(pathlib.Path(folder) / f"{label}.tflite", preprocessing)
                for label in order
            }
            calls = {label: runtime.once(picture) for label, runtime in loaded.items()}
            for label, latency in benchmark.interleaved(calls, rounds=ROUNDS).items():
                times[label].append(latency)
    medians = {label: float(np.median([t.median_ms for t in times[label]])) for label in files}
    p95s = {label: float(np.median([t.p95_ms for t in times[label]])) for label in files}
    for label, data in files.items():
        against = [f"peer {label}"] + (["float32"] if label == "int8" else [])
        ratios = ", ".join(
            f"{medians[label] / medians[other]:.2f} of {other}"
            for other in against
            if other in medians
        )
        print(
            f"{name:20} {label:15} {len(data) / 1000:9.1f} {loaded[label].partitions:6} "
            f"{medians[label]:10.3f} {p95s[label]:8.3f}  {ratios}",
            flush=True,
        )


def peer(name: str, shape) -> keras.Model:
    """keras.applications' model, from random weights to logits."""
    options = {"include_preprocessing": False} if "V3" in name else {}
    return getattr(keras.applications, name)(
        weights=None, classifier_activation=None, input_shape=shape, **options
    )


def with_random_norms(model: keras.Model) -> keras.Model:
    """Batch norms as alive as after a training."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            n = layer.gamma.shape[0]
            gamma, variance = rng.uniform(0.5, 1.5, (2, n))
            layer.set_weights([gamma, rng.normal(0, 0.3, n), rng.normal(0, 0.1, n), variance])
    return model


def int8_file(name: str, float_file: bytes) -> bytes:
    """Quantise with eight random pictures: the arithmetic is the same whatever they show."""
    preprocessing = zoo.entry(name).preprocessing(*zoo.entry(name).input_shape[:2])
    pictures = np.random.default_rng(1).integers(
        0, 256, (8, *preprocessing.input_shape), dtype=np.uint8
    )
    return quantise_file(float_file, parse_variant("int8"), preprocessing, pictures)


if __name__ == "__main__":
    main()
