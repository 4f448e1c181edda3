"""Random changes of training images with boxed objects: boxes move with pixels.

All that moves pixels is one map, a `kerascnn.geometry.Placement`: the rectangle of whole pixels of
the network's input into which the source image is stretched, hanging over where it is cropped.
Pixels follow it by one resampling, boxes by the same numbers. It is done on the host, by NumPy and
Pillow, so that images of any size come to one, and every backend gets the same bytes.

Letters in shapes: h w height and width in pixels, m objects.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from kerascnn import geometry
from kerascnn.errors import InputError
from kerascnn.geometry import Placement, mirrored
from kerascnn.preprocessing import Preprocessing
from training.augment.box_policies import BoxPolicy, Part, SampledParameters
from training.datasets import mask_bits, tiling
from training.datasets.detection import Mask, Objects
from training.datasets.pictures import fit_array

# Shorter sides are less than a network tells from noise: such objects are ignored.
LEAST_SIDE = 2
# Around a stretched image that was made smaller: the mean grey. Where an evaluation pads, its byte.
_GREY = 127
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601, as `training.datasets.pictures`


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rectangle:
    """A part of the network's input, in whole pixels."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Of an array of the network's input."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tile:
    """What one source image gives to one image for the network.

    Attributes:
        seen: what of the input it covers; may be empty.
        pixels: (seen.height, seen.width, 3) uint8.
        boxes: (m, 4) float64 pixels of the input, clipped.
        labels: (m,) int32.
        crowd: (m,) bool.
        masks: (m, seen.height, b) uint8, bits of what is seen, 1 on an object
            (`training.datasets.mask_bits`); None unless they are asked for.
    """

    seen: Rectangle
    pixels: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    masks: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Augmented:
    """An image for the network.

    Attributes:
        pixels: (height, width, 3) uint8.
        boxes: (m, 4) float32 shares of it.
        labels: (m,) int32.
        crowd: (m,) bool; also what chance has cut to too little to be found.
        masks: (m, height, b) uint8, bits, 1 on an object; None unless they are asked for.
    """

    pixels: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    masks: np.ndarray | None = None


# --- As an evaluation sees images ---------------------------------------------------------------


def refuse_crops(preprocessing: Preprocessing) -> None:
    """Raise InputError for a geometry that hides objects, or for grey images."""
    if preprocessing.crops:
        raise InputError(
            "images with boxes or label maps are seen whole: resize is 'stretch', 'letterbox' or "
            f"'pad', not {preprocessing.resize!r}"
        )
    if preprocessing.channels != 3:
        raise InputError(f"images are seen in 3 channels, not {preprocessing.channels}")


def evaluation_placement(
    size: Sequence[int] | np.ndarray, preprocessing: Preprocessing
) -> Placement:
    """Where `training.datasets.pictures.fit` puts an image: `kerascnn.geometry.placement`.

    Args:
        size: (height, width) of the image in pixels.

    Raises:
        InputError: "crop" or "centre".
    """
    refuse_crops(preprocessing)
    return geometry.placement(size, preprocessing)


def to_network(picture: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """An image at the network's size, as in training's evaluation, `predict` and on the phone.

    Args:
        picture: (h, w, 3) uint8.

    Returns:
        (height, width, 3) uint8.

    Raises:
        InputError: "crop".
    """
    refuse_crops(preprocessing)
    return fit_array(picture, preprocessing)


def boxes_to_network(
    boxes: np.ndarray, size: Sequence[int] | np.ndarray, preprocessing: Preprocessing
) -> np.ndarray:
    """Shares of an image to shares of the network's input; the same where it is stretched.

    Args:
        boxes: (..., 4).
        size: (height, width) of the image in pixels.

    Returns:
        (..., 4) float32, not clipped.
    """
    pixels = evaluation_placement(size, preprocessing).boxes(boxes)
    return (pixels / _sides(preprocessing)).astype(np.float32).reshape(np.shape(boxes))


def boxes_from_network(
    boxes: np.ndarray, size: Sequence[int] | np.ndarray, preprocessing: Preprocessing
) -> np.ndarray:
    """The way back of `boxes_to_network`; (..., 4) float32, not clipped."""
    pixels = np.asarray(boxes, np.float64) * _sides(preprocessing)
    shares = evaluation_placement(size, preprocessing).shares(pixels)
    return shares.astype(np.float32).reshape(np.shape(boxes))


def _sides(preprocessing: Preprocessing) -> np.ndarray:
    """(4,) what shares of the input are to be multiplied by."""
    return np.tile([preprocessing.height, preprocessing.width], 2).astype(np.float64)


# --- As a training does ---------------------------------------------------------------------------


def augment(
    policy: BoxPolicy,
    params: SampledParameters,
    read: Callable[[int], tuple[np.ndarray, Objects]],
    preprocessing: Preprocessing,
    *,
    masks: bool = False,
) -> Augmented:
    """One image of a batch.

    Args:
        params: of `box_policies.draw`.
        read: gives the (h, w, 3) uint8 pixels and the objects at a position of the split.
        masks: whether objects' masks move along.
    """
    tiles = [
        make_tile(policy, part, area, *read(part.picture), preprocessing, masks=masks)
        for part, area in zip(params.parts, rectangles(params, preprocessing), strict=True)
    ]
    return assembled(tiles, preprocessing)


def rectangles(params: SampledParameters, preprocessing: Preprocessing) -> tuple[Rectangle, ...]:
    """What of the network's input each part may cover."""
    height, width = preprocessing.height, preprocessing.width
    if params.centre is None:
        return (Rectangle(top=0, left=0, bottom=height, right=width),)
    y, x = round(params.centre[0] * height), round(params.centre[1] * width)
    return tuple(
        Rectangle(top=top, left=left, bottom=bottom, right=right)
        for top, bottom in ((0, y), (y, height))
        for left, right in ((0, x), (x, width))
    )


def make_tile(
    policy: BoxPolicy,
    part: Part,
    area: Rectangle,
    picture: np.ndarray,
    objects: Objects,
    preprocessing: Preprocessing,
    *,
    masks: bool = False,
) -> Tile:
    """Do to a source image and its objects what was drawn for them.

    Args:
        area: the part of the network's input for it.
        picture: (h, w, 3) uint8.
        masks: whether objects' masks move along. One of which no pixel is left is ignored then,
            whatever is left of its box.

    Raises:
        InputError: `masks`, and the objects have boxes alone.
    """
    boxes = objects.boxes[~objects.crowd]
    placement = placed(part, area, picture.shape[:2], preprocessing, boxes)
    seen = seen_in(area, placement)
    stays, ignored, clipped = _objects_in(policy, placement, seen, objects)
    found = None
    if masks:
        found = _masks(objects, stays, placement, seen)
        ignored = ignored | ~found.any(axis=(1, 2))
    return Tile(
        seen=seen,
        pixels=recoloured(resampled(picture, placement, seen), part),
        boxes=clipped,
        labels=objects.labels[stays].astype(np.int32),
        crowd=ignored,
        masks=found,
    )


def assembled(tiles: Sequence[Tile], preprocessing: Preprocessing) -> Augmented:
    """Put the tiles of one image in their places."""
    boxes = np.concatenate([tile.boxes for tile in tiles]) / _sides(preprocessing)
    return Augmented(
        pixels=pixels_of([(tile.seen, tile.pixels) for tile in tiles], preprocessing),
        boxes=boxes.astype(np.float32),
        labels=np.concatenate([tile.labels for tile in tiles]),
        crowd=np.concatenate([tile.crowd for tile in tiles]),
        masks=_masks_of(tiles, preprocessing),
    )


def pixels_of(
    tiles: Sequence[tuple[Rectangle, np.ndarray]], preprocessing: Preprocessing
) -> np.ndarray:
    """(height, width, 3) uint8 of what was seen and its pixels; around it, grey or black."""
    outside = _GREY if preprocessing.resize == "stretch" else preprocessing.filling
    pixels = np.full(preprocessing.input_shape, outside, np.uint8)
    for seen, own in tiles:
        pixels[seen.slices] = own
    return pixels


def _masks_of(tiles: Sequence[Tile], preprocessing: Preprocessing) -> np.ndarray | None:
    """(m, height, b) uint8 of all tiles; an object has no pixel outside of its own."""
    height, width = preprocessing.height, preprocessing.width
    parts = [np.zeros((0, height, mask_bits.row_bytes(width)), np.uint8)]
    for tile in tiles:
        if tile.masks is None:
            return None
        seen = tile.seen
        if (seen.height, seen.width) != (height, width):
            parts += [_widened(bits, seen, (height, width))[None] for bits in tile.masks]
        else:
            parts.append(tile.masks)
    return np.concatenate(parts)


def _widened(bits: np.ndarray, seen: Rectangle, size: tuple[int, int]) -> np.ndarray:
    """Bits of one mask of a part of the network's input, as bits of all of it."""
    whole = np.zeros(size, np.uint8)
    whole[seen.slices] = mask_bits.unpacked(bits, seen.width)
    return mask_bits.packed(whole)


def placed(
    part: Part,
    area: Rectangle,
    size: tuple[int, ...],
    preprocessing: Preprocessing,
    boxes: np.ndarray,
) -> Placement:
    """Where an image comes to lie; in a rectangle of a mosaic, so large that it fills it.

    Args:
        size: (height, width) of the image.
        boxes: (m, 4) what a window is to hold, if one is drawn; without any, all of it is seen.
    """
    base = evaluation_placement(size, preprocessing)
    sides = np.array([base.height, base.width]) * part.scale / part.zoom
    room = np.array([area.height, area.width])
    if (area.height, area.width) != (preprocessing.height, preprocessing.width):
        sides = sides * max(1.0, *(room / sides))
    first = np.array(part.place) * (room - sides)
    if part.overlap is not None:
        boxes = mirrored(boxes) if part.flip else boxes
        boxes = boxes * np.tile(sides / room, 2) + np.tile(first / room, 2)
        letterboxed = preprocessing.resize == "letterbox"
        shape = (area.height, area.width) if letterboxed else size
        window = _overlap_window(boxes, part.overlap, part.tries, shape)
        # Letterboxed it is as large as it fits, with what lies around it in the image.
        share = np.full(2, window[2:].max()) if letterboxed else window[2:]
        first = (first - window[:2] * room) / share + room * (1 - window[2:] / share) / 2
        sides = sides / share
    # Half a pixel goes up, as in `fit`, whose pixels an unchanged image has.
    top, left = (math.ceil(value - 0.5) for value in first)
    bottom, right = (math.ceil(value - 0.5) for value in first + sides)
    return Placement(
        top=area.top + top,
        left=area.left + left,
        height=max(1, bottom - top),
        width=max(1, right - left),
        flip=part.flip,
    )


def _overlap_window(
    boxes: np.ndarray, overlap: float, tries: np.ndarray, size: tuple[int, ...]
) -> np.ndarray:
    """The first tried window that holds an object's middle and overlaps it enough, else all.

    Sides are 0.3 to 1 of the whole, and their ratio 1:2 to 2:1 in pixels, as in torchvision's
    RandomIoUCrop.

    Args:
        boxes: (m, 4) shares of the whole.
        overlap: least intersection over union of a window with an object.
        tries: (tries, 4), see `Part`.
        size: (height, width) whose ratio the whole has.

    Returns:
        (4,) top, left, height and width as shares of the whole.
    """
    sides = 0.3 + 0.7 * tries[:, :2]
    first = (1 - sides) * tries[:, 2:]
    last = first + sides
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = ((middle > first[:, None]) & (middle < last[:, None])).all(axis=-1)
    common = np.minimum(boxes[:, 2:], last[:, None]) - np.maximum(boxes[:, :2], first[:, None])
    shared = common.clip(0).prod(axis=-1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1) + sides.prod(axis=-1)[:, None]
    ratio = sides[:, 1] * size[1] / (sides[:, 0] * size[0])
    good = (inside & (shared >= overlap * (areas - shared))).any(axis=1)
    good &= (ratio >= 0.5) & (ratio <= 2)
    if not good.any():
        return np.array([0.0, 0.0, 1.0, 1.0])
    return np.concatenate([first[good.argmax()], sides[good.argmax()]])


def seen_in(area: Rectangle, placement: Placement) -> Rectangle:
    """What of the area the image covers; empty at its edge if nothing."""
    top, left = max(placement.top, area.top), max(placement.left, area.left)
    bottom = min(placement.top + placement.height, area.bottom)
    right = min(placement.left + placement.width, area.right)
    return Rectangle(top=top, left=left, bottom=max(top, bottom), right=max(left, right))


def _source(placement: Placement, seen: Rectangle) -> np.ndarray:
    """(4,) shares of the image that, mirrored as it is, come to lie there."""
    corners = np.array([[seen.top, seen.left, seen.bottom, seen.right]], np.float64)
    return placement.shares(corners)[0].clip(0, 1)


def resampled(picture: np.ndarray, placement: Placement, seen: Rectangle) -> np.ndarray:
    """What is seen of an image.

    Args:
        picture: (h, w, 3) uint8.

    Returns:
        (seen.height, seen.width, 3) uint8, bilinear, and an average where it becomes smaller.
    """
    if not seen.height or not seen.width:
        return np.zeros((seen.height, seen.width, 3), np.uint8)
    top, left, bottom, right = _source(placement, seen)
    height, width = picture.shape[:2]
    box = (left * width, top * height, right * width, bottom * height)
    image = Image.fromarray(picture).resize(
        (seen.width, seen.height), Image.Resampling.BILINEAR, box
    )
    pixels = np.asarray(image, np.uint8)
    return pixels[:, ::-1] if placement.flip else pixels


def nearest(plane: np.ndarray, placement: Placement, seen: Rectangle) -> np.ndarray:
    """What is seen of a mask: the value at the middle of each pixel, nothing between.

    Args:
        plane: (h, w) of the image that is placed.

    Returns:
        (seen.height, seen.width) of its type.
    """
    top, left, bottom, right = _source(placement, seen)
    rows = _middles(top, bottom, plane.shape[0], seen.height)
    columns = _middles(left, right, plane.shape[1], seen.width)
    return plane[rows[:, None], columns[::-1] if placement.flip else columns]


def _middles(first: float, last: float, side: int, count: int) -> np.ndarray:
    """(count,) which of `side` pixels the middles of equal parts of a share of them lie in."""
    shares = first + (last - first) * (np.arange(count) + 0.5) / max(count, 1)
    # A middle between two pixels is the latter's, however the share was rounded.
    return np.floor(shares * side + 1e-6).astype(np.int64).clip(0, side - 1)


def _masks(
    objects: Objects, stays: np.ndarray, placement: Placement, seen: Rectangle
) -> np.ndarray:
    """(m, seen.height, b) uint8 bits of the objects that stay; others' are not looked at."""
    if objects.masks is None:
        raise InputError("objects have boxes alone, and no masks; give data with outlines")
    rows = np.flatnonzero(stays)
    masks = np.zeros((len(rows), seen.height, mask_bits.row_bytes(seen.width)), np.uint8)
    for mask, row in zip(masks, rows, strict=True):
        mask[:] = mask_bits.packed(nearest(objects.masks[row](), placement, seen))
    return masks


def _objects_in(
    policy: BoxPolicy, placement: Placement, seen: Rectangle, objects: Objects
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which objects are left in sight (of all), which of these are ignored, and their boxes.

    An object of which too little is left, or which has become too small, is ignored instead of
    dropped: half a digit is neither to be found nor to be taught as background. A crowd stays one
    as long as any of it is left. Boxes are clipped, in pixels.
    """
    boxes = placement.boxes(objects.boxes)
    clipped = boxes.clip(2 * (seen.top, seen.left), 2 * (seen.bottom, seen.right))
    sides = clipped[:, 2:] - clipped[:, :2]
    share = _areas(clipped) / np.maximum(_areas(boxes), 1e-12)
    seen_enough, _ = _left(policy, objects, share)
    found = seen_enough & (sides >= LEAST_SIDE).all(axis=1)
    ignored = ~found & np.where(objects.crowd, share > 0, share >= policy.ignored)
    stays = found | ignored
    return stays, ignored[stays], clipped[stays]


def objects_within(
    objects: Objects, window: np.ndarray, size: Sequence[int] | np.ndarray, policy: BoxPolicy
) -> Objects:
    """The objects of a tile of an image, in shares of it; what it cuts counts by the policy.

    Args:
        window: see `training.datasets.tiling`.
        size: (height, width) of the image.
    """
    corner, sides = np.tile(window[:2], 2), np.tile(window[2:] - window[:2], 2)
    boxes = np.asarray(objects.boxes, np.float64) * np.tile(size, 2) - corner
    clipped = boxes.clip(0, sides)
    share = _areas(clipped) / np.maximum(_areas(boxes), 1e-12)
    found, ignored = _left(policy, objects, share)
    stays = found | ignored
    masks = objects.masks
    return Objects(
        boxes=(clipped / sides)[stays].astype(np.float32),
        labels=objects.labels[stays],
        crowd=ignored[stays],
        areas=(objects.areas * share)[stays].astype(np.float32),
        ids=objects.ids[stays],
        masks=None
        if masks is None
        else tuple(
            functools.partial(_mask_within, masks[i], window) for i in np.flatnonzero(stays)
        ),
    )


def _mask_within(draw: Mask, window: np.ndarray) -> np.ndarray:
    return tiling.cut(draw(), window)


def _areas(boxes: np.ndarray) -> np.ndarray:
    areas: np.ndarray = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return areas


def _left(policy: BoxPolicy, objects: Objects, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which objects are still to be found when a share of each box is left, and which ignored."""
    found = ~objects.crowd & (share >= policy.kept)
    return found, ~found & np.where(objects.crowd, share > 0, share >= policy.ignored)


def recoloured(pixels: np.ndarray, part: Part) -> np.ndarray:
    """Brightness, contrast, saturation and gains of a part, as one matrix; uint8.

    Saturation mixes each pixel with its grey, contrast with the mean grey of what is seen, as
    Pillow's ImageEnhance; clipping is left to the end.
    """
    factors = (part.brightness, part.contrast, part.saturation, *part.gains)
    if not pixels.size or factors == (1.0,) * 6:
        return pixels
    saturation = part.saturation * np.eye(3) + (1 - part.saturation) * _LUMA
    grey = float(pixels.mean(axis=(0, 1)) @ _LUMA)  # saturation leaves it as it is
    outer = part.brightness * np.array(part.gains)
    matrix = np.empty((3, 4))
    matrix[:, :3] = outer[:, None] * part.contrast * saturation
    matrix[:, 3] = outer * (1 - part.contrast) * grey
    image = Image.fromarray(np.ascontiguousarray(pixels))
    changed = image.convert("RGB", tuple(matrix.ravel().tolist()))
    return np.asarray(changed, np.uint8)
