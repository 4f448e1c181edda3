"""How images should meet a detector: letterboxed or stretched, whole or in tiles.

Command:  python benchmarks/shapes.py                trains four detectors; goes on where it was
          python benchmarks/shapes.py --sets mixed   two of them
          python benchmarks/shapes.py --tiny         the same way in a minute or two, for no figure

Two sets are made of the embedded scenes: one of images with four aspect ratios, and one of large
images, in which a network of their size over three would see digits of 4 to 27 pixels. Of each set
two detectors are trained with the same seed, images and epochs, and measured on held-out images,
whose digits and photos no training saw. Results: benchmarks/shapes.md.
"""

from __future__ import annotations

import argparse
import os
import pathlib
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import coco_set
import numpy as np

from training.datasets import scenes
from training.datasets.detection import DetectionSplit
from training.engine.request import request
from training.engine.run import machine
from training.engine.train import train

FOLDER = pathlib.Path("runs/shapes")
SHAPES = ((256, 256), (192, 384), (384, 192), (144, 480))  # height, width
ASIDE, PART = 3, 160  # scenes of a side of a large image, and their own side
SETS: dict[str, dict[str, dict[str, Any]]] = {  # of each set the ways that are compared
    "mixed": {"stretch": {"resize": "stretch"}, "letterbox": {"resize": "letterbox"}},
    "large": {"whole": {}, "tiles": {"tiles": ASIDE * PART // 2}},
}
Placed = tuple[np.ndarray, np.ndarray, np.ndarray]  # pixels, (m, 4) boxes in them, (m,) labels


def main() -> None:
    """Make what is missing, and print a line for each training."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ssdlite_mobilenet_v2")
    parser.add_argument("--images", type=int, default=800, help="of each set, to learn from")
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--weights", help="initial weights, as of `kerascnn train`")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--tiny", action="store_true")
    asked = parser.parse_args()
    if asked.tiny:
        asked.images, asked.held_out, asked.epochs, asked.image_size = 16, 8, 1, 96
    folder = FOLDER / ("tiny" if asked.tiny else "whole")
    print(f"{machine()['processor']}, {machine()['cores']} cores")
    side = asked.image_size
    for name in asked.sets:
        data = [
            written(folder / name, name, part, count)
            for part, count in (("train", asked.images), ("held_out", asked.held_out))
        ]
        for way, changes in SETS[name].items():
            run = train(
                request(
                    asked.model,
                    data=str(data[0]),
                    val_data=str(data[1]),
                    recipe="scenes",
                    image_size=(side, side),
                    weights=asked.weights,
                    epochs=asked.epochs,
                    **changes,
                ),
                folder / f"{name}-{way}",
            )
            found = run.info["results"]
            figures = ", ".join(
                f"{title} {found[key]:.1f}" if found[key] is not None else f"{title} -"
                for title, key in (("AP50", "ap50"), ("small", "ap_small"), ("large", "ap_large"))
            )
            print(f"{name:6} {way:10} AP {found['held_out']:.1f}, {figures}; {found['seconds']} s")


def written(folder: pathlib.Path, name: str, part: str, count: int) -> pathlib.Path:
    """A set in COCO's form; made once."""
    made = mixed(part, count) if name == "mixed" else large(part, count)
    classes = [f"digit {label}" for label in range(10)]
    return coco_set.written(
        folder / f"{part}.json",
        classes,
        (
            (
                pixels,
                [(label, box, None) for label, box in zip(labels.tolist(), boxes, strict=True)],
            )
            for pixels, boxes, labels in made
        ),
    )


def mixed(part: str, count: int) -> Iterator[Placed]:
    """Scenes of several shapes in turn."""
    splits = [_split(height, width, part, count) for height, width in SHAPES]
    for number in range(count):
        yield _scene(splits[number % len(splits)], number)


def large(part: str, count: int) -> Iterator[Placed]:
    """Scenes side by side and one below the other."""
    many = ASIDE * ASIDE
    split = _split(PART, PART, part, many * count)
    for number in range(count):
        cells = [_scene(split, many * number + place) for place in range(many)]
        rows = [
            np.concatenate([pixels for pixels, _, _ in cells[ASIDE * row : ASIDE * (row + 1)]], 1)
            for row in range(ASIDE)
        ]
        corners = [np.tile([place // ASIDE, place % ASIDE], 2) * PART for place in range(many)]
        boxes = [cell[1] + corner for cell, corner in zip(cells, corners, strict=True)]
        yield (
            np.concatenate(rows),
            np.concatenate(boxes),
            np.concatenate([cell[2] for cell in cells]),
        )


def _split(height: int, width: int, part: str, count: int) -> DetectionSplit:
    counts = f"{count}+1" if part == "train" else f"1+{count}"
    found: DetectionSplit = getattr(scenes.scan(f"scenes:{height}x{width}@{counts}"), part)
    return found


def _scene(split: DetectionSplit, index: int) -> Placed:
    pixels, objects = split.picture(index), split.objects(index)
    return pixels, objects.boxes * np.tile(pixels.shape[:2], 2), objects.labels


if __name__ == "__main__":
    main()
