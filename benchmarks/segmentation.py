"""benchmarks/segmentation.md: two U-Nets trained on the embedded scenes on a CPU, and their files.

The trainings come first; every command goes on where it was. The small U-Net begins at 64x64, where
a step takes a quarter of the time; the second command gives it the digits' true sizes.

    kerascnn train unet --option width=16 --option dtype=mixed_bfloat16 --image-size 64 \
        --data scenes:64@20000+200 --batch-size 16 --epochs 3 --set validation_fraction=0.02 \
        --out runs/unet_first
    kerascnn train unet --option width=16 --option dtype=mixed_bfloat16 --image-size 128 \
        --data scenes:128@21000+500 --epochs 2 --set validation_fraction=0.02 \
        --warmup-epochs 0.05 --weights runs/unet_first/model.keras --out runs/unet
    kerascnn train unet_efficientnet_lite0 --image-size 64 --weights imagenet \
        --data scenes:64@16000+200 --batch-size 16 --epochs 2 --set validation_fraction=0.02 \
        --out runs/unet_efficientnet_lite0_first
    kerascnn train unet_efficientnet_lite0 --image-size 128 --data scenes:128@10000+500 --epochs 2 \
        --set validation_fraction=0.02 --warmup-epochs 0.05 --learning-rate 1.5e-3 \
        --weights runs/unet_efficientnet_lite0_first/model.keras --out runs/unet_efficientnet_lite0
    python benchmarks/segmentation.py runs/unet_first,runs/unet \
        runs/unet_efficientnet_lite0_first,runs/unet_efficientnet_lite0

(`taskset -c 0` in front of one network's commands and `-c 1` in front of the other's trains the two
side by side, each on one core.)

An argument is the runs of one network with commas, in order; files are made of the last. They take
turns, one thread each.
"""

from __future__ import annotations

import csv
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from export.artefacts.artefact import Artefact
from export.compress.compress import compress
from export.runtime import benchmark
from export.runtime.load import THREADS
from export.tasks import base as tasks
from training.engine.run import Run, machine

VARIANTS = (
    *("float32", "float16", "dynamic_int8", "weight_int8", "weight_int4", "int8"),
    *("float32_raw", "int8_raw"),
)
ROUNDS = 15
OUTPUT = pathlib.Path(__file__).with_suffix(".md")


def main() -> None:
    """Make the files of the runs named, and the page."""
    chains = [[Run.open(folder) for folder in chain.split(",")] for chain in sys.argv[1:]]
    runs = [chain[-1] for chain in chains]
    made = [(run, compress(run, VARIANTS)[0]) for run in runs]
    curves = [_curve(run) for chain in chains for run in chain]
    OUTPUT.write_text("\n\n".join([_head(), *curves, _files(made)]) + "\n", "utf-8")
    print(OUTPUT.read_text("utf-8"))


def _head() -> str:
    facts = machine()
    return (
        "# U-Nets on the embedded scenes\n\n"
        "Made by `python benchmarks/segmentation.py`, which says how. Eleven classes: the digits "
        "and what is behind them. mIoU is the mean over classes of intersection over union, in "
        "percent, on held-out scenes, whose digits and photos no training saw; the validation ones "
        "that choose an epoch have the digits and photos of training. Negatives and shapes on the "
        "background (`training/augment/distractors.py`) came into the recipe after a look at what "
        "a network without them (mIoU 78.2) took for digits on held-out photos, so that these are "
        "not quite unseen by whoever wrote it.\n"
        f"Machine: {facts['processor']}, {facts['cores']} cores; each network had one of them, "
        "and shared it."
    )


def _curve(run: Run) -> str:
    asked, results = run.info["request"], run.info["results"]
    with (run.folder / "history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    counts = run.info["dataset"]
    given = pathlib.Path(asked["weights"] or "random")
    lines = [
        f"## {run.name}",
        f"{asked['model']}, {run.info['parameters']:,} parameters, {run.info['macs'] / 1e6:,.0f} M "
        f"MACs; {counts['train']:,} scenes of {run.preprocessing.height}x"
        f"{run.preprocessing.width}, {asked['config']['batch_size']} a step, in "
        f"{results['seconds'] / 60:.0f} minutes; initial weights: "
        f"{given.parent.name or given}.",
        "",
        f"Held out ({counts['held_out']} scenes): mIoU {results['held_out']:.1f}, mean dice "
        f"{results['mean_dice']:.1f}, pixels right {results['pixel_accuracy']:.1f}, boundary F1 "
        f"{results['boundary_f1']:.1f}.",
        "",
        "| epoch | loss | validation mIoU |",
        "|---|---|---|",
    ]
    lines += [
        f"| {row['epoch']} | {float(row['loss']):.3f} | {float(row['val_miou']):.1f} |"
        for row in rows
    ]
    return "\n".join(lines)


def _files(made: list[tuple[Run, list[Artefact]]]) -> str:
    lines = [
        "## Files",
        "`raw` ends in logits; the others have the largest one's class inside. The drop is from "
        "the Keras model, with its 95% interval (paired bootstrap over pictures); `same` are "
        f"pixels with Keras' class. Latency: {THREADS} thread, medians of interleaved turns.",
        "",
        "| run | file | KB | zipped KB | mIoU | drop (95%) | same | pieces | ms | fits |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run, artefacts in made:
        task = tasks.of(run)
        picture = task.timed_picture()
        calls = {str(one.path): task.load(one.path).once(picture) for one in artefacts}
        times = benchmark.interleaved(calls, rounds=ROUNDS)
        lines += [_row(run, one, times[str(one.path)].median_ms) for one in artefacts]
    return "\n".join(lines)


def _row(run: Run, one: Artefact, milliseconds: float) -> str:
    measured = one.info["evaluation"]
    low, high = one.kind.drop_interval(*one.answers)
    drop = measured["float_value"] - measured["value"]
    pieces = "-" if measured["partitions"] is None else measured["partitions"]
    return (
        f"| {run.name} | {one.path.name} | {one.info['bytes'] / 1000:.1f} | "
        f"{one.info['download_bytes'] / 1000:.1f} | {measured['value']:.2f} | "
        f"{drop:+.2f} ({low:+.2f} to {high:+.2f}) | {measured['agreement']:.2f}% | {pieces} | "
        f"{milliseconds:.2f} | {'yes' if measured['fits'] else 'NO'} |"
    )


if __name__ == "__main__":
    main()
