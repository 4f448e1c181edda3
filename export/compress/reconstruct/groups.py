"""Which calibration images are alike, so that a choice can be judged on images unlike its own.

A hundred crops of eight photos are eight photos: what fits eighty of them fits the other twenty,
and says nothing of a ninth photo. Whatever reconstruction chooses by its error is therefore fitted
on some groups of images and judged on one that was left out, each in turn, and images that are
alike are in one group. Of images that are all different, groups say what any others would.
"""

from __future__ import annotations

import keras
import numpy as np

from export.compress.reconstruct.walk import Walk, chooses, steps
from training.engine.foldable_norms import LINEAR

GROUPS = 4
# A cluster has about so many images. Several make a group: one large cluster for a group would be
# all of its kind, and what is left out would be less known than other images are.
_IN_A_CLUSTER = 8
_MOST_CLUSTERS = 24
_ROUNDS = 10
_AT_ONCE = 16


def alike(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """(n,) numbers of groups, from 0 on, fewer than `GROUPS` only of fewer images.

    Images are alike whose channels have like means in the float network (k-means, from centres that
    are as far apart as can be).

    Args:
        model: functional, with one input.
        x: (n, height, width, channels) normalised images.
    """
    count = min(len(x), max(GROUPS, min(len(x) // _IN_A_CLUSTER, _MOST_CLUSTERS)))
    clusters = _clustered(_features(model, x), count)
    sizes = np.bincount(clusters, minlength=count)
    group_of, filled = np.zeros(count, int), np.zeros(GROUPS, int)
    for cluster in np.argsort(-sizes, kind="stable"):
        group_of[cluster] = np.argmin(filled)
        filled[group_of[cluster]] += sizes[cluster]
    return group_of[clusters]


def _features(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """(n, f): each linear layer's channel means, of like spread; all layers count alike."""
    found: list[list[np.ndarray]] = []
    for start in range(0, len(x), _AT_ONCE):
        part, means = x[start : start + _AT_ONCE], []
        walk = Walk(model, part)
        for step in steps(model):
            if chooses(step):  # what follows looks at regions
                break
            made = walk.outputs(step)
            walk.keep(step, made)
            if isinstance(step.operation, LINEAR):
                means.append(made.reshape(len(part), -1, made.shape[-1]).mean(axis=1))
        found.append(means)
    layers = [np.concatenate(each).astype(np.float64) for each in zip(*found, strict=True)]
    spread = [each.std(axis=0) for each in layers]
    scaled = [
        (each - each.mean(axis=0)) / np.where(std > 0, std, 1.0) / np.sqrt(each.shape[1])
        for each, std in zip(layers, spread, strict=True)
    ]
    return np.concatenate(scaled, axis=1) if scaled else np.zeros((len(x), 1))


def _clustered(points: np.ndarray, count: int) -> np.ndarray:
    """(n,) numbers of clusters, from 0 on."""
    centres = points[:1]
    while len(centres) < count:
        centres = np.append(centres, points[[np.argmax(_squares(points, centres).min(axis=1))]], 0)
    for _ in range(_ROUNDS):
        nearest = np.argmin(_squares(points, centres), axis=1)
        for number in np.unique(nearest):
            centres[number] = points[nearest == number].mean(axis=0)
    return np.argmin(_squares(points, centres), axis=1)


def _squares(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(n, c) squared distances."""
    return np.stack([np.sum(np.square(points - one), axis=1) for one in centres], axis=1)
