"""What the embedded sets of painted digits share: whole-number choices, photos, colours."""

from __future__ import annotations

import importlib.resources

from PIL import Image


def pick(drawn: int, low: int, high: int) -> int:
    """A whole number from `low` to `high`, by a draw below 2**16.

    Whole numbers, not floats, so that every machine makes the same choices.
    """
    return low + (drawn * (high - low + 1) >> 16)


def photo(package: str, file: str) -> Image.Image:
    """An image that lies in an installed package, in RGB."""
    with importlib.resources.files(package).joinpath(file).open("rb") as stream:
        return Image.open(stream).convert("RGB")


def colour(draw: list[int], brightness: int, gap: int, *, bright: bool) -> tuple[int, ...]:
    """A random colour, mixed with white or black until it differs by `gap` from `brightness`."""
    end = 255 if bright else 0
    random = [value >> 8 for value in draw]
    for share in range(0, 257, 16):
        mixed = [value + ((end - value) * share >> 8) for value in random]
        luma = (299 * mixed[0] + 587 * mixed[1] + 114 * mixed[2]) // 1000
        if (luma - brightness if bright else brightness - luma) >= gap:
            break
    return tuple(mixed)
