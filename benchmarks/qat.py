"""What quantisation-aware training wins back, and which of its parts does it.

Command:  python benchmarks/qat.py RUN [--variants qat_int8 qat_weight_int4] [--ways ...]
          [--fine-tune-epochs N] [--learning-rate R]

for a run of `kerascnn train`, which is left as it is: each way trains in a copy beside it, and goes
on where it was. `learnt` is what `kerascnn compress` does. The others differ from it:

- `fixed`: steps of kernels stay what they began with, ranges of activations follow the batches.
- `nearest`: begins with kernels rounded to the nearest and whole ranges, not reconstructed.
- `before`: both, which is how such a training is done without LSQ and reconstruction.

`begun` is the file before any training. The validation figures are of both, and where training made
it worse, `compress` keeps what it began with; here the trained one is written whatever they say.
Held-out figures are of the file in its runtime. Results: benchmarks/qat.md.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import pathlib
import shutil
import time
from collections.abc import Iterator
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tf_keras

from export.artefacts.artefact import Artefact
from export.artefacts.variants import FineTuning, Settings
from export.compress import qat
from export.compress.compress import compress
from export.compress.learnt_steps import LearntSteps, MovingRange
from export.compress.reconstruct.network import NEAREST, reconstruct
from training.engine.run import Run, machine

WAYS = {  # whether steps are learnt, and whether it begins reconstructed
    "learnt": (True, True),
    "fixed": (False, True),
    "nearest": (True, False),
    "before": (False, False),
}
NO_TRAINING = ("float32", "plain_int8", "int8", "plain_weight_int4", "weight_int4")


class FixedSteps(LearntSteps):
    """Steps that no gradient moves."""

    def build(self, owner: tf_keras.layers.Layer) -> None:
        """The variable, which stays 0."""
        self._grown = owner.add_weight(
            "grown_steps", shape=self.begun.shape, initializer="zeros", trainable=False
        )


@contextlib.contextmanager
def changed(way: str) -> Iterator[None]:
    """Trainings are of one of `WAYS`, and what was trained is kept."""
    learnt, begun_well = WAYS[way]
    with contextlib.ExitStack() as stack:
        change = functools.partial(mock.patch.object, qat)
        stack.enter_context(change("is_better", lambda _: True))
        if not learnt:
            stack.enter_context(change("LearntSteps", FixedSteps))
            stack.enter_context(change("LearntRange", MovingRange))
        if not begun_well:
            nearest = functools.partial(reconstruct, parts=NEAREST)
            stack.enter_context(change("reconstruct", nearest))
        yield


def main() -> None:
    """Print a line for each file."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("run", type=pathlib.Path)
    asked.add_argument("--variants", nargs="+", default=["qat_int8", "qat_weight_int4"])
    asked.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    asked.add_argument("--fine-tune-epochs", type=int)
    asked.add_argument("--learning-rate", type=float)
    given = asked.parse_args()
    tuning = FineTuning(epochs=given.fine_tune_epochs, learning_rate=given.learning_rate)
    settings = Settings(fine_tuning=tuning)
    run = Run.open(given.run)
    print(f"{machine()['processor']}; {run.name}, float {run.info['results']['held_out']:.1f}")
    print("| file | way | validation: begun, trained | held out | bytes | CPU s |")
    print("|---|---|---|---|---|---|", flush=True)
    names = [name for name in NO_TRAINING if name == "float32" or _asked_for(name, given.variants)]
    made, _new = compress(run, names, onnx=False)
    for artefact in made:
        _show(artefact, "", 0.0)
    for way in given.ways:
        copy = _copied(given.run, f"{given.run.name}-{way}")
        for name in given.variants:
            began = time.process_time()
            with changed(way):
                (artefact,), _new = compress(Run.open(copy), [name], onnx=False, settings=settings)
            _show(artefact, way, time.process_time() - began)


def _asked_for(name: str, variants: list[str]) -> bool:
    return any(variant.endswith(name.removeprefix("plain_")) for variant in variants)


def _copied(folder: pathlib.Path, name: str) -> pathlib.Path:
    """The run without its files, made once."""
    copy = folder.with_name(name)
    if not copy.exists():
        kept = shutil.ignore_patterns("artefacts", "stages", "tensorboard", "*.png")
        shutil.copytree(folder, copy, ignore=kept)
    return copy


def _show(artefact: Artefact, way: str, seconds: float) -> None:
    info = artefact.info
    both = info.get("quantisation_aware")
    shown = "" if both is None else f"{both['begun']:.1f}, {both['trained']:.1f}"
    print(
        f"| {info['variant']['name']} | {way} | {shown} | {info['evaluation']['value']:.1f} | "
        f"{info['bytes']:,} | {seconds:.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
