"""The kernel that makes up for what the layers before it did, as far as other images bear it out.

A layer's own rounding cannot undo what those before it did to its inputs x', but another kernel
can, as far as that is linear: W E[x x'] / E[x' x'] (GPTAQ, arXiv 2504.02692, section 4). What
rounding does to activations is mostly noise, and that kernel a Wiener filter for it: it damps
directions of the input in which the images have less of a signal than of noise. Those of eighty
crops of eight photos are not those of a ninth. How far to go is therefore told by images that were
left out: a ridge towards the float kernel is raised until what is fitted on the other groups of
alike images (`export.compress.reconstruct.groups`) serves each group best, and where none serves,
there is no target.
"""

from __future__ import annotations

import numpy as np

from export.compress.reconstruct.inputs import Moments
from export.compress.reconstruct.rounding import DAMPING

# What the least ridge is raised by.
_RAISED = (1.0, 8.0, 32.0, 128.0)


def aimed(kernel: np.ndarray, met: Moments, bits: int = 8) -> np.ndarray | None:
    """What a kernel should be to make of its inputs what it made in the float network.

    Args:
        kernel: (g, o, k) W.
        met: with `crossed` and groups.
        bits: of the file's kernel.

    Returns:
        (g, o, k) float64; None where groups that were left out are served best by W itself.
    """
    if len(met.by_group) < 2:
        return None
    kernel = kernel.astype(np.float64)
    least = max(DAMPING[bits], kernel.shape[-1] / met.places)
    ridges = [least * raised for raised in _RAISED]
    gains = np.zeros(len(ridges))
    for left_out in met.by_group:
        others = met.without(left_out)
        moves = (_move(kernel, others, ridge) for ridge in ridges)
        gains += left_out.places * np.array([_gain(kernel, move, left_out) for move in moves])
    best = int(np.argmax(gains))
    return kernel + _move(kernel, met, ridges[best]) if gains[best] > 0 else None


def _pull(kernel: np.ndarray, met: Moments) -> np.ndarray:
    assert met.crossed is not None
    pull: np.ndarray = kernel @ (met.crossed - met.inputs)
    return pull


def _move(kernel: np.ndarray, met: Moments, ridge: float) -> np.ndarray:
    """(g, o, k) from the kernel to the target, with E[x' x'] raised by a share of its mean."""
    inputs = met.inputs.astype(np.float64)
    width = inputs.shape[-1]
    mean = np.trace(inputs, axis1=1, axis2=2) / width
    raised = inputs + np.where(mean > 0, ridge * mean, 1.0)[:, None, None] * np.eye(width)
    solved = np.linalg.solve(raised, _pull(kernel, met).transpose(0, 2, 1))
    return solved.transpose(0, 2, 1)


def _gain(kernel: np.ndarray, move: np.ndarray, met: Moments) -> float:
    """What the mean squared error of the layer's outputs falls by."""
    return float(np.sum((2 * _pull(kernel, met) - move @ met.inputs) * move))
