"""Kernels that are one: those of a head that looks at all levels of a pyramid.

Files are made of networks in which no layer is called twice (`export.graph.unshare`), and hold
equal lists of integers once. Calls of one layer have equal kernels, or with a norm of each level in
them kernels that differ by a factor for each channel, which is the scale's. Were each rounded by
what it is given alone, a detector's file would hold its heads five times. So such kernels are
rounded together, by what all of them are given in the float network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from keras import layers

from export.compress.reconstruct.inputs import matrix, shares_scales

_SAME = 1e-5  # of a channel's largest weight: what folding a norm into it rounds away


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tied:
    """A kernel that is another's but for a positive factor of each channel.

    Attributes:
        first: the layer whose kernel that is, or which it is itself.
        factors: (g, o) by what its channels are larger.
    """

    first: str
    factors: np.ndarray


def tied_kernels(linear: Sequence[layers.Layer]) -> dict[str, Tied]:
    """Those of several layers' kernels that are the same, by name.

    Args:
        linear: layers with kernels, in the order in which they will be rounded.
    """
    groups: list[tuple[layers.Layer, np.ndarray, list[layers.Layer]]] = []
    for layer in linear:
        unit = _unit(layer)
        for first, known, members in groups:
            if _alike(layer, first) and np.allclose(unit, known, rtol=0, atol=_SAME):
                members.append(layer)
                break
        else:
            groups.append((layer, unit, [layer]))
    return {
        layer.name: Tied(first=first.name, factors=_largest(layer) / _largest(first))
        for first, _, members in groups
        if len(members) > 1
        for layer in members
    }


def _unit(layer: layers.Layer) -> np.ndarray:
    unit: np.ndarray = matrix(layer, np.asarray(layer.kernel)) / _largest(layer)[..., None]
    return unit


def _alike(one: layers.Layer, other: layers.Layer) -> bool:
    return type(one) is type(other) and one.kernel.shape == other.kernel.shape


def _largest(layer: layers.Layer) -> np.ndarray:
    """(g, o) of each channel that has a scale."""
    largest = np.abs(matrix(layer, np.asarray(layer.kernel))).max(axis=-1)
    if shares_scales(layer):
        largest = np.broadcast_to(largest.max(axis=0), largest.shape)
    return np.maximum(largest, np.finfo(np.float32).tiny)
