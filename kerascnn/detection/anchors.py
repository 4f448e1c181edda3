"""Anchors: the boxes that a detector's outputs are corrections of, declared as data.

NumPy alone, so that the command line and the readers of artefacts need no Keras for them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerascnn.errors import InputError

# A description from elsewhere is not believed beyond these; the largest detectors have 200,000.
MOST_ANCHORS = 10**7
# Sides of boxes that are coded as distances, in cells: below a pixel, and so large that float32
# tells a box's two sides apart anywhere near the picture, which TFLite's operation insists on.
SMALLEST_CELLS = 1e-2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Level:
    """One feature map: a grid of cells with the same anchors about one point of each cell.

    Attributes:
        rows, columns: cells of the grid.
        sizes: (height, width) of a cell's anchors, as shares of the picture.
        offset: of the anchors' centre in its cell, in cells: 0.5 is the cell's own centre, 0 its
            top left corner.
    """

    rows: int
    columns: int
    sizes: tuple[tuple[float, float], ...]
    offset: float = 0.5

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise InputError(
                f"a grid of {self.rows}x{self.columns} cells has no anchors; enlarge the input"
            )
        if not 0 <= self.offset <= 1:
            raise InputError(f"anchors lie in their cells, 0..1, not at {self.offset}")
        if not self.sizes or np.shape(self.sizes)[1:] != (2,) or np.min(self.sizes) <= 0:
            raise InputError(f"sizes of anchors must be pairs above 0, not {self.sizes}")

    @property
    def count(self) -> int:
        """Anchors of this level."""
        return self.rows * self.columns * len(self.sizes)

    def boxes(self) -> np.ndarray:
        """(count, 4) float32, row by row of cells, each cell's anchors in the order of `sizes`."""
        y = (np.arange(self.rows) + self.offset) / self.rows
        x = (np.arange(self.columns) + self.offset) / self.columns
        centres = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1)[:, :, None]
        halves = np.asarray(self.sizes) / 2
        corners = np.concatenate([centres - halves, centres + halves], axis=-1)
        return corners.reshape(-1, 4).astype(np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Anchors:
    """All anchors of a detector, level by level."""

    levels: tuple[Level, ...]

    @property
    def count(self) -> int:
        """Anchors of a picture."""
        return sum(level.count for level in self.levels)

    def boxes(self) -> np.ndarray:
        """(a, 4) float32, level by level; they may stick out of the picture."""
        return np.concatenate([level.boxes() for level in self.levels])

    def reach(self, boxes: np.ndarray) -> np.ndarray:
        """(m,) IoU of each box (m, 4) with the anchor that it overlaps most with."""
        best: np.ndarray = self.reach_by_level(boxes).max(axis=1)
        return best

    def reach_by_level(self, boxes: np.ndarray) -> np.ndarray:
        """(m, levels) IoU of each box with the anchor of each level that it overlaps most with.

        Of all cells the one whose anchors' centre is the nearest has it, since overlap falls with
        the distance along either axis: a box is compared with one cell of each level.

        Args:
            boxes: (m, 4).
        """
        boxes = np.asarray(boxes, np.float64)
        centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        best = np.zeros((len(boxes), len(self.levels)))
        for number, level in enumerate(self.levels):
            grid = np.array([level.rows, level.columns])
            cell = np.clip(np.round(centres * grid - level.offset), 0, grid - 1)
            away = np.abs(centres - (cell + level.offset) / grid)
            for size in np.asarray(level.sizes):
                along = np.minimum((sides + size) / 2 - away, np.minimum(sides, size))
                shared = np.maximum(along, 0).prod(axis=1)
                union = sides.prod(axis=1) + size.prod() - shared
                best[:, number] = np.maximum(best[:, number], shared / union)
        return best

    def points_within(self, boxes: np.ndarray) -> np.ndarray:
        """(m, levels) how many cells of each level have their anchors' centre within each box.

        What lies on an edge is not within.

        Args:
            boxes: (m, 4).
        """
        boxes = np.asarray(boxes, np.float64)
        found = np.zeros((len(boxes), len(self.levels)), np.int64)
        for number, level in enumerate(self.levels):
            grid = np.array([level.rows, level.columns])
            first = np.floor(boxes[:, :2] * grid - level.offset) + 1
            last = np.ceil(boxes[:, 2:] * grid - level.offset) - 1
            inside = np.minimum(last, grid - 1) - np.maximum(first, 0) + 1
            found[:, number] = np.maximum(inside, 0).prod(axis=1)
        return found

    def to_dict(self) -> dict[str, Any]:
        """The JSON form that travels with runs and artefacts."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Anchors:
        """Read the JSON form; raises KeyError, TypeError or ValueError on anything else."""
        read = cls(
            levels=tuple(
                Level(**{**level, "sizes": tuple((h, w) for h, w in level["sizes"])})
                for level in values["levels"]
            )
        )
        if read.count > MOST_ANCHORS:
            raise ValueError(f"a detector of {read.count} anchors")
        return read


def ssd_anchors(
    grids: Sequence[tuple[int, int]],
    *,
    min_scale: float = 0.2,
    max_scale: float = 0.95,
    aspect_ratios: Sequence[float] = (2, 3),
) -> Anchors:
    """SSD's default boxes: 2 + 2 * len(aspect_ratios) a cell.

    Args:
        grids: (rows, columns) of each feature map, the finest first.
        min_scale, max_scale: sides of the square boxes on the first and on the last map, as
            shares of the picture; those between are evenly spaced.
        aspect_ratios: width over height of further boxes; each comes upright as well.

    A cell has the square, a larger square (its side is the geometric mean with the next map's
    scale, 1 after the last), then each ratio lying and upright. Sides above 1 are cut to 1.

    Source: SSD (arXiv:1512.02325), section 2.2; the defaults, the order and the cut are those of
    torchvision's ssdlite320_mobilenet_v3_large (DefaultBoxGenerator).
    """
    scales = [float(s) for s in np.linspace(min_scale, max_scale, len(grids))]
    after = [*scales[1:], 1.0 if len(grids) > 1 else max_scale]
    levels = []
    for (rows, columns), scale, following in zip(grids, scales, after, strict=True):
        side = math.sqrt(scale * following)
        sizes = [(scale, scale), (side, side)]
        for ratio in aspect_ratios:
            long, short = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
            sizes += [(short, long), (long, short)]
        cut = tuple((min(height, 1.0), min(width, 1.0)) for height, width in sizes)
        levels.append(Level(rows=rows, columns=columns, sizes=cut))
    return Anchors(levels=tuple(levels))


def pyramid_anchors(
    input_shape: tuple[int, int],
    *,
    levels: Sequence[int] = (3, 4, 5, 6, 7),
    octaves: int = 3,
    aspect_ratios: Sequence[float] = (1.0, 2.0, 0.5),
    scale: float = 3.0,
) -> Anchors:
    """RetinaNet's and EfficientDet's anchors: octaves * len(aspect_ratios) a cell.

    Args:
        input_shape: (height, width) of the network input in pixels.
        levels: of the pyramid; level i's grid is the input halved i times, rounded up.
        octaves: sizes a cell, each 2 ** (1 / octaves) of the one before.
        aspect_ratios: width over height, at the same area.
        scale: side of a level's smallest square, in cells.

    A cell has all ratios of the smallest size, then of the next. The stride is input over grid,
    a fraction where the input is no multiple of 2 ** level.

    Source: RetinaNet (arXiv:1708.02002), section 4; order, ratios and strides are those of
    google/automl's efficientdet/tf2/anchors.py, where EfficientDet-Lite0 to 2 have scale 3 and
    Lite3 and 4 have 4 (hparams_config.py).
    """
    height, width = input_shape
    made = []
    for level in levels:
        rows, columns = -(-height // 2**level), -(-width // 2**level)
        sides = [scale * 2 ** (octave / octaves) for octave in range(octaves)]
        sizes = tuple(
            (side / math.sqrt(ratio) / rows, side * math.sqrt(ratio) / columns)
            for side in sides
            for ratio in aspect_ratios
        )
        made.append(Level(rows=rows, columns=columns, sizes=sizes))
    return Anchors(levels=tuple(made))


def point_anchors(input_shape: tuple[int, ...], *, levels: Sequence[int]) -> Anchors:
    """The points of a detector without anchors: about each, a box as large as its cell.

    Args:
        input_shape: (height, width) of the network input in pixels.
        levels: of the pyramid; level i's grid is the input halved i times, rounded up.

    Points are the cells' top left corners, as mmdetection's RTMDet has them (`MlvlPointGenerator`
    with an offset of 0), which the published weights were trained with. The stride is input over
    grid, a fraction where the input is no multiple of 2 ** level.

    Source: RTMDet (arXiv:2212.07784), section 3; FCOS (arXiv:1904.01355), section 3.1.
    """
    made = []
    for level in levels:
        rows, columns = (-(-side // 2**level) for side in input_shape)
        made.append(Level(rows=rows, columns=columns, sizes=((1 / rows, 1 / columns),), offset=0.0))
    return Anchors(levels=tuple(made))


def rpn_anchors(
    input_shape: tuple[int, int],
    *,
    strides: Sequence[int],
    sizes: Sequence[Sequence[float]],
    aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
) -> Anchors:
    """A region proposal network's anchors: len(sizes of the map) * len(aspect_ratios) a cell.

    Args:
        input_shape: (height, width) of the network input in pixels.
        strides: pixels from cell to cell of each map, the finest first; a map's grid is the input
            over its stride, rounded up.
        sizes: for each map, the sides of its square anchors in pixels.
        aspect_ratios: height over width, at the same area.

    A cell has all sizes of the first ratio, then of the next. Centres are the cells' top left
    corners and half sides are rounded to whole pixels, at least 1: both are torchvision's
    (AnchorGenerator), which the published weights were trained with. Where the input is no
    multiple of a stride, cells are the input over the grid.

    Source: Faster R-CNN (arXiv:1506.01497), section 3.1.1; one size a level from FPN
    (arXiv:1612.03144), section 4.1.
    """
    height, width = input_shape
    made = []
    for stride, sides in zip(strides, sizes, strict=True):
        halves = [
            (side * math.sqrt(ratio) / 2, side / math.sqrt(ratio) / 2)
            for ratio in aspect_ratios
            for side in sides
        ]
        level = Level(
            rows=-(-height // stride),
            columns=-(-width // stride),
            sizes=tuple(
                (2 * max(1, round(y)) / height, 2 * max(1, round(x)) / width) for y, x in halves
            ),
            offset=0.0,
        )
        made.append(level)
    return Anchors(levels=tuple(made))
