"""Images much smaller than the network's input: what a training says of them before it begins."""

from __future__ import annotations

import numpy as np

from kerascnn.preprocessing import Preprocessing

# So many times, or more, is worth a line.
_TIMES = 2.0
# Networks halve an image about five times; a smaller input would leave nothing to see.
_STEP, _SMALLEST = 32, 64


def enlarging_lines(
    sizes: np.ndarray | None, preprocessing: Preprocessing, *, asked: bool
) -> list[str]:
    """One line if most images are enlarged twice or more, with the option that mends it; or none.

    Args:
        sizes: (n, 2) heights and widths, as far as they are known.
        preprocessing: of the network.
        asked: whether its size was asked for, so that it is what was meant.
    """
    if asked or sizes is None or not len(sizes):
        return []
    # What fits into a frame is enlarged by its longer side.
    longer = int(np.median(np.max(sizes, axis=1)))
    frame = min(preprocessing.height, preprocessing.width)
    wanted = max(_SMALLEST, -(-longer // _STEP) * _STEP)
    if longer < 1 or frame < _TIMES * longer or wanted >= frame:
        return []
    height, width = np.median(sizes, axis=0).astype(int).tolist()
    return [
        f"images have {width} x {height} pixels (the median) and are enlarged "
        f"{frame / longer:.1f} times, to the {preprocessing.width} x {preprocessing.height} of the "
        f"network; --image-size {wanted} trains near their own size, in a fraction of the time"
    ]
