"""A set in COCO's form, for the benchmarks that make their own."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

# Pixels, and of each object its class's number, its box (top, left, bottom, right in pixels) and,
# if it has one, its (corners, 2) outline in x and y.
Made = tuple[np.ndarray, list[tuple[int, Sequence[float], np.ndarray | None]]]


def written(place: pathlib.Path, classes: Sequence[str], made: Iterable[Made]) -> pathlib.Path:
    """Write `place`, and its images into the folder beside it of the same name; made once.

    Returns:
        `place`.
    """
    if place.is_file():
        return place
    images = place.with_suffix("")
    images.mkdir(parents=True, exist_ok=True)
    coco: dict[str, list[dict[str, Any]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 1 + label, "name": name} for label, name in enumerate(classes)],
    }
    for number, (pixels, objects) in enumerate(made):
        Image.fromarray(pixels).save(images / f"{number}.png")
        coco["images"].append(
            {
                "id": number,
                "file_name": f"{images.name}/{number}.png",
                "height": pixels.shape[0],
                "width": pixels.shape[1],
            }
        )
        for label, box, outline in objects:
            coco["annotations"].append(
                {"id": 1 + len(coco["annotations"]), "image_id": number, "category_id": 1 + label}
                | _placed(box, outline)
            )
    place.write_text(json.dumps(coco))
    return place


def _placed(box: Sequence[float], outline: np.ndarray | None) -> dict[str, Any]:
    top, left, bottom, right = (float(value) for value in box)
    height, width = bottom - top, right - left
    placed: dict[str, Any] = {"bbox": [left, top, width, height], "iscrowd": 0}
    if outline is None:
        return placed | {"area": width * height}
    x, y = np.asarray(outline, float).T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    return placed | {"area": area, "segmentation": [np.round(outline, 2).ravel().tolist()]}
