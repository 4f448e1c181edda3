"""Sets as large as COCO's and ImageNet's, and one of 21,841 classes, for benchmarks/scale.py.

Their pictures are hard links to a few dozen crops of packaged photos, so that 118,000 of them take
the room of their names. Decoding costs what it costs for different ones.

    coco/      118,000 pictures of 640x480 with 860,000 objects in polygons, and 5,000 held out
    imagenet/  1,281,167 pictures of 500x375 in 1,000 classes, and 50,000 held out
    classes/   21,841 classes of 3 pictures of 32x32, and one held out
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterator

import numpy as np
import skimage
import sklearn.datasets
from PIL import Image
from tqdm import tqdm

COCO_IMAGES, COCO_HELD_OUT, COCO_OBJECTS = 118_287, 5_000, 860_001
IMAGENET_IMAGES, IMAGENET_HELD_OUT, IMAGENET_CLASSES = 1_281_167, 50_000, 1_000
MANY_CLASSES = 21_841
_PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg")
_CROPS = 64
_POINTS = 24  # of a polygon, as COCO's have on average


def coco(root: pathlib.Path, scale: float = 1.0) -> pathlib.Path:
    """COCO's layout: annotations/instances_*.json, train2017/ and val2017/."""
    if (root / "made").exists():
        return root
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    sources = _crops(root / "sources", 640, 480)
    whole = COCO_IMAGES + COCO_HELD_OUT
    for part, images in (("train2017", COCO_IMAGES), ("val2017", COCO_HELD_OUT)):
        count = round(images * scale)
        objects = round(COCO_OBJECTS * scale * images / whole)
        names = [f"{part}/{number:012}.jpg" for number in range(count)]
        _link(root, names, sources)
        path = root / "annotations" / f"instances_{part}.json"
        path.write_text(json.dumps(_annotated(count, objects, seed=len(part))))
    (root / "made").touch()
    return root


def imagenet(root: pathlib.Path, scale: float = 1.0) -> pathlib.Path:
    """ImageNet's layout: train/n00000000/n00000000_0.JPEG and val/ of the same classes."""
    if (root / "made").exists():
        return root
    root.mkdir(parents=True, exist_ok=True)
    sources = _crops(root / "sources", 500, 375)
    for part, images in (("train", IMAGENET_IMAGES), ("val", IMAGENET_HELD_OUT)):
        count = round(images * scale)
        there = min(IMAGENET_CLASSES, round(IMAGENET_HELD_OUT * scale))
        classes = [number % there for number in range(count)]
        names = [f"{part}/n{c:08}/n{c:08}_{n}.JPEG" for n, c in enumerate(classes)]
        _link(root, names, sources)
    (root / "made").touch()
    return root


def many_classes(root: pathlib.Path, classes: int = MANY_CLASSES) -> pathlib.Path:
    """train/c00000/0.png and test/ of the same classes; a class's colour and tilt are its own."""
    if (root / "made").exists():
        return root
    for label in tqdm(range(classes), desc="classes", disable=None):
        for part, count in (("train", 3), ("test", 1)):
            folder = root / part / f"c{label:05}"
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                _stripes(label, part, number).save(folder / f"{number}.png")
    (root / "made").touch()
    return root


def _crops(folder: pathlib.Path, width: int, height: int) -> list[pathlib.Path]:
    """Different crops of packaged photos as JPEG files."""
    folder.mkdir(parents=True, exist_ok=True)
    photos = [pathlib.Path(skimage.__file__).parent / "data" / name for name in _PHOTOS]
    images = pathlib.Path(sklearn.datasets.__file__).parent / "images"
    photos += [images / "china.jpg", images / "flower.jpg"]
    files = []
    for number in range(_CROPS):
        rng = np.random.default_rng([2, number])
        with Image.open(photos[number % len(photos)]) as opened:
            photo = opened.convert("RGB")
        side = rng.uniform(0.6, 1.0)
        across, down = int(photo.width * side), int(photo.height * side)
        left = int(rng.integers(0, photo.width - across + 1))
        top = int(rng.integers(0, photo.height - down + 1))
        crop = photo.crop((left, top, left + across, top + down))
        files.append(folder / f"{number}.jpg")
        crop.resize((width, height), Image.Resampling.BICUBIC).save(files[-1], quality=90)
    return files


def _link(root: pathlib.Path, names: list[str], sources: list[pathlib.Path]) -> None:
    for folder in sorted({name.rsplit("/", 1)[0] for name in names}):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(tqdm(names, desc=f"{root.name}", unit="file", disable=None)):
        target = root / name
        if not target.exists():
            os.link(sources[number % len(sources)], target)


def _annotated(images: int, objects: int, *, seed: int) -> dict:
    """A COCO file of 80 categories; every picture has its share of the objects."""
    rng = np.random.default_rng([3, seed])
    records = [
        {"id": n, "file_name": f"{n:012}.jpg", "width": 640, "height": 480} for n in range(images)
    ]
    return {
        "images": records,
        "annotations": list(_objects(rng, images, objects)),
        "categories": [{"id": c + 1, "name": f"thing {c}"} for c in range(80)],
    }


def _objects(rng: np.random.Generator, images: int, objects: int) -> Iterator[dict]:
    angles = np.linspace(0, 2 * np.pi, _POINTS, endpoint=False)
    owners = rng.integers(0, images, objects)
    labels = rng.integers(1, 81, objects)
    for number in range(objects):
        radius = np.exp(rng.uniform(np.log(8), np.log(150), 2))
        centre = rng.uniform((20, 20), (620, 460))
        ring = centre + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
        ring *= 1 + 0.05 * rng.uniform(-1, 1, (_POINTS, 1))
        ring = np.clip(ring, 0, (640, 480)).round(2)
        (left, top), (right, bottom) = ring.min(0).tolist(), ring.max(0).tolist()
        box = [left, top, round(right - left, 2), round(bottom - top, 2)]
        yield {
            "id": number + 1,
            "image_id": int(owners[number]),
            "category_id": int(labels[number]),
            "bbox": box,
            "area": round(0.785 * box[2] * box[3], 2),
            "iscrowd": 0,
            "segmentation": [ring.ravel().tolist()],
        }


def _stripes(label: int, part: str, number: int) -> Image.Image:
    rng = np.random.default_rng([4, label])
    colours = rng.uniform(0, 255, (2, 3))
    tilt = rng.uniform(0, np.pi)
    rows, columns = np.mgrid[:32, :32]
    noise = np.random.default_rng([5, label, number, part == "train"])
    wave = np.sin((rows * np.cos(tilt) + columns * np.sin(tilt)) / 2 + noise.uniform(0, 6))
    pixels = np.where((wave > 0)[..., None], *colours) + noise.normal(0, 12, (32, 32, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
