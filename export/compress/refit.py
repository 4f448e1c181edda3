"""Fit the kernels of a network that lost channels to what the whole one gave, in closed form.

Layer by layer, in the order of the graph, each kernel becomes the one that makes of what the
narrower network gives it what the whole network's layer made of what that had, in the sense of
least squares (He et al., arXiv:1707.06168, who fit layers to the pruned network's inputs too). So
what the channels that are gone said is said by those that stay, as far as they can, and the
statistics that the norms have stored hold again: behind those of another network a training does
not recover.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
from keras import layers

from export.compress.reconstruct.inputs import patches_at, places_of
from export.compress.reconstruct.walk import (
    Walk,
    called_once,
    floats_at_once,
    twin_steps,
)
from training.common.progress import busy
from training.common.spread import spread
from training.engine.foldable_norms import foldable_norms

# Bytes of activations, of both networks together.
_MEMORY = 1.2e9
_FEWEST, _ENOUGH = 8, 128  # images
_WIDEST = 4608  # weights of a channel; of more, the matrices would take gigabytes and minutes
_PLACES = 2  # for each weight of a channel, at least
# Of the mean variance of what a kernel meets: what holds it to what it was.
_RIDGE = 1e-2


def refit(
    model: keras.Model, narrower: keras.Model, kept: Mapping[str, np.ndarray], x: np.ndarray
) -> None:
    """Change the kernels of `narrower` in place, and the biases or the norms' means behind them.

    Convolutions, depthwise ones and dense layers that are called once; transposed ones and those
    that meet too few places stay as they are.

    Args:
        model: functional, with one input.
        narrower: the same with fewer channels, by `export.compress.channel_prune`.
        kept: by layer, which of its output channels stayed, bool; all of those that are not there.
        x: (n, height, width, channels) normalised images.
    """
    count = _MEMORY / (4 * (floats_at_once(model) + floats_at_once(narrower)))
    x = x[spread(len(x), max(_FEWEST, min(_ENOUGH, int(count))))]
    whole, ours, once = Walk(model, x), Walk(narrower, x), called_once(model)
    norms = {maker.name: norm for norm, maker in foldable_norms(narrower).values()}
    with busy("fitting what is left"):
        for number, (step, twin) in enumerate(twin_steps(model, narrower)):
            layer, slim = step.operation, twin.operation
            if slim.name in once and _can_fit(slim):
                wanted, got = whole.inputs(step)[0], ours.inputs(twin)[0]
                if wanted is not got:  # else nothing is missing
                    channels = kept.get(slim.name, np.ones(slim.output.shape[-1], bool))
                    _fit(layer, slim, channels, wanted, got, norms.get(slim.name), seed=number)
            whole.keep(step, whole.outputs(step))
            ours.keep(twin, ours.outputs(twin))


def _can_fit(layer: keras.Layer) -> bool:
    if isinstance(layer, layers.DepthwiseConv2D):
        return True
    plain = isinstance(layer, layers.Dense | layers.Conv2D) and getattr(layer, "groups", 1) == 1
    return plain and int(np.prod(layer.kernel.shape[:-1])) <= _WIDEST


def _fit(
    layer: keras.Layer,
    slim: keras.Layer,
    channels: np.ndarray,
    wanted: np.ndarray,
    got: np.ndarray,
    norm: layers.BatchNormalization | None,
    *,
    seed: int,
) -> None:
    """Change one kernel, and what stands for the mean behind it.

    Args:
        channels: which outputs of `layer` those of `slim` are.
        wanted, got: what the layers are given.
        norm: behind `slim`, if there is one.
    """
    chosen = places_of(layer, wanted, seed)
    now = patches_at(slim, got, chosen)
    _groups, places, weights = now.shape
    if places < _PLACES * weights:
        return
    then = patches_at(layer, wanted, chosen)
    aim, old = _rows(layer), _rows(slim)  # (g, k, o)
    if isinstance(layer, layers.DepthwiseConv2D):
        inputs = channels.reshape(len(aim), -1).any(axis=1)
        then, aim = then[inputs], aim[inputs]
    else:
        aim = aim[..., channels]
    target = then @ aim
    means = now.mean(axis=1, keepdims=True), target.mean(axis=1, keepdims=True)
    now, target = now - means[0], target - means[1]
    varied = (now.transpose(0, 2, 1) @ now).astype(np.float64) / places
    ridge = _RIDGE * np.trace(varied, axis1=1, axis2=2) / weights
    held = np.maximum(ridge, 1e-12)[:, None, None]
    crossed = now.transpose(0, 2, 1) @ target / places
    new = np.linalg.solve(varied + held * np.eye(weights), crossed + held * old)
    slim.kernel.assign(_kernel(slim, new))
    shift = (means[0] @ new - means[1]).reshape(-1).astype(np.float32)
    if slim.use_bias:
        slim.bias.assign(np.asarray(slim.bias) - shift)
    elif norm is not None:
        norm.moving_mean.assign(np.asarray(norm.moving_mean) + shift)


def _rows(layer: keras.Layer) -> np.ndarray:
    """(g, k, o) float32 of a kernel, in the order of `patches_at`."""
    kernel = np.asarray(layer.kernel, np.float32)
    if isinstance(layer, layers.DepthwiseConv2D):
        return kernel.reshape(-1, *kernel.shape[2:]).transpose(1, 0, 2)
    return kernel.reshape(1, -1, kernel.shape[-1])


def _kernel(layer: keras.Layer, rows: np.ndarray) -> np.ndarray:
    """The way back."""
    if isinstance(layer, layers.DepthwiseConv2D):
        rows = rows.transpose(1, 0, 2)
    return rows.reshape(layer.kernel.shape)
