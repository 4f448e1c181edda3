"""Shapes on the background of training images, which an object is not to be taken for.

Few photos have few outlines. Discs and quadrangles of what the image has elsewhere, darker or
brighter, have many more: a network that takes any strong edge for an object learns that it is none
(domain randomisation, arXiv:1703.06907, section III).

Letters in shapes: h w height and width in pixels, s shapes.
"""

from __future__ import annotations

import numpy as np

MOST = 12  # shapes in an image
# Columns of uniform numbers a shape; the first row's are also of the image as a whole.
_COUNT, _SIDE, _ROUND = 0, 1, 2
_CENTRE, _RATIO, _OWN_SIDE, _TURN = slice(3, 5), 5, 6, 7
_SHIFT, _BRIGHTNESS, _OFFSET, _OPACITY = slice(8, 10), 10, 11, 12
COLUMNS = 13

_SIDES = (0.06, 0.4)  # of the image's shorter one
_OWN_SIDES = (0.75, 1.33)  # of the image's own


def cluttered(pixels: np.ndarray, label_map: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The image with shapes where its class is 0; other classes stay as they are.

    Args:
        pixels: (h, w, 3) uint8.
        label_map: (h, w) uint8.
        numbers: (s, `COLUMNS`) from 0 to 1; s is 0 for none.
    """
    if not len(numbers) or not pixels.size:
        return pixels
    free = label_map == 0
    count = 1 + int(numbers[0, _COUNT] * len(numbers))
    side = _log_between(_SIDES, numbers[0, _SIDE]) * min(label_map.shape)
    whole = pixels.astype(np.float32)
    for u in numbers[:count]:
        shift = (u[_SHIFT] * label_map.shape).astype(int)
        # Neither is an object painted over, nor is one painted.
        inside = (
            _shape(label_map.shape, side, u, is_round=bool(numbers[0, _ROUND] < 0.5))
            & free
            & np.roll(free, shift, axis=(0, 1))
        )
        opacity = 0.5 + 0.5 * u[_OPACITY]
        other = np.roll(pixels, shift, axis=(0, 1))[inside]
        other = other * (0.5 + u[_BRIGHTNESS]) + 160 * (u[_OFFSET] - 0.5)
        whole[inside] += opacity * (other - whole[inside])
    return np.clip(whole + 0.5, 0, 255).astype(np.uint8)


def _shape(size: tuple[int, ...], side: float, u: np.ndarray, *, is_round: bool) -> np.ndarray:
    """(h, w) bool, what is inside of an ellipse or a rectangle, turned."""
    from PIL import Image, ImageDraw  # late: commands that list policies answer without it

    ratio = _log_between((0.5, 2.0), u[_RATIO]) ** 0.5
    own = side * _log_between(_OWN_SIDES, u[_OWN_SIDE]) / 2
    corners = 32 if is_round else 4
    angles = 2 * np.pi * (np.arange(corners) + 0.5) / corners
    points = np.stack([own * ratio * np.cos(angles), own / ratio * np.sin(angles)], axis=1)
    turn = np.pi * u[_TURN]
    points = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    points += u[_CENTRE] * (size[1], size[0])
    canvas = Image.new("1", (size[1], size[0]))
    ImageDraw.Draw(canvas).polygon(points.ravel().tolist(), fill=1)
    return np.asarray(canvas)


def _log_between(limits: tuple[float, float], u: float) -> float:
    low, high = limits
    return float(low * (high / low) ** u)
