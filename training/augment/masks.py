"""Random changes of training images with masks: classes move with pixels.

What is drawn (`training.augment.box_policies`) and where an image comes to lie (a `Placement` of
`training.augment.boxes`) are those of boxes. Pixels are interpolated, classes are those nearest
to the middle of each pixel. A map has no boxes: where a policy draws a window that holds an object,
all of the image is seen.

Letters in shapes: h w height and width in pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.augment.box_policies import Part
from training.augment.boxes import (
    Rectangle,
    evaluation_placement,
    nearest,
    pixels_of,
    placed,
    recoloured,
    resampled,
    seen_in,
)
from training.augment.distractors import cluttered
from training.datasets.segmentation import VOID

_NO_BOXES = np.zeros((0, 4))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MapTile:
    """What one source image gives to one image for the network.

    Attributes:
        seen: what of the input it covers; may be empty.
        pixels: (seen.height, seen.width, 3) uint8.
        label_map: (seen.height, seen.width) uint8.
    """

    seen: Rectangle
    pixels: np.ndarray
    label_map: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class AugmentedMap:
    """An image for the network.

    Attributes:
        pixels: (height, width, 3) uint8.
        label_map: (height, width) uint8, `VOID` around what is seen of images.
    """

    pixels: np.ndarray
    label_map: np.ndarray


def map_to_network(label_map: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """A map where an evaluation puts its image (`boxes.to_network`).

    Args:
        label_map: (h, w) uint8.

    Returns:
        (height, width) uint8, `VOID` where the image is padded.

    Raises:
        InputError: "crop".
    """
    placement = evaluation_placement(label_map.shape, preprocessing)
    seen = seen_in(_whole(preprocessing), placement)
    return _map_of([(seen, nearest(label_map, placement, seen))], preprocessing)


def make_map_tile(
    part: Part,
    area: Rectangle,
    picture: np.ndarray,
    label_map: np.ndarray,
    preprocessing: Preprocessing,
) -> MapTile:
    """Do to a source image and its map what was drawn for them.

    Args:
        area: the part of the network's input for it.
        picture: (h, w, 3) uint8.
        label_map: (h, w) uint8.
    """
    placement = placed(part, area, picture.shape[:2], preprocessing, _NO_BOXES)
    seen = seen_in(area, placement)
    labels = nearest(label_map, placement, seen)
    pixels = cluttered(resampled(picture, placement, seen), labels, part.distractors)
    return MapTile(seen=seen, pixels=recoloured(pixels, part), label_map=labels)


def assembled_map(tiles: Sequence[MapTile], preprocessing: Preprocessing) -> AugmentedMap:
    """Put the tiles of one image in their places."""
    return AugmentedMap(
        pixels=pixels_of([(tile.seen, tile.pixels) for tile in tiles], preprocessing),
        label_map=_map_of([(tile.seen, tile.label_map) for tile in tiles], preprocessing),
    )


def middle(whole: Sequence[int], part: Sequence[int]) -> tuple[slice, slice]:
    """Where an output of this size lies in the input; the odd pixel is below and to the right.

    Raises:
        InputError: it is larger than the input.
    """
    if len(part) != 2 or part[0] > whole[0] or part[1] > whole[1]:
        raise InputError(
            f"a label map of shape {tuple(part)} does not fit an input of {tuple(whole)}; give "
            "(height, width) classes of the input's size or less"
        )
    top, left = ((w - p) // 2 for w, p in zip(whole, part, strict=True))
    return slice(top, top + part[0]), slice(left, left + part[1])


def _whole(preprocessing: Preprocessing) -> Rectangle:
    return Rectangle(top=0, left=0, bottom=preprocessing.height, right=preprocessing.width)


def _map_of(
    tiles: Sequence[tuple[Rectangle, np.ndarray]], preprocessing: Preprocessing
) -> np.ndarray:
    whole = np.full((preprocessing.height, preprocessing.width), VOID, np.uint8)
    for seen, own in tiles:
        whole[seen.slices] = own
    return whole
