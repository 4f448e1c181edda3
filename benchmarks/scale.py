"""How long sets of COCO's, ImageNet's and 21,841 classes' size take, and how much memory.

Command:  python benchmarks/scale.py [coco] [imagenet] [classes] [--folder DIR] [--scale SHARE]
Needs:    12 GB of memory, 4 GB of disk and 1.5 million inodes under --folder; an hour.

Each line is a process of its own: seconds by the clock, seconds of processor time, and the largest
resident memory of one of its processes. `first step` is a `kerascnn train` that is interrupted when
its first epoch has shown progress; `resumed` is the same command again. The cache of what was read
is empty before `first step`, and as that left it before `resumed`. Results: benchmarks/scale.md.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import scale_sets

from training.engine.run import machine

_STEPPED = re.compile(r"^\S+: \d+/\d+ steps|^\S+: epoch ")
_PROGRAM = [sys.executable, "-m", "kerascnn.cli"]


def main(sets: list[str], folder: pathlib.Path, scale: float) -> None:
    """Make what is missing, and print a line a process."""
    print(f"{machine()['processor']}, {machine()['cores']} cores; scale {scale:g}")
    for name in sets or ("coco", "imagenet", "classes"):
        {"coco": _coco, "imagenet": _imagenet, "classes": _classes}[name](folder, scale)


def _coco(folder: pathlib.Path, scale: float) -> None:
    data = scale_sets.coco(folder / "coco", scale)
    cache, out = _fresh(folder, "coco")
    train = ["train", "ssdlite_mobilenet_v2", "--data", str(data), "--image-size", "96"]
    train += ["--batch-size", "8", "--epochs", "1", "--out", str(out)]
    _measure("coco: open", ["-c", _OPEN, "objects", str(data)], cache, program=[sys.executable])
    _fresh(folder, "coco")
    _measure("coco: first step", train, cache, until_step=True)
    _measure("coco: resumed", train, cache, until_step=True)
    _measure("coco: evaluation", ["-c", _EVALUATE, str(data)], cache, program=[sys.executable])
    held_out = str(data / "annotations" / "instances_val2017.json")
    whole = [*train[:2], "--data", held_out, *train[4:-1], f"{out}-5000"]
    _measure("coco's 5,000: trained", whole, cache)
    _measure("coco's 5,000: float32 and int8", ["compress", f"{out}-5000",
             "--variants", "float32,int8"], cache)  # fmt: skip
    _measure("coco's 5,000: report", ["compare", f"{out}-5000"], cache)


def _imagenet(folder: pathlib.Path, scale: float) -> None:
    data = scale_sets.imagenet(folder / "imagenet", scale)
    cache, out = _fresh(folder, "imagenet")
    train = ["train", "mobilenet_v2", "--option", "alpha=0.35", "--data", str(data)]
    train += ["--image-size", "64", "--epochs", "1", "--out", str(out)]
    _measure("imagenet: open", ["-c", _OPEN, "labelled", str(data)], cache,
             program=[sys.executable])  # fmt: skip
    _fresh(folder, "imagenet")
    _measure("imagenet: first step", train, cache, until_step=True)
    _measure("imagenet: resumed", train, cache, until_step=True)
    few = [*train[:-1], f"{out}-few", "--set", "pictures_per_class=2"]
    _measure("imagenet, 2 a class: trained, 50,000 evaluated", few, cache)
    _measure("imagenet, 2 a class: float32 and int8", ["compress", f"{out}-few",
             "--variants", "float32,int8"], cache)  # fmt: skip
    _measure("imagenet, 2 a class: report", ["compare", f"{out}-few"], cache)


def _classes(folder: pathlib.Path, scale: float) -> None:
    data = scale_sets.many_classes(folder / "classes", round(scale_sets.MANY_CLASSES * scale))
    cache, out = _fresh(folder, "classes")
    train = ["train", "mobilenet_v2", "--option", "alpha=0.35", "--data", str(data)]
    train += ["--image-size", "32", "--epochs", "1", "--batch-size", "64", "--out", str(out)]
    _measure("classes: first step", train, cache, until_step=True)
    _measure("classes: trained and evaluated", train, cache)
    _measure("classes: float32, int8 and qat_int8", ["compress", str(out), "--variants",
             "float32,int8,qat_int8"], cache)  # fmt: skip
    _measure("classes: report", ["compare", str(out)], cache)


def _fresh(folder: pathlib.Path, name: str) -> tuple[pathlib.Path, pathlib.Path]:
    """An empty cache, and where no run is."""
    cache, out = folder / f"cache-{name}", folder / "runs" / name
    for path in (cache, *out.parent.glob(f"{name}*")):
        shutil.rmtree(path, ignore_errors=True)
    cache.mkdir(parents=True)
    return cache, out


# Children, so that memory is theirs alone.
_OPEN = """
import sys
from training.datasets import scan
from training.datasets.detection_sets import scan_objects
found = {"objects": scan_objects, "labelled": scan}[sys.argv[1]](sys.argv[2], seed=0)
print(len(found.train), len(found.held_out), len(found.classes))
"""
_EVALUATE = """
import sys
import numpy as np
from training.detection.metrics import Detections, evaluate_detections
from training.datasets.detection_sets import scan_objects
dataset = scan_objects(sys.argv[1], seed=0)
split, rng = dataset.held_out, np.random.default_rng(0)
found = []
for index in range(len(split)):
    truth = split.objects(index)
    boxes = truth.boxes[rng.integers(0, len(truth), 100)] if len(truth) else np.zeros((0, 4))
    boxes = np.clip(boxes + rng.normal(0, 0.01, boxes.shape), 0, 1).astype(np.float32)
    scores = np.sort(rng.uniform(size=len(boxes)).astype(np.float32))[::-1]
    labels = rng.integers(0, len(dataset.classes), len(boxes)).astype(np.int32)
    found.append(Detections(boxes=boxes, scores=scores, labels=labels))
measured = evaluate_detections(found, split, dataset.classes)
print(f"AP {measured.ap:.2f} of {len(split)} images")
"""


def _measure(
    title: str,
    command: list[str],
    cache: pathlib.Path,
    *,
    program: list[str] = _PROGRAM,
    until_step: bool = False,
) -> None:
    """Run a process, to its end or to the first sign of a step, and print what it took."""
    environment = os.environ | {"KERASCNN_CACHE": str(cache)}
    began = time.monotonic()
    process = subprocess.Popen(
        [*program, *command], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env=environment,
    )  # fmt: skip
    assert process.stderr is not None
    said, stepped = [], 0.0
    for line in process.stderr:
        said.append(line)
        if until_step and not stepped and _STEPPED.match(line):
            stepped = time.monotonic() - began
            process.send_signal(signal.SIGINT)
    _pid, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = stepped or time.monotonic() - began
    busy, memory = used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6
    failed = "" if stepped or not process.returncode else f"  FAILED {process.returncode}"
    print(f"{title:48} {seconds:7.1f} s {busy:7.1f} s busy {memory:5.2f} GB{failed}", flush=True)
    if failed:
        print(f"{said[-1]:.300}" if said else "", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", choices=["coco", "imagenet", "classes", []])
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("runs/scale"))
    parser.add_argument("--scale", type=float, default=1.0)
    given = parser.parse_args()
    main(given.sets, given.folder.resolve(), given.scale)
