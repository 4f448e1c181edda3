"""Pictures per second of a training epoch, against keras.applications by plain `model.fit`.

Command:  python benchmarks/train_throughput.py

MobileNetV2 at width 0.35 on the embedded digits at 32x32 in three channels, batches of 128, AdamW.
Ours is what `kerascnn train` does: pictures as bytes, augmented in the step (recipe `digits`),
fused norms, a checkpoint and a line of history an epoch, with repeatable operations. The peer is
keras.applications' network, with the same kernels, trained by `model.fit` on normalised floats in
memory, without augmentation, checkpoints or repeatability; once as Keras compiles it by itself
(with XLA), once with `jit_compile=False`. The three take turns, an epoch each; the first two
rounds, in which functions are traced, do not count.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import statistics
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import kerascnn
from kerascnn.complexity import count_macs, count_parameters
from kerascnn.preprocessing import Preprocessing
from training import datasets, recipes
from training.classification.fit import fit
from training.datasets.decode import decode_split
from training.engine.run import machine

ROUNDS, WARM_UP = 10, 2
SHAPE = Preprocessing(height=32, width=32, channels=3, resize="pad", mean=127.5, std=127.5)


def main() -> None:
    """Print a line a contestant, and the ratio of ours to each peer."""
    train, _broken = decode_split(datasets.scan("mnist", seed=0).train, SHAPE)
    config = recipes.load("digits").config_for("mobilenet_v2")
    config = dataclasses.replace(config, epochs=ROUNDS + WARM_UP, validation_fraction=0.0)
    ours = kerascnn.build(
        "mobilenet_v2", input_shape=SHAPE.input_shape, classes=10, alpha=0.35, stem_strides=2
    )
    peers = {
        "keras.applications": _peer("auto", config),
        "the same, jit_compile=False": _peer(False, config),
    }
    for peer in peers.values():
        same = (count_parameters(peer), count_macs(peer))
        assert same == (count_parameters(ours), count_macs(ours)), same
    pictures = SHAPE.normalise(train.pictures)
    labels = np.eye(10, dtype=np.float32)[train.labels]
    seconds: dict[str, list[float]] = {name: [] for name in ("kerascnn", *peers)}
    began = time.perf_counter()

    def take_turns(_history: list) -> None:
        nonlocal began
        seconds["kerascnn"].append(time.perf_counter() - began)
        for name, peer in peers.items():
            started = time.perf_counter()
            peer.fit(pictures, labels, batch_size=config.batch_size, epochs=1, verbose=0)
            seconds[name].append(time.perf_counter() - started)
        print(f"round {len(seconds['kerascnn'])} of {ROUNDS + WARM_UP}", file=sys.stderr)
        began = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        fit(
            ours, train=train, validation=None, source=SHAPE, preprocessing=SHAPE, config=config,
            folder=place, history_file=place / "history.csv", after_epoch=take_turns,
        )  # fmt: skip
    counted = {name: taken[WARM_UP:] for name, taken in seconds.items()}
    steps = len(train) // config.batch_size
    print(f"{machine()['processor']}, {machine()['cores']} cores, keras {keras.__version__}")
    for name, taken in counted.items():
        # The peer's epoch has the last, short batch, too.
        seen = steps * config.batch_size if name == "kerascnn" else len(train)
        rates = [seen / one for one in taken]
        ratios = [
            (steps * config.batch_size / own) / rate
            for own, rate in zip(counted["kerascnn"], rates, strict=True)
        ]
        print(
            f"{name:28} median {statistics.median(rates):7.1f} pictures/s "
            f"({min(rates):.1f} to {max(rates):.1f}); kerascnn is "
            f"{statistics.median(ratios):.2f} of it ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def _peer(jit: bool | str, config) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2(
        input_shape=SHAPE.input_shape, alpha=0.35, weights=None, classes=10,
        classifier_activation=None,
    )  # fmt: skip
    model.compile(
        optimizer=keras.optimizers.AdamW(config.learning_rate, weight_decay=config.weight_decay),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        metrics=["accuracy"],
        jit_compile=jit,
    )
    return model


if __name__ == "__main__":
    main()
