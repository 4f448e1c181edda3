"""Images whose class can be told by hand; no framework is needed to make them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 8


def class_folders(root: Path, **values: tuple[int, ...]) -> Path:
    """Images of one value each, as root/bright/0.png."""
    for name, greys in values.items():
        (root / name).mkdir(parents=True)
        for number, grey in enumerate(greys):
            pixels = np.full((10, 12, 3), grey, np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def masks(root: Path) -> Path:
    """Two images, the left half dark and the right one bright; the second mask has it reversed."""
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[:, SIDE // 2 :] = 1
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number, mask in enumerate((pixels, 1 - pixels)):
        image = np.repeat(pixels[..., None] * 255, 3, axis=2)
        Image.fromarray(image).save(root / "images" / f"{number}.png")
        Image.fromarray(mask).save(root / "masks" / f"{number}.png")
    (root / "classes.txt").write_text("dark\nbright\n")
    return root
