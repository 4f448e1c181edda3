"""A few dozen made pictures of discs and squares on noise, as a user's folders have them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64
CLASSES = ("disc", "square")
TEXTURES = ("lying", "upright", "checks")


def class_folders(root: Path, count: int, *, side: int = SIDE) -> Path:
    """`count` pictures, by class: root/disc/0.png, root/square/1.png."""
    for number in range(count):
        picture, _mask, _box = _drawn(number, side)
        folder = root / CLASSES[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{number}.png")
    return root


def label_table(root: Path, count: int, *, side: int = SIDE) -> Path:
    """`count` pictures with a disc, a square, both or neither, and labels.csv, whose path is given.

    Discs are red and squares blue.
    """
    root.mkdir(parents=True, exist_ok=True)
    rows = ["file,labels"]
    for number in range(count):
        rng = np.random.default_rng([9, number])
        picture = rng.integers(90, 160, (side, side, 3)).astype(np.uint8)
        there = [name for place, name in enumerate(CLASSES) if number % 4 in (place, 2)]
        for name in there:
            radius = int(rng.integers(side // 8, side // 5))
            y, x = rng.integers(radius, side - radius, 2)
            rows_, columns = np.mgrid[:side, :side]
            away = np.hypot(rows_ - y, columns - x)
            if name == "square":
                away = np.maximum(abs(rows_ - y), abs(columns - x))
            picture[away < radius] = (230, 40, 40) if name == "disc" else (40, 60, 230)
        Image.fromarray(picture).save(root / f"{number}.png")
        rows.append(f"{number}.png,{';'.join(there)}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root / "labels.csv"


def textures(root: Path, count: int, *, side: int = SIDE) -> Path:
    """`count` pictures of lying stripes, upright ones, or checks: root/lying/0.png."""
    for number in range(count):
        rng = np.random.default_rng([8, number])
        width = int(rng.integers(side // 16, side // 8 + 1))
        rows, columns = (np.mgrid[:side, :side] + rng.integers(0, 2 * width, (2, 1, 1))) // width
        mask = (rows, columns, rows + columns)[number % 3] % 2 == 1
        folder = root / TEXTURES[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_coloured(mask, rng)).save(folder / f"{number}.png")
    return root


def coco(root: Path, count: int, *, side: int = SIDE) -> Path:
    """`count` pictures with a box each, and the JSON file whose path is returned."""
    root.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number in range(count):
        picture, _mask, (top, left, bottom, right) = _drawn(number, side)
        Image.fromarray(picture).save(root / f"{number}.png")
        size = {"width": side, "height": side}
        images.append({"id": number, "file_name": f"{number}.png", **size})
        box = [left, top, right - left, bottom - top]
        annotations.append(
            {"id": number + 1, "image_id": number, "category_id": number % 2, "bbox": box}
            | {"area": box[2] * box[3], "iscrowd": 0}
        )
    categories = [{"id": label, "name": name} for label, name in enumerate(CLASSES)]
    told = {"images": images, "annotations": annotations, "categories": categories}
    (root / "all.json").write_text(json.dumps(told))
    return root / "all.json"


def masks(root: Path, count: int, *, side: int = SIDE) -> Path:
    """`count` pictures and their masks, 1 within the disc or square, 0 around it."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture, mask, _box = _drawn(number, side)
        Image.fromarray(picture).save(root / "images" / f"{number}.png")
        Image.fromarray(mask.astype(np.uint8)).save(root / "masks" / f"{number}.png")
    (root / "classes.txt").write_text("background\nobject\n")
    return root


def _drawn(number: int, side: int) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int, int]]:
    """A picture, the object's pixels, and their box (top, left, bottom, right)."""
    rng = np.random.default_rng([7, number])
    radius = int(rng.integers(side // 8, side // 4))
    y, x = rng.integers(radius, side - radius, 2)
    rows, columns = np.mgrid[:side, :side]
    away = np.hypot(rows - y, columns - x)
    if number % 2:
        away = np.maximum(abs(rows - y), abs(columns - x))
    mask = away < radius
    box = (y - radius + 1, x - radius + 1, y + radius, x + radius)
    return _coloured(mask, rng), mask, tuple(map(int, box))


def _coloured(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A bright colour where the mask is, a dark one around it, and noise."""
    ground, colour = rng.integers(40, 110, 3), rng.integers(150, 230, 3)
    noise = rng.normal(0, 12, (*mask.shape, 3))
    return np.clip(np.where(mask[..., None], colour, ground) + noise, 0, 255).astype(np.uint8)
