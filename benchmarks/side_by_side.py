"""Detectors side by side on one set: one class, from random weights, minutes of a processor.

Command:  python benchmarks/side_by_side.py ssdlite=8 efficientdet=4 [--side 192]
          python benchmarks/side_by_side.py --anchors     without a training: what anchors reach

The set: `scenes` of 320x320 pixels whose digits are all of one class, "digit"; 400 images to learn
from, 150 held out, whose digits and photos no training saw. An object's size is that of its box, so
that "large" ones, of 96 x 96 pixels and more, are a sixth of all.

Behind each name stand its epochs of 50 steps; the processor time of the whole command, its start
and the evaluation included, stands in the line that it prints. All have the recipe `scenes`.
Results: benchmarks/side_by_side.md.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import coco_set
import numpy as np

from kerascnn import zoo
from training.datasets import scenes
from training.datasets.detection import DetectionSplit
from training.engine.request import request
from training.engine.run import Run, machine
from training.engine.train import train

FOLDER = pathlib.Path("runs/side_by_side")
IMAGES, HELD_OUT = 400, 150
LARGE = 96**2  # pixels, as COCO has it
MATCHED = 0.4  # of the recipe `scenes`
NETWORKS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "ssdlite": ("ssdlite_mobilenet_v2", {}, {"max_scale": 0.95}),
    "ssdlite_narrow": ("ssdlite_mobilenet_v2", {"alpha": 0.35}, {"max_scale": 0.95}),
    # As the recipe `scenes` had it before.
    "ssdlite_narrow_to_0.6": ("ssdlite_mobilenet_v2", {"alpha": 0.35}, {"max_scale": 0.6}),
    "efficientdet": ("efficientdet_lite0", {}, {}),
    "rtmdet": ("rtmdet_mobilenet_v4_conv_small", {}, {}),
}


def main() -> None:
    """Make the set, train what is missing, and print a line a network."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("networks", nargs="*", metavar="NAME=EPOCHS", help=", ".join(NETWORKS))
    asked.add_argument("--anchors", action="store_true", help="print what anchors reach")
    asked.add_argument("--side", type=int, default=192, help="of the networks' input")
    asked.add_argument("--out", type=pathlib.Path, default=FOLDER)
    given = asked.parse_args()
    if given.anchors:
        print("\n".join(_anchors()))
        return
    data = [written(given.out / "data", part) for part in ("train", "held_out")]
    print(f"{machine()['processor']}; {given.side}x{given.side}", flush=True)
    for each in given.networks:
        name, _, epochs = each.partition("=")
        print(_line(name, int(epochs), given, [str(path) for path in data]), flush=True)


def _line(name: str, epochs: int, given: argparse.Namespace, data: list[str]) -> str:
    began = time.process_time()
    run = _trained(name, given.side, data, given.out / f"{name}-{given.side}-{epochs}", epochs)
    used, results = time.process_time() - began, run.info["results"]
    figures = ", ".join(
        f"{title} {results[key]:.1f}"
        for title, key in (
            *(("AP50", "ap50"), ("AP75", "ap75"), ("small", "ap_small"), ("medium", "ap_medium")),
            ("large", "ap_large"),
        )
        if results[key] is not None
    )
    return (
        f"| {name} | {run.info['parameters'] / 1e6:.2f} M | {run.info['macs'] / 1e6:.0f} M | "
        f"{epochs} | {used:.0f} | {results['held_out']:.1f} | {figures} |"
    )


def _anchors() -> list[str]:
    """A line for the large and the other objects of `IMAGES` scenes, by detector."""
    split = scenes.scan(f"scenes:320@{IMAGES}+1").train
    boxes = np.concatenate([split.objects(index).boxes for index in range(IMAGES)])
    large = ((boxes[:, 2:] - boxes[:, :2]) * 320).prod(axis=1) >= LARGE
    lines = []
    for title, model, options in (
        ("SSDLite to 0.6", "ssdlite_mobilenet_v2", {"min_scale": 0.1, "max_scale": 0.6}),
        ("SSDLite to 0.95", "ssdlite_mobilenet_v2", {"min_scale": 0.1}),
        ("EfficientDet-Lite0", "efficientdet_lite0", {}),
    ):
        anchors = zoo.detector_spec(model, (320, 320, 3), **options).anchors
        for size, chosen in (("large", boxes[large]), ("others", boxes[~large])):
            by_level = anchors.reach_by_level(chosen)
            best, levels = by_level.max(axis=1), np.bincount(by_level.argmax(axis=1))
            matched = (_overlaps(anchors.boxes(), chosen) >= MATCHED).sum(axis=0).mean()
            lines.append(
                f"| {title} | {size} | {len(chosen)} | {best.mean():.3f} | "
                f"{100 * (best < 0.5).mean():.1f}% | {matched:.1f} | "
                f"{' '.join(map(str, levels))} |"
            )
    return lines


def _overlaps(anchors: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(a, m) IoU."""
    low = np.maximum(anchors[:, None, :2], boxes[None, :, :2])
    high = np.minimum(anchors[:, None, 2:], boxes[None, :, 2:])
    shared = (high - low).clip(0).prod(axis=-1)
    areas = [(each[:, 2:] - each[:, :2]).prod(axis=1) for each in (anchors, boxes)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)


def _trained(name: str, side: int, data: list[str], folder: pathlib.Path, epochs: int) -> Run:
    model, options, detector = NETWORKS[name]
    asked = request(
        model,
        data=data[0],
        val_data=data[1],
        recipe="scenes",
        image_size=(side, side),
        epochs=epochs,
        model_options=options,
        detector_options=detector,
        settings={"validation_fraction": 0.0},
    )
    return train(asked, folder)


def written(folder: pathlib.Path, part: str) -> pathlib.Path:
    """A part of the set in COCO's form; made once."""
    split = getattr(scenes.scan(f"scenes:320@{IMAGES}+{HELD_OUT}"), part)
    return coco_set.written(folder / f"{part}.json", ["digit"], _digits(split))


def _digits(split: DetectionSplit) -> Iterator[coco_set.Made]:
    for number in range(len(split)):
        pixels = split.picture(number)
        boxes = split.objects(number).boxes * np.tile(pixels.shape[:2], 2)
        yield pixels, [(0, box, None) for box in boxes.tolist()]


if __name__ == "__main__":
    main()
