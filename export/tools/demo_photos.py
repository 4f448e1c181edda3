"""The demo's second act: a network with ImageNet weights, brought and compressed without training.

Images are squares of photos that scikit-image and scikit-learn carry. Files are made with some of
the photos and held against the network's own answers on others; nothing is downloaded.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from export.compress.compress import compress
from export.report.compare import compare
from export.report.page import Named, NamedPhoto
from export.runtime.answers import Prediction
from export.runtime.model_facts import declared
from export.runtime.predict import answers
from kerascnn.errors import InputError
from kerascnn.weights.efficientnet_pytorch import packaged_checkpoint
from training.common import atomic
from training.common.progress import say
from training.common.wording import unit_of
from training.datasets import painting
from training.datasets.pictures import read_picture
from training.importing.asked import import_request
from training.importing.run import import_network

MODEL = "efficientnet_lite0"
TITLE = "EfficientNet-Lite0 with its ImageNet weights, nothing trained"
# Each column of the table: the network as it was brought, and what is made of it.
VARIANTS = ("float32", "int8", "weight_int8")
_SHOWN = (
    ("skimage.data", "chelsea.png"),
    ("skimage.data", "coffee.png"),
    ("skimage.data", "motorcycle_left.png"),
    ("skimage.data", "rocket.jpg"),
    ("sklearn.datasets.images", "china.jpg"),
)
_MEASURED = (*_SHOWN, ("skimage.data", "camera.png"), ("skimage.data", "grass.png"))
# None of these is measured on.
_CALIBRATED = (
    ("skimage.data", "astronaut.png"),
    ("skimage.data", "brick.png"),
    ("skimage.data", "coins.png"),
    ("skimage.data", "gravel.png"),
    ("skimage.data", "hubble_deep_field.jpg"),
    ("skimage.data", "ihc.png"),
    ("skimage.data", "moon.png"),
    ("skimage.data", "retina.jpg"),
    ("sklearn.datasets.images", "flower.jpg"),
)
_CROPS = 100  # of the photos of a part, in turn
_SIDE = 256  # pixels that a crop is written with
_SMALLEST = 0.2  # share of a photo's largest square that a crop has
_SEED = 20_26


def second_act(folder: pathlib.Path) -> Named | None:
    """Bring the network, make its files, report on them, and name photos with each.

    Args:
        folder: of the demo; gets the photos, the run, and the report: photos.html, .csv and .png.

    Returns:
        What the files call some photos; None where the package with the weights is not installed,
        which is said.
    """
    try:
        packaged_checkpoint()
    except InputError as error:
        say(f"photos are left out: {error}")
        return None
    learnt, measured = folder / "photos" / "calibrated", folder / "photos" / "measured"
    write_crops(_CALIBRATED, learnt, part=0)
    write_crops(_MEASURED, measured, part=1)
    asked = import_request(
        MODEL, data=str(learnt), val_data=str(measured), weights="imagenet", unlabelled=True
    )
    run = import_network(asked, folder / MODEL)
    files, _new = compress(run, VARIANTS, onnx=False)
    report = folder / "photos.html"
    rows = compare([run], report, title=f"{TITLE}, on {_CROPS} squares of real photos")
    figures = {row.variant: row.value for row in rows}
    return dataclasses.replace(
        named([file.path for file in files], shown_photos(folder / "photos" / "shown")),
        notes=tuple(
            f"same answer on {figures[file.path.stem]:.0f}% of {_CROPS} crops" for file in files
        ),
        report=report.name,
    )


def write_crops(
    photos: Sequence[tuple[str, str]], folder: pathlib.Path, *, part: int, count: int = _CROPS
) -> None:
    """Write squares of photos, in turn, each drawn by chance from a fixed seed.

    Args:
        photos: package and file of each.
        part: another number draws other squares.
    """
    opened = [(pathlib.Path(file).stem, painting.photo(package, file)) for package, file in photos]
    rng = np.random.default_rng([_SEED, part])
    for number in range(count):
        name, photo = opened[number % len(opened)]
        side = int(min(photo.size) * np.sqrt(rng.uniform(_SMALLEST, 1)))
        left, top = (int(rng.integers(0, length - side + 1)) for length in photo.size)
        mirrored = rng.random() < 0.5
        path = folder / f"{name}-{number:03d}.jpg"
        if path.exists():  # an earlier demo's, and the same
            continue
        box = (left, top, left + side, top + side)
        crop = photo.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC, box=box)
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else crop
        with atomic.replacing(path) as temporary:
            crop.save(temporary, "JPEG", quality=92)


def shown_photos(folder: pathlib.Path) -> list[pathlib.Path]:
    """Write the whole photos that are named, as they come in their packages."""
    paths = []
    for package, file in _SHOWN:
        paths.append(folder / pathlib.Path(file).with_suffix(".jpg"))
        with atomic.replacing(paths[-1]) as temporary:
            painting.photo(package, file).save(temporary, "JPEG", quality=95)
    return paths


def named(files: Sequence[pathlib.Path], photos: Sequence[pathlib.Path]) -> Named:
    """What classifiers call some photos: the likeliest label of each."""
    sizes = [file.stat().st_size for file in files]
    preprocessing = declared(files[0]).preprocessing
    answered = [list(answers(file, [str(path) for path in photos], top=1)) for file in files]
    shown = []
    for number, path in enumerate(photos):
        found = [each[number] for each in answered]
        labels = tuple(one.labels[0] for one in found if isinstance(one, Prediction))
        picture = read_picture(path, preprocessing)
        shown.append(NamedPhoto(name=path.stem, picture=picture, labels=labels))
    return Named(
        title=TITLE,
        files=tuple(file.stem for file in files),
        sizes=tuple(unit_of(sizes).text(size) for size in sizes),
        photos=tuple(shown),
    )


def as_json(found: Named) -> list[dict[str, Any]]:
    """Plain data: each photo, with what each file calls it."""
    return [
        {
            "photo": photo.name,
            "labels": {
                file: {"label": label, "probability": value}
                for file, (label, value) in zip(found.files, photo.labels, strict=True)
            },
        }
        for photo in found.photos
    ]


def as_text(found: Named) -> str:
    """A table: photos down, files across."""
    sized = zip(found.files, found.sizes, strict=True)
    head = ["photo", *(f"{file}, {size}" for file, size in sized)]
    rows = [
        [photo.name, *(f"{label} {value:.0%}" for label, value in photo.labels)]
        for photo in found.photos
    ]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, ["-" * width for width in widths], *rows)
    ]
    return "\n".join([f"{found.title}:", "", *lines])
