"""Maps of the tiles of an image, as the map of the image.

Each pixel has the class of the tile in whose middle it lies deepest: neighbours meet halfway
through what they share. No probabilities are blended: files give classes, with the choice of the
likeliest one inside, and answer as their raw forms and as Keras do. It is the overlap-tile strategy
of U-Net (arXiv:1505.04597, figure 2): a network that gives the middle of its input has an answer
for all of a large image but its edge, where tiles overlap by twice what it leaves out on a side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.datasets import tiling
from training.datasets.segmentation import VOID
from training.engine.evaluation import Merge


def stitched(found: Sequence[np.ndarray], windows: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """See this module.

    Args:
        found: of each tile its map, (h, w) uint8 at the tile's own size; `VOID` where it has none.
        windows: (n, 4), see `training.datasets.tiling`.
        size: (height, width) of the image.

    Returns:
        (height, width) uint8.
    """
    if len(found) == 1:
        return found[0]
    whole = np.full((int(size[0]), int(size[1])), VOID, np.uint8)
    depth = np.zeros(whole.shape, np.int32)
    for one, window in zip(found, windows, strict=True):
        own = _depth(window, whole.shape)
        deepest = (own > tiling.cut(depth, window)) & (one != VOID)
        tiling.cut(whole, window)[deepest] = one[deepest]
        tiling.cut(depth, window)[deepest] = own[deepest]
    return whole


def _depth(window: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """(h, w) pixels to the nearest border, from 1; the image's own is none."""
    depths = []
    for begin, end, side in zip(window[:2], window[2:], size, strict=True):
        places = np.arange(begin, end)
        before = places - begin + 1 if begin > 0 else np.full(len(places), _FAR)
        behind = end - places if end < side else np.full(len(places), _FAR)
        depths.append(np.minimum(before, behind))
    least: np.ndarray = np.minimum(depths[0][:, None], depths[1][None])
    return least


_FAR = 1 << 30

MERGE = Merge(join=stitched)
