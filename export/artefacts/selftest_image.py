"""The image of the self-test: a formula, so that no file has to carry it.

Whole numbers alone, below 2**31 but for the products of the hashes, which are taken modulo 2**32:
Kotlin, JavaScript and Python give the same bytes (android_demo's TestImage.kt, the page's
test_image.js). With x and y from 0 to 255 across the image, rounded down:

1. Red x, green y, blue 255 - (x + y) / 2: gradients.
2. Eight discs, one over the other, drawn by a generator of numbers: states
   s' = (1103515245 s + 12345) mod 2**31 from 1 on, of which a number n is s' / 2**16. A disc takes
   six: its middle (n mod 256) in x and in y, its radius 16 + n mod 64, and three colours n mod 256.
   Where d, the square of the distance from the middle, is below r, that of the radius, a colour c
   becomes (c (r - w) + colour w) / r, with w = r - d for the first disc and every second one after
   it (a soft blob), and w = r for the others (a hard edge).
3. In the lower right quarter every second cell of a chessboard, of 16 x 16, has 3/4 of its
   brightness.
4. Noise: byte k of the image's three colours gains h / 8 - 16, where h is (2654435761 (k + 1)
   mod 2**32) / 2**24 (Knuth's hash); what leaves 0 to 255 is cut.
5. A grey image is (red + 2 green + blue + 2) / 4.
"""

from __future__ import annotations

import numpy as np

EDITION = 1  # another formula is another one
_DISCS, _CELL = 8, 4  # discs, and bits of a place inside of a chessboard's cell
KNUTH = 2654435761


def image_of(height: int, width: int, channels: int) -> np.ndarray:
    """The image of a size.

    Args:
        channels: 1 or 3.

    Returns:
        (height, width, channels) uint8, red first.
    """
    y = (np.arange(height, dtype=np.int32) * 256 // height)[:, None]
    x = (np.arange(width, dtype=np.int32) * 256 // width)[None]
    colours = [x + 0 * y, y + 0 * x, 255 - (x + y) // 2]
    _draw_discs(colours, y, x)
    dark = (((x >> _CELL) ^ (y >> _CELL)) & 1 == 1) & (x >= 128) & (y >= 128)
    noise = _noise(height * width * 3).reshape(height, width, 3)
    made = np.empty((height, width, 3), np.uint8)
    for channel, colour in enumerate(colours):
        shaded = np.where(dark, colour * 3 // 4, colour)
        made[..., channel] = np.clip(shaded + noise[..., channel], 0, 255)
    if channels == 3:
        return made
    red, green, blue = (made[..., channel].astype(np.uint16) for channel in range(3))
    return ((red + 2 * green + blue + 2) >> 2).astype(np.uint8)[..., None]


def hashes(count: int) -> np.ndarray:
    """(count,) uint32: 2654435761 (k + 1) mod 2**32."""
    return np.arange(1, count + 1, dtype=np.uint32) * np.uint32(KNUTH)


def _noise(count: int) -> np.ndarray:
    return (hashes(count) >> np.uint32(27)).astype(np.int16) - np.int16(16)


def _draw_discs(colours: list[np.ndarray], y: np.ndarray, x: np.ndarray) -> None:
    """Over the gradients, in place."""
    state = 1

    def number() -> int:
        nonlocal state
        state = (1103515245 * state + 12345) % 2**31
        return state >> 16

    for disc in range(_DISCS):
        middle_x, middle_y, radius = number() % 256, number() % 256, 16 + number() % 64
        inside, square = (x - middle_x) ** 2 + (y - middle_y) ** 2, radius**2
        soft = square - np.minimum(inside, square)
        weight = soft if disc % 2 == 0 else np.where(soft > 0, square, 0)
        for channel in range(3):
            mixed = colours[channel] * (square - weight) + number() % 256 * weight
            colours[channel] = mixed // square
