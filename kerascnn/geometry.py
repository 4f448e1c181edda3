"""Where a whole image lies on the network's input: the one place that decides on it.

Pixels follow a `Placement` by one resampling, boxes and masks by the same numbers, there and back.
`export/deploy/web_page/preprocess.js` and `Geometry.kt` of the Android demo are the same whole
numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from kerascnn.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placement:
    """The rectangle of whole pixels of the network's input into which an image is stretched.

    Attributes:
        top, left: may be negative: the image hangs over, and is cut off there.
        height, width: may be larger than the input.
        flip: whether it is mirrored in its place.
    """

    top: int
    left: int
    height: int
    width: int
    flip: bool = False

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """(m, 4) shares of the image to (m, 4) pixels of the input, float64 and not clipped."""
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        boxes = mirrored(boxes) if self.flip else boxes
        return boxes * self._sides + self._corner

    def shares(self, boxes: np.ndarray) -> np.ndarray:
        """The way back: (m, 4) pixels of the input to (m, 4) shares of the image, float64."""
        shares = (np.asarray(boxes, np.float64).reshape(-1, 4) - self._corner) / self._sides
        return mirrored(shares) if self.flip else shares

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of the input that an image within it covers."""
        return (
            slice(self.top, self.top + self.height),
            slice(self.left, self.left + self.width),
        )

    @property
    def _sides(self) -> np.ndarray:
        return np.array([self.height, self.width] * 2, np.float64)

    @property
    def _corner(self) -> np.ndarray:
        return np.array([self.top, self.left] * 2, np.float64)


def mirrored(boxes: np.ndarray) -> np.ndarray:
    """(m, 4) shares of an image, left to right."""
    return np.stack([boxes[:, 0], 1 - boxes[:, 3], boxes[:, 2], 1 - boxes[:, 1]], axis=1)


def placement(size: Sequence[int] | np.ndarray, preprocessing: Preprocessing) -> Placement:
    """Where a whole image goes; `Preprocessing.resize` says what the words mean.

    Args:
        size: (height, width) of the image in pixels.

    Raises:
        ValueError: "crop" or "centre", which show a part of it.
    """
    if preprocessing.crops:
        raise ValueError(f"resize {preprocessing.resize!r} shows a part of an image")
    height, width = int(size[0]), int(size[1])
    whole = (preprocessing.height, preprocessing.width)
    if preprocessing.resize == "letterbox":
        height, width = fitting((height, width), whole)
    elif preprocessing.resize != "pad" or height > whole[0] or width > whole[1]:
        height, width = whole
    # An odd pixel that is left over lies below, and to the right.
    top, left = (whole[0] - height) // 2, (whole[1] - width) // 2
    return Placement(top=top, left=left, height=height, width=width)


def fitting(size: tuple[int, int], whole: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the largest image of a shape that lies within `whole`.

    One side is that of `whole`; the other is rounded to the nearest pixel, half a pixel up, and is
    one at least. All is whole numbers, so that every client has the same.

    Args:
        size: (height, width) whose shape it is.
    """
    (height, width), (high, wide) = size, whole
    if width * high <= height * wide:
        return high, max(1, (2 * width * high + height) // (2 * height))
    return max(1, (2 * height * wide + width) // (2 * width)), wide
