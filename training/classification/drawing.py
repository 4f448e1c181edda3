"""Labels written on images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from training.common.drawing import INK, shorten
from training.common.fonts import Letters

_LETTERS = 40  # of a name
_SMALLEST = 8  # pixels that letters need to be read
_OPAQUE = 200  # of 255, the strip behind letters


def draw_labels(picture: np.ndarray, labels: Sequence[tuple[str, float]]) -> np.ndarray:
    """Write labels with their probabilities into the upper left corner of a copy of an image.

    Letters grow with the image; on one that is too small for any it stays as it is.

    Args:
        picture: (height, width, 3) uint8.
        labels: names with probabilities, 0 to 1, one line each; as many as there is room for.

    Returns:
        (height, width, 3) uint8.
    """
    high, wide = picture.shape[:2]
    letters = min(max(12, round(0.03 * (high * wide) ** 0.5)), high // 6)
    if letters < _SMALLEST:
        return picture.copy()
    writer = Letters(letters, [name for name, _ in labels])
    gap, step = max(2, letters // 4), sum(writer.metrics)
    lines = [_fitting(name, value, writer, wide - 2 * gap) for name, value in labels]
    lines = [line for line in lines[: max(1, (high - 2 * gap) // step)] if line]
    if not lines:
        return picture.copy()
    width = int(np.ceil(max(writer.length(line) for line in lines))) + 2 * gap
    image = Image.fromarray(picture).convert("RGB")
    strip = Image.new("RGB", (width, len(lines) * step + gap), INK)
    image.paste(strip, (0, 0), Image.new("L", strip.size, _OPAQUE))
    canvas = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        writer.write(canvas, (gap, gap // 2 + number * step), line, "white")
    return np.array(image)


def _fitting(name: str, value: float, writer: Letters, width: int) -> str:
    """As much of a name as there is room for, nothing where no letter is."""
    for count in range(_LETTERS, 0, -1):
        text = f"{shorten(name, count)} {value:.0%}"
        if writer.length(text) <= width:
            return text
    return ""
